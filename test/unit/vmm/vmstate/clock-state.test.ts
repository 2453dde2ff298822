import { test } from 'tap';
import { clockFlag, kvmClockData } from '../../../../src/host/kvm/state-abi.ts';
import {
  type ClockedVcpu,
  type ClockedVm,
  type ClockState,
  MachineClocks,
} from '../../../../src/vmm/vmstate/clock-state.ts';
import { msr } from '../../../../src/vmm/vmstate/msrs.ts';

interface ModelOptions {
  readonly cpus?: number;
  /** The host's TSC; default 2596142 kHz, in which a nanosecond is no whole number of cycles. */
  readonly hostKhz?: number;
  /** How long each call takes, in ns; default 5000 and a bit. */
  readonly callNs?: bigint;
}

/** KVM as far as clocks go, on a host whose time passes with each call that is made. */
class ModelKvm {
  readonly vm: ClockedVm;
  readonly vcpus: readonly ClockedVcpu[];
  readonly halted = new Set<number>();
  hasDeadlineTimers = true;
  readonly #hostKhz: number;
  readonly #callNs: bigint;
  readonly #offsets: bigint[];
  readonly #deadlines: bigint[];
  /** Time since the host started, in picoseconds: its TSC ticks within a nanosecond. */
  #picoseconds = 987_654_321_000_123n;
  #kvmclockOffset = -987_654_000_000n;
  #khz: number;

