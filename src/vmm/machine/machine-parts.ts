import type { Serial } from '../../devices/serial.ts';
import { EventFd } from '../../host/events/eventfd.ts';
import { capability } from '../../host/kvm/abi.ts';
import { KvmDevice } from '../../host/kvm/kvm-device.ts';
import { InterruptLine, type VcpuHandle, type Vm } from '../../host/kvm/vm.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { Doorbell } from '../../host/threads/doorbell.ts';
import { installKickHandler } from '../../host/threads/kick.ts';
import { DirtyCollector } from '../../memory/dirty-collector.ts';
import type { GuestRam } from '../../memory/guest-ram.ts';
import { identityMapAddress, kvmTssAddress } from '../../memory/layout.ts';
import { type PageCopier, SharedPageCopy } from '../../memory/page-copy.ts';
import { Ram } from '../../memory/ram.ts';
import { helpedCopier } from '../checkpoint/helped-copier.ts';
import type { IoReport } from '../io/io-report.ts';
import { IoThread } from '../io/io-thread.ts';
import { IoControl, type SharedIoControl } from '../platform/io-control.ts';
import { newPlatform, pciHost, platformMap, type SharedPlatform, serialPort } from '../platform/platform.ts';
import type { ControlledThread } from '../thread/controlled-thread.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';
import { keepsTsc } from '../vcpu/vcpu-setup.ts';
import { VcpuThread } from '../vcpu/vcpu-thread.ts';
import { StateAccess } from '../vmstate/state-access.ts';
import { MachineDevices, noDevices } from './machine-devices.ts';
import type { MachineShape } from './machine-shape.ts';

/** What a machine hears of its threads. */
export interface PartsListener {
  /** The guest's doing; the vCPU that it was done on is held until it is released. */
  guestReported(report: GuestEnd, vcpu: VcpuThread): void;
  /** A thread failed. */
  failed(what: string): void;
  /** A device has something to tell. */
  reported(report: IoReport): void;
}

/** What a machine is made of: KVM objects, RAM, devices, threads. Opened together, and closed together. */
export class MachineParts implements Closable {
  readonly kvm: KvmDevice;
  readonly vm: Vm;
  readonly ram: GuestRam;
  readonly dirtyPages: DirtyCollector;
  readonly devices: MachineDevices;
  /** The serial port, host side. */
  readonly serial: Serial;
  /** Rings when the serial port's host side has something to do. */
  readonly serialBell: Doorbell;
  readonly powerButton: InterruptLine;
  /** Tells the guest that its generation id has changed. */
  readonly generationChange: InterruptLine;
  readonly vcpus: readonly VcpuThread[];
  /** Copies pages while all vCPUs are parked, until they are resumed. */
  readonly pageCopier: PageCopier;
  /** Absent in a machine without virtio devices. */
  readonly io: IoThread | undefined;
  /** How other threads reach it. */
  readonly ioReach: SharedIoControl;
  readonly handles: readonly VcpuHandle[];
  readonly #platform: SharedPlatform;
  readonly #owner = new Owner();
  /** Places where RAM was, to which something may still be in flight. */
  readonly #oldRam: Closable[] = [];
  #moves = 0;
  #access: StateAccess | undefined;
  #listener: PartsListener | undefined;

