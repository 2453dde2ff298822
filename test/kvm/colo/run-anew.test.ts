import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { hammeredPages, hammering } from '../../support/virtio-guests.ts';
import { kernelFile, runVmm } from '../../support/vmm-process.ts';

const MiB = 1024 * 1024;
const sizeBytes = 32 * MiB;
/** The guest writes to the first one only. */
const regionBytes = 4 * MiB;
const patient = ['--detection', '5000'];

test('a pair that was off is in step again by what both sides had marked, by hash if one of them knows nothing', {
  skip: noKvm() || noEtcd(),
  timeout: 240_000,
}, async (t) => {
  const pair = await Pair.make(t);
  const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
  const content = Buffer.alloc(sizeBytes, 'what was there before ');
  writeFileSync(disk.a, content);
  writeFileSync(disk.b, new Uint8Array(sizeBytes));
  const flagsOf = (side: 'a' | 'b') => ['--disk', `path=${disk[side]},id=root`, '--checkpoint-delay', '10', ...patient];
  const kernel = kernelFile(pair.folder, hammering('round'));
  const compared = async (): Promise<number | undefined> => {
    const found = await pair.status('a', ({ disk: copied }) => copied?.synchronised !== undefined);
    return found.disk?.synchronised?.totalBytes;
  };
  for (const [how, before, expected] of [
    ['at first', () => {}, sizeBytes],
    ['by what both had marked', () => {}, regionBytes],
    ['by hash', () => rmSync(join(pair.folder, 'b.state', 'disks.json')), sizeBytes],
    ['by hash as well', () => rmSync(join(pair.folder, 'a.state', 'disks.json')), sizeBytes],
    ['by what both had marked again', () => {}, regionBytes],
  ] as const) {
    before();
    const standby = pair.standby(...flagsOf('b'));
    const primary = pair.primary(kernel, ...flagsOf('a'));
    await pair.protected();
    t.equal(await compared(), expected, how);
    await pair.status('a', ({ epoch, disk: now }) => epoch > 5 && (now?.markedBytes ?? sizeBytes) <= regionBytes);
    // As if both hosts lost power; the next round has a guest that begins from what its disk has.
    await Promise.all([primary.endedBySignal('SIGKILL'), standby.endedBySignal('SIGKILL')]);
  }
  const standby = pair.standby(...flagsOf('b'));
  const primary = pair.primary(kernel, ...flagsOf('a'));
  await pair.protected();
  t.match(await runVmm(['pause', '--control', pair.control('a')]), { code: 0 });
  t.match(await runVmm(['checkpoint', '--control', pair.control('a')]), { code: 0 });
  const areEqual = (): boolean => readFileSync(disk.a).equals(readFileSync(disk.b));
  for (const deadline = Date.now() + 30_000; !areEqual() && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.ok(areEqual(), 'both disks are equal, byte by byte');
  t.ok(
    readFileSync(disk.b)
      .subarray(hammeredPages * 4096)
      .equals(content.subarray(hammeredPages * 4096)),
  );
  await Promise.all([primary.endedBySignal('SIGKILL'), standby.endedBySignal('SIGKILL')]);
});
