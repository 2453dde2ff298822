import { type Epoch, epoch, noCheckpoint } from '../../protocol/numbers.ts';
import type { Rules } from '../rules.ts';

/** direct: all goes out, what was held first. holding: what {@link Gate.permit} allows. shut: nothing, ever. */
export type GateMode = 'direct' | 'holding' | 'shut';

interface Held<P> {
  readonly packet: P;
  readonly epoch: Epoch;
}

/**
 * What stands between the guest and the network: packets in order, each with the epoch that it belongs to. Whoever writes
 * asks {@link next} at the very write; no alarm opens or closes anything, because alarms ring late.
 */
export class Gate<P> {
  readonly #rules: Rules;
  readonly #held: Held<P>[] = [];
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
    return this.#held.length;
  }

  /** What waits, oldest first. */
  waiting(): P[] {
    return this.#held.map((held) => held.packet);
  }

  /** The epoch of the packet that came last, if one waits. */
  get newest(): Epoch | undefined {
    return this.#held.at(-1)?.epoch;
  }

  /** All output up to this epoch is out. */
  get left(): Epoch {
    const first = this.#held[0];
    if (first === undefined || first.epoch > this.#through) return this.#through;
    return epoch(first.epoch - 1);
  }

  /** The guest sent this. */
  take(packet: P, epoch: Epoch): void {
    if (this.#mode !== 'shut') this.#held.push({ packet, epoch });
  }

  /** Content and time (spec B.6): output up to this epoch is explained, and may leave before `until`. */
  permit(through: Epoch, until: number): void {
    this.#through = through;
    this.#until = until;
  }

  set(mode: GateMode): void {
    if (this.#mode === 'shut' && mode === 'holding') return;
    this.#mode = mode;
    if (mode === 'shut') this.#held.length = 0;
  }

  /** The packet that {@link next} gave was not written: it is the oldest again. */
  putBack(packet: P, epoch: Epoch): void {
    if (this.#mode !== 'shut') this.#held.unshift({ packet, epoch });
  }

  /** The packet to write now, if one may be written now. `now` is read for this call. */
  next(now: number): P | undefined {
    const first = this.#held[0];
    if (first === undefined) return undefined;
    if (this.#mode === 'holding') {
      if (!this.#rules.contentAllows(first.epoch, this.#through)) return undefined;
      if (!this.#rules.timeAllows(now, this.#until)) return undefined;
    }
    this.#held.shift();
    return first.packet;
  }
}
