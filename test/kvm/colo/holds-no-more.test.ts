import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { SmallPair } from '../../support/small-pair.ts';
import { noTaps } from '../../support/taps.ts';

// A machine that is paired again and again holds no more than it did, however its pairings end.

const skip = noKvm() || noTaps() || noEtcd();

/** What a process has open, and how many threads it has, once it does nothing that ends soon. */
function holdingOf(pid: number): { readonly files: number; readonly threads: number } {
  const count = (what: string): number => readdirSync(`/proc/${pid}/${what}`).length;
  return { files: count('fd'), threads: count('task') };
}

/** A connection of a command that has just ended may still be open. */
const room = 2;

/** Pairings that end in every way; the pair is protected before and afterwards. */
async function everyEnd(t: Test, small: SmallPair): Promise<void> {
  const { pair } = small;
  const isAlone = () => pair.status('a', ({ headline }) => headline === 'UNPROTECTED');
  await small.sides.b.endedBySignal('SIGKILL');
  await isAlone();

  const short = join(pair.folder, 'short.img');
  writeFileSync(short, '');
  truncateSync(short, 1 << 20);
  const wrong = pair.seeking('b', '--disk', `path=${short},id=disk`, '--serial', 'none', '--detection', '5000');
  await pair.status('a', ({ why }) => /truncate -s/.test(why));
  await wrong.endedBySignal('SIGKILL');
  small.startStandby();
  await small.isWhole();

  for (const side of ['a', 'b'] as const) {
    t.match(await small.sayTo(side, 'unprotect'), { code: 0 });
    await isAlone();
    await pair.status('b', ({ headline }) => headline === 'LISTENING');
    t.match(await small.protect(), { code: 0 });
    await small.isWhole();
  }

  t.match(await small.sayTo('b', 'stop', '--force'), { code: 0 });
  await small.sides.b.ended;
  await isAlone();
  t.match(await small.protect(), { code: 1 }, 'nobody is there');
  small.startStandby();
  await small.isWhole();
}

test('pairings that end in every way leave nothing behind', { skip, timeout: 290_000 }, async (t) => {
  const small = await SmallPair.make(t, { mode: 'comparing' });
  const { pid } = small.sides.a;
  const folders = (): string[][] =>
    ['', 'a.state', 'b.state'].map((name) => readdirSync(join(small.pair.folder, name)).sort());
  await everyEnd(t, small);
  const [held, left] = [holdingOf(pid), folders()];
  for (let times = 0; times < 2; times++) await everyEnd(t, small);
  const now = holdingOf(pid);
  t.ok(now.files <= held.files + room, `${held.files} descriptors, then ${now.files}`);
  t.equal(now.threads, held.threads, 'threads');
  t.strictSame(folders(), left, 'no file that was not there');
  await small.serves();
  small.diskIsRight('a');
});
