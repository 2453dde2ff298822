import { writeAcpi } from '../../../firmware/acpi/machine-tables.ts';
import { bootRegisters } from '../../../firmware/boot-registers.ts';
import { loadKernel } from '../../../firmware/load-kernel.ts';
import { writeResetVector } from '../../../firmware/reset-vector.ts';
import type { Serial } from '../../devices/serial.ts';
import { Doorbell, DoorbellButton } from '../../host/doorbell.ts';
import { EventFd } from '../../host/eventfd.ts';
import { installKickHandler } from '../../host/kick.ts';
import { capability } from '../../host/kvm/abi.ts';
import { type CpuidEntry, KvmDevice } from '../../host/kvm/kvm-device.ts';
import { InterruptLine, type Vm } from '../../host/kvm/vm.ts';
import { Owner } from '../../host/ownership.ts';
import { DirtyTracker } from '../../memory/dirty-tracker.ts';
import { identityMapAddress, kvmTssAddress } from '../../memory/layout.ts';
import { Ram, type RamBacking } from '../../memory/ram.ts';
import type { IoReport } from '../io/io-report.ts';
import { IoThread } from '../io/io-thread.ts';
import type { SharedIoControl } from '../platform/io-control.ts';
import { newPlatform, pciHost, platformMap, type SharedPlatform, serialPort } from '../platform/platform.ts';
import type { ControlledThread } from '../thread/controlled-thread.ts';
import { ThreadControl } from '../thread/thread-control.ts';
import { guestCpuid } from '../vcpu/cpuid.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';
import { type ExitCounts, exitKinds } from '../vcpu/vcpu-control.ts';
import { VcpuThread } from '../vcpu/vcpu-thread.ts';
import { ClockCatchUp } from '../vmstate/clock-catch-up.ts';
import { type ClockMode, type ClockState, elapsedSince } from '../vmstate/clock-state.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import { PauseTimes } from '../vmstate/pause-times.ts';
import { StateAccess, type StateAccessParts } from '../vmstate/state-access.ts';
import { type DevicesConfig, MachineDevices, noDevices } from './machine-devices.ts';
import { MachineEvents } from './machine-events.ts';
import type { MachineFacts, MonitoredMachine } from './monitored-machine.ts';
import { type RunState, RunStateError, RunStateMachine } from './run-state.ts';

/** A file's bytes, with the name that messages use. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A vCPU that does not stand still within this time is not looked at now, to set its clocks. */
const catchUpPatienceMs = 200;

/** The shape of a machine. */
export interface MachineShape {
  readonly cpus: number;
  /** Guest RAM, a multiple of the page size. */
  readonly memoryBytes: number;
  /** What it is made of; default private. */
  readonly backing?: RamBacking;
  /** RAM that has its contents already, of that size; the machine's from now on. */
  readonly ram?: Ram;
  /** CPU features to hide, by name. */
  readonly cpuMask: readonly string[];
  /** Disks, network cards, entropy; default none. */
  readonly devices?: DevicesConfig;
}

/** What a machine boots. Needed only while it starts. */
export interface BootImages {
  readonly kernel: NamedBytes;
  readonly initrd?: NamedBytes;
  readonly commandLine: string;
  /** Move the kernel to a random virtual address; default no. */
  readonly kaslr?: boolean;
}

/**
 * A virtual machine: KVM objects, RAM, devices and vCPU threads, and the run state that binds them.
 *
 * Made, started, ended once, closed. `ended` resolves exactly once, whoever ends it: the guest, a caller of
 * {@link stop}, or a failure of ours. Everything is given back by {@link close}.
 */
export class Machine implements MonitoredMachine {
  readonly shape: MachineShape;
  /** The serial port, host side. */
  readonly serial: Serial;
  /** Rings when the serial port's host side has something to do. */
  readonly serialBell: Doorbell;
  readonly ended: Promise<GuestEnd>;
  readonly events = new MachineEvents();
  /** Called whenever all has come to stand still, before anything is made of that. */
  onStill: () => void = () => {};
  readonly ram: Ram;
  /** How long time stood still for the guest, last: from when its clocks were read until they were set, in ms. */
  heldMs = 0;
  /** Where the time of the last pause went. */
  readonly pauseTimes = new PauseTimes();
  readonly #owner = new Owner();
  readonly #kvm: KvmDevice;
  readonly #vm: Vm;
  readonly #platform: SharedPlatform;
  readonly #powerButton: InterruptLine;
  readonly #threads: VcpuThread[] = [];
  readonly #runState = new RunStateMachine();
  readonly #devices: MachineDevices;
  readonly #notice: (text: string) => void;
  readonly #catchUp = new ClockCatchUp(() => this.#advanceClocks());
  readonly #accessParts: StateAccessParts;
  #madeAccess: StateAccess | undefined;
  #io: IoThread | undefined;
  /** What time it was for the guest when it was paused, when that was, and whether its clocks show by now what time it is. */
  #clocks: { readonly state: ClockState; readonly readAt: number; readonly running: boolean } | undefined;
  #resolveEnded: (end: GuestEnd) => void = () => {};

