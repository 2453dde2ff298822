import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { type Answer, type Request, toNumbers } from '../fakes/fake-guest.ts';
import { toBytes } from '../fakes/numbers-as-bytes.ts';
import type { ComparedOutput } from './compared-output.ts';
import type { OutputWaits } from './output-waits.ts';
import type { PrimaryProcess } from './primary-process.ts';

/**
 * Packets into P's guest and out of it. From when output is held they are mirrored to S, and held at the gate until S owns a state that
 * explains them; before, S hears of none: its first checkpoint has all that they did.
 */
export class PrimaryPackets {
  readonly #side: PrimaryProcess;
  readonly #compared: ComparedOutput;
  readonly #waits: OutputWaits;
  /** Packets that were mirrored in this epoch. */
  #items = 0;
  /** Questions that the guest got in this epoch, of those that S's is to get as well. */
  #inputs = 0;
  /** The core knows that output of this epoch waits. */
  #outputWaits = false;

  constructor(side: PrimaryProcess, compared: ComparedOutput, waits: OutputWaits) {
    this.#side = side;
    this.#compared = compared;
    this.#waits = waits;
  }

  get inputs(): number {
    return this.#inputs;
  }

  beginPairing(): void {
    this.#items = 0;
    this.#inputs = 0;
  }

  /** What waits is the open epoch's from now on, also what was said before this pair began, or in another one. */
  hold(): void {
    const { gate, epoch } = this.#side;
    const waiting = gate.waiting();
    gate.clear();
    gate.set('holding');
    for (const answer of waiting) {
      gate.take(answer, epoch);
      this.#mirror(answer);
    }
  }

  /** Spec B.15: of an epoch that was compared, what still waits travels with its checkpoint. */
  mirrorWaiting(epoch: Epoch): void {
    for (const answer of this.#side.gate.waiting(epoch)) this.#mirror(answer);
  }

  endEpoch(epoch: Epoch): void {
    this.#side.send({ kind: 'packets-end', epoch, items: this.#items });
    this.#items = 0;
    this.#inputs = 0;
    this.#outputWaits = false;
  }

  /** A question enters the guest: S's gets it as well, also when nothing leaves any more and the guest is being paused. */
  input({ client, number, base, echo }: Request): void {
    const { attached, gate } = this.#side;
    if (!attached || gate.mode === 'direct') return;
    this.#items++;
    this.#inputs++;
    const data = toBytes([client, number, base, echo]);
    this.#side.send({ kind: 'input', epoch: this.#side.epoch, card: 0, data });
  }

  /** The guest said it. */
  output(answer: Answer): void {
    if (this.#side.gate.mode === 'shut') return;
    if (!this.#holds) {
      this.#take(answer);
      return;
    }
    if (this.#side.mode === 'comparing') {
      this.#compared.primarySaid(this.#take(answer), answer);
      return;
    }
    this.#mirror(answer);
    this.#take(answer);
    if (this.#outputWaits) return;
    this.#outputWaits = true;
    this.#side.post({ kind: 'output-waits' });
  }

  get #holds(): boolean {
    const { attached, gate } = this.#side;
    return attached && gate.mode === 'holding';
  }

  #take(answer: Answer): number {
    const number = this.#side.output(answer, this.#side.epoch);
    this.#waits.said(number);
    return number;
  }

  #mirror(answer: Answer): void {
    this.#items++;
    this.#side.send({ kind: 'output', epoch: this.#side.epoch, card: 0, data: toBytes(toNumbers(answer)) });
  }
}
