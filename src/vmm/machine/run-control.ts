import { DiskError } from '../../block/disk-error.ts';
import { DoorbellButton } from '../../host/threads/doorbell.ts';
import { resetPatienceMs } from '../platform/io-control.ts';
import { ClockCatchUp, type GuestActivity } from '../vmstate/clock-catch-up.ts';
import { type ClockMode, type ClockState, elapsedSince } from '../vmstate/clock-state.ts';
import { PauseTimes } from '../vmstate/pause-times.ts';
import type { MachineParts } from './machine-parts.ts';
import { type RunState, RunStateError, RunStateMachine } from './run-state.ts';

/**
 * A stop is told to the guest's watchdogs from this length on, or where its clocks jump as far. Linux's have a limit of one
 * second at least. Each time that they are told they take no offence at anything for a while: told of thousands of stops a
 * second, they would never see that the guest itself hangs.
 */
const watchedMs = 500;

/** A vCPU that does not park within this time is not looked at now, to set its clocks. */
const catchUpPatienceMs = 200;

/** Times that a reset looks whether vCPUs that waited for a disk have parked: each may have been about to ask for more. */
const mostTries = 10;

/**
 * Stops and resumes a machine, whoever wants that: its run state, its threads, and the guest's clocks, which are read when
 * all is stopped and set before it runs again.
 */
export class RunControl {
  /** Called whenever all has been stopped, before anything is made of that. */
  onPaused: () => void = () => {};
  /** How often the guest ran again after a stop, however short: a checkpoint of a running machine counts. */
  timesResumed = 0;
  /** How long the guest's clocks were stopped, last: from when its clocks were read until they were set, in ms. */
  heldMs = 0;
  /** Where the time of the last pause went. */
  readonly times = new PauseTimes();
  readonly #parts: MachineParts;
  readonly #notice: (text: string) => void;
  readonly #runState = new RunStateMachine();
  #stoppedAt = performance.now();
  readonly #catchUp = new ClockCatchUp(() => this.#advanceClocks());
  /** What the guest is doing, whose vCPUs are parked. */
  readonly #activity: GuestActivity;
  /** What time it was for the guest when it was paused, when that was, and whether its clocks show by now what time it is. */
  #clocks: { readonly state: ClockState; readonly readAt: number; readonly running: boolean } | undefined;

