import { test } from 'tap';
import { defaultCompareSettings } from '../../../../src/colo/compare/settings.ts';
import { compareExchanges } from '../../../support/compared-exchange.ts';
import { readExchange, withClientOf } from '../../../support/exchange.ts';
import { randomNumbers } from '../../../support/random.ts';
import { datagramSpoilers, type Spoiler, streamSpoilers } from '../../../support/spoilt-exchange.ts';

// What real kernels said of one exchange, twice: test/golden/traces, recorded by tools/traces.

const streams = ['loss', 'windows', 'ends', 'no-timestamps', 'no-options', 'vlan', 'large-segments', 'extensions'];
const datagrams = ['datagrams'];
const seeds = [1, 2, 3, 4, 5, 6, 7, 8];

function takesOf(name: string) {
  return [
    [`${name}-1`, `${name}-2`],
    [`${name}-2`, `${name}-1`],
  ] as const;
}

for (const [first, second] of [...streams, ...datagrams].flatMap(takesOf)) {
  test(`${first} and ${second} say the same`, async (t) => {
    const primary = readExchange(first);
    const secondary = withClientOf(primary, readExchange(second));
    const ofPrimary = primary.filter(({ byGuest }) => byGuest).length;
    const ofSecondary = secondary.filter(({ byGuest }) => byGuest).length;
    for (const seed of seeds) {
      const { rig, misheard, withheld } = compareExchanges(primary, secondary, seed);
      rig.comparator.scan(defaultCompareSettings.timeoutMs);
      t.equal(rig.text, '');
      t.equal(rig.released.length, ofPrimary, 'all of it leaves');
      t.equal(rig.dropped.length, ofSecondary, 'and S need keep nothing');
      t.match(rig.comparator.sizes, { waiting: 0, storedBytes: 0 });
      t.equal(misheard, 0, "S's guest hears what it heard when it was recorded");
      t.equal(withheld, 0);
    }
  });
}

function spoilt(first: string, second: string, { what, side, spoil }: Spoiler): void {
  test(`${first} and ${second}, but for ${what} (${side})`, async (t) => {
    const primary = readExchange(first);
    const secondary = withClientOf(primary, readExchange(second));
    for (const seed of seeds) {
      const random = randomNumbers(seed);
      const mine = side === 'primary' ? spoil(primary, random) : primary;
      const theirs = side === 'secondary' ? spoil(secondary, random) : secondary;
      if (mine === undefined || theirs === undefined) throw new Error(`${first} and ${second} have no place for it`);
      const { rig } = compareExchanges(mine, theirs, seed);
      rig.comparator.scan(defaultCompareSettings.timeoutMs);
      t.not(rig.reasons.length, 0, 'a checkpoint is wanted');
      t.ok(rig.released.length < mine.filter(({ byGuest }) => byGuest).length, 'something of P stays');
    }
  });
}

for (const [first, second] of streams.flatMap(takesOf)) {
  for (const spoiler of streamSpoilers) {
    const hasPlace = !first.startsWith('no-options') || spoiler.what !== 'options that are missing in its SYN';
    if (hasPlace) spoilt(first, second, spoiler);
  }
}
for (const [first, second] of datagrams.flatMap(takesOf)) {
  for (const spoiler of datagramSpoilers) spoilt(first, second, spoiler);
}
