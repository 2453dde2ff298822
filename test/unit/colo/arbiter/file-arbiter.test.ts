import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { FileArbiter, type FileArbiterOptions } from '../../../../src/colo/arbiter/file-arbiter.ts';
import { markerName } from '../../../../src/colo/arbiter/term-folder.ts';
import { beginTermProcess, termCommand } from '../../../../src/colo/arbiter/term-program.ts';
import { FreezableFileSystem, noFreezing } from '../../../support/freezable-file-system.ts';
import { until } from '../side/host-rig.ts';

const long = 60_000;
const claimOf = (term: number, holder = 'us') => ({ pair: 'web', term, holder });

/** An arbiter, and the processes that it has begun. */
function arbiterOf(t: Test, options: { -readonly [key in keyof FileArbiterOptions]?: FileArbiterOptions[key] } = {}) {
  const folder = options.folder ?? t.testdir();
  if (options.folder === undefined) writeFileSync(join(folder, markerName), '');
  const processes: ChildProcess[] = [];
  const { begin = (path: string) => beginTermProcess(termCommand(path)) } = options;
  const arbiter = new FileArbiter({
    get patienceMs() {
      return options.patienceMs ?? long;
    },
    folder,
    begin: (path) => {
      const child = begin(path);
      processes.push(child);
      return child;
    },
  });
  t.teardown(() => arbiter.close());
  return { arbiter, processes };
}

const isGone = (child: ChildProcess | undefined): boolean => child?.exitCode !== null || child.signalCode !== null;

test('another process asks the folder, one for all questions, and ends with its owner', async (t) => {
  const { arbiter, processes } = arbiterOf(t);
  const answers = await Promise.all([arbiter.register(claimOf(1)), arbiter.claim(claimOf(2)), arbiter.check('web')]);
  t.strictSame(answers, [{ kind: 'granted' }, { kind: 'granted' }, { term: 2, holder: 'us' }]);
  t.equal(await arbiter.check('other'), undefined);
  t.strictSame(await arbiter.claim(claimOf(2, 'other')), { kind: 'refused', term: 2, holder: 'us' });
  await t.rejects(arbiter.claim(claimOf(9)), { code: 'ARBITER', message: /knows it in term 2/ });
  t.equal(processes.length, 1);
  arbiter.close();
  await until(() => isGone(processes[0]));
  await t.rejects(arbiter.check('web'), { code: 'ARBITER', message: /it was closed/ });
});

test('a process that is killed costs an answer, and the next question has another one', async (t) => {
  const { arbiter, processes } = arbiterOf(t);
  await arbiter.register(claimOf(1));
  const [first] = processes;
  first?.kill('SIGSTOP');
  const claim = arbiter.claim(claimOf(2));
  first?.kill('SIGKILL');
  await t.rejects(claim, { code: 'ARBITER', message: /does not answer: its process ended \(SIGKILL\)/ });
  t.strictSame(await arbiter.claim(claimOf(2)), { kind: 'granted' });
  t.equal(processes.length, 2);
});

test('what tells all processes of a service to end does not take its arbiter from a VMM', async (t) => {
  const { arbiter, processes } = arbiterOf(t);
  await arbiter.register(claimOf(1));
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) processes[0]?.kill(signal);
  t.strictSame(await arbiter.claim(claimOf(2)), { kind: 'granted' });
  t.equal(processes.length, 1);
});

test('a process that says nothing is given up after a while, whatever it was asked', async (t) => {
  const { arbiter, processes } = arbiterOf(t, {
    patienceMs: 50,
    begin: () => spawn('sleep', ['infinity'], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] }),
  });
  const both = await Promise.allSettled([arbiter.claim(claimOf(2)), arbiter.check('web')]);
  t.match(both, [{ reason: { code: 'ARBITER', message: /no answer within 50 ms/ } }, { reason: { code: 'ARBITER' } }]);
  t.equal(processes.length, 1);
  await until(() => isGone(processes[0]));
});

test('a process that cannot be begun is an arbiter that does not answer', async (t) => {
  const { arbiter } = arbiterOf(t, {
    begin: () => spawn('/nowhere', [], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] }),
  });
  await t.rejects(arbiter.check('web'), { code: 'ARBITER', message: /its process fails: .*ENOENT/ });
});

test('a file system that hangs in the kernel keeps nobody, and answers again when it does', {
  skip: noFreezing(),
}, async (t) => {
  const system = await FreezableFileSystem.make(t);
  system.run('touch', join(system.path, markerName));
  const options = {
    folder: system.path,
    patienceMs: long,
    begin: (folder: string) => beginTermProcess(system.inside(...termCommand(folder))),
  };
  const { arbiter, processes } = arbiterOf(t, options);
  t.strictSame(await arbiter.register(claimOf(1)), { kind: 'granted' });
  system.freeze();
  options.patienceMs = 100;
  await t.rejects(arbiter.claim(claimOf(2)), { code: 'ARBITER', message: /no answer within/ });
  t.match(readFileSync(`/proc/${processes[0]?.pid}/stat`, 'utf8'), / D /);
  t.notOk(isGone(processes[0]), 'it was killed, and cannot end');
  const problem = (): Promise<string> => arbiter.claim(claimOf(2)).then(String, ({ message }) => message);
  // The next one may have been killed before it came to the file system, and then it is gone.
  for (let said = ''; !said.includes('calls on its file system do not return'); said = await problem()) {
    options.patienceMs *= 2;
  }
  t.equal(processes.filter((child) => !isGone(child)).length, 2, 'no more are begun');
  options.patienceMs = long;
  system.thaw();
  await until(() => processes.every(isGone));
  t.strictSame(await arbiter.claim(claimOf(2)), { kind: 'granted' });
});
