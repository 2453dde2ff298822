import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { type Answer, type Request, toNumbers } from '../fakes/fake-guest.ts';
import { toBytes } from '../fakes/numbers-as-bytes.ts';
import type { ComparedOutput } from './compared-output.ts';
import type { OutputWaits } from './output-waits.ts';
import type { PrimaryProcess } from './primary-process.ts';

/** Packets into P's guest and out of it: mirrored to S, and held at the gate until S owns a state that explains them. */
export class PrimaryPackets {
  readonly #side: PrimaryProcess;
  readonly #compared: ComparedOutput;
  readonly #waits: OutputWaits;
  /** Packets that were mirrored in this epoch. */
  #items = 0;
  /** The core knows that output of this epoch waits. */
  #outputWaits = false;

  constructor(side: PrimaryProcess, compared: ComparedOutput, waits: OutputWaits) {
    this.#side = side;
    this.#compared = compared;
    this.#waits = waits;
  }

  /** What waits was said before this pair began, or in another one: it is the first epoch's, whatever it was. */
  beginPairing(): void {
    this.#items = 0;
    const { gate, epoch } = this.#side;
    const waiting = gate.waiting();
    gate.clear();
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
    this.#outputWaits = false;
  }

  /** A question enters the guest: S's gets it as well. */
  input({ client, number, base, echo }: Request): void {
    if (!this.#side.attached) return;
    this.#items++;
    const data = toBytes([client, number, base, echo]);
    this.#side.send({ kind: 'input', epoch: this.#side.epoch, card: 0, data });
  }

  /** The guest said it. */
  output(answer: Answer): void {
    const { attached, mode, gate } = this.#side;
    if (attached && mode === 'comparing') {
      const number = this.#hold(answer);
      if (gate.mode === 'holding') this.#compared.primarySaid(number, answer);
      return;
    }
    if (attached) this.#mirror(answer);
    if (attached && gate.mode === 'holding' && !this.#outputWaits) {
      this.#outputWaits = true;
      this.#hold(answer);
      this.#side.post({ kind: 'output-waits' });
    } else this.#hold(answer);
  }

  #hold(answer: Answer): number {
    const number = this.#side.output(answer, this.#side.epoch);
    this.#waits.said(number);
    return number;
  }

  #mirror(answer: Answer): void {
    this.#items++;
    this.#side.send({ kind: 'output', epoch: this.#side.epoch, card: 0, data: toBytes(toNumbers(answer)) });
  }
}
