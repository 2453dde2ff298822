import { test } from 'tap';
import { Settling } from '../../../../src/colo/machine/settling.ts';
import { SystemError } from '../../../../src/host/system-error.ts';
import type { SettlingRam } from '../../../../src/memory/settling-ram.ts';

/** A machine with RAM of so many pieces; what is done to them, in order. */
function rig(pieces: number) {
  const done: string[] = [];
  const machine = {
    state: 'running',
    whilePaused<T>(body: () => T): T {
      done.push('pause');
      const result = body();
      done.push('resume');
      return result;
    },
  };
  let left = pieces;
  const ram = {
    get leftBytes() {
      return left;
    },
    prepare: () => done.push('prepare'),
    move: () => {
      done.push('move');
    },
    release: () => {
      left--;
      done.push('release');
    },
    close: () => done.push('close'),
  };
  const failures: string[] = [];
  const settling = new Settling(
    machine,
    () => ram as unknown as SettlingRam,
    (text) => failures.push(text),
  );
  return { done, machine, ram, failures, settling };
}

const turn = ['prepare', 'pause', 'move', 'resume', 'release'];

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('a guest is paused for a move alone, piece by piece, and all is closed at the end', async (t) => {
  const { done, settling } = rig(3);
  t.teardown(() => settling.close());
  t.strictSame(done, [], 'not in the moment of a takeover');
  await until(() => done.includes('close'));
  t.strictSame(done, [...turn, ...turn, ...turn, 'close']);
});

test('a machine in other hands is not touched, and goes on when it is let go', async (t) => {
  const { done, machine, settling } = rig(1);
  t.teardown(() => settling.close());
  machine.state = 'colo';
  let looked = 0;
  Object.defineProperty(machine, 'state', {
    get: () => (++looked < 20 ? 'colo' : 'running'),
  });
  await until(() => done.includes('close'));
  t.strictSame(done, [...turn, 'close']);
});

test('one that cannot be paused now is tried again, and nobody is told', async (t) => {
  const { done, machine, failures, settling } = rig(1);
  t.teardown(() => settling.close());
  const { whilePaused } = machine;
  machine.whilePaused = () => {
    machine.whilePaused = whilePaused;
    throw new Error('vcpu 0 did not park');
  };
  await until(() => done.includes('close'));
  t.strictSame(done, ['prepare', ...turn, 'close']);
  t.strictSame(failures, []);
});

test('of a guest that has begun anew meanwhile nothing is moved', async (t) => {
  const { done, settling } = rig(0);
  t.teardown(() => settling.close());
  await until(() => done.includes('close'));
  t.strictSame(done, ['close']);
});

test('a kernel that cannot do it is asked once, and the operator told', async (t) => {
  const { done, ram, failures, settling } = rig(3);
  t.teardown(() => settling.close());
  ram.move = () => {
    throw new SystemError('mremap', 22, 'settled RAM');
  };
  await until(() => failures.length > 0);
  t.match(failures, [/^RAM stays in small pages, and more of it: .*mremap.*EINVAL/]);
  t.strictSame(done, ['prepare', 'pause', 'close']);
});

test('nothing is done to a machine that has ended', async (t) => {
  const { done, machine, settling } = rig(3);
  t.teardown(() => settling.close());
  let looked = 0;
  Object.defineProperty(machine, 'state', {
    get: () => {
      looked++;
      return 'ended';
    },
  });
  await until(() => looked > 0);
  t.strictSame(done, []);
});
