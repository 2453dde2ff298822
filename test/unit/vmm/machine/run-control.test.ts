import { test } from 'tap';
import { Doorbell } from '../../../../src/host/threads/doorbell.ts';
import type { MachineParts } from '../../../../src/vmm/machine/machine-parts.ts';
import { RunControl } from '../../../../src/vmm/machine/run-control.ts';
import type { ClockState } from '../../../../src/vmm/vmstate/clock-state.ts';

const clocks: ClockState = { kvmclockNs: 1_000n, realtimeNs: 2_000n, tscKhz: 1_000_000, tsc: [3_000n] };

/** What a RunControl controls, without a guest: it notes what is done to it. */
class Rig {
  readonly calls: string[] = [];
  readonly control: RunControl;
  /** What waiting for a thread to park does. */
  park: (thread: string) => void = () => {};

  constructor(t: { teardown(clean: () => void): void }) {
    const serialBell = new Doorbell();
    t.teardown(() => serialBell.close());
    const note =
      (call: string) =>
      (...args: unknown[]): void => {
        this.calls.push([call, ...args].join(' '));
      };
    const thread = (name: string) => ({
      requestPark: note(`park ${name}`),
      waitUntilParked: () => this.park(name),
      resume: note(`resume ${name}`),
    });
    const access = {
      readClocks: () => {
        this.calls.push('read clocks');
        return clocks;
      },
      setClocks: note('set clocks'),
      noteStopped: note('note stopped'),
      isIdle: true,
    };
    const parts = {
      vcpus: [thread('vcpu-0'), thread('vcpu-1')],
      io: thread('io'),
      access,
      serialBell,
      start: () => {},
      requestEnd: () => {},
    };
    this.control = new RunControl(parts as unknown as MachineParts, () => {});
    this.control.start();
  }
}

for (const [which, touched] of [
  ['vcpu-1', ['park vcpu-0', 'park vcpu-1']],
  ['io', ['park vcpu-0', 'park vcpu-1', 'park io']],
] as const) {
  test(`a stop that fails because ${which} does not park lets all run again, and calls nothing that waits for a vCPU`, async (t) => {
    const rig = new Rig(t);
    rig.park = (thread) => {
      if (thread === which) throw new Error(`${which} did not park`);
    };
    t.throws(() => rig.control.stop(), { message: `${which} did not park` });
    t.strictSame(rig.calls, [...touched, 'resume vcpu-0', 'resume vcpu-1', 'resume io']);
    t.equal(rig.control.state, 'running');
    rig.park = () => {};
    t.doesNotThrow(() => rig.control.stop(), 'and it can be stopped later');
  });
}

test('counts how often it was resumed', async (t) => {
  const { control } = new Rig(t);
  t.equal(control.timesResumed, 0);
  control.stop();
  control.resume('keep');
  control.stop();
  t.equal(control.timesResumed, 1);
});

for (const [stoppedMs, told] of [
  [0, false],
  [499, false],
  [500, true],
  [3_600_000, true],
] as const) {
  test(`a stop of ${stoppedMs} ms is ${told ? '' : 'not '}told to the guest's watchdogs, clocks held or not`, async (t) => {
    const { now } = performance;
    t.teardown(() => {
      performance.now = now;
    });
    let ms = 1_000_000;
    performance.now = () => ms;
    for (const mode of ['keep', undefined] as const) {
      const rig = new Rig(t);
      rig.control.stop();
      ms += stoppedMs;
      rig.control.resume(mode);
      t.equal(rig.calls.includes('note stopped'), told, String(mode));
    }
  });
}

test('a clock that jumps is told to the watchdogs, however short the stop', async (t) => {
  const rig = new Rig(t);
  rig.control.stop();
  rig.control.resume('jump');
  t.ok(rig.calls.includes('note stopped'));
  t.ok(rig.calls.some((call) => call.startsWith('set clocks')));
});

test('whoever resumes it may have the threads woken later, unless it was stopped again or has ended', async (t) => {
  for (const [next, woken] of [
    [() => {}, true],
    [(control: RunControl) => control.stop(), false],
    [(control: RunControl) => control.end(), false],
  ] as const) {
    const rig = new Rig(t);
    rig.control.stop();
    let wake: (() => void) | undefined;
    rig.control.resume('keep', 0n, (last) => {
      wake = last;
    });
    t.equal(rig.control.state, 'running');
    const resumed = (): boolean => rig.calls.includes('resume vcpu-0');
    t.equal(resumed(), false);
    next(rig.control);
    wake?.();
    t.equal(resumed(), woken);
  }
});
