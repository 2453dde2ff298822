import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { markerName } from '../../../src/colo/arbiter/term-folder.ts';
import { FreezableFileSystem, noFreezing } from '../../support/freezable-file-system.ts';
import { recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { kernelFile, runVmm, temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm();

/** Processes that read a folder for a VMM that was given it. */
function readersOf(folder: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', '') === `colo-vmm: arbiter ${folder}`;
      } catch {
        return false;
      }
    });
}

const stateOf = (pid: number): string => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) (.).*$/s, '$1');

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

test('a folder that both sides have says who goes on, there and back', { skip, timeout: 120_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const pair = await Pair.make(t, { arbiter: `file:${folder}` });
  const kernel = kernelFile(pair.folder, recitingPatiently());
  const refused = await pair.primary(kernel).ended;
  t.equal(refused.code, 6, 'nothing says that a file system is mounted there, and it may be soon');
  t.match(refused.stderr, `there is no file ${markerName} in that folder. Is the file system mounted there?`);
  writeFileSync(join(folder, markerName), '');

  const standby = pair.seeking('b', '--serial', 'stdio,eof=ignore');
  const primary = pair.primary(kernel);
  await pair.protected();
  const { arbiter, term } = await pair.status('a', ({ arbiter }) => arbiter.answeredInMs !== undefined);
  t.match(arbiter, { name: `file ${folder}`, problem: undefined });
  // A reader that is stuck must not keep what its VMM had open: a TAP, a disk, the guest.
  for (const pid of readersOf(folder)) {
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    t.strictSame(
      open.filter((path) => /kvm|vhost|tun|\.sock|\.img/.test(path)),
      [],
    );
  }

  await primary.endedBySignal('SIGKILL');
  await pair.status('b', (status) => status.headline === 'UNPROTECTED' && status.term === term + 1);
  await standby.printed('abcdefghijklmnopqrstuvwxyz');
  const again = await pair.primary(kernel).ended;
  t.equal(again.code, 1);
  t.match(again.stderr, /the other side has taken over since.*colo-vmm standby/s, 'no guest runs twice');

  const repaired = pair.seeking('a');
  await pair.protected('b');
  standby.child.kill('SIGSTOP');
  await pair.status('a', (status) => status.headline === 'UNPROTECTED' && status.term === term + 2);
  standby.child.kill('SIGCONT');
  const { why } = await pair.status('b', ({ headline }) => headline === 'FENCED');
  t.match(why, 'the arbiter gave the next term to the other side');
  const said = standby.stdout.length;
  t.match(await runVmm(['resume', '--control', pair.control('b')]), { code: 1 });

  // One of each VMM; that of a standby which took over may be about to end.
  await until(() => readersOf(folder).length === 2);
  const ended = await Promise.all([standby, repaired].map((vmm) => vmm.endedBySignal('SIGKILL')));
  t.equal(ended[0]?.stdout.length, said, 'whose guest was taken over while it was frozen stays silent');
  await until(() => readersOf(folder).length === 0);
  t.pass('they end with whom they read for');
});

test('while its file system hangs nobody goes on; when it answers again, the standby does', {
  skip: skip || noFreezing(),
  timeout: 120_000,
}, async (t) => {
  const system = await FreezableFileSystem.make(t);
  system.run('touch', join(system.path, markerName));
  const pair = await Pair.make(t, { arbiter: `file:${system.path}`, under: system.inside() });
  const standby = pair.standby();
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()));
  await pair.protected();
  system.freeze();
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'WAITING');
  await until(() => readersOf(system.path).some((pid) => stateOf(pid) === 'D'));
  system.thaw();
  const { term } = await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.equal(term, 2);
  const { code } = await standby.endedBySignal('SIGTERM');
  t.equal(code, 143);
});

test('a VMM ends while its arbiter hangs in the kernel', { skip: skip || noFreezing() }, async (t) => {
  const system = await FreezableFileSystem.make(t);
  system.run('touch', join(system.path, markerName));
  const pair = await Pair.make(t, { arbiter: `file:${system.path}`, under: system.inside() });
  system.freeze();
  const standby = pair.standby();
  const stuck = (): number[] => readersOf(system.path).filter((pid) => stateOf(pid) === 'D');
  await until(() => stuck().length === 1);
  const status = await runVmm(['status', '--control', pair.control('b')]);
  const { code } = await standby.endedBySignal('SIGTERM');
  t.equal(code, 143);
  t.equal(stuck().length, 1, 'which nothing can end before it returns');
  t.equal(status.code, 0, status.stderr);
  system.thaw();
  await until(() => readersOf(system.path).length === 0);
});
