import { clockFlag, kvmClockData } from '../../host/kvm/state-abi.ts';
import type { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import type { VmRegisters } from '../../host/kvm/vm-registers.ts';
import { isSameFrequency } from '../vcpu/processor-match.ts';
import { msr } from './msrs.ts';

/** What time it is for a guest, all of it at one instant. */
export interface ClockState {
  /** kvmclock, in nanoseconds. */
  readonly kvmclockNs: bigint;
  /** What time that was, in nanoseconds since 1970: the host's wall clock, less what the guest's clock was behind it. */
  readonly realtimeNs: bigint;
  /** Frequency of the guest's TSC. */
  readonly tscKhz: number;
  /** Time stamp counter of each vCPU. */
  readonly tsc: readonly bigint[];
}

/**
 * What becomes of the time that a machine was paused. `keep`: for the guest it has not been. `jump`: its clocks show what
 * time it is now, or soon do (ClockCatchUp).
 */
export type ClockMode = 'keep' | 'jump';

/** A vCPU that has run for so long and armed no timer looks at none. */
const deafMs = 250;

const mask64 = 0xffff_ffff_ffff_ffffn;

/** What of a VM its clocks need. */
export type ClockedVm = Pick<VmRegisters, 'clock'>;
/** What of a vCPU its clocks need. */
export type ClockedVcpu = Pick<
  VcpuRegisters,
  'tscKhz' | 'tscOffset' | 'setTscOffset' | 'readMsrs' | 'writeMsrs' | 'isRunnable' | 'hasDeadlineTimer'
>;

/** A vCPU whose clocks were set, and that has not noticed it yet. */
interface BeforeNoticing {
  /** Of its timer, by the TSC that was set. 0: none, or it has fired. */
  readonly deadline: bigint;
  /** What its thread had run when it was first looked at since, ms. */
  ranMs: number | undefined;
}

/** The clocks as they were read last, and what KVM reckoned the TSC by. */
interface Reading {
  /** Of the state that was made of it. */
  readonly tsc: readonly bigint[];
  /** The host's TSC at that instant. */
  readonly hostTsc: bigint;
  /** Of each vCPU's TSC. */
  readonly offsets: readonly bigint[];
}

/**
 * The clocks of a machine: kvmclock, the TSC of each vCPU, and the timers that follow it. The vCPUs are stopped.
 *
 * kvmclock and TSC are never read or set by two calls at two instants, for what lies between these would be lost to one of
 * them at every pause. KVM_GET_CLOCK tells kvmclock and the host's TSC at one instant, and a guest's TSC is that plus an
 * offset. So they are read as a pair; and when they are set, kvmclock is set first, a pair is read, and the offset is so chosen
 * that the TSC has gone as far as kvmclock:
 *
 *     save    kvmclock k0, host h0     TSC t0 = h0 + offset
 *     set     kvmclock := k0 + passed
 *             kvmclock k1, host h1     TSC t1 = t0 + (k1 - k0) in cycles     offset := t1 - h1
 *
 * What remains is rounding: less than 2 ns a pause, in either direction. Where KVM does not tell the host's TSC (before Linux
 * 5.16), or has no offset, the TSC is read and written itself, which costs a few microseconds a pause. A KVM that gives guests the
 * host's TSC whatever it is told has kvmclock held alone.
 */
export class MachineClocks {
  readonly #vm: ClockedVm;
  readonly #vcpus: readonly ClockedVcpu[];
  readonly #canScale: boolean;
  /** What each vCPU had when the clocks were last set, until it is seen to have noticed. */
  readonly #notSeen: (BeforeNoticing | undefined)[];
  /** Frequency of the host's TSC, where the guest's is scaled; undefined: it is the host's plus an offset. */
  #scaledFromKhz: number | undefined;
  #reading: Reading | undefined;

  /** @param canScale KVM_CAP_TSC_CONTROL */
  constructor(vm: ClockedVm, vcpus: readonly ClockedVcpu[], canScale: boolean) {
    this.#vm = vm;
    this.#vcpus = vcpus;
    this.#canScale = canScale;
    this.#notSeen = vcpus.map(() => undefined);
  }

  save(): ClockState {
    const { clock, flags, host_tsc: hostTsc } = this.#vm.clock;
    const offsets = this.#vcpus.map((vcpu) => ((flags & clockFlag.hostTsc) === 0 ? undefined : vcpu.tscOffset));
    const tsc = this.#vcpus.map((vcpu, index) => {
      const offset = this.#scaledFromKhz === undefined ? offsets[index] : undefined;
      return offset === undefined ? (vcpu.readMsrs([msr.tsc])[0]?.value ?? 0n) : (hostTsc + offset) & mask64;
    });
    const all = offsets.filter((offset) => offset !== undefined);
    this.#reading = all.length === tsc.length ? { tsc, hostTsc, offsets: all } : undefined;
    return { kvmclockNs: clock, realtimeNs: wallClockNs(), tscKhz: this.#vcpus[0]?.tscKhz ?? 0, tsc };
  }

  /**
   * Has the guest's TSC run as fast as it did where the state comes from. False: this host cannot do that, which a guest
   * that tells time by kvmclock does not notice.
   */
  matchFrequency({ tscKhz }: ClockState): boolean {
    const here = this.#vcpus[0]?.tscKhz ?? 0;
    if (isSameFrequency(tscKhz, here)) return true;
    if (!this.#canScale) return false;
    for (const vcpu of this.#vcpus) vcpu.tscKhz = tscKhz;
    this.#scaledFromKhz ??= here;
    return true;
  }

  /**
   * Sets the clocks and arms the timers that follow the TSC. Right before the vCPUs run.
   *
   * The TSC is set by its offset where KVM has that: a write of the register itself that is within a second of what KVM
   * expects is taken for an attempt to synchronise vCPUs, and what KVM expects is set.
   *
   * @param passedNs time that has passed for the guest since `state`, in nanoseconds
   * @param deadlines of each vCPU's timer; default: as they are
   */
  set(state: ClockState, passedNs: bigint, deadlines = this.#deadlines()): void {
    const clock = kvmClockData.allocate();
    clock.clock = state.kvmclockNs + passedNs;
    this.#vm.clock = clock;
    this.#followKvmclock(state);
    this.#arm(deadlines);
  }

  /** Advances clocks that have not been held, and loses nothing however long this takes. The vCPUs are stopped. */
  advance(byNs: bigint): void {
    const deadlines = this.#deadlines();
    const state = this.save();
    const clock = this.#vm.clock;
    clock.clock += byNs;
    // With it KVM adds what has passed since it told.
    clock.flags &= clockFlag.realtime;
    this.#vm.clock = clock;
    this.#followKvmclock(state);
    this.#arm(deadlines);
  }

  /** Has each TSC show what it does so long after `state` as kvmclock is by now. */
  #followKvmclock(state: ClockState): void {
    const { clock, flags, host_tsc: hostTsc } = this.#vm.clock;
    const readAtNs = process.hrtime.bigint();
    const passedNs = clock - state.kvmclockNs;
    const khz = BigInt(state.tscKhz);
    const passedCycles = nearest(passedNs * khz, 1_000_000n);
    const reading = this.#reading?.tsc === state.tsc ? this.#reading : undefined;
    this.#vcpus.forEach((vcpu, index) => {
      let offset: bigint | undefined;
      if ((flags & clockFlag.hostTsc) !== 0) {
        if (this.#scaledFromKhz === undefined) offset = (state.tsc[index] ?? 0n) + passedCycles - hostTsc;
        else if (reading !== undefined) {
          const scaled = nearest((hostTsc - reading.hostTsc) * khz, BigInt(this.#scaledFromKhz));
          offset = (reading.offsets[index] ?? 0n) + passedCycles - scaled;
        }
      }
      if (offset !== undefined && vcpu.setTscOffset(BigInt.asIntN(64, offset))) return;
      const lateCycles = ((process.hrtime.bigint() - readAtNs) * khz) / 1_000_000n;
      vcpu.writeMsrs([{ index: msr.tsc, value: ((state.tsc[index] ?? 0n) + passedCycles + lateCycles) & mask64 }]);
    });
  }

  /** Arms the timers once the TSC is set, by which KVM reckons when they fire; one that lies in the past fires at once. */
  #arm(deadlines: readonly bigint[]): void {
    this.#vcpus.forEach((vcpu, index) => {
      const deadline = deadlines[index] ?? 0n;
      if (deadline !== 0n) vcpu.writeMsrs([{ index: msr.tscDeadline, value: deadline }]);
      this.#notSeen[index] = { deadline, ranMs: undefined };
    });
  }

  /**
   * Notes which vCPUs have armed their timer since the clocks were last set, or run nothing, or have run for so long that
   * they will not: there are guests that hear of no timer for long. True once that is so of each. They are parked.
   *
   * A vCPU that had no deadline then is waited for as well if it works with deadlines: its timer had fired, and it had not come to
   * that yet.
   *
   * @param ranMs what each vCPU's thread has run by now. Not what has passed: a host that is busy may have given it nothing of that
   */
  noteSeen(ranMs: readonly number[]): boolean {
    const deadlines = this.#deadlines();
    this.#vcpus.forEach((vcpu, index) => {
      const before = this.#notSeen[index];
      if (before === undefined) return;
      const deadline = deadlines[index] ?? 0n;
      const ran = ranMs[index] ?? 0;
      before.ranMs ??= ran;
      const hasArmed = deadline !== 0n && deadline !== before.deadline;
      const isDeaf = ran - before.ranMs >= deafMs || (before.deadline === 0n && !vcpu.hasDeadlineTimer);
      if (hasArmed || isDeaf || !vcpu.isRunnable) this.#notSeen[index] = undefined;
    });
    return this.#notSeen.every((before) => before === undefined);
  }

  #deadlines(): bigint[] {
    return this.#vcpus.map((vcpu) => vcpu.readMsrs([msr.tscDeadline])[0]?.value ?? 0n);
  }
}

/** Nanoseconds since `state`, by the host's wall clock. */
export function elapsedSince({ realtimeNs }: ClockState): bigint {
  const elapsedNs = wallClockNs() - realtimeNs;
  return elapsedNs > 0n ? elapsedNs : 0n;
}

/** Integer division that rounds to the nearest: always down, 10,000 pauses would add up to a microsecond. */
function nearest(dividend: bigint, divisor: bigint): bigint {
  const twice = 2n * dividend + (dividend < 0n ? -divisor : divisor);
  return twice / (2n * divisor);
}

function wallClockNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