  constructor({ cpus = 1, hostKhz = 2_596_142, callNs = 5_003n }: ModelOptions = {}) {
    this.#hostKhz = hostKhz;
    this.#khz = hostKhz;
    this.#callNs = callNs;
    this.#offsets = Array.from({ length: cpus }, () => -1_000_000n);
    this.#deadlines = this.#offsets.map(() => 0n);
    const model = this;
    this.vm = {
      get clock() {
        const told = kvmClockData.allocate();
        told.clock = model.nanoseconds + model.#kvmclockOffset;
        told.host_tsc = model.#hostTsc;
        told.realtime = model.nanoseconds;
        told.flags = clockFlag.stable | clockFlag.hostTsc | clockFlag.realtime;
        model.pass(model.#callNs);
        return told;
      },
      set clock(value) {
        model.pass(model.#callNs);
        const since = (value.flags & clockFlag.realtime) === 0 ? 0n : model.nanoseconds - value.realtime;
        model.#kvmclockOffset = value.clock + since - model.nanoseconds;
      },
    };
    this.vcpus = this.#offsets.map((_, index) => this.#vcpu(index));
  }

  get nanoseconds(): bigint {
    return this.#picoseconds / 1000n;
  }

  pass(ns: bigint): void {
    this.#picoseconds += ns * 1000n + 37n;
  }

  get #hostTsc(): bigint {
    return (this.#picoseconds * BigInt(this.#hostKhz)) / 1_000_000_000n;
  }

  guestTsc(index: number): bigint {
    return (this.#hostTsc * BigInt(this.#khz)) / BigInt(this.#hostKhz) + (this.#offsets[index] as bigint);
  }

  /** What kvmclock is behind the TSC of vCPU `index`, beside what it was at first, in ns. */
  behindNs(index: number): number {
    const kvmclock = this.#picoseconds + this.#kvmclockOffset * 1000n;
    return Number((this.guestTsc(index) * 1_000_000_000n) / BigInt(this.#khz) - kvmclock) / 1000;
  }

  #vcpu(index: number): ClockedVcpu {
    const model = this;
    return {
      get isRunnable() {
        return !model.halted.has(index);
      },
      get hasDeadlineTimer() {
        return model.hasDeadlineTimers;
      },
      get tscKhz() {
        return model.#khz;
      },
      set tscKhz(value) {
        model.#khz = value;
      },
      get tscOffset() {
        model.pass(model.#callNs);
        return model.#offsets[index];
      },
      setTscOffset: (value) => {
        model.pass(model.#callNs);
        model.#offsets[index] = value;
        return true;
      },
      readMsrs: (indices) => {
        model.pass(model.#callNs);
        return indices.map((msrIndex) => ({
          index: msrIndex,
          value: (msrIndex === msr.tsc ? model.guestTsc(index) : model.#deadlines[index]) as bigint,
        }));
      },
      writeMsrs: (rows) => {
        model.pass(model.#callNs);
        for (const row of rows) {
          if (row.index === msr.tsc)
            model.#offsets[index] = row.value - (model.guestTsc(index) - (model.#offsets[index] as bigint));
          else model.#deadlines[index] = row.value;
        }
        return [];
      },
    };
  }
}

/** As a machine passes it on. */
const copy = (state: ClockState): ClockState => ({ ...state });

const pauses = 10_000;

for (const [what, options, scaledTo] of [
  ['', {}, undefined],
  [' of four vCPUs', { cpus: 4 }, undefined],
  [' of a slow host', { callNs: 150_001n }, undefined],
  [', the TSC scaled,', {}, 3_000_001],
] as const) {
  test(`10,000 pauses${what} leave kvmclock and TSC where they were to each other`, async (t) => {
    const model = new ModelKvm(options);
    const clocks = new MachineClocks(model.vm, model.vcpus, true);
    if (scaledTo !== undefined) {
      t.equal(clocks.matchFrequency({ kvmclockNs: 0n, realtimeNs: 0n, tscKhz: scaledTo, tsc: [] }), true);
    }
    const before = model.vcpus.map((_, index) => model.behindNs(index));
    for (let pause = 0; pause < pauses; pause++) {
      const state = copy(clocks.save());
      model.pass(300_000n);
      clocks.set(state, 0n);
      model.pass(700_000n);
    }
    // Each rounds kvmclock to a nanosecond, twice, and the TSC to a cycle; only a scaled TSC is always rounded down.
    const most = scaledTo === undefined ? 500 : 500 + (pauses * 1e6) / scaledTo;
    for (const [index, behind] of before.entries()) {
      const lost = model.behindNs(index) - behind;
      t.ok(Math.abs(lost) < most, `${lost} ns`);
    }
  });
}

test('clocks that are set have been held', async (t) => {
  const model = new ModelKvm();
  const clocks = new MachineClocks(model.vm, model.vcpus, false);
  const state = clocks.save();
  model.pass(5_000_000_000n);
  const settingFrom = model.nanoseconds;
  clocks.set(state, 0n);
  const took = model.nanoseconds - settingFrom;
  const passed = clocks.save().kvmclockNs - state.kvmclockNs;
  t.ok(passed <= took, `${passed} ns have passed`);
});

test('time that has passed for the guest is on both clocks', async (t) => {
  const model = new ModelKvm();
  const clocks = new MachineClocks(model.vm, model.vcpus, false);
  const before = model.behindNs(0);
  const state = clocks.save();
  clocks.set(state, 3_600_000_000_000n);
  t.ok(clocks.save().kvmclockNs - state.kvmclockNs >= 3_600_000_000_000n);
  t.ok(Math.abs(model.behindNs(0) - before) < 3);
});

test('clocks that are advanced lose nothing, to each other and to the host', async (t) => {
  const model = new ModelKvm();
  const clocks = new MachineClocks(model.vm, model.vcpus, false);
  const before = model.behindNs(0);
  const kvmclockBefore = clocks.save().kvmclockNs;
  const hostBefore = model.nanoseconds;
  for (let step = 0; step < 100; step++) clocks.advance(20_000_000n);
  const hostAfter = model.nanoseconds;
  const gained = clocks.save().kvmclockNs - kvmclockBefore - (hostAfter - hostBefore);
  t.ok(gained >= 2_000_000_000n && gained < 2_000_000_000n + 20_000n, `${gained} ns ahead of the host`);
  t.ok(Math.abs(model.behindNs(0) - before) < 50);
});

test('that the clocks were advanced is noticed by a vCPU that arms its timer anew, or is halted, or has run for long', async (t) => {
  const model = new ModelKvm({ cpus: 3 });
  const clocks = new MachineClocks(model.vm, model.vcpus, false);
  const arm = (index: number, value: bigint): void => {
    model.vcpus[index]?.writeMsrs([{ index: msr.tscDeadline, value }]);
  };
  for (const index of [0, 1, 2]) arm(index, 1000n);
  clocks.advance(1_000_000n);
  t.notOk(clocks.noteSeen([70, 10_000, 10_000]), 'what they ran before counts for nothing');
  arm(0, 2000n);
  t.notOk(clocks.noteSeen([70, 10_000, 10_000]));
  model.halted.add(1);
  t.notOk(clocks.noteSeen([70, 10_000, 10_000]));
  model.halted.delete(1);
  arm(2, 0n);
  t.notOk(clocks.noteSeen([9000, 19_000, 10_249]), 'its timer has fired, and it has not armed it');
  t.ok(clocks.noteSeen([9000, 19_000, 10_250]));
  clocks.advance(1_000_000n);
  t.notOk(clocks.noteSeen([9000, 19_000, 10_250]));
});

test('a vCPU whose timer had just fired when the clocks were advanced has not noticed that', async (t) => {
  const model = new ModelKvm();
  const clocks = new MachineClocks(model.vm, model.vcpus, false);
  clocks.advance(1_000_000n);
  t.notOk(clocks.noteSeen([0]));
  t.notOk(clocks.noteSeen([100]));
  model.vcpus[0]?.writeMsrs([{ index: msr.tscDeadline, value: 1000n }]);
  t.ok(clocks.noteSeen([100]));
  t.ok(clocks.noteSeen([100]), 'it stays so');
  clocks.advance(1_000_000n);
  model.hasDeadlineTimers = false;
  t.notOk(clocks.noteSeen([100]), 'it has one');
  model.vcpus[0]?.writeMsrs([{ index: msr.tscDeadline, value: 0n }]);
  clocks.advance(1_000_000n);
  t.ok(clocks.noteSeen([100]), 'it works with another timer, or with none');
});