  /**
   * Opens everything and starts the vCPU threads, parked.
   *
   * @param program the file whose top runs the machine's threads when it is loaded in a worker
   * @param notice takes a line for the operator: a device that its driver broke, a disk that failed
   * @throws KvmUnavailableError, DiskError, TapError, SystemError
   */
  constructor(shape: MachineShape, program: URL, notice: (text: string) => void = () => {}) {
    this.shape = shape;
    this.#notice = notice;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    try {
      this.#kvm = this.#owner.own(new KvmDevice());
      this.#vm = this.#owner.own(this.#kvm.createVm());
      this.ram = this.#owner.own(shape.ram ?? new Ram(shape.memoryBytes, shape.backing));
      // For DirtyTracker: what is dirty is write-protected again when we say so, and not as it is read.
      if (this.#vm.check(capability.manualDirtyLogProtect2) > 0) {
        this.#vm.enableCapability(capability.manualDirtyLogProtect2, 1n);
      }
      this.#vm.reserveForKvm(identityMapAddress, kvmTssAddress);
      this.#vm.createIrqchip();
      this.#vm.createPit();
      for (const slot of this.ram.slots) this.#vm.setMemory(slot);
      this.#devices = this.#owner.own(new MachineDevices(this.#vm, shape.devices ?? noDevices));
      const ioControl = new ThreadControl();
      const io: SharedIoControl = { control: ioControl.storage, wake: this.#owner.own(new EventFd()).fd };
      this.serialBell = this.#owner.own(new Doorbell());
      this.#platform = newPlatform({
        vm: this.#vm.fd,
        serialBell: this.serialBell.button,
        io,
        virtio: this.#devices.virtio,
      });
      this.serial = serialPort(this.#platform);
      this.#powerButton = new InterruptLine(this.#vm.fd, platformMap.powerButton.gsi);
      installKickHandler();
      if (this.#devices.orders.length > 0) {
        this.#io = new IoThread(
          program,
          io,
          { ram: this.ram.shared, devices: this.#devices.orders, control: ioControl },
          {
            reported: (report) => this.#hear(report),
            failed: (error) => this.#end({ kind: 'vmm-failure', what: `the io thread: ${error.message}` }),
          },
        );
      }
      const handles = Array.from({ length: shape.cpus }, (_, index) => this.#vm.createVcpu(index));
      for (const handle of handles) {
        this.#threads.push(
          new VcpuThread(program, handle, this.#platform, {
            ended: (end) => this.#end(end),
            failed: (index, error) => this.#end({ kind: 'vmm-failure', what: `vcpu ${index}: ${error.message}` }),
          }),
        );
      }
      this.#accessParts = {
        kvm: this.#kvm,
        vm: this.#vm,
        vcpus: handles,
        serial: this.serial,
        pciHost: pciHost(this.#platform),
        io: this.#io,
        memoryBytes: shape.memoryBytes,
      };
    } catch (error) {
      for (const thread of this.#allThreads) thread.requestEnd();
      this.#owner.close();
      throw error;
    }
  }

  /** Loads the images and starts the guest. @throws KernelImageError */
  boot(images: BootImages): void {
    const rsdp = writeAcpi(this.ram.memory, {
      cpus: this.shape.cpus,
      serialPorts: [platformMap.serial],
      powerPort: platformMap.power.port,
      powerButton: platformMap.powerButton,
      virtioMmio: this.#devices.acpi,
    });
    writeResetVector(this.ram.memory, platformMap.power.port);
    // Not imported: loading it takes longer than all else here, and few machines need it.
    const kaslr = images.kaslr === true ? process.getBuiltinModule('node:crypto').randomInt : undefined;
    const entry = loadKernel(this.ram.memory, { ...images, rsdp, kaslr });
    const supported = this.#kvm.supportedCpuid();
    const tscDeadline = this.#vm.check(capability.tscDeadlineTimer) > 0;
    for (const thread of this.#threads) {
      const cpuid: CpuidEntry[] = guestCpuid(supported, thread.index, {
        cpus: this.shape.cpus,
        tscDeadline,
        mask: this.shape.cpuMask,
      });
      thread.prepare(cpuid, thread.index === 0 ? bootRegisters(entry) : undefined);
    }
    this.#runState.moveTo('running');
    for (const thread of this.#allThreads) thread.resume();
  }

  /**
   * Reads the state of the machine, which is paused, but for its RAM.
   *
   * @throws RunStateError if it is not paused
   */
  save(): MachineState {
    const clocks = this.#stoppedClocks();
    return this.#access.save(clocks, this.pauseTimes);
  }

  /**
   * Loads a state into the machine, which is paused or has never run; it is paused afterwards. RAM is the caller's.
   *
   * @throws VmStateError, and the machine is as it was; RunStateError
   */
  load(state: MachineState): void {
    const isNew = this.state === 'created';
    const clocks = isNew ? undefined : this.#stoppedClocks();
    this.#access.load(state, clocks);
    this.#clocks = { state: state.clock, readAt: this.#clocks?.readAt ?? performance.now(), running: false };
    if (!isNew) return;
    this.#runState.moveTo('paused');
  }

  /** Starts keeping track of pages that change. One at a time; the caller closes it before the machine. */
  trackDirtyPages(): DirtyTracker {
    return new DirtyTracker(this.#vm, this.ram);
  }

  get state(): RunState {
    return this.#runState.state;
  }

  get clockBehindMs(): number {
    return Number(this.#catchUp.behindNs / 1_000_000n);
  }

  /**
   * Stops all vCPUs, then the devices; on return nothing changes guest state.
   *
   * In this order, for a vCPU may be waiting for the io thread to carry out what it wrote into a register.
   *
   * @throws RunStateError if it does not run
   */
  pause(): void {
    this.#standStill();
    this.events.tell({ kind: 'paused' });
  }

  /**
   * Lets all go on.
   *
   * @param mode what becomes of the time in between, for the guest
   * @throws RunStateError if it is not paused
   */
  resume(mode: ClockMode = 'keep'): void {
    this.#goOn(mode);
    this.events.tell({ kind: 'resumed' });
  }

  /**
   * Has `body` find the machine standing still, and lets it go on afterwards if it ran before. For what takes so little
   * time that nobody is told, and that the guest's clocks need not be held.
   *
   * @throws whatever `body` throws; RunStateError if the machine neither runs nor is paused
   */
  whileStill<T>(body: () => T): T {
    if (this.state === 'paused') return body();
    this.#standStill();
    try {
      return body();
    } finally {
      this.#goOn();
    }
  }

  /** Asks the guest to shut down, as a person at the machine would. */
  pressPowerButton(): void {
    if (this.state !== 'running' && this.state !== 'paused') return;
    this.#powerButton.pulse();
    this.events.tell({ kind: 'power-button' });
  }

  /** Ends the machine as the guest's own request for a reboot does. No effect once it has ended. */
  reset(by: string): void {
    this.#end({ kind: 'reset', by });
  }

  /** Ends the machine from outside. No effect once it has ended. */
  stop(by: string, exitCode: number): void {
    this.#end({ kind: 'stopped', by, exitCode });
  }

  get facts(): MachineFacts {
    return {
      memoryBytes: this.shape.memoryBytes,
      cpuThreads: this.#threads.map((thread) => thread.tid),
      disks: this.#devices.disks,
      cards: this.#devices.cards,
    };
  }

  /** Exits of all vCPUs so far, by kind. */
  get exits(): ExitCounts {
    const counts = this.#threads.map((thread) => thread.exits);
    return Object.fromEntries(
      exitKinds.map((kind) => [kind, counts.reduce((sum, exits) => sum + exits[kind], 0)]),
    ) as ExitCounts;
  }

  /** Ends the machine if need be, waits for its threads, gives everything back. */
  async close(): Promise<void> {
    this.stop('its owner', 0);
    const gone = await Promise.all(this.#allThreads.map((thread) => thread.joined()));
    // A thread that still runs uses the memory: leaving it mapped is all that can be done.
    if (!gone.every(Boolean)) throw new Error('a thread of the machine did not end');
    this.#owner.close();
  }

  #end(end: GuestEnd): void {
    if (this.state === 'ended') return;
    this.#runState.moveTo('ended');
    this.#catchUp.stop();
    for (const thread of this.#allThreads) thread.requestEnd();
    this.#resolveEnded(end);
    this.events.tell({ kind: 'ended', end });
  }

  #standStill(): void {
    if (this.state !== 'running') throw new RunStateError(this.state, 'paused');
    // Made before anything is stopped, in case that fails.
    const access = this.#access;
    this.#runState.moveTo('paused');
    this.pauseTimes.restart();
    try {
      for (const thread of this.#threads) thread.requestPark();
      for (const thread of this.#threads) thread.waitUntilParked();
      this.pauseTimes.done('vcpus');
      this.#io?.requestPark();
      this.#io?.waitUntilParked();
      this.pauseTimes.done('io');
      const clocks = access.readClocks();
      // Who goes on from this state is behind as well.
      const realtimeNs = clocks.realtimeNs - this.#catchUp.behindNs;
      this.#clocks = { state: { ...clocks, realtimeNs }, readAt: performance.now(), running: true };
      this.pauseTimes.done('clocks');
      this.onStill();
    } catch (error) {
      this.#goOn();
      throw error;
    }
  }

  /** @param mode absent: so little time has passed that the clocks are left alone, if they run */
  #goOn(mode?: ClockMode): void {
    const clocks = this.#clocks;
    this.pauseTimes.begin();
    this.#runState.moveTo('running');
    this.#clocks = undefined;
    if (clocks !== undefined && !(clocks.running && mode === undefined)) {
      const access = this.#access;
      if (mode === 'jump') this.#catchUp.start(elapsedSince(clocks.state));
      access.setClocks(clocks.state, this.#catchUp.next(access));
      this.heldMs = performance.now() - clocks.readAt;
    } else this.#access.noteStopped();
    // Before a thread wakes that takes this one's processor: the guest may then run long before this goes on.
    this.pauseTimes.done('goOn');
    for (const thread of this.#threads) thread.resume();
    this.#io?.resume();
    // The host side of the serial port stood still as well.
    new DoorbellButton(this.serialBell.button).ring();
  }

  /** Has clocks that are behind go on, if it is time. Only the vCPUs stand still for it. */
  #advanceClocks(): void {
    // It is taken up again when the machine goes on.
    if (this.state !== 'running') return;
    try {
      for (const thread of this.#threads) thread.requestPark();
      // Not for as long as a pause would wait: this is in no hurry, and the monitor is on this thread too.
      if (!this.#threads.every((thread) => thread.parksWithin(catchUpPatienceMs))) {
        this.#catchUp.later();
        return;
      }
      const stepNs = this.#catchUp.next(this.#access);
      if (stepNs > 0n) this.#access.advanceClocks(stepNs);
    } catch (error) {
      this.#notice(`the guest's clock stays ${this.clockBehindMs} ms behind: ${(error as Error).message}`);
    } finally {
      for (const thread of this.#threads) thread.resume();
    }
  }

  /** Made when it is first needed, for many machines are never stopped and it takes part of their start. */
  get #access(): StateAccess {
    this.#madeAccess ??= this.#owner.own(new StateAccess(this.#accessParts));
    return this.#madeAccess;
  }

  #stoppedClocks(): ClockState {
    if (this.state !== 'paused' || this.#clocks === undefined) throw new RunStateError(this.state, 'paused');
    return this.#clocks.state;
  }

  /** The io thread first: a vCPU may wait for it. */
  get #allThreads(): ControlledThread<never>[] {
    return [...(this.#io === undefined ? [] : [this.#io]), ...this.#threads];
  }

  #hear(report: IoReport): void {
    if (report.kind !== 'notice') this.events.tell({ kind: 'disk-failure', failure: report.failure });
    if (report.kind !== 'disk-failure') this.#notice(report.text);
    if (report.kind !== 'stop' || this.state !== 'running') return;
    try {
      this.pause();
    } catch (error) {
      this.#notice(`the machine cannot be stopped and goes on: ${error instanceof Error ? error.message : error}`);
    }
  }
}
