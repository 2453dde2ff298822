import { test } from 'tap';
import { randomNumbers } from '../../../../support/random.ts';
import { type Mutant, mutants, ThreeHosts } from './three-hosts.ts';

const steps = 4000;

/** What is wrong after so many steps, and what happened. */
function life(seed: number, mutant?: Mutant): ThreeHosts {
  const hosts = new ThreeHosts(randomNumbers(seed), mutant);
  for (let step = 0; step < steps && hosts.wrong === undefined; step++) hosts.step();
  if (hosts.wrong === undefined) hosts.finish();
  return hosts;
}

test('whoever dies after whatever step, with or without what was not flushed: disks in step are equal', async (t) => {
  const counts = { givenUp: 0, begunAgain: 0, anew: 0, protected: 0, known: 0, all: 0, takeovers: 0, cuts: 0, sent: 0 };
  for (let seed = 1; seed <= 250; seed++) {
    const hosts = life(seed);
    t.equal(hosts.wrong, undefined, `seed ${seed}`);
    for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += hosts.counts[name];
  }
  t.comment(JSON.stringify(counts));
  t.ok(counts.takeovers > 300, 'there were takeovers');
  t.ok(counts.anew > 250, 'and machines that were run anew, of which something was known');
  t.ok(counts.givenUp > 100, 'and logs that could not be written any more');
  t.ok(counts.begunAgain > 50, 'and others that began in their place');
  t.ok(counts.known > counts.all, 'and of most hosts that came back something was known');
});

for (const mutant of mutants) {
  test(`it is noticed if ${mutant}`, async (t) => {
    let caught: string | undefined;
    for (let seed = 1; seed <= 1000 && caught === undefined; seed++) caught = life(seed, mutant).wrong;
    t.match(caught, /block/);
  });
}
