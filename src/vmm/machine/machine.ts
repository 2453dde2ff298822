import type { Serial } from '../../devices/serial.ts';
import { cpuidOf } from '../../host/kvm/cpuid-rows.ts';
import type { Doorbell } from '../../host/threads/doorbell.ts';
import type { DirtyTracker } from '../../memory/dirty-collector.ts';
import type { GuestRam } from '../../memory/guest-ram.ts';
import { capture } from '../checkpoint/capture.ts';
import { type Checkpoint, CheckpointArea, type CheckpointState } from '../checkpoint/checkpoint.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';
import type { GuestProcessor } from '../vcpu/processor-match.ts';
import { type ExitCounts, exitKinds } from '../vcpu/vcpu-control.ts';
import type { ClockMode } from '../vmstate/clock-state.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import type { PauseTimes } from '../vmstate/pause-times.ts';
import { Announcement } from './announcement.ts';
import { loadImages, prepareVcpus, writeGenerationId } from './boot.ts';
import { EndKeeper } from './end-keeper.ts';
import { MachineEvents } from './machine-events.ts';
import { MachineParts } from './machine-parts.ts';
import type { BootImages, BootSource, MachineShape } from './machine-shape.ts';
import type { MachineFacts, MonitoredMachine } from './monitored-machine.ts';
import { Replication } from './replication.ts';
import { ReportDesk } from './report-desk.ts';
import { Resets } from './resets/resets.ts';
import { RunControl } from './run-control.ts';
import { type RunState, RunStateError } from './run-state.ts';

/**
 * A virtual machine, from when it is made until it is closed: its parts (MachineParts), and who stops them (RunControl).
 *
 * Made, started, ended once, closed. `ended` resolves exactly once, whoever ends it: the guest, a caller of
 * {@link stop}, or a failure of ours. Everything is given back by {@link close}.
 */
