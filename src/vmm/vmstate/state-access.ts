import type { PciHost } from '../../devices/pci-host.ts';
import type { Serial } from '../../devices/serial.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { capability } from '../../host/kvm/abi.ts';
import type { KvmDevice } from '../../host/kvm/kvm-device.ts';
import { kvmXsave, stateCapability } from '../../host/kvm/state-abi.ts';
import { VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import type { VcpuHandle, Vm } from '../../host/kvm/vm.ts';
import { type VmPart, VmRegisters } from '../../host/kvm/vm-registers.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { IoThread } from '../io/io-thread.ts';
import { processorMismatch } from '../vcpu/processor-match.ts';
import { ClockPages } from './clock-pages.ts';
import { type ClockState, MachineClocks } from './clock-state.ts';
import { imageOf, machineStateOf, type OwnDevices } from './image-state.ts';
import type { MachineState } from './machine-state.ts';
import { stateMsrs } from './msrs.ts';
import type { PauseTimes } from './pause-times.ts';
import { type ImageShape, StateImage } from './state-image.ts';
import { VcpuAccess, type VcpuSupport } from './vcpu-access.ts';
import { cpuidOf } from './vcpu-state.ts';

export interface StateAccessParts {
  readonly kvm: KvmDevice;
  readonly vm: Vm;
  readonly vcpus: readonly VcpuHandle[];
  readonly serial: Serial;
  readonly pciHost: PciHost;
  /** Absent in a machine without virtio devices. */
  readonly io: IoThread | undefined;
  readonly memory: GuestMemory;
}

/** Rows of a table of MSRs that a state may bring: machine-state-schema.ts. */
const mostMsrs = 1024;
/** More rows than any CPUID table has. */
const mostCpuidRows = 256;

/**
 * Reads and writes the whole state of a machine that is paused: all its threads are parked. The ioctls are made on the
 * thread that calls, also those of vCPUs (docs/decisions.md).
 */
export class StateAccess implements Closable {
  /** What {@link readRegisters} and {@link readRest} fill. */
  readonly image: StateImage;
  readonly #owner = new Owner();
  readonly #kvm: KvmDevice;
  readonly #vm: VmRegisters;
  readonly #vcpus: readonly VcpuRegisters[];
  readonly #access: readonly VcpuAccess[];
  readonly #clocks: MachineClocks;
  readonly #clockPages: ClockPages;
  readonly #shape: ImageShape;
  readonly #serial: Serial;
  readonly #pciHost: PciHost;
  readonly #io: IoThread | undefined;
  readonly #memoryBytes: number;
  /** What the machine is in before it is loaded, to go back to if the new state is refused. */
  #before: StateImage | undefined;

  constructor({ kvm, vm, vcpus, serial, pciHost, io, memory }: StateAccessParts) {
    const scratch = this.#owner.own(new AnonymousMapping('ioctl scratch', pageSize));
    const xsave2Bytes = vm.check(capability.xsave2);
    this.#kvm = kvm;
    const support: VcpuSupport = {
      msrs: stateMsrs(kvm.msrIndices()),
      xcrs: kvm.check(stateCapability.xcrs) > 0,
      xsave2: xsave2Bytes > kvmXsave.size,
    };
    this.#vm = new VmRegisters(vm.fd);
    this.#vcpus = vcpus.map((handle) => new VcpuRegisters(handle, scratch));
    this.#clockPages = new ClockPages(memory);
    this.#access = vcpus.map((handle) => new VcpuAccess(handle, support, mostMsrs));
    this.#clocks = new MachineClocks(this.#vm, this.#vcpus, kvm.check(stateCapability.tscControl) > 0);
    this.#shape = {
      cpus: vcpus.length,
      msrRows: support.msrs.length,
      cpuidRows: mostCpuidRows,
      xsaveBytes: Math.max(xsave2Bytes, kvmXsave.size),
    };
    this.#serial = serial;
    this.#pciHost = pciHost;
    this.#io = io;
    this.#memoryBytes = memory.sizeBytes;
    this.image = this.#newImage();
  }

  /** What time it is for the guest. */
  readClocks(): ClockState {
    return this.#clocks.save();
  }

  /** Has the guest's clocks go on from `clock`, `passedNs` later. Right before it runs. */
  setClocks(clock: ClockState, passedNs: bigint): void {
    this.#clocks.set(clock, passedNs);
  }

  /** See MachineClocks.noteSeen. */
  noteSeen(ranMs: readonly number[]): boolean {
    return this.#clocks.noteSeen(ranMs);
  }

  /** Advances the guest's clocks, which have not been stopped. */
  advanceClocks(byNs: bigint): void {
    this.#clocks.advance(byNs);
  }

  /** No vCPU runs anything: each is halted, or was never started. */
  get isIdle(): boolean {
    return this.#vcpus.every((vcpu) => !vcpu.isRunnable);
  }

  /** Tells the guest's watchdog that it was paused for a while. */
  noteStopped(): void {
    for (const vcpu of this.#vcpus) vcpu.noteStopped();
  }

  /** Reads what of KVM's state devices cannot change: all vCPUs are parked, the io thread may be on its way. Hot path. */
  readRegisters(): void {
    for (const vcpu of this.#access) vcpu.readRegisters(this.image);
    // It never changes, but for what follows other registers.
    if (this.image.rows(0, 'cpuid') === 0) for (const vcpu of this.#access) vcpu.readCpuid(this.image);
  }

  /**
   * Reads the rest of what KVM keeps, once all threads are parked. Hot path.
   *
   * @param clock what time it was when the machine was stopped
   */
  readRest(clock: ClockState): void {
    this.#readRest(this.image, clock);
  }

  /** Devices that this thread serves. */
  readOwnDevices(): OwnDevices {
    return { serial: this.#serial.save(), pciAddress: this.#pciHost.address };
  }

  /** @param clock what time it was when the machine was stopped */
  save(clock: ClockState, times: PauseTimes): MachineState {
    times.begin();
    // The io thread reads its devices while this one makes its calls.
    const takeDevices = this.#io?.saveDevices() ?? (() => []);
    let devices: readonly IoDeviceState[];
    try {
      this.readRegisters();
      for (const vcpu of this.#access) vcpu.readCpuid(this.image);
      times.done('registers');
      this.readRest(clock);
      times.done('interrupts');
    } finally {
      devices = takeDevices();
    }
    const own = this.readOwnDevices();
    times.done('devices');
    return machineStateOf(this.image, own, devices);
  }

  /**
   * Loads a state that was checked by itself. The clocks stand at where they were when it was saved, as if the machine had
   * just been stopped.
   *
   * @param fallback what time it is for the machine as it is, if it has run; it stays that if the state is refused
   * @throws VmStateError; the machine is then as it was
   */
  load(state: MachineState, fallback: ClockState | undefined): void {
    const { serial, devices } = state;
    this.loadImage(imageOf(state, this.#shape), { serial, pciAddress: state.pciAddress ?? 0 }, devices, fallback);
  }

  /** As {@link load}, of a state as a checkpoint has it: {@link StateImage.from} has checked the image. Hot path. */
  loadImage(
    image: StateImage,
    { serial, pciAddress }: OwnDevices,
    devices: readonly IoDeviceState[],
    fallback: ClockState | undefined,
  ): void {
    this.#checkShape(image);
    if (this.#io === undefined && devices.length > 0) {
      throw new VmStateError('devices', `are ${devices.length}, and the machine here has none`);
    }
    if (fallback === undefined) this.#requireProcessor(image);
    // The io thread looks at its devices' states while this one reads what to go back to.
    const checkDevices = this.#io?.prepareDevices(devices);
    let before: StateImage | undefined;
    try {
      before = fallback === undefined ? undefined : this.#readBefore(fallback);
    } finally {
      checkDevices?.();
    }
    if (before !== undefined) this.#clockPages.keep(before);
    this.#clockPages.keep(image);
    try {
      this.#loadKvm(image, before === undefined, before);
    } catch (error) {
      if (before !== undefined) this.#loadKvm(before, false, undefined);
      throw error;
    } finally {
      this.#clockPages.restore();
    }
    this.#serial.load(serial);
    this.#pciHost.address = pciAddress;
    this.#io?.loadDevices();
  }

  /** A vCPU that has run is compared bit by bit when it is loaded; one that has not is still to become what the state says. */
  #requireProcessor(image: StateImage): void {
    const supported = this.#kvm.supportedCpuid();
    const [vcpu] = this.#vcpus;
    if (vcpu === undefined) return;
    // A KVM that interprets guests shows them more than it says, and a state has that as well. CPUID is set anew below.
    vcpu.writeCpuid(supported.map((row) => row.$bytes));
    this.#access[0]?.readCpuid(this.image);
    const host = {
      cpuid: [...supported, ...cpuidOf(this.image, 0)],
      tscKhz: vcpu.tscKhz,
      scalesTsc: this.#kvm.check(stateCapability.tscControl) > 0,
      tscDeadline: this.#kvm.check(capability.tscDeadlineTimer) > 0,
    };
    // It was no guest's.
    this.image.setRows(0, 'cpuid', 0);
    const { tscKhz } = image.clock;
    for (let index = 0; index < image.shape.cpus; index++) {
      const mismatch = processorMismatch({ cpuid: cpuidOf(image, index), tscKhz }, host);
      if (mismatch !== undefined) throw new VmStateError('cpuid', mismatch);
    }
  }

  close(): void {
    this.#owner.close();
  }

  #checkShape({ memoryBytes, shape }: StateImage): void {
    if (memoryBytes !== this.#memoryBytes) {
      throw new VmStateError('memoryBytes', `is ${memoryBytes}, and the machine here has ${this.#memoryBytes}`);
    }
    if (shape.cpus !== this.#shape.cpus) {
      throw new VmStateError('vcpus', `are ${shape.cpus}, and the machine here has ${this.#shape.cpus}`);
    }
    if (shape.xsaveBytes !== this.#shape.xsaveBytes) {
      throw new VmStateError('xsave', `has ${shape.xsaveBytes} bytes, and here it takes ${this.#shape.xsaveBytes}`);
    }
  }

  #newImage(): StateImage {
    const image = new StateImage(this.#shape);
    image.memoryBytes = this.#memoryBytes;
    for (const vcpu of this.#access) vcpu.prepare(image);
    return image;
  }

  #readRest(image: StateImage, clock: ClockState): void {
    for (const vcpu of this.#access) vcpu.readInterrupts(image);
    for (const part of vmParts) this.#vm.read(part, image.addressAt(image.vmOffset(part)));
    image.clock = clock;
  }

  #readBefore(clock: ClockState): StateImage {
    this.#before ??= this.#newImage();
    const before = this.#before;
    for (const vcpu of this.#access) {
      vcpu.readRegisters(before);
      vcpu.readCpuid(before);
    }
    this.#readRest(before, clock);
    return before;
  }

  /** The VM before its vCPUs, and the clocks after all else (see MachineClocks). */
  #loadKvm(next: StateImage, isNew: boolean, before: StateImage | undefined): void {
    for (const part of vmParts) {
      if (before === undefined || !next.vmPartEquals(part, before)) {
        this.#vm.write(part, next.addressAt(next.vmOffset(part)));
      }
    }
    const { clock } = next;
    this.#clocks.matchFrequency(clock);
    for (const vcpu of this.#access) vcpu.load(next, isNew, before);
    this.#clocks.set(clock, 0n, next.deadlines);
    // Which MSRs there are depends on CPUID, which comes with the state of a machine that has not run.
    if (isNew) for (const vcpu of this.#access) vcpu.prepare(this.image);
  }
}

/** The PIT first, for it can raise a pin of the interrupt controllers. */
const vmParts: readonly VmPart[] = ['pit', 'picMaster', 'picSlave', 'ioapic'];
