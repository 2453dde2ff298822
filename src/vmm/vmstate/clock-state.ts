import { clockFlag, kvmClockData } from '../../host/kvm/state-abi.ts';
import type { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import type { VmRegisters } from '../../host/kvm/vm-registers.ts';
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
 * What becomes of the time that a machine stood still. `keep`: for the guest it has not been. `jump`: its clocks show what
 * time it is now, or soon do (ClockCatchUp).
 */
export type ClockMode = 'keep' | 'jump';

const mask64 = 0xffff_ffff_ffff_ffffn;
/** Frequencies that differ by less than this are the same oscillator measured twice. */
const sameFrequencyPpm = 250;

/** The clocks of a machine: kvmclock, the TSC of each vCPU, and the timers that follow it. The vCPUs stand still. */
export class MachineClocks {
  readonly #vm: VmRegisters;
  readonly #vcpus: readonly VcpuRegisters[];
  readonly #canScale: boolean;
  /** The deadline that each vCPU had when the clocks were last set, until it is seen to have set another. 0: none. */
  readonly #notSeen: bigint[];
  /** The guest's TSC is the host's plus an offset, and not scaled as well. */
  #unscaled = true;

  /** @param canScale KVM_CAP_TSC_CONTROL */
  constructor(vm: VmRegisters, vcpus: readonly VcpuRegisters[], canScale: boolean) {
    this.#vm = vm;
    this.#vcpus = vcpus;
    this.#canScale = canScale;
    this.#notSeen = vcpus.map(() => 0n);
  }

  save(): ClockState {
    const { clock, flags, host_tsc: hostTsc } = this.#vm.clock;
    const tsc = this.#vcpus.map((vcpu) => {
      const offset = this.#unscaled && (flags & clockFlag.hostTsc) !== 0 ? vcpu.tscOffset : undefined;
      return offset === undefined ? (vcpu.readMsrs([msr.tsc])[0]?.value ?? 0n) : (hostTsc + offset) & mask64;
    });
    return { kvmclockNs: clock, realtimeNs: wallClockNs(), tscKhz: this.#vcpus[0]?.tscKhz ?? 0, tsc };
  }

  /**
   * Has the guest's TSC run as fast as it did where the state comes from. False: this host cannot do that, which a guest
   * that tells time by kvmclock does not notice.
   */
  matchFrequency({ tscKhz }: ClockState): boolean {
    const here = this.#vcpus[0]?.tscKhz ?? 0;
    if (Math.abs(here - tscKhz) * 1e6 <= here * sameFrequencyPpm) return true;
    if (!this.#canScale) return false;
    for (const vcpu of this.#vcpus) vcpu.tscKhz = tscKhz;
    this.#unscaled = false;
    return true;
  }

  /**
   * Sets the clocks, arms the timers that follow the TSC, and tells the guest's watchdog. Right before the vCPUs run.
   *
   * The TSC is set by its offset where KVM has that: a write of the register itself that is within a second of what KVM
   * expects is taken for an attempt to synchronise vCPUs, and what KVM expects is set.
   *
   * @param passedNs time that has passed for the guest since `state`, in nanoseconds
   * @param deadlines of each vCPU's timer; default: as they are
   */
  set(state: ClockState, passedNs: bigint, deadlines = this.#deadlines()): void {
    const passedCycles = (passedNs * BigInt(state.tscKhz)) / 1_000_000n;
    const { flags, host_tsc: hostTsc } = this.#vm.clock;
    this.#vcpus.forEach((vcpu, index) => {
      const tsc = ((state.tsc[index] ?? 0n) + passedCycles) & mask64;
      const byOffset =
        this.#unscaled && (flags & clockFlag.hostTsc) !== 0 && vcpu.setTscOffset(BigInt.asIntN(64, tsc - hostTsc));
      if (!byOffset) vcpu.writeMsrs([{ index: msr.tsc, value: tsc }]);
    });
    const clock = kvmClockData.allocate();
    clock.clock = state.kvmclockNs + passedNs;
    this.#vm.clock = clock;
    this.#arm(deadlines);
  }

  /** Advances clocks that have not stood still, and loses nothing however long this takes. The vCPUs stand still. */
  advance(byNs: bigint): void {
    const deadlines = this.#deadlines();
    for (const vcpu of this.#vcpus) {
      const cycles = (byNs * BigInt(vcpu.tscKhz)) / 1_000_000n;
      const offset = vcpu.tscOffset;
      if (offset !== undefined && vcpu.setTscOffset(BigInt.asIntN(64, offset + cycles))) continue;
      const tsc = vcpu.readMsrs([msr.tsc])[0]?.value ?? 0n;
      vcpu.writeMsrs([{ index: msr.tsc, value: (tsc + cycles) & mask64 }]);
    }
    const clock = this.#vm.clock;
    clock.clock += byNs;
    // With it KVM adds what has passed since it told.
    clock.flags &= clockFlag.realtime;
    this.#vm.clock = clock;
    this.#arm(deadlines);
  }

  /** Arms the timers once the TSC is set, by which KVM reckons when they fire; one that lies in the past fires at once. */
  #arm(deadlines: readonly bigint[]): void {
    this.#vcpus.forEach((vcpu, index) => {
      const deadline = deadlines[index] ?? 0n;
      if (deadline !== 0n) vcpu.writeMsrs([{ index: msr.tscDeadline, value: deadline }]);
      vcpu.noteStopped();
      this.#notSeen[index] = deadline;
    });
  }

  /**
   * Notes which vCPUs have armed their timer anew since the clocks were last set, or run nothing. True once that is so of
   * each that had a timer then. They stand still.
   */
  noteSeen(): boolean {
    const deadlines = this.#deadlines();
    this.#vcpus.forEach((vcpu, index) => {
      const deadline = deadlines[index];
      if ((deadline !== 0n && deadline !== this.#notSeen[index]) || !vcpu.isRunnable) this.#notSeen[index] = 0n;
    });
    return this.#notSeen.every((deadline) => deadline === 0n);
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

function wallClockNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
