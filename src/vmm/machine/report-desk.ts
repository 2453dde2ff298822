import type { PanicAction } from '../config/config.ts';
import type { IoReport } from '../io/io-report.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';
import type { VcpuThread } from '../vcpu/vcpu-thread.ts';
import type { MachineEvents } from './machine-events.ts';
import type { MachineParts } from './machine-parts.ts';
import type { Resets } from './resets/resets.ts';
import type { RunState } from './run-state.ts';

/** The machine, as reports change it. */
export interface ReportedMachine {
  readonly onPanic: PanicAction;
  readonly events: MachineEvents;
  readonly state: () => RunState;
  /** Pauses it, whatever its disks say. @throws if it cannot be stopped */
  pause(): void;
  end(end: GuestEnd): void;
  /** A line for the operator. */
  notice(text: string): void;
}

/** Makes of what the machine's threads report what it is for the machine: a pause, a reset, its end, or a line for the operator. */
export class ReportDesk {
  readonly #parts: MachineParts;
  readonly #resets: Resets;
  readonly #machine: ReportedMachine;

  constructor(parts: MachineParts, resets: Resets, machine: ReportedMachine) {
    this.#parts = parts;
    this.#resets = resets;
    this.#machine = machine;
  }

  /** The io thread's. */
  hearIo(report: IoReport): void {
    if (report.kind === 'drained') {
      this.#parts.freeOldRam(report.move);
      return;
    }
    if (report.kind === 'tap-gone') this.#parts.devices.tapIsGone(report.tap);
    if ('failure' in report) this.#machine.events.tell({ kind: 'disk-failure', failure: report.failure });
    if (report.kind !== 'disk-failure') this.#machine.notice(report.text);
    if (report.kind === 'stop') this.#pauseIfRunning();
  }

  /** What became of the guest, as the thread of `vcpu` found it. */
  hearGuest(report: GuestEnd, vcpu: VcpuThread): void {
    // Of a guest that is gone by now: all were let go when the machine was reset.
    if (!vcpu.held) return;
    switch (report.kind) {
      case 'panic':
        this.#hearPanic(report, vcpu);
        break;
      case 'reset':
        this.#resets.byGuest();
        break;
      case 'triple-fault':
        if (!this.#resets.isReset(report)) this.#machine.end(report);
        else {
          this.#machine.notice(`vcpu ${report.vcpu} triple-faulted, which resets a machine`);
          this.#resets.byGuest();
        }
        break;
      default:
        this.#machine.end(report);
    }
  }

  #hearPanic(report: GuestEnd, vcpu: VcpuThread): void {
    if (this.#machine.state() === 'ended') return;
    const action = this.#machine.onPanic;
    this.#machine.events.tell({ kind: 'panicked', action });
    if (action === 'exit') {
      this.#machine.end(report);
      return;
    }
    this.#machine.notice(
      `the guest's kernel panicked${action === 'pause' ? '; the machine is paused until it is resumed' : ''}`,
    );
    if (action === 'pause') this.#pauseIfRunning();
    vcpu.release();
  }

  #pauseIfRunning(): void {
    if (this.#machine.state() !== 'running') return;
    try {
      // A disk that cannot be written is why.
      this.#machine.pause();
    } catch (error) {
      this.#machine.notice(
        `the machine cannot be stopped and goes on: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
}
