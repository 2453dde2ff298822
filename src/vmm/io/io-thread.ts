import { MessageChannel } from 'node:worker_threads';
import { DiskError } from '../../block/disk-error.ts';
import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { EventFd } from '../../host/events/eventfd.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import { type IoControl, ioPatienceMs, type SharedIoControl } from '../platform/io-control.ts';
import type { ReplayedPackets } from '../platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../platform/shared-protection.ts';
import { ControlledThread } from '../thread/controlled-thread.ts';
import type { DeviceOrder } from './device-orders.ts';
import type { IoDeviceState } from './io-device-state.ts';
import type { IoAnswer, IoQuestion } from './io-questions.ts';
import type { IoReport } from './io-report.ts';
import { stateCellBytes, WantedStates } from './io-states.ts';
import type { IoBirth } from './io-worker.ts';

export interface IoListener {
  reported(report: IoReport): void;
  failed(error: Error): void;
}

/** The io thread seen from the thread that controls it. */
export class IoThread extends ControlledThread<IoReport> {
  readonly #wanted: WantedStates;
  readonly #control: IoControl;
  /** Requests were stranded since guest memory moved last. */
  #strands = false;

  /** Starts the thread, parked. `io` is made by the caller, who gives it to the vCPU threads as well. */
  constructor(
    program: URL,
    io: SharedIoControl,
    parts: { ram: SharedRam; devices: readonly DeviceOrder[]; control: IoControl },
    listener: IoListener,
  ) {
    const wake = new EventFd(io.wake);
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    const cells = new SharedArrayBuffer(stateCellBytes);
    const birth: IoBirth = {
      thread: 'io',
      control: io.control,
      ram: parts.ram,
      wake: io.wake,
      devices: parts.devices,
      states: { cells, port: port2 },
    };
    super({
      program,
      name: 'io',
      birth,
      control: parts.control,
      callOut: () => wake.signal(),
      reported: (report) => listener.reported(report),
      failed: (error) => listener.failed(error),
      parkPatienceMs: ioPatienceMs,
      answers: true,
      transfer: [port2],
    });
    this.#control = parts.control;
    this.#wanted = new WantedStates({ cells, port: port1 });
  }

  /** Has the thread, which runs, save all devices as it parks next; {@link wantedStates} gives them. */
  wantStates(): void {
    this.waitUntilStarted();
    this.#wanted.want();
  }

