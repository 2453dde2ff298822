import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { Pair } from '../../support/pair.ts';
import { hammeredPages, hammering } from '../../support/virtio-guests.ts';
import { type Ending, kernelFile, runVmm } from '../../support/vmm-process.ts';

const options = { skip: noKvm() || noEtcd(), timeout: 180_000 };
const pageBytes = 4096;
const sizeBytes = 64 * 1024 * 1024;
const content = Buffer.alloc(sizeBytes, 'what the guest never writes ');

type Hammered = Awaited<ReturnType<typeof hammeredPair>>;

/** A protected guest that writes to its disk without end, a checkpoint every 10 ms, and how a backup of it is made. */
async function hammeredPair(t: Test) {
  const pair = await Pair.make(t);
  const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
  writeFileSync(disk.a, content);
  writeFileSync(disk.b, new Uint8Array(sizeBytes));
  const flagsOf = (side: 'a' | 'b') => ['--disk', `path=${disk[side]},id=root`, '--checkpoint-delay', '10'];
  const standby = pair.standby(...flagsOf('b'));
  const primary = pair.primary(kernelFile(pair.folder, hammering('round')), ...flagsOf('a'));
  await pair.protected();
  await primary.printed('round');
  const backup = (name: string, side: 'a' | 'b' = 'b'): Promise<Ending> =>
    runVmm(['backup', join(pair.folder, name), '--control', pair.control(side), '--json']);
  return { pair, primary, standby, backup };
}

/** The last page that the guest wrote; fails if the disk never was as it is. */
function latestOf(t: Test, path: string): number {
  const disk = readFileSync(path);
  const stamps = Array.from({ length: hammeredPages }, (_, place) => disk.readUInt32LE(place * pageBytes));
  const last = Math.max(...stamps);
  const expected = Array.from({ length: hammeredPages }, (_, place) => last - ((last - place) & (hammeredPages - 1)));
  t.strictSame(stamps, expected, 'pages as they were written one after the other, with none missing and none of later');
  const rest = hammeredPages * pageBytes;
  t.ok(disk.subarray(rest).equals(content.subarray(rest)), 'all else is what it was');
  return last;
}

test('backups of a protected machine, made on its standby while the guest writes', options, async (t) => {
  const { pair, primary, standby, backup } = await hammeredPair(t);
  let newest = 0;
  for (const name of ['monday', 'tuesday']) {
    const { code, stdout, stderr } = await backup(name);
    t.equal(code, 0, stderr);
    const folder = join(pair.folder, name);
    const report = JSON.parse(stdout) as { epoch: number };
    t.match(report, { path: folder, totalBytes: sizeBytes });
    t.strictSame(readdirSync(folder).sort(), ['backup.json', 'root.img']);
    t.match(JSON.parse(readFileSync(join(folder, 'backup.json'), 'utf8')), { pair: 'web', epoch: report.epoch });
    const latest = latestOf(t, join(folder, 'root.img'));
    t.ok(latest > newest, `of a later checkpoint: ${newest}, then ${latest}`);
    newest = latest;
    await pair.protected();
  }
  t.match(await backup('monday'), { code: 1, stderr: /monday is there already: nothing is written over/ });
  t.match(await backup('wednesday', 'a'), { code: 1, stderr: /made on its standby/ });
  t.notOk(existsSync(join(pair.folder, 'wednesday')));
  const { stdout } = await runVmm(['events', '--control', pair.control('b')]);
  t.match(stdout, /a backup of epoch \d+ to \S+monday begins.*the backup of epoch \d+ is in \S+monday/s);
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.match(await backup('thursday'), { code: 1, stderr: /standby/ }, 'who has taken over is no standby');
  t.notMatch(standby.stderr, /(?<!the connection )failed/);
});

test('a primary that is lost while a backup is made: it is whole, or none is there', options, async (t) => {
  const { pair, primary, backup } = await hammeredPair(t);
  const named = (): string[] => readdirSync(pair.folder).filter((name) => name.startsWith('monday'));
  const made = backup('monday');
  await until(() => named().length > 0);
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  const { code, stderr } = await made;
  const folder = join(pair.folder, 'monday');
  if (code === 0) latestOf(t, join(folder, 'root.img'));
  else {
    t.match(stderr, /^colo-vmm: [^\n]*there is no backup in \S+monday: this side has taken over\n$/);
    t.strictSame(named(), []);
  }
});

for (const [what, end, exitCode] of [
  ["its primary's guest is ended", ({ pair }) => runVmm(['stop', '--force', '--control', pair.control('a')]), 0],
  ['it is told to stop', ({ standby }) => standby.endedBySignal('SIGTERM'), 143],
] as const satisfies readonly (readonly [string, (hammered: Hammered) => Promise<unknown>, number])[]) {
  test(`a standby that ends while a backup is made, for ${what}, leaves no part of it`, options, async (t) => {
    const hammered = await hammeredPair(t);
    const { pair, standby, backup } = hammered;
    const named = (): string[] => readdirSync(pair.folder).filter((name) => name.startsWith('monday'));
    const made = backup('monday');
    await until(() => named().length > 0);
    await end(hammered);
    t.equal((await standby.ended).code, exitCode);
    const { code, stderr } = await made;
    const folder = join(pair.folder, 'monday');
    if (existsSync(folder)) latestOf(t, join(folder, 'root.img'));
    else t.strictSame({ code, lines: stderr.trim().split('\n').length }, { code: 1, lines: 1 }, stderr);
    t.strictSame(named(), existsSync(folder) ? ['monday'] : [], 'nothing partial is left');
  });
}
