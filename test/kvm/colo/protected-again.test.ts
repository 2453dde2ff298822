import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { hammeredPages, hammering } from '../../support/virtio-guests.ts';
import { kernelFile, runVmm } from '../../support/vmm-process.ts';

const skip = noKvm() || noEtcd();
/** Whoever is killed is noticed at once; a machine that is busy with copying is no dead one. */
const patient = ['--detection', '5000'];
const pageBytes = 4096;
const MiB = 1024 * 1024;
const sizeBytes = 64 * MiB;
/** The guest writes to the first one only. */
const regionBytes = 4 * MiB;

/** The number that the guest wrote to each of its pages last. */
function stampsOf(path: string): number[] {
  const disk = readFileSync(path);
  return Array.from({ length: hammeredPages }, (_, place) => disk.readUInt32LE(place * pageBytes));
}

/** The guest is paused for that. */
async function disksAreEqual(
  t: Test,
  control: string,
  disk: { readonly a: string; readonly b: string },
): Promise<void> {
  t.match(await runVmm(['pause', '--control', control]), { code: 0 });
  t.match(await runVmm(['checkpoint', '--control', control]), { code: 0 });
  const areEqual = (): boolean => readFileSync(disk.a).equals(readFileSync(disk.b));
  for (const deadline = Date.now() + 30_000; !areEqual() && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.ok(areEqual(), 'both disks are equal, byte by byte, when the guest has stopped');
  t.match(await runVmm(['resume', '--control', control]), { code: 0 });
}

test('failover, a standby that looks for the survivor, protected again: there and back', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const pair = await Pair.make(t);
  const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
  const content = Buffer.alloc(sizeBytes, 'what was there before, and is copied at first ');
  writeFileSync(disk.a, content);
  writeFileSync(disk.b, new Uint8Array(sizeBytes));
  const flagsOf = (side: 'a' | 'b') => ['--disk', `path=${disk[side]},id=root`, '--checkpoint-delay', '10', ...patient];
  const primary = pair.primary(kernelFile(pair.folder, hammering('round')), ...flagsOf('a'));
  const first = pair.seeking('b', ...flagsOf('b'));
  const sides = { a: primary, b: first };
  await pair.protected('a');
  let newest = 0;
  for (const [term, from, to] of [
    [2, 'a', 'b'],
    [3, 'b', 'a'],
    [4, 'a', 'b'],
  ] as const) {
    // What the first copy brought is durable on both, and no mark is left of it.
    await pair.status(from, ({ epoch, disk }) => epoch > 30 && (disk?.markedBytes ?? sizeBytes) <= regionBytes);
    await sides[from].endedBySignal('SIGKILL');
    const { next } = await pair.status(to, (status) => status.headline === 'UNPROTECTED' && status.term === term);
    t.match(next, `--peer THIS-HOST:${pair.ports[to]}`, 'the survivor says how it is protected again');
    sides[from] = pair.seeking(from, ...flagsOf(from));
    await pair.protected(to);
    const { stdout } = await runVmm(['events', '--control', pair.control(from)]);
    const was = `was in term ${term - 1}: what it had written by then and the pair had not committed is gone`;
    t.match(stdout, was, 'the host that was lost says what it gave up');
    t.match(stdout, /uncommitted writes gone: at most \d+ blocks/);
    const { term: now, role, disk: copied } = await pair.status(to, ({ disk }) => disk?.synchronised !== undefined);
    t.equal(now, term);
    t.equal(role, 'primary');
    t.equal(copied?.synchronised?.totalBytes, regionBytes, 'of its disk only what may differ was compared');
    t.ok((copied?.synchronised?.sentBytes ?? sizeBytes) <= hammeredPages * pageBytes, 'and only what does was sent');
    const stamp = Math.max(...stampsOf(disk[to]));
    t.ok(stamp > newest, `the guest goes on with its work: ${newest}, then ${stamp}`);
    newest = stamp;
  }
  await disksAreEqual(t, pair.control('b'), disk);
  t.notMatch(sides.b.stderr, /(?<!the connection )failed/);
  const { stdout } = await runVmm(['events', '--control', pair.control('b')]);
  t.match(stdout, /PROTECTING.*this side goes on.*PROTECTED by/s, 'one story, though its roles changed');
  await runVmm(['stop', '--force', '--control', pair.control('b')]);
  await Promise.all([sides.b.ended, sides.a.ended]);
  const stamps = stampsOf(disk.b);
  const last = Math.max(...stamps);
  const expected = Array.from({ length: hammeredPages }, (_, place) => last - ((last - place) & (hammeredPages - 1)));
  t.strictSame(stamps, expected, 'pages as they were written one after the other, with none missing');
  t.ok(
    readFileSync(disk.b)
      .subarray(hammeredPages * pageBytes)
      .equals(content.subarray(hammeredPages * pageBytes)),
  );
});

