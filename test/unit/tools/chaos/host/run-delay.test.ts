import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'tap';
import { longestRunDelay, runDelays } from '../../../../../tools/chaos/host/run-delay.ts';

test('the thread that waited longest counts, one that is new from its beginning', (t) => {
  const before = new Map([
    ['1', 100],
    ['2', 5],
  ]);
  const after = new Map([
    ['1', 101],
    ['2', 45],
    ['3', 30],
  ]);
  t.equal(longestRunDelay(before, after), 40);
  t.equal(longestRunDelay(after, new Map()), 0, 'whose process is gone');
  t.end();
});

test('threads of a process wait, and of one that is gone none', async (t) => {
  const delays = runDelays(process.pid);
  t.ok(delays.size > 1);
  t.ok([...delays.values()].every((ms) => ms >= 0));
  const child = spawn('true');
  await once(child, 'exit');
  t.equal(runDelays(child.pid as number).size, 0);
});