  /**
   * Opens everything and starts the threads, parked.
   *
   * @param program the file whose top runs the machine's threads when it is loaded in a worker
   * @throws KvmUnavailableError, DiskError, TapError, SystemError
   */
  constructor(shape: MachineShape, program: URL, listener: PartsListener) {
    const vcpus: VcpuThread[] = [];
    this.vcpus = vcpus;
    this.#listener = listener;
    try {
      this.kvm = this.#owner.own(new KvmDevice());
      this.vm = this.#owner.own(this.kvm.createVm());
      this.ram = this.#owner.own(shape.ram ?? new Ram(shape.memoryBytes, shape.backing));
      // For DirtyCollector: what is dirty is write-protected again when we say so, and not as it is read.
      if (this.vm.check(capability.manualDirtyLogProtect2) > 0) {
        this.vm.enableCapability(capability.manualDirtyLogProtect2, 1n);
      }
      this.vm.reserveForKvm(identityMapAddress, kvmTssAddress);
      this.vm.createIrqchip();
      this.vm.createPit();
      for (const slot of this.ram.slots) this.vm.setMemory(slot);
      this.dirtyPages = new DirtyCollector(this.vm, this.ram);
      this.devices = this.#owner.own(new MachineDevices(this.vm, shape.devices ?? noDevices));
      const ioControl = new IoControl();
      const io: SharedIoControl = { control: ioControl.storage, wake: this.#owner.own(new EventFd()).fd };
      this.ioReach = io;
      this.serialBell = this.#owner.own(new Doorbell());
      this.#platform = newPlatform({
        vm: this.vm.fd,
        serialBell: this.serialBell.button,
        io,
        virtio: this.devices.virtio,
      });
      this.serial = serialPort(this.#platform);
      this.powerButton = new InterruptLine(this.vm.fd, platformMap.powerButton.gsi);
      this.generationChange = new InterruptLine(this.vm.fd, platformMap.generationId.gsi);
      installKickHandler();
      if (this.devices.orders.length > 0) {
        this.io = new IoThread(
          program,
          io,
          { ram: this.ram.shared, devices: this.devices.orders, control: ioControl },
          {
            reported: (report) => this.#listener?.reported(report),
            failed: (error) => this.#listener?.failed(`the io thread: ${error.message}`),
          },
        );
      }
      const pageCopy = new SharedPageCopy();
      this.handles = Array.from({ length: shape.cpus }, (_, index) => this.vm.createVcpu(index));
      for (const handle of this.handles) {
        vcpus.push(
          new VcpuThread(program, handle, this.#platform, pageCopy, {
            ended: (report, vcpu) => this.#listener?.guestReported(report, vcpu),
            failed: (index, error) => this.#listener?.failed(`vcpu ${index}: ${error.message}`),
          }),
        );
      }
      this.pageCopier = helpedCopier(pageCopy, vcpus[0]);
    } catch (error) {
      // Threads that have begun already may still tell something.
      this.#listener = undefined;
      this.requestEnd();
      this.#owner.close();
      throw error;
    }
  }

  /** Its whole state. Made when it is first needed: many machines are never paused, and it takes part of their start. */
  get access(): StateAccess {
    this.#access ??= this.#owner.own(
      new StateAccess({
        kvm: this.kvm,
        vm: this.vm,
        vcpus: this.handles,
        serial: this.serial,
        pciHost: pciHost(this.#platform),
        io: this.io,
        memory: this.ram.memory,
      }),
    );
    return this.#access;
  }

  /** Whether the guest's TSC can be held and set; asked before it runs. */
  keepsTsc(): boolean {
    return this.handles[0] !== undefined && keepsTsc(this.handles[0]);
  }

  /** RAM is zeros again, which take no memory. All threads are parked, and nothing is in flight. */
  zeroRam(): void {
    this.ram.clear();
  }

  /**
   * Gives RAM, and whoever knows where it is, zeros in another place. The old one stays, with its contents, until
   * {@link freeOldRam}: system calls of disks are still at it.
   */
  moveRam(): void {
    const { vm, ram } = this;
    const { slots } = ram;
    const old = ram.move();
    this.#oldRam.push(old);
    for (const slot of slots) vm.setMemory({ ...slot, sizeBytes: 0 });
    for (const slot of ram.slots) vm.setMemory(slot, ram.memory.tracking);
    this.io?.moveMemory(ram.shared, ++this.#moves);
  }

  /** Nothing is at RAM any more where it was before its `move`th move. */
  freeOldRam(move: number): void {
    // A later one has been moved away meanwhile: that move's own report is on its way.
    if (move !== this.#moves) return;
    for (const old of this.#oldRam.splice(0)) old.close();
  }

  /** Lets all threads run for the first time. The io thread first: a vCPU may wait for it. */
  start(): void {
    for (const thread of this.#threads) thread.resume();
  }

  /** Asks all threads to end. */
  requestEnd(): void {
    for (const thread of this.#threads) thread.requestEnd();
  }

  /** Waits for the threads, which were asked to end. False: one did not, and nothing that it uses may be closed. */
  async joined(): Promise<boolean> {
    const gone = await Promise.all(this.#threads.map((thread) => thread.joined()));
    return gone.every(Boolean);
  }

  /** After all threads are gone. */
  close(): void {
    this.#owner.close();
  }

  get #threads(): ControlledThread<never>[] {
    return [...(this.io === undefined ? [] : [this.io]), ...this.vcpus];
  }
}
