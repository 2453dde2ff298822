import type { PciHost } from '../../devices/pci-host.ts';
import type { Serial } from '../../devices/serial.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { capability } from '../../host/kvm/abi.ts';
import type { KvmDevice } from '../../host/kvm/kvm-device.ts';
import { stateCapability } from '../../host/kvm/state-abi.ts';
import { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import type { VcpuHandle, Vm } from '../../host/kvm/vm.ts';
import { VmRegisters } from '../../host/kvm/vm-registers.ts';
import { AnonymousMapping } from '../../host/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { IoThread } from '../io/io-thread.ts';
import { processorMismatch } from '../vcpu/processor-match.ts';
import type { GuestActivity } from './clock-catch-up.ts';
import { type ClockState, MachineClocks } from './clock-state.ts';
import { type MachineState, machineStateVersion } from './machine-state.ts';
import { stateMsrs } from './msrs.ts';
import type { PauseTimes } from './pause-times.ts';
import { loadVcpu, saveVcpu, type VcpuState, type VcpuStateSupport } from './vcpu-state.ts';
import { loadVm, saveVm, type VmState } from './vm-state.ts';

export interface StateAccessParts {
  readonly kvm: KvmDevice;
  readonly vm: Vm;
  readonly vcpus: readonly VcpuHandle[];
  readonly serial: Serial;
  readonly pciHost: PciHost;
  /** Absent in a machine without virtio devices. */
  readonly io: IoThread | undefined;
  readonly memoryBytes: number;
}

/** What KVM keeps of a machine. */
interface KvmState {
  readonly vcpus: readonly VcpuState[];
  readonly vm: VmState;
  readonly clock: ClockState;
}

/**
 * Reads and writes the whole state of a machine that stands still: all its threads are parked. The ioctls are made on the
 * thread that calls, also those of vCPUs (docs/decisions.md).
 */
export class StateAccess implements GuestActivity, Closable {
  readonly #owner = new Owner();
  readonly #kvm: KvmDevice;
  readonly #vm: VmRegisters;
  readonly #vcpus: readonly VcpuRegisters[];
  readonly #clocks: MachineClocks;
  readonly #support: VcpuStateSupport;
  /** Of each vCPU, for which KVM may know fewer MSRs. */
  #supports: VcpuStateSupport[];
  readonly #serial: Serial;
  readonly #pciHost: PciHost;
  readonly #io: IoThread | undefined;
  readonly #memoryBytes: number;

  constructor({ kvm, vm, vcpus, serial, pciHost, io, memoryBytes }: StateAccessParts) {
    const scratch = this.#owner.own(new AnonymousMapping('ioctl scratch', pageSize));
    const xsaveBytes = vm.check(capability.xsave2);
    this.#kvm = kvm;
    this.#vm = new VmRegisters(vm.fd);
    this.#vcpus = vcpus.map((handle) => new VcpuRegisters(handle, { xsaveBytes, scratch }));
    this.#clocks = new MachineClocks(this.#vm, this.#vcpus, kvm.check(stateCapability.tscControl) > 0);
    this.#support = { msrs: stateMsrs(kvm.msrIndices()), xcrs: kvm.check(stateCapability.xcrs) > 0 };
    this.#supports = this.#vcpus.map(() => this.#support);
    this.#serial = serial;
    this.#pciHost = pciHost;
    this.#io = io;
    this.#memoryBytes = memoryBytes;
  }

  /** What time it is for the guest. */
  readClocks(): ClockState {
    return this.#clocks.save();
  }

  /** Has the guest's clocks go on from `clock`, `passedNs` later. Right before it runs. */
  setClocks(clock: ClockState, passedNs: bigint): void {
    this.#clocks.set(clock, passedNs);
  }

  /** See GuestActivity. */
  looksAtClocks(): boolean {
    return this.#clocks.noteSeen();
  }

  /** Advances the guest's clocks, which have not stood still. */
  advanceClocks(byNs: bigint): void {
    this.#clocks.advance(byNs);
  }

  /** See GuestActivity. vCPUs run nothing that are halted, or were never started. */
  get isIdle(): boolean {
    return this.#vcpus.every((vcpu) => !vcpu.isRunnable);
  }

  /** Tells the guest's watchdog that it stood still for a while. */
  noteStopped(): void {
    for (const vcpu of this.#vcpus) vcpu.noteStopped();
  }

  /** @param clock what time it was when the machine was stopped */
  save(clock: ClockState, times: PauseTimes): MachineState {
    times.begin();
    // The io thread reads its devices while this one makes its calls.
    const takeDevices = this.#io?.saveDevices() ?? (() => []);
    let kvm: Pick<KvmState, 'vcpus' | 'vm'>;
    let devices: readonly IoDeviceState[];
    try {
      const vcpus = this.#saveVcpus();
      times.done('vcpuState');
      kvm = { vcpus, vm: saveVm(this.#vm) };
      times.done('vmState');
    } finally {
      devices = takeDevices();
    }
    const serial = this.#serial.save();
    times.done('deviceState');
    return {
      version: machineStateVersion,
      memoryBytes: this.#memoryBytes,
      ...kvm,
      clock,
      serial,
      pciAddress: this.#pciHost.address,
      devices,
    };
  }

  /**
   * Loads a state that was checked by itself. The clocks stand at where they were when it was saved, as if the machine had
   * just been stopped.
   *
   * @param fallback what time it is for the machine as it is, if it has run; it stays that if the state is refused
   * @throws VmStateError; the machine is then as it was
   */
  load(state: MachineState, fallback: ClockState | undefined): void {
    if (state.memoryBytes !== this.#memoryBytes) {
      throw new VmStateError('memoryBytes', `is ${state.memoryBytes}, and the machine here has ${this.#memoryBytes}`);
    }
    if (state.vcpus.length !== this.#vcpus.length || state.clock.tsc.length !== this.#vcpus.length) {
      throw new VmStateError('vcpus', `are ${state.vcpus.length}, and the machine here has ${this.#vcpus.length}`);
    }
    if (this.#io === undefined && state.devices.length > 0) {
      throw new VmStateError('devices', `are ${state.devices.length}, and the machine here has none`);
    }
    if (fallback === undefined) this.#requireProcessor(state);
    this.#io?.prepareDevices(state.devices);
    const before =
      fallback === undefined ? undefined : { vcpus: this.#saveVcpus(), vm: saveVm(this.#vm), clock: fallback };
    try {
      this.#loadKvm(state, before === undefined);
    } catch (error) {
      if (before !== undefined) this.#loadKvm(before, false);
      throw error;
    }
    this.#serial.load(state.serial);
    this.#pciHost.address = state.pciAddress ?? 0;
    this.#io?.loadDevices();
  }

  /** A vCPU that has run is compared bit by bit when it is loaded; one that has not is still to become what the state says. */
  #requireProcessor({ vcpus, clock }: MachineState): void {
    const supported = this.#kvm.supportedCpuid();
    const [vcpu] = this.#vcpus;
    if (vcpu === undefined) return;
    // A KVM that interprets guests shows them more than it says, and a state has that as well. CPUID is set anew below.
    vcpu.writeCpuid(supported.map((row) => row.$bytes));
    const host = {
      cpuid: [...supported, ...vcpu.cpuid],
      tscKhz: vcpu.tscKhz,
      scalesTsc: this.#kvm.check(stateCapability.tscControl) > 0,
      tscDeadline: this.#kvm.check(capability.tscDeadlineTimer) > 0,
    };
    for (const { cpuid } of vcpus) {
      const mismatch = processorMismatch({ cpuid, tscKhz: clock.tscKhz }, host);
      if (mismatch !== undefined) throw new VmStateError('cpuid', mismatch);
    }
  }

  close(): void {
    this.#owner.close();
  }

  #saveVcpus(): VcpuState[] {
    return this.#vcpus.map((vcpu, index) => {
      const support = this.#supports[index] as VcpuStateSupport;
      const state = saveVcpu(vcpu, support);
      // KVM stops at each MSR that it does not know: with those left out, the next time takes one call.
      if (state.msrs.length < support.msrs.length) {
        this.#supports[index] = { ...support, msrs: state.msrs.map((msr) => msr.index) };
      }
      return state;
    });
  }

  /** The VM before its vCPUs, and the clocks after all else (see MachineClocks). */
  #loadKvm({ vcpus, vm, clock }: KvmState, isNew: boolean): void {
    // Which MSRs there are depends on CPUID, which comes with the state.
    this.#supports = this.#vcpus.map(() => this.#support);
    loadVm(this.#vm, vm);
    this.#clocks.matchFrequency(clock);
    this.#vcpus.forEach((vcpu, index) => {
      loadVcpu(vcpu, vcpus[index] as VcpuState, isNew);
    });
    this.#clocks.set(
      clock,
      0n,
      vcpus.map(({ tscDeadline }) => tscDeadline),
    );
  }
}