export class Machine implements MonitoredMachine {
  readonly shape: MachineShape;
  readonly ended: Promise<GuestEnd>;
  readonly events = new MachineEvents();
  /** What fault tolerance has of its devices. */
  readonly replication: Replication;
  readonly #parts: MachineParts;
  readonly #control: RunControl;
  readonly #notice: (text: string) => void;
  readonly #announcement: Announcement;
  /** It is a copy of another machine, and its guest does not know yet. */
  #isNewCopy = false;
  readonly #resets: Resets;
  readonly #reports: ReportDesk;
  readonly #endKeeper = new EndKeeper(() => this.hold());
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
    this.#parts = new MachineParts(shape, program, {
      guestReported: (report, vcpu) => this.#reports.hearGuest(report, vcpu),
      failed: (what) => this.#end({ kind: 'vmm-failure', what }),
      reported: (report) => this.#reports.hearIo(report),
    });
    this.#control = new RunControl(this.#parts, notice);
    this.#resets = new Resets(this.#parts, this.#control, {
      begunAnew: (reset) => {
        this.#isNewCopy = false;
        this.events.tell(reset);
      },
      ended: (reset) => this.#end(reset),
      notice,
    });
    this.#reports = new ReportDesk(this.#parts, this.#resets, {
      onPanic: shape.onPanic ?? 'exit',
      events: this.events,
      state: () => this.state,
      pause: () => this.#pauseOnly(),
      end: (end) => this.#end(end),
      notice,
    });
    this.#announcement = new Announcement(() => this.#parts.devices.sendRarp());
    this.replication = new Replication(this.#parts, this.#control, this.#endKeeper, this.#announcement);
  }

  get ram(): GuestRam {
    return this.#parts.ram;
  }

  /** The serial port, host side. */
  get serial(): Serial {
    return this.#parts.serial;
  }

  /** Rings when the serial port's host side has something to do. */
  get serialBell(): Doorbell {
    return this.#parts.serialBell;
  }

  get state(): RunState {
    return this.#control.state;
  }

  get clockBehindMs(): number {
    return this.#control.clockBehindMs;
  }

  get timesResumed(): number {
    return this.#control.timesResumed;
  }

  get heldMs(): number {
    return this.#control.heldMs;
  }

  /** Where the time of the last pause went. */
  get pauseTimes(): PauseTimes {
    return this.#control.times;
  }

  /** Called whenever the machine has been stopped, before anything is made of that. */
  set onPaused(listener: () => void) {
    this.#control.onPaused = listener;
  }

  /** Loads the images and starts the guest. @throws KernelImageError */
  boot(images: BootImages): void {
    for (const warning of this.#parts.devices.warnings) this.#notice(warning);
    prepareVcpus(this.#parts, this.shape, loadImages(this.#parts, images));
    this.#control.start();
  }

  /** Has a reset begin the guest anew from these images, in place of ending the machine. The machine's from now on. */
  rebootsFrom(source: BootSource): void {
    this.#resets.source = source;
  }

  /** What a reset begins the guest anew from; undefined: it ends the machine. */
  get bootSource(): BootSource | undefined {
    return this.#resets.source;
  }

  /**
   * Reads the state of the machine, which is paused, but for its RAM.
   *
   * @throws RunStateError if it is not paused
   */
  save(): MachineState {
    const clocks = this.#control.stoppedClocks;
    return this.#parts.access.save(clocks, this.pauseTimes);
  }

  /**
   * Loads a state into the machine, which is paused or has never run; it is paused afterwards. RAM is the caller's, and
   * stays as it is.
   *
   * @throws VmStateError, and the machine is as it was; RunStateError
   */
  load(state: MachineState): void {
    this.#parts.access.load(state, this.#control.clocksBeforeLoad);
    this.#control.loaded(state.clock);
  }

  /**
   * A place for checkpoints of this machine, which the caller closes before the machine.
   *
   * @param expectedPages pages that change from one to the next
   */
  checkpointArea(expectedPages: number): CheckpointArea {
    return new CheckpointArea(this.ram.memory, this.trackDirtyPages(), expectedPages);
  }

  /**
   * Takes a checkpoint: stops the machine if it runs, copies aside what changed in RAM since the last one, reads its state,
   * and resumes it. All of it before this returns. What it returns lies in `area` and in the machine, until the next one.
   *
   * @param closeEpoch called last, while nothing of the guest runs: what the guest does from then on is in no part of this
   * @throws RunStateError if the machine neither runs nor is stopped
   */
  capture(area: CheckpointArea, closeEpoch: () => void = () => {}): Checkpoint {
    return capture(this.#parts, this.#control, area, closeEpoch);
  }

  /**
   * Loads a checkpoint, which was checked as if a stranger wrote it (StateImage.from, checkIoDeviceStates), into the machine,
   * which is stopped or has never run: its state, then its pages, unless RAM has them already.
   *
   * @throws VmStateError, and the machine is as it was; RunStateError
   */
  apply({ pages, image, own, devices }: CheckpointState & Partial<Checkpoint>): void {
    this.#parts.access.loadImage(image, own, devices, this.#control.clocksBeforeLoad);
    if (pages !== undefined) this.ram.load(pages);
    this.#control.loaded(image.clock);
  }

  /** Stops the machine if it runs. Nobody resumes it but {@link release}. @throws RunStateError */
  hold(): void {
    this.#control.hold();
  }

  /**
   * Lets a machine that was held run.
   *
   * @param mode what becomes of the time in between, for the guest
   * @param passedNs with `keep`: so much of it has passed for the guest all the same, in nanoseconds
   * @throws RunStateError if it is not held, or has nothing to run yet
   */
  release(mode: ClockMode = 'keep', passedNs = 0n): void {
    if (this.state !== 'colo' || this.#control.clocksBeforeLoad === undefined) {
      throw new RunStateError(this.state, 'running');
    }
    this.#control.resume(mode, passedNs);
    this.events.tell({ kind: 'resumed' });
  }

  /** Starts keeping track of pages that change, for the caller alone, who closes it before the machine. */
  trackDirtyPages(): DirtyTracker {
    return this.#parts.dirtyPages.track();
  }

  /**
   * Stops the machine: on return nothing changes guest state, nor the files of its disks, which hold all that the guest was
   * told is written.
   *
   * @throws RunStateError if it does not run; DiskError as {@link settleDisks}, and it is paused all the same
   */
  pause(): void {
    this.#pauseOnly();
    this.settleDisks();
  }

  /**
   * Finishes what is in flight of its disks and flushes them, if it is paused: what a user who pauses it counts on. Takes as
   * long as the disks do; {@link whilePaused} does without.
   *
   * @throws DiskError that names the disk; the machine stays paused
   */
  settleDisks(): void {
    this.#control.settleDisks();
  }

  /**
   * Lets all go on.
   *
   * @param mode what becomes of the time in between, for the guest
   * @param last is given what wakes the guest, to call it soon: a vCPU that wakes may take the caller's processor
   * @throws RunStateError if it is not paused
   */
  resume(mode: ClockMode = 'keep', last?: (wake: () => void) => void): void {
    if (this.state === 'colo') throw new RunStateError('colo', 'running');
    if (this.#isNewCopy) this.#tellOfNewCopy();
    this.#control.resume(mode, 0n, last);
    this.events.tell({ kind: 'resumed' });
    this.#resets.resumed();
  }

  /**
   * Has the guest learn, when it resumes, that it is a copy of the machine that was saved: it then makes its random numbers
   * anew, which the other one has as well, and the network is told that its addresses are here.
   *
   * @throws RunStateError if it is not paused
   */
  becomeNewCopy(): void {
    if (this.state !== 'paused') throw new RunStateError(this.state, 'paused');
    writeGenerationId(this.ram.memory);
    this.#isNewCopy = true;
  }

  /** As {@link tellNetwork}; the machine is paused. The guest does so itself when it runs. */
  announce(): void {
    this.#parts.io?.announceCards();
    this.tellNetwork();
  }

  /** Tells the network that the guest's addresses are here, at any time. A machine that has ended says nothing. */
  tellNetwork(): void {
    if (this.state !== 'ended') this.#announcement.start();
  }

  /**
   * Has `body` find the machine paused, and resumes it afterwards if it ran before. For what takes so little
   * time that nobody is told, and that the guest's clocks need not be held. It waits for no disk: writes that are on their
   * way then go on meanwhile, and are saved as not done.
   *
   * @throws whatever `body` throws; RunStateError if the machine neither runs nor is paused
   */
  whilePaused<T>(body: () => T): T {
    return this.#control.whilePaused(body);
  }

  /** Asks the guest to shut down, as a person at the machine would. */
  pressPowerButton(): void {
    if (this.state !== 'running' && this.state !== 'paused') return;
    this.#parts.powerButton.pulse();
    this.events.tell({ kind: 'power-button' });
  }

  /**
   * Does what the guest's own request for a reset does: the guest begins anew, and the machine runs or is paused as before.
   * Without images to boot it ends. No effect once it has ended, or while it is in the hands of fault tolerance.
   */
  reset(by: string): void {
    if (this.state !== 'colo') this.#resets.reset(by);
  }

  /** Ends the machine from outside. No effect once it has ended. @param vmmOnly the guest may go on on a standby */
  stop(by: string, exitCode: number, vmmOnly = false): void {
    this.#end({ kind: 'stopped', by, exitCode, ...(vmmOnly ? { vmmOnly } : {}) });
  }

  /**
   * Has `keeper` told when the guest ends, in place of the machine: that is held then, as its guest left it, until
   * {@link finishEnd}. A standby is to have the last of it, and what the guest said last is to leave (spec B.13). What ends this
   * VMM and not the guest, a signal, a hang-up or a failure of ours, ends the machine at once. Undefined: nobody is told any more.
   */
  keepEnd(keeper: ((end: GuestEnd) => void) | undefined): void {
    this.#endKeeper.keeper = keeper;
  }

  /** The guest, whose end was kept, only reset, and there is something to begin anew from by now. */
  get keepsReset(): boolean {
    return this.#endKeeper.kept !== undefined && this.#resets.isReset(this.#endKeeper.kept);
  }

  /** Such a guest begins anew; the machine stays held. */
  resetKept(): void {
    if (!this.keepsReset) return;
    this.#endKeeper.forget();
    this.#resets.reset(undefined);
  }

  /** Ends a machine whose end was kept. */
  finishEnd(): void {
    const end = this.#endKeeper.take();
    if (end !== undefined) this.#end(end);
  }

  /**
   * The processor that the guest was told it has, and bytes of its extended registers. Stops the machine for a moment.
   *
   * @throws RunStateError if it neither runs nor is paused
   */
  get processor(): GuestProcessor & { readonly xsaveBytes: number } {
    const { handles, access } = this.#parts;
    return this.whilePaused(() => ({
      cpuid: handles[0] === undefined ? [] : cpuidOf(handles[0]),
      tscKhz: this.#control.stoppedClocks.tscKhz,
      xsaveBytes: access.image.shape.xsaveBytes,
    }));
  }

  get facts(): MachineFacts {
    const { vcpus, devices } = this.#parts;
    return {
      memoryBytes: this.shape.memoryBytes,
      cpuThreads: vcpus.map((vcpu) => vcpu.tid),
      disks: devices.disks,
      cards: devices.cards,
    };
  }

  /** Exits of all vCPUs so far, by kind. */
  get exits(): ExitCounts {
    const counts = this.#parts.vcpus.map((vcpu) => vcpu.exits);
    return Object.fromEntries(
      exitKinds.map((kind) => [kind, counts.reduce((sum, exits) => sum + exits[kind], 0)]),
    ) as ExitCounts;
  }

  /** Ends the machine if need be, waits for its threads, gives everything back. */
  async close(): Promise<void> {
    this.#endKeeper.keeper = undefined;
    this.stop('its owner', 0);
    // A thread that still runs uses the memory: leaving it mapped is all that can be done.
    if (!(await this.#parts.joined())) throw new Error('a thread of the machine did not end');
    this.#parts.close();
    this.#resets.close();
  }

  #pauseOnly(): void {
    this.#control.stop();
    this.events.tell({ kind: 'paused' });
  }

  #end(end: GuestEnd): void {
    if (this.#keeps(end)) return;
    if (!this.#control.end()) return;
    this.#announcement.stop();
    this.#resolveEnded(end);
    this.events.tell({ kind: 'ended', end });
  }

  #keeps(end: GuestEnd): boolean {
    if (this.state === 'ended') return false;
    try {
      return this.#endKeeper.keep(end);
    } catch (error) {
      this.#notice(`the machine cannot be stopped for its end: ${error instanceof Error ? error.message : error}`);
      return false;
    }
  }

  #tellOfNewCopy(): void {
    this.#isNewCopy = false;
    this.#parts.generationChange.pulse();
    this.announce();
  }
}
