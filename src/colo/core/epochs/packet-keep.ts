import { type Epoch, noCheckpoint } from '../../protocol/numbers.ts';
import type { Rules } from '../rules.ts';
import { Fifo } from './fifo.ts';

interface Kept<P> {
  readonly epoch: Epoch;
  readonly packet: P;
  readonly bytes: number;
}

/**
 * Packets on their way, as S keeps them (spec B.15): P's output until P says that it left, P's input until a checkpoint
 * contains it. Bounded: beyond the bound the oldest go, which is a lossy network.
 */
export class PacketKeep<P> {
  readonly #bound: number;
  readonly #rules: Rules;
  /** Epochs only grow in each (EpochOrder). */
  readonly #outputs = new Fifo<Kept<P>>();
  readonly #inputs = new Fifo<Kept<P>>();
  #bytes = 0;
  #left = noCheckpoint;
  /** Packets dropped at the bound. */
  dropped = 0;

  constructor(boundBytes: number, rules: Rules) {
    this.#bound = boundBytes;
    this.#rules = rules;
  }

  get bytes(): number {
    return this.#bytes;
  }

  keep(kind: 'output' | 'input', epoch: Epoch, packet: P, bytes: number): void {
    (kind === 'output' ? this.#outputs : this.#inputs).push({ epoch, packet, bytes });
    this.#bytes += bytes;
    while (this.#bytes > this.#bound) {
      const longer = this.#outputs.length > this.#inputs.length ? this.#outputs : this.#inputs;
      this.#bytes -= longer.shift()?.bytes ?? 0;
      this.dropped++;
    }
  }

  /** P's output up to this epoch is out. */
  left(epoch: Epoch): void {
    this.#left = epoch;
    this.#drop(this.#outputs, epoch);
  }

  /** A checkpoint contains all input up to this epoch. */
  committed(epoch: Epoch): void {
    this.#drop(this.#inputs, epoch);
  }

  /** What S sends before anything new, in order. */
  outputsToSend(standsAt: Epoch): P[] {
    return this.#outputs
      .toArray()
      .filter((kept) => this.#rules.sendsKept(kept.epoch, standsAt, this.#left))
      .map((kept) => kept.packet);
  }

  /** What enters S's guest before anything new, in order. */
  inputsToReplay(standsAt: Epoch): P[] {
    return this.#inputs
      .toArray()
      .filter((kept) => this.#rules.replays(kept.epoch, standsAt))
      .map((kept) => kept.packet);
  }

  /** Takes what waited for this epoch, in order: its guest runs now. */
  takeInputs(epoch: Epoch): P[] {
    const taken: P[] = [];
    for (let kept = this.#inputs.first; kept !== undefined && kept.epoch <= epoch; kept = this.#inputs.first) {
      if (kept.epoch === epoch) taken.push(kept.packet);
      this.#bytes -= kept.bytes;
      this.#inputs.shift();
    }
    return taken;
  }

  clear(): void {
    this.#outputs.clear();
    this.#inputs.clear();
    this.#bytes = 0;
    this.#left = noCheckpoint;
  }

  #drop(list: Fifo<Kept<P>>, through: Epoch): void {
    for (let kept = list.first; kept !== undefined && kept.epoch <= through; kept = list.first) {
      this.#bytes -= kept.bytes;
      list.shift();
    }
  }
}
