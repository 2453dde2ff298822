import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { runMachine } from '../../../../src/vmm/command/run-machine.ts';
import type { Machine } from '../../../../src/vmm/machine/machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

/** A machine that is being made until somebody ends that. */
async function making(t: Test) {
  const control = join(temporaryFolder(t), 'web.sock');
  let fail: (error: Error) => void = () => {};
  const exitCode = runMachine(
    { serial: { kind: 'none' }, control },
    { disk: [], net: [], rng: { source: 'off' } } as unknown as Parameters<typeof runMachine>[1],
    (stopping) =>
      new Promise<Machine>((_resolve, reject) => {
        fail = reject;
        stopping.addEventListener('abort', () => reject(new Error('it was given up')));
      }),
  );
  let isOver = false;
  exitCode.catch(() => {
    isOver = true;
  });
  while (!existsSync(control) && !isOver) await turn();
  return { exitCode, control, fail };
}

test('a process that is told to stop while its machine is not made yet ends at once, as the signal says', async (t) => {
  const before = process.listeners('SIGTERM');
  const { exitCode, control } = await making(t);
  // A signal would end the test's own process, which listens, too.
  for (const listener of process.listeners('SIGTERM')) if (!before.includes(listener)) listener('SIGTERM');
  t.equal(await exitCode, 143);
  t.notOk(existsSync(control));
  t.strictSame(process.listeners('SIGTERM'), before);
});

test('what is wrong with a machine is told as it is', async (t) => {
  const { exitCode, control, fail } = await making(t);
  fail(new Error('no such kernel'));
  await t.rejects(exitCode, { message: 'no such kernel' });
  t.notOk(existsSync(control));
});
