import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { runMachine } from '../../../../src/vmm/command/run-machine.ts';
import type { Machine } from '../../../../src/vmm/machine/machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

type Make = Parameters<typeof runMachine>[2];

/** Runs what `make` makes. */
function run(t: Test, make: Make) {
  const control = join(temporaryFolder(t), 'web.sock');
  const parts = { disk: [], net: [], rng: { source: 'off' } } as unknown as Parameters<typeof runMachine>[1];
  return { control, exitCode: runMachine({ serial: { kind: 'none' }, control }, parts, make) };
}

/** A machine that is being made until somebody ends that. */
async function making(t: Test) {
  let begun: (fail: (error: Error) => void) => void = () => {};
  const making = new Promise<(error: Error) => void>((resolve) => {
    begun = resolve;
  });
  const running = run(
    t,
    (stopping) =>
      new Promise<Machine>((_resolve, reject) => {
        stopping.addEventListener('abort', () => reject(new Error('it was given up')));
        begun(reject);
      }),
  );
  await Promise.race([making, running.exitCode]);
  return { ...running, fail: await making };
}

/** Tells those who have begun to listen since: the test's own process listens, too, and would end. */
function sigterm(before: readonly NodeJS.SignalsListener[]): void {
  for (const listener of process.listeners('SIGTERM')) if (!before.includes(listener)) listener('SIGTERM');
}

test('a process that is told to stop while its machine is not made yet ends at once, as the signal says', async (t) => {
  const before = process.listeners('SIGTERM');
  const { exitCode, control } = await making(t);
  sigterm(before);
  t.equal(await exitCode, 143);
  t.notOk(existsSync(control));
  t.strictSame(process.listeners('SIGTERM'), before);
});

test('one that was told so before makes no machine', async (t) => {
  const before = process.listeners('SIGTERM');
  let made = 0;
  const { exitCode } = run(t, () => {
    made++;
    return new Promise(() => {});
  });
  sigterm(before);
  t.equal(await exitCode, 143);
  t.equal(made, 0);
});

test('what is wrong with a machine is told as it is', async (t) => {
  const { exitCode, control, fail } = await making(t);
  fail(new Error('no such kernel'));
  await t.rejects(exitCode, { message: 'no such kernel' });
  t.notOk(existsSync(control));
});