test('protection that an operator ended begins again with what the guest wrote meanwhile', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const pair = await Pair.make(t);
  const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
  for (const path of [disk.a, disk.b]) writeFileSync(path, new Uint8Array(sizeBytes));
  const flagsOf = (side: 'a' | 'b') => ['--disk', `path=${disk[side]},id=root`, ...patient];
  const standby = pair.standby(...flagsOf('b'));
  const primary = pair.primary(
    kernelFile(pair.folder, hammering('round')),
    '--checkpoint-delay',
    '10',
    ...flagsOf('a'),
  );
  const a = (...words: string[]) => runVmm([...words, '--control', pair.control('a')]);
  await pair.protected();
  for (let times = 0; times < 2; times++) {
    // What the first copy brought is durable on both, and no mark is left of it.
    await pair.status('a', ({ epoch, disk }) => epoch > 30 && (disk?.markedBytes ?? sizeBytes) <= regionBytes);
    t.match(await a('unprotect'), { code: 0 });
    await pair.status('b', ({ headline }) => headline === 'LISTENING');
    const newest = Math.max(...stampsOf(disk.a));
    while (Math.max(...stampsOf(disk.a)) < newest + hammeredPages) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const place = ['--standby', `127.0.0.1:${pair.port}`, '--tls', `dir=${pair.keys('a')}`];
    const rest = ['--mode', 'buffered', '--arbiter', `etcd:${pair.etcd.url}`, '--checkpoint-delay', '10', ...patient];
    t.match(await a('protect', ...place, ...rest, '--state', join(pair.folder, 'a.state')), { code: 0 });
    await pair.protected();
    const { disk: copied } = await pair.status('a', (status) => status.disk?.synchronised !== undefined);
    t.equal(copied?.synchronised?.totalBytes, regionBytes, 'of its disk only what may differ was compared');
    await disksAreEqual(t, pair.control('a'), disk);
  }
  await a('stop', '--force');
  await Promise.all([primary.ended, standby.ended]);
});

test('a guest that was handed over is protected again, and is handed back', { skip, timeout: 120_000 }, async (t) => {
  const pair = await Pair.make(t);
  const standby = pair.seeking('b', '--serial', 'stdio,eof=ignore', ...patient);
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...patient);
  await pair.protected('a');
  t.match(await runVmm(['switchover', '--control', pair.control('a')]), { code: 0 });
  t.equal((await primary.ended).code, 5);
  const back = pair.seeking('a', '--serial', 'stdio,eof=ignore', ...patient);
  await pair.protected('b');
  t.match(await runVmm(['switchover', '--control', pair.control('b')]), { code: 0 });
  t.equal((await standby.ended).code, 5, standby.stderr);
  await pair.status('a', ({ headline, term }) => headline === 'UNPROTECTED' && term === 3);
  await back.printed('abcdefghijklmnopqrstuvwxyz');
});
