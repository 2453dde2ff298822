import { test } from 'tap';
import {
  CountingThread,
  IoThreadSigns,
  SignsOfLife,
  TurnCounter,
  VcpuSigns,
  type WatchedThread,
} from '../../../../src/colo/side/signs-of-life.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { IoControl } from '../../../../src/vmm/platform/io-control.ts';
import { phase } from '../../../../src/vmm/thread/thread-control.ts';
import { counter, type ExitKind, VcpuControl } from '../../../../src/vmm/vcpu/vcpu-control.ts';

test('all threads have turned only if each has since the last look', (t) => {
  const [main, io] = [new SharedArrayBuffer(4), new SharedArrayBuffer(4)];
  const signs = new SignsOfLife();
  let nudges = 0;
  const sleepy: WatchedThread = new CountingThread(io);
  signs.watch('main', new CountingThread(main));
  signs.watch('io', { turned: () => sleepy.turned(), nudge: () => nudges++ });
  t.equal(nudges, 1, 'a thread that sleeps is woken, or the first look would find it asleep');
  t.ok(signs.turned(), 'nothing is held against them before the first look');
  t.notOk(signs.turned());
  Atomics.add(new Int32Array(main), 0, 1);
  t.notOk(signs.turned(), 'one is not all');
  Atomics.add(new Int32Array(main), 0, 1);
  Atomics.add(new Int32Array(io), 0, 1);
  t.ok(signs.turned());
  t.equal(nudges, 5);
  signs.forget('io');
  Atomics.add(new Int32Array(main), 0, 1);
  t.ok(signs.turned(), 'one that is gone need not turn');
  t.end();
});

test('a thread with an event loop counts by itself, until it is blocked', async (t) => {
  const counter = new TurnCounter(1);
  t.teardown(() => counter.close());
  const cell = new Int32Array(counter.storage);
  const before = Atomics.load(cell, 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const after = Atomics.load(cell, 0);
  t.ok(after > before);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  t.equal(Atomics.load(cell, 0), after);
});

/** A vCPU thread that runs, and what calls it out of its guest. */
function someVcpu() {
  const control = new VcpuControl();
  control.tid = 7;
  control.phase = phase.running;
  const calls: number[] = [];
  const handle = { index: 0, fd: -1 as never, runAddress: 0, runBytes: 0 };
  const signs = new VcpuSigns(
    { handle, control: control.storage },
    { vcpu: { requestExit: () => calls.push(-1) }, call: (tid) => calls.push(tid) },
  );
  const exits = (kind: ExitKind): void => {
    const at = counter[kind];
    control.counters[at] = (control.counters[at] as number) + 1;
  };
  return { control, calls, signs, exits };
}

test('a vCPU with exits of its own is not called out of its guest', (t) => {
  const { calls, signs, exits } = someVcpu();
  signs.nudge();
  for (let look = 0; look < 5; look++) {
    exits('portOut');
    t.ok(signs.turned());
    signs.nudge();
  }
  t.strictSame(calls, []);
  t.end();
});

test('a vCPU whose guest computes is called out, and turns by that', (t) => {
  const { calls, signs, exits } = someVcpu();
  signs.nudge();
  t.ok(signs.turned(), 'nobody has called it yet');
  signs.nudge();
  t.strictSame(calls, [-1, 7], 'asked to come out, then called');
  exits('kick');
  t.ok(signs.turned());
  t.end();
});

test('a vCPU thread that is stuck is found at the look after it was called', (t) => {
  const { control, signs } = someVcpu();
  for (let look = 0; look < 2; look++) {
    t.ok(signs.turned());
    signs.nudge();
  }
  t.notOk(signs.turned());
  signs.nudge();
  t.notOk(signs.turned(), 'for as long as it is');
  control.phase = phase.parked;
  t.ok(signs.turned(), 'one that somebody has in hand need not turn');
  t.end();
});

test('a vCPU that waits for disks, because its guest resets one, is no failure', (t) => {
  const io = new IoControl();
  const wake = new EventFd();
  t.teardown(() => wake.close());
  const all = new SignsOfLife();
  all.watch('io', new IoThreadSigns({ control: io.storage, wake: wake.fd }));
  all.watch('vcpu-0', { turned: () => false, nudge: () => {} });
  io.turned();
  io.keepWaiting(() => {
    t.ok(all.turned());
  });
  io.turned();
  t.notOk(all.turned(), 'for so long, and no longer');
  t.strictSame(all.still, ['vcpu-0']);
  t.end();
});

test('a main thread that waits for disks, because a user pauses the machine, is no failure', (t) => {
  const control = new IoControl();
  const wake = new EventFd();
  t.teardown(() => wake.close());
  const signs = new SignsOfLife();
  signs.watch('main', new CountingThread(new SharedArrayBuffer(4)));
  signs.watch('io', new IoThreadSigns({ control: control.storage, wake: wake.fd }));
  signs.turned();
  t.notOk(signs.turned());
  t.strictSame(signs.still, ['main']);
  control.settles = true;
  t.ok(signs.turned());
  control.settles = false;
  t.notOk(signs.turned(), 'for so long, and no longer');
  t.end();
});