  /** @param notice takes a line for the operator */
  constructor(parts: MachineParts, notice: (text: string) => void) {
    this.#parts = parts;
    this.#notice = notice;
    this.#activity = {
      get isIdle() {
        return parts.access.isIdle;
      },
      looksAtClocks: () => parts.access.noteSeen(parts.vcpus.map((vcpu) => vcpu.ranMs)),
    };
  }

  get state(): RunState {
    return this.#runState.state;
  }

  get isRunning(): boolean {
    return this.state === 'running';
  }

  /** What the guest's clocks still are behind the time that they are to show. */
  get clockBehindMs(): number {
    return Number(this.#catchUp.behindNs / 1_000_000n);
  }

  /** What time it was for the guest when the machine was stopped. @throws RunStateError if it is not */
  get stoppedClocks(): ClockState {
    if ((this.state !== 'paused' && this.state !== 'colo') || this.#clocks === undefined)
      throw new RunStateError(this.state, 'paused');
    return this.#clocks.state;
  }

  /** As {@link stoppedClocks}, of a machine that is about to be loaded; undefined if there is nothing in it yet. */
  get clocksBeforeLoad(): ClockState | undefined {
    const isNew = this.state === 'created' || (this.state === 'colo' && this.#clocks === undefined);
    return isNew ? undefined : this.stoppedClocks;
  }

  /** The machine, which is booted, runs. @throws RunStateError */
  start(): void {
    this.#runState.moveTo('running');
    this.#parts.start();
  }

  /**
   * Has `body` find the machine paused, and resumes it afterwards if it ran before.
   *
   * @throws whatever `body` throws; RunStateError if the machine neither runs nor is paused
   */
  whilePaused<T>(body: () => T): T {
    if (this.state === 'paused') return body();
    this.stop();
    try {
      return body();
    } finally {
      this.resume();
    }
  }

  /** The machine, which is paused or has never run, is in nobody's hands but colo's from now on. @throws RunStateError */
  hold(): void {
    if (this.state === 'running') this.stop('colo');
    else if (this.state !== 'colo') this.#runState.moveTo('colo');
  }

  /** A state was loaded, and `clock` is what time it is in it. The machine is stopped. */
  loaded(clock: ClockState): void {
    this.#clocks = { state: clock, readAt: this.#clocks?.readAt ?? performance.now(), running: false };
    if (this.state === 'created') this.#runState.moveTo('paused');
  }

  /**
   * Stops all vCPUs, then the devices; on return nothing changes guest state.
   *
   * In this order, for a vCPU may be waiting for the io thread to carry out what it wrote into a register.
   *
   * Writes and flushes may stay in flight: a stop takes no longer for a slow disk. Their files are at rest after
   * {@link settleDisks}.
   *
   * @param next `paused` is anybody's to resume, `colo` is not
   * @param forCheckpoint the io thread saves its devices before it parks, and meanwhile the vCPUs' registers are read
   * @throws RunStateError if it does not run
   */
  stop(next: 'paused' | 'colo' = 'paused', forCheckpoint = false): void {
    if (this.state !== 'running') throw new RunStateError(this.state, next);
    const { vcpus, io } = this.#parts;
    // Made before anything is stopped, in case that fails.
    const { access } = this.#parts;
    this.#runState.moveTo(next);
    this.#stoppedAt = performance.now();
    this.times.restart();
    try {
      for (const vcpu of vcpus) vcpu.requestPark();
      for (const vcpu of vcpus) vcpu.waitUntilParked();
      this.times.done('vcpus');
      if (forCheckpoint) io?.wantStates();
      io?.requestPark();
      if (forCheckpoint) {
        access.readRegisters();
        this.times.done('registers');
      }
      io?.waitUntilParked();
      this.times.done('io');
      const clocks = access.readClocks();
      // Who goes on from this state is behind as well.
      const realtimeNs = clocks.realtimeNs - this.#catchUp.behindNs;
      this.#clocks = { state: { ...clocks, realtimeNs }, readAt: performance.now(), running: true };
      this.times.done('clocks');
      this.onPaused();
    } catch (error) {
      // KVM is told nothing, as it is when a machine is resumed: a call on a vCPU waits until its thread leaves the guest,
      // and with it this thread would.
      this.#runState.moveTo('running');
      this.#clocks = undefined;
      this.#letRun();
      throw error;
    }
  }

  /**
   * Brings the files of disks to where the guest was told they are; from then on nothing changes them. The machine is paused.
   *
   * @throws DiskError that names the disk; the machine stays paused
   */
  settleDisks(): void {
    const reason = this.state === 'paused' ? this.#parts.io?.settleDisks() : undefined;
    if (reason === undefined) return;
    throw new DiskError(`a copy of its disks may lack what the guest was told is written: ${reason}`);
  }

  /**
   * Lets all go on.
   *
   * @param mode absent: so little time has passed that the clocks are left alone, if they run
   * @param passedNs with `keep`: what has passed for the guest all the same
   * @param last is given what wakes the threads, to call it soon
   * @throws RunStateError if it is not stopped
   */
  resume(mode?: ClockMode, passedNs = 0n, last: (wake: () => void) => void = (wake) => wake()): void {
    const clocks = this.#clocks;
    this.times.begin();
    this.#runState.moveTo('running');
    this.timesResumed++;
    this.#clocks = undefined;
    const { access } = this.#parts;
    const stoppedMs = performance.now() - this.#stoppedAt;
    let jumpNs = passedNs;
    if (clocks !== undefined && !(clocks.running && mode === undefined)) {
      if (mode === 'jump') this.#catchUp.start(elapsedSince(clocks.state));
      jumpNs += this.#catchUp.next(this.#activity);
      access.setClocks(clocks.state, jumpNs);
      this.heldMs = performance.now() - clocks.readAt;
    }
    if (stoppedMs >= watchedMs || isWatched(jumpNs)) access.noteStopped();
    // Before a thread wakes that takes this one's processor: the guest may then run long before this goes on.
    this.times.done('resume');
    last(() => {
      // It may have been stopped again, or have ended, and its threads were told so.
      if (this.state === 'running') this.#letRun();
    });
  }

  /**
   * Has `body` make the machine anew while it is stopped; it runs afterwards if it did before.
   *
   * @param body gets what time it is for the guest that ends, and gives what time it is for the one that begins
   * @throws RunStateError, or whatever stopping it or `body` throws: the machine is of no use then
   */
  reset(body: (clocks: ClockState) => ClockState): void {
    const ran = this.state === 'running';
    if (ran) this.#stopForReset();
    const clock = body(this.stoppedClocks);
    this.#catchUp.start(0n);
    this.loaded(clock);
    // Those that asked for it; what others said of the guest that ended is of no concern.
    for (const vcpu of this.#parts.vcpus) vcpu.release();
    if (ran) this.resume();
  }

  /**
   * As {@link stop}, but for a guest that is gone then: nothing waits long for a disk, not even a vCPU whose guest resets one.
   */
  #stopForReset(): void {
    const { vcpus, io, access } = this.#parts;
    this.#runState.moveTo('paused');
    for (const vcpu of vcpus) vcpu.requestPark();
    if (io !== undefined) {
      for (let tries = 0; tries < mostTries && !vcpus.every((vcpu) => vcpu.parksWithin(resetPatienceMs)); tries++) {
        io.parkForReset(resetPatienceMs);
        io.powerCycle();
      }
    }
    for (const vcpu of vcpus) vcpu.waitUntilParked();
    io?.parkForReset(resetPatienceMs);
    this.#clocks = { state: access.readClocks(), readAt: performance.now(), running: true };
    this.onPaused();
  }

  /** The machine has ended: its threads are asked to end. False: it had ended before. */
  end(): boolean {
    if (this.state === 'ended') return false;
    this.#runState.moveTo('ended');
    this.#catchUp.stop();
    this.#parts.requestEnd();
    return true;
  }

  #letRun(): void {
    const { vcpus, io } = this.#parts;
    for (const vcpu of vcpus) vcpu.resume();
    io?.resume();
    // The host side of the serial port was stopped as well.
    new DoorbellButton(this.#parts.serialBell.button).ring();
  }

  /** Has clocks that are behind go on, if it is time. Only the vCPUs are stopped for it. */
  #advanceClocks(): void {
    // It is taken up again when the machine goes on.
    if (this.state !== 'running') return;
    const { access, vcpus } = this.#parts;
    try {
      for (const vcpu of vcpus) vcpu.requestPark();
      // Not for as long as a pause would wait: this is in no hurry, and the monitor is on this thread too.
      if (!vcpus.every((vcpu) => vcpu.parksWithin(catchUpPatienceMs))) {
        this.#catchUp.later();
        return;
      }
      const stepNs = this.#catchUp.next(this.#activity);
      if (stepNs > 0n) access.advanceClocks(stepNs);
      if (isWatched(stepNs)) access.noteStopped();
    } catch (error) {
      this.#notice(`the guest's clock stays ${this.clockBehindMs} ms behind: ${(error as Error).message}`);
    } finally {
      for (const vcpu of vcpus) vcpu.resume();
    }
  }
}

function isWatched(jumpNs: bigint): boolean {
  return jumpNs >= BigInt(watchedMs) * 1_000_000n;
}
