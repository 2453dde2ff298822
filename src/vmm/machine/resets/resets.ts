import type { GuestEnd } from '../../vcpu/guest-end.ts';
import type { MachineParts } from '../machine-parts.ts';
import type { BootSource } from '../machine-shape.ts';
import type { RunControl } from '../run-control.ts';
import { beginAnew } from './reset.ts';
import { ResetPace } from './reset-pace.ts';

/** A reset; by whom, if not by the guest itself. */
type Reset = Extract<GuestEnd, { kind: 'reset' }>;

/** What a machine hears of its resets. */
export interface ResetListener {
  /** The guest has begun anew. */
  begunAnew(reset: Reset): void;
  /** There is nothing to begin from, or it failed: the reset is the machine's end. */
  ended(reset: Reset): void;
  /** A line for the operator. */
  notice(text: string): void;
}

/** Has the guest of a machine begin anew, whoever wants that: once, later, or as the machine's end. */
export class Resets {
  readonly #parts: MachineParts;
  readonly #control: RunControl;
  readonly #listener: ResetListener;
  readonly #pace = new ResetPace();
  #source: BootSource | undefined;
  /** The guest asked for it while the machine was paused. */
  #isDue = false;

  constructor(parts: MachineParts, control: RunControl, listener: ResetListener) {
    this.#parts = parts;
    this.#control = control;
    this.#listener = listener;
  }

  /** Where guests begin from now on, in place of ending the machine. Closed with this. */
  set source(source: BootSource | undefined) {
    this.#source = source;
  }

  get source(): BootSource | undefined {
    return this.#source;
  }

  /** A reset begins anew and does not end the machine. */
  get beginAnew(): boolean {
    return this.#source !== undefined;
  }

  /**
   * That the guest has ended is a reset, and not the machine's end. A triple fault of a guest that has come so far as to take interrupts
   * is: what happens to a kernel that was never there is a crash, and has to be told as one.
   */
  isReset({ kind }: GuestEnd): boolean {
    return this.beginAnew && (kind === 'reset' || (kind === 'triple-fault' && this.#parts.vm.deliversInterrupts));
  }

  /** The guest asks for one. A machine that is paused stays what it is, for whoever looks at it or saves it. */
  byGuest(): void {
    if (this.#control.state === 'paused' && this.beginAnew) this.#isDue = true;
    else this.reset(undefined);
  }

  /** The machine has resumed: does what the guest asked for meanwhile. */
  resumed(): void {
    if (this.#isDue) this.reset(undefined);
  }

  /** @param by absent: the guest itself */
  reset(by: string | undefined): void {
    if (this.#control.state === 'ended') return;
    this.#isDue = false;
    const reset: Reset = { kind: 'reset', ...(by === undefined ? {} : { by }) };
    const source = this.#source;
    if (source === undefined) {
      this.#listener.ended(reset);
      return;
    }
    try {
      this.#control.reset((clocks) => beginAnew(this.#parts, source, clocks));
    } catch (error) {
      this.#listener.notice(`the machine cannot begin anew: ${error instanceof Error ? error.message : error}`);
      this.#listener.ended(reset);
      return;
    }
    this.#listener.begunAnew(reset);
    if (by === undefined && this.#pace.isLoop(performance.now())) {
      this.#listener.notice('the guest resets again and again; --reboot exit ends the machine instead');
    }
  }

  close(): void {
    this.#source?.close();
  }
}
