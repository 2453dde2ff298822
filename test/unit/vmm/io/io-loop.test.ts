import { Worker } from 'node:worker_threads';
import { test } from 'tap';
import { EPOLLET, EPOLLIN } from '../../../../src/host/events/epoll.ts';
import { EventLoop } from '../../../../src/host/events/event-loop.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { type DrivenDevices, runIoLoop, waitUntilIdle } from '../../../../src/vmm/io/io-loop.ts';
import { phase, request, ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';

/**
 * The loop, the controller and the devices on one thread: `script` says what the controller does each time that the
 * loop comes to a place where devices are called.
 */
class Rig implements DrivenDevices {
  readonly control = new ThreadControl();
  readonly wake = new EventFd();
  readonly loop = new EventLoop();
  readonly calls: string[] = [];
  idle = true;
  isQuiet = true;
  hasMore = false;
  waitMs: number | undefined;
  readonly #script: (call: string, rig: Rig) => void;

  constructor(t: { teardown(clean: () => unknown): unknown }, script: (call: string, rig: Rig) => void) {
    this.#script = script;
    this.control.request = request.run;
    this.loop.watch(this.wake.fd, EPOLLIN | EPOLLET, { ready: () => this.#called('woken') });
    t.teardown(() => {
      this.loop.close();
      this.wake.close();
    });
  }

  /** A controller that wants something, and says so. */
  ask(wanted: (typeof request)[keyof typeof request]): void {
    this.control.request = wanted;
    this.wake.signal();
  }

  run(): void {
    runIoLoop(this.control, this.loop, this);
  }

  count(call: string): number {
    return this.calls.filter((made) => made === call).length;
  }

  settle(): void {
    this.#called('settle');
  }

  takeTurns(): void {
    this.#called('takeTurns');
  }

  pause(): void {
    this.#called('pause');
  }

  resume(): void {
    this.#called('resume');
  }

  #called(call: string): void {
    this.calls.push(call);
    this.#script(call, this);
  }
}

/** What it does first of all: it parks, and goes on if it may. */
const begun = ['pause', 'resume'];

test('ends at once when that is asked for before it begins, and takes nothing more', async (t) => {
  const rig = new Rig(t, () => {});
  rig.ask(request.end);
  rig.run();
  t.strictSame(rig.calls, ['pause', 'pause']);
});

test('says that it runs, also when it was told to before it began', async (t) => {
  const phases: number[] = [];
  const rig = new Rig(t, (call, rig) => {
    if (call !== 'settle') return;
    phases.push(rig.control.phase);
    rig.control.request = request.end;
    rig.wake.signal();
  });
  rig.run();
  t.strictSame(phases, [phase.running]);
});

test('looks what drivers want, then waits, then lets devices go on, turn by turn', async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'settle') rig.wake.signal(); // there would be no end of waiting otherwise
    if (rig.count('takeTurns') === 2) rig.control.request = request.end;
  });
  rig.run();
  t.strictSame(rig.calls, [...begun, 'settle', 'woken', 'takeTurns', 'settle', 'woken', 'takeTurns', 'pause']);
});

test('waits no longer than until somebody has waited long enough', { timeout: 10_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'takeTurns') rig.control.request = request.end;
  });
  rig.waitMs = 5;
  rig.run();
  t.strictSame(rig.calls, [...begun, 'settle', 'takeTurns', 'pause']);
});

test('stands still while there is nothing to do', { timeout: 10_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'woken') rig.control.request = request.end;
  });
  const source = `
    const { workerData } = require('node:worker_threads');
    setTimeout(() => require('node:fs').writeSync(workerData, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0])), 100);
  `;
  new Worker(source, { eval: true, workerData: rig.wake.fd });
  rig.run();
  t.strictSame(rig.calls, [...begun, 'settle', 'woken', 'takeTurns', 'pause']);
});

test('does not wait while a device has more to do', { timeout: 10_000 }, async (t) => {
  const rig = new Rig(t, (_, rig) => {
    if (rig.count('takeTurns') === 100) rig.control.request = request.end;
  });
  rig.hasMore = true; // and nobody ever wakes the loop
  rig.run();
  t.equal(rig.count('takeTurns'), 100);
  t.equal(rig.count('woken'), 0);
});

test('looks at other descriptors while a device has more to do', { timeout: 10_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (rig.count('takeTurns') === 10 && call === 'takeTurns') rig.wake.signal();
    if (call === 'woken') rig.control.request = request.end;
  });
  rig.hasMore = true;
  rig.run();
  t.equal(rig.count('woken'), 1);
});

