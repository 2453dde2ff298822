import { type Epoch, epoch, noCheckpoint } from '../../protocol/numbers.ts';
import type { Rules } from '../rules.ts';
import { Fifo } from './fifo.ts';

/** direct: all goes out, what was held first. holding: what {@link Gate.permit} allows. shut: nothing, ever. */
export type GateMode = 'direct' | 'holding' | 'shut';

/**
 * What stands between the guest and the network: packets in order, each with the epoch that it belongs to. Whoever writes
 * asks {@link next} at the very write; no alarm opens or closes anything, because alarms ring late.
 */
export class Gate<P> {
  readonly #rules: Rules;
  /** What waits, and the epoch of each. */
  readonly #packets = new Fifo<P>();
  readonly #epochs = new Fifo<Epoch>();
  #mode: GateMode;
  #through = noCheckpoint;
  #until = Number.NEGATIVE_INFINITY;

  constructor(mode: GateMode, rules: Rules) {
    this.#mode = mode;
    this.#rules = rules;
  }

  get mode(): GateMode {
    return this.#mode;
  }

  /** Packets that wait. */
  get held(): number {
    return this.#packets.length;
  }

  /** The one that waits longest. */
  get oldest(): P | undefined {
    return this.#packets.first;
  }

  /** What waits, oldest first. */
  waiting(): P[] {
    return this.#packets.toArray();
  }

  /** The epoch of the packet that came last, if one waits. */
  get newest(): Epoch | undefined {
    return this.#epochs.last;
  }

  /** All output up to this epoch is out. */
  get left(): Epoch {
    const first = this.#epochs.first;
    if (first === undefined || first > this.#through) return this.#through;
    return epoch(first - 1);
  }

  /** The guest sent this. */
  take(packet: P, epoch: Epoch): void {
    if (this.#mode === 'shut') return;
    this.#packets.push(packet);
    this.#epochs.push(epoch);
  }

  /** Content and time (spec B.6): output up to this epoch is explained, and may leave before `until`. */
  permit(through: Epoch, until: number): void {
    this.#through = through;
    this.#until = until;
  }

  set(mode: GateMode): void {
    if (this.#mode === 'shut' && mode === 'holding') return;
    this.#mode = mode;
    if (mode !== 'shut') return;
    this.#packets.clear();
    this.#epochs.clear();
  }

  /** The packet to write now, if one may be written now. `now` is read for this call. */
  next(now: number): P | undefined {
    const packet = this.peek(now);
    if (packet !== undefined) this.written();
    return packet;
  }

  /** As {@link next}, but it waits until it is {@link written}: whoever takes it may be busy. Ask again then. */
  peek(now: number): P | undefined {
    const first = this.#epochs.first;
    if (first === undefined) return undefined;
    if (this.#mode === 'holding') {
      if (!this.#rules.contentAllows(first, this.#through)) return undefined;
      if (!this.#rules.timeAllows(now, this.#until)) return undefined;
    }
    return this.#packets.first;
  }

  /** What {@link peek} gave has left. */
  written(): void {
    this.#packets.shift();
    this.#epochs.shift();
  }
}
