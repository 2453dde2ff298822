import type { PacketControl } from '../../vmm/platform/packet-rings.ts';
import { type Epoch, type Mode, next } from '../protocol/numbers.ts';

/**
 * What the world sends to P's guest from a stop that S's guest is to run from until it does: P's gets none of it before. Both would
 * answer the same question at times that are apart by what a checkpoint takes to load (spec B.9). To hold it costs no time, for P's
 * answer would have to wait for S's.
 */
export class HeldInput {
  readonly #control: PacketControl;
  readonly #wakeIo: () => void;
  /** The epoch in which P's guest gets nothing until S's guest runs. */
  #waitsIn: Epoch | undefined;

  /** @param wakeIo the io thread is to look at `control` again: it is what holds and lets in */
  constructor(control: PacketControl, wakeIo: () => void) {
    this.#control = control;
    this.#wakeIo = wakeIo;
  }

  /** A stop is about to be made that closes this epoch. @param mode how output of the next one leaves */
  stopping(epoch: Epoch, mode: Mode): void {
    if (mode !== 'comparing') return;
    this.#waitsIn = next(epoch);
    this.#control.inputWaitsIn = this.#waitsIn;
  }

  /** S's guest stands at this checkpoint, and runs on from it, if it is to run. */
  secondaryRuns(epoch: Epoch): void {
    if (this.#waitsIn === next(epoch)) this.letIn();
  }

  /** Nothing is held. */
  letIn(): void {
    this.#waitsIn = undefined;
    this.#control.inputWaitsIn = undefined;
    this.#wakeIo();
  }
}