test('parks when nothing in flight writes guest memory, and not before', { timeout: 20_000 }, async (t) => {
  const phasesSeen = new Set<number>();
  const rig = new Rig(t, (call, rig) => {
    if (call === 'settle') phasesSeen.add(rig.control.phase);
    if (call === 'settle' && rig.count('settle') === 4) rig.isQuiet = true;
    if (call === 'resume') rig.ask(request.end);
  });
  rig.control.phase = phase.running;
  rig.isQuiet = false;
  rig.ask(request.park);
  const parked = controller(rig.control, { when: phase.parked, ask: request.run });

  rig.run();

  t.strictSame([...phasesSeen], [phase.running], 'it runs for as long as something writes guest memory');
  t.equal(await parked, 'seen', 'then it was parked, until it was told to go on');
  t.ok(rig.count('settle') >= 4, 'resets that a vCPU waits for are carried out meanwhile');
  t.equal(rig.calls[0], 'pause', 'nothing is taken from a queue');
  t.strictSame(
    rig.calls.filter((call) => call === 'pause' || call === 'resume'),
    ['pause', 'resume', 'pause'],
  );
});

test('goes on without having parked when the controller thinks better of it', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'settle' && rig.count('pause') === 1 && rig.count('resume') === 0) rig.ask(request.run);
    if (call === 'resume') rig.ask(request.end);
  });
  rig.control.phase = phase.running;
  rig.isQuiet = false; // and stays so: to park would take for ever
  rig.ask(request.park);
  rig.run();
  t.equal(rig.count('resume'), 1);
  t.equal(rig.control.phase, phase.running);
});

test('parks though writes are in flight', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'resume') rig.ask(request.end);
  });
  rig.idle = false; // and stays so: the disk hangs
  rig.ask(request.park);
  const parked = controller(rig.control, { when: phase.parked, ask: request.run });
  rig.run();
  t.equal(await parked, 'seen');
});

test('waits until nothing is in flight, but not for ever', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'woken') rig.idle = true; // the completion
  });
  t.equal(waitUntilIdle(rig.loop, rig, 0), true);
  rig.idle = false;
  t.equal(waitUntilIdle(rig.loop, rig, 150), false);
  t.strictSame(rig.calls, []);
  rig.wake.signal();
  t.equal(waitUntilIdle(rig.loop, rig, 10_000), true);
  t.strictSame(rig.calls, ['woken']);
});

test('ends while it waits to park', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'settle') rig.ask(request.end);
  });
  rig.isQuiet = false;
  rig.ask(request.park);
  rig.run();
  t.equal(rig.count('settle'), 1);
  t.equal(rig.count('resume'), 0);
});

test('ends while it is parked, and takes nothing more', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, () => {});
  rig.ask(request.park);
  const parked = controller(rig.control, { when: phase.parked, ask: request.end });
  rig.run();
  t.equal(await parked, 'seen');
  t.equal(rig.count('resume'), 0);
});

test('waits for what is in flight before it ends', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, (call, rig) => {
    if (call === 'woken') rig.idle = true; // the completion
    if (call === 'pause') rig.wake.signal();
  });
  rig.idle = false;
  rig.control.request = request.end;
  rig.run();
  t.strictSame(rig.calls, ['pause', 'pause', 'woken']);
});

test('ends though a device never becomes idle', { timeout: 20_000 }, async (t) => {
  const rig = new Rig(t, () => {});
  rig.idle = false;
  rig.control.request = request.end;
  rig.run();
  t.equal(rig.idle, false, 'it came back');
});

/**
 * A controller on a thread of its own, for {@link ThreadControl.park} blocks: waits for a phase, sees it hold for a
 * while, then asks for something. Resolves to `seen`, or to what else came.
 */
function controller(control: ThreadControl, { when, ask }: { when: number; ask: number }): Promise<string> {
  const source = `
    const { parentPort, workerData: { storage, when, ask } } = require('node:worker_threads');
    const cells = new Int32Array(storage);
    for (let phase; (phase = Atomics.load(cells, 1)) !== when; ) Atomics.wait(cells, 1, phase);
    Atomics.wait(cells, 1, when, 100);
    const after = Atomics.load(cells, 1);
    Atomics.store(cells, 0, ask);
    Atomics.notify(cells, 0);
    parentPort.postMessage(after === when ? 'seen' : 'it went on by itself, to phase ' + after);
  `;
  const worker = new Worker(source, { eval: true, workerData: { storage: control.storage, when, ask } });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}
