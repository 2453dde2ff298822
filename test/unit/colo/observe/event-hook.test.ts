import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { EventHook, type HookOptions } from '../../../../src/colo/observe/event-hook.ts';
import type { ColoEvent, ColoMilestone } from '../../../../src/vmm/monitor/colo-control.ts';
import { until } from '../side/host-rig.ts';

function event(name: ColoMilestone | undefined, text = 'so it is'): ColoEvent {
  const line = { at: Date.UTC(2026, 11, 1), monotonicMs: 5, topic: 'takeover', text } as const;
  return name === undefined ? line : { ...line, event: name };
}

/** A hook, and what its owner heard. */
function hookFor(t: Test, command: string, more: Partial<HookOptions> = {}) {
  const notices: string[] = [];
  const notice = (text: string): void => void notices.push(text);
  const hook = new EventHook({ command, role: 'secondary', notice, ...more });
  t.teardown(() => hook.close());
  return { hook, notices };
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** A process that has ended may be there until somebody asks for its exit code. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('a command is given each milestone as a line of JSON, and lines for people are not told', async (t) => {
  const file = join(t.testdir(), 'told');
  const { hook, notices } = hookFor(t, `cat >> ${file}`, { endPatienceMs: 60_000 });
  hook.happened(event(undefined), 'web');
  hook.happened(event('failover', 'it said "\u2028" and $(reboot)'), 'web');
  await hook.close();
  t.strictSame(JSON.parse(read(file)), {
    event: 'failover',
    pair: 'web',
    role: 'secondary',
    sequence: 1,
    at: '2026-12-01T00:00:00.000Z',
    topic: 'takeover',
    text: 'it said "\u2028" and $(reboot)',
  });
  t.strictSame(notices, []);
});

test('it is told of which pair an event is, or of which machine while that is in none', async (t) => {
  const file = join(t.testdir(), 'told');
  const { hook } = hookFor(t, `cat >> ${file}`, { name: 'vm1', endPatienceMs: 60_000 });
  hook.happened(event('disk-error'), undefined);
  await hook.close();
  const { hook: later } = hookFor(t, `cat >> ${file}`, { name: 'vm1', endPatienceMs: 60_000 });
  later.happened(event('protected'), 'web');
  await later.close();
  const pairs = read(file)
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { pair: string }).pair);
  t.strictSame(pairs, ['vm1', 'web']);
});

for (const [what, command, says] of [
  ['fails', 'echo no route >&2; exit 3', '--on-event for fenced failed with exit code 3: no route'],
  ['does not exist', '/nonexistent/program', /--on-event for fenced failed with exit code 127: .*not found/],
  ['kills itself', 'kill -SEGV $$', '--on-event for fenced was ended by SIGSEGV'],
  ['prints what a terminal would obey', "printf 'a\\033[2Jb\\nc'", '--on-event for fenced: a [2Jb c'],
] as const) {
  test(`a command that ${what} is a line of the log`, async (t) => {
    const { hook, notices } = hookFor(t, command);
    hook.happened(event('fenced'), 'web');
    await until(() => notices.length > 0);
    t.match(notices, [says]);
  });
}

test('where the host starts no process, that is a line of the log, and the next command is run', async (t) => {
  const file = join(t.testdir(), 'told');
  const notStarted = (): ChildProcess => {
    const child = new EventEmitter() as ChildProcess;
    setImmediate(() => child.emit('error', new Error('spawn /bin/sh EMFILE')));
    return child;
  };
  let events = 0;
  const start = (command: string): ChildProcess => {
    if (++events > 8) return spawn('/bin/sh', ['-c', command]);
    if (events % 2 === 0) throw new Error('spawn ENOMEM');
    return notStarted();
  };
  const { hook, notices } = hookFor(t, `cat >> ${file}`, { start });
  for (let count = 0; count < 9; count++) hook.happened(event('fenced'), 'web');
  await until(() => read(file) !== '' && notices.length === 8);
  for (const why of ['spawn ENOMEM', 'spawn /bin/sh EMFILE'])
    t.equal(notices.filter((line) => line === `--on-event for fenced cannot be run: ${why}`).length, 4);
});

test('of a command that prints without end the beginning is shown, and it is ended', async (t) => {
  const { hook, notices } = hookFor(t, 'yes', { patienceMs: 300 });
  hook.happened(event('protected'), 'web');
  await until(() => notices.length > 0);
  t.match(notices[0], /^--on-event for protected took longer than 0.3 s and was killed: y y/);
  t.ok((notices[0] as string).length < 3000);
});

test('a command that hangs is killed with its children', async (t) => {
  const file = join(t.testdir(), 'pid');
  const { hook, notices } = hookFor(t, `sleep 1000 & echo $! > ${file}; wait`, { patienceMs: 500 });
  hook.happened(event('protected'), 'web');
  await until(() => notices.length > 0);
  t.match(notices[0], /took longer than 0.5 s/);
  await until(() => !isAlive(Number(read(file))));
});

test('what a command leaves in the background ends with it', async (t) => {
  const file = join(t.testdir(), 'pid');
  const { hook } = hookFor(t, `sleep 1000 & echo $! > ${file}`);
  hook.happened(event('protected'), 'web');
  await until(() => read(file).endsWith('\n'));
  const pid = Number(read(file));
  await until(() => !isAlive(pid));
  t.ok(pid > 0);
});

test('at the end of the VMM no command is left', async (t) => {
  const file = join(t.testdir(), 'pid');
  const { hook } = hookFor(t, `echo $$ > ${file}; exec sleep 1000`, { endPatienceMs: 10 });
  hook.happened(event('protected'), 'web');
  await until(() => read(file).endsWith('\n'));
  await hook.close();
  const pid = Number(read(file));
  await until(() => !isAlive(pid));
  t.ok(pid > 0);
});

test('only a few commands run at a time, and of a flood of events the newest are told', async (t) => {
  const folder = t.testdir();
  const command = `read line; echo "$line" >> ${folder}/told; while [ ! -e ${folder}/go ]; do sleep 0.02; done`;
  const { hook, notices } = hookFor(t, command, { endPatienceMs: 60_000 });
  for (let count = 0; count < 200; count++) hook.happened(event('unprotected'), 'web');
  const told = (): number[] =>
    read(`${folder}/told`)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { readonly sequence: number }).sequence);
  await until(() => told().length >= 4);
  t.strictSame(told().sort(), [1, 2, 3, 4], 'four run, and no more');
  t.strictSame(notices, []);
  writeFileSync(`${folder}/go`, '');
  await hook.close();
  t.equal(told().length, 68);
  t.equal(Math.max(...told()), 200);
  t.strictSame(notices, ['--on-event 132 events were not told: the commands before them took too long']);
});

test('a command that does not read what it is given harms nobody', async (t) => {
  const { hook, notices } = hookFor(t, 'exec <&-; echo done');
  hook.happened(event('protected', 'x'.repeat(1_000_000)), 'web');
  await until(() => notices.length > 0);
  t.strictSame(notices, ['--on-event for protected: done']);
});