  /** The thread, which was told by {@link wantStates}, has parked: a way to what it saved, for when it runs again. */
  wantedStates(): () => readonly IoDeviceState[] {
    if (this.#wanted.areTold) return () => this.#wanted.take();
    const states = this.saveDevices()();
    return () => states;
  }

  /** Begins to save all devices, while the thread is parked. The caller must take the states, by what it gets. */
  saveDevices(): () => readonly IoDeviceState[] {
    const take = this.askAhead({ kind: 'save' } satisfies IoQuestion);
    return () => {
      const answer = take() as IoAnswer;
      return answer.kind === 'saved' ? answer.states : [];
    };
  }

  /** Parks the thread, and waits only `patienceMs` for reads that are in flight: {@link powerCycle} follows. */
  parkForReset(patienceMs: number): void {
    this.requestPark();
    if (this.parksWithin(patienceMs)) return;
    this.#control.givesUp = true;
    try {
      this.waitUntilParked();
    } finally {
      this.#control.givesUp = false;
    }
  }

  /**
   * Makes all devices what they were at first, while the thread is parked; the states of that. `strands`: requests are in
   * flight all the same, and guest memory must stay where it is for them.
   */
  powerCycle(): { states: readonly IoDeviceState[]; strands: boolean } {
    const answer = this.ask({ kind: 'power-cycle' } satisfies IoQuestion) as IoAnswer;
    if (answer.kind !== 'power-cycled') throw new Error(`the io thread answered ${answer.kind} to a reset`);
    this.#strands ||= answer.strands;
    return { states: answer.states, strands: this.#strands };
  }

  /** Guest memory is there from now on. A report tells when what was in flight has finished: see IoReport. */
  moveMemory(ram: SharedRam, move: number): void {
    this.ask({ kind: 'move-memory', ram, move } satisfies IoQuestion);
    this.#strands = false;
  }

  /**
   * Brings the files of all disks to where the guest was told they are, while the thread is parked: for who copies them.
   *
   * @returns which disk is not settled, and why; undefined if all are
   */
  settleDisks(): string | undefined {
    this.#control.settles = true;
    try {
      const answer = this.ask({ kind: 'settle-disks' } satisfies IoQuestion) as IoAnswer;
      return answer.kind === 'unsettled' ? answer.reason : undefined;
    } finally {
      this.#control.settles = false;
    }
  }

  /**
   * Begins to make sure that {@link loadDevices} can load these states. The caller must ask for the outcome, by what it gets.
   *
   * @throws VmStateError from what is returned
   */
  prepareDevices(states: readonly IoDeviceState[]): () => void {
    const take = this.askAhead({ kind: 'prepare-load', states } satisfies IoQuestion);
    return () => {
      const answer = take() as IoAnswer;
      if (answer.kind === 'refused') throw new VmStateError(answer.part, answer.reason);
    };
  }

  /** Loads what was prepared last. */
  loadDevices(): void {
    this.ask({ kind: 'load' } satisfies IoQuestion);
  }

  /** Has packets be mirrored and changes of disks forwarded from now on. The thread is parked. @throws DiskError */
  protect(shared: SharedProtection): void {
    this.#askOfDisks({ kind: 'protect', shared });
  }

  /** Has it be kept which regions of disks change. The thread is parked. @throws DiskError */
  keepChanges(changes: SharedChanges): void {
    this.#askOfDisks({ kind: 'keep-changes', changes });
  }

  /** Undoes {@link protect}. The thread is parked. */
  unprotect(): void {
    this.ask({ kind: 'unprotect' } satisfies IoQuestion);
  }

  /** Makes a replica of the machine: see IoProtection. The thread is parked. */
  replicate(shared: SharedReplica): void {
    this.ask({ kind: 'replicate', shared } satisfies IoQuestion);
  }

  /** Has disks forget what a replica's guest wrote. The thread is parked. */
  rollBackDisks(): void {
    this.ask({ kind: 'roll-back' } satisfies IoQuestion);
  }

  /**
   * The machine is no replica any more. The thread is parked.
   *
   * @param translation what its packets are to be translated with, as plain data; undefined: they are not
   * @returns why it is of no use; undefined if it speaks for itself now
   */
  emerge(translation: unknown): string | undefined {
    const answer = this.ask({ kind: 'emerge', translation } satisfies IoQuestion) as IoAnswer;
    return answer.kind === 'unsettled' ? answer.reason : undefined;
  }

  /** Has packets translated from now on. The thread is parked. @returns why they cannot be; undefined if they are */
  translate(translation: unknown): string | undefined {
    const answer = this.ask({ kind: 'translate', translation } satisfies IoQuestion) as IoAnswer;
    return answer.kind === 'unsettled' ? answer.reason : undefined;
  }

  /** What packets are translated with now; undefined: they are not. The thread is parked. */
  get translation(): unknown {
    const answer = this.ask({ kind: 'translation' } satisfies IoQuestion) as IoAnswer;
    return answer.kind === 'translation' ? answer.translation : undefined;
  }

  /** Has these packets enter the guest before anything new. The thread is parked. */
  replay(packets: ReplayedPackets): void {
    this.ask({ kind: 'replay', packets } satisfies IoQuestion);
  }

  /** Has each card's driver tell its neighbours where it is, once it runs. The thread is parked. */
  announceCards(): void {
    this.ask({ kind: 'announce' } satisfies IoQuestion);
  }

  #askOfDisks(question: IoQuestion): void {
    const answer = this.ask(question) as IoAnswer;
    if (answer.kind === 'unsettled') throw new DiskError(answer.reason);
  }
}
