import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { phase } from '../../../../src/vmm/thread/thread-control.ts';
import { until } from '../../../support/machines.ts';
import { gate } from './parked-thread.ts';
import { gateCells, start, startWithin } from './start-thread.ts';

test('an answer that comes too late is not taken for the one to a later question', { timeout: 60_000 }, async (t) => {
  const cells = gateCells();
  const { thread } = start(t, 'echoThroughGate', cells);
  t.same(thread.ask({ text: 'first' }), { text: 'first' });
  t.throws(() => thread.ask({ held: true, text: 'late' }), { message: /^tested did not answer/ });
  Atomics.store(cells, gate.released, 1);
  Atomics.notify(cells, gate.released);
  t.same(thread.ask({ text: 'second' }), { text: 'second' });
  t.same(thread.ask({ text: 'third' }), { text: 'third' });
});

test('a thread that still answers is not taken for parked', { timeout: 60_000 }, async (t) => {
  const cells = gateCells();
  const { thread } = start(t, 'echoThroughGate', cells);
  t.throws(() => thread.ask({ held: true }), { message: /^tested did not answer/ });
  t.throws(() => thread.waitUntilParked(), { message: 'tested did not park within 2000 ms' });
  Atomics.store(cells, gate.released, 1);
  Atomics.notify(cells, gate.released);
  t.doesNotThrow(() => thread.waitUntilParked());
});

test('a thread that has died is not taken for parked, and answers nothing', { timeout: 60_000 }, async (t) => {
  const { control, thread } = start(t, 'endWhenItRuns');
  await until(() => control.phase === phase.parked);
  thread.resume();
  await until(() => control.phase === phase.ended);
  t.throws(() => thread.waitUntilParked(), { message: 'tested has ended' });
  t.throws(() => thread.parksWithin(10), { message: 'tested has ended' });
  t.throws(() => thread.ask('anybody there?'), { message: /^tested did not answer/ });
});

test('a thread that may take long to park may take as long to end', { timeout: 60_000 }, async (t) => {
  const { thread } = startWithin(t, 30_000, 'endLate', 1500);
  thread.waitUntilParked();
  thread.requestEnd();
  t.equal(await thread.joined(), true);
});

test('a process that is frozen for longer than its patience goes on as if nothing had been', {
  timeout: 60_000,
}, async (t) => {
  const program = fileURLToPath(new URL('./frozen-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let printed = '';
  child.stdout.on('data', (chunk) => {
    printed += chunk;
  });
  const exited = once(child, 'close');
  for (const freeze of ['while it answers', 'before it parks']) {
    await until(() => child.exitCode !== null || isStopped(child.pid as number));
    t.equal(child.exitCode, null, freeze);
    await setTimeout(1200);
    child.kill('SIGCONT');
    await until(() => child.exitCode !== null || !isStopped(child.pid as number));
  }
  await exited;
  t.equal(printed, 'asked\nparked\n');
});

/** Third field of /proc/PID/stat, behind a name in brackets. */
function isStopped(pid: number): boolean {
  return / T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/, ''));
}
