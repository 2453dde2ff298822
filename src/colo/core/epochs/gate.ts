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
  /** Whether each has left already, before older ones: comparing. */
  readonly #gone = new Fifo<boolean>();
  /** How many have left the queue: the number of the oldest one that is in it. */
  #passed = 0;
  /** Numbers of those that S's guest said as well, in the order in which that was found. */
  readonly #matched = new Fifo<number>();
  #goneCount = 0;
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

  /** Something waits that S's guest said as well. */
  get hasMatched(): boolean {
    return this.#firstMatched() !== undefined;
  }

  /** Packets that wait. */
  get held(): number {
    return this.#packets.length - this.#goneCount;
  }

  /** The one that waits longest. */
  get oldest(): P | undefined {
    return this.#packets.first;
  }

  /** What waits, oldest first; of one epoch, if one is given. */
  waiting(epoch?: Epoch): P[] {
    return this.#packets
      .toArray()
      .filter(
        (_, index) => this.#gone.at(index) === false && (epoch === undefined || this.#epochs.at(index) === epoch),
      );
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

  /** The guest sent this. The number by which it is {@link match}ed; each is one more than the one before. */
  take(packet: P, epoch: Epoch): number {
    if (this.#mode === 'shut') return -1;
    this.#packets.push(packet);
    this.#epochs.push(epoch);
    this.#gone.push(false);
    return this.#passed + this.#packets.length - 1;
  }

  /**
   * S's guest has said it as well (spec B.2): it may leave before older ones, as long as there is consent, once S holds the
   * checkpoint before it.
   */
  match(number: number): void {
    this.#matched.push(number);
  }

  /** The oldest so many are no concern any more: S's own, of which P has confirmed that they left. */
  forget(count: number): void {
    for (let left = count; left > 0 && this.#packets.length > 0; left--) this.#shift();
  }

  /** Nothing waits any more. */
  clear(): void {
    this.#passed += this.#packets.length;
    this.#packets.clear();
    this.#epochs.clear();
    this.#gone.clear();
    this.#matched.clear();
    this.#goneCount = 0;
  }

  /** Content and time (spec B.6): output up to this epoch is explained, and may leave before `until`. */
  permit(through: Epoch, until: number): void {
    this.#through = through;
    this.#until = until;
  }

  set(mode: GateMode): void {
    if (this.#mode === 'shut' && mode === 'holding') return;
    this.#mode = mode;
    if (mode === 'shut') this.clear();
  }

  /** The packet to write now, if one may be written now. `now` is read for this call. */
  next(now: number): P | undefined {
    const packet = this.peek(now);
    if (packet !== undefined) this.written();
    return packet;
  }

  /** The one of that number, if what S's guest said of it as well may leave now, and it waits for the rest: it stays. */
  inPart(number: number, now: number): P | undefined {
    const at = number - this.#passed;
    const of = this.#gone.at(at) === false ? this.#epochs.at(at) : undefined;
    if (of === undefined || this.#mode !== 'holding' || !this.#rules.timeAllows(now, this.#until)) return undefined;
    return this.#rules.matchAllows(of, this.#through) ? this.#packets.at(at) : undefined;
  }

  /** As {@link next}, but it waits until it is {@link written}: whoever takes it may be busy. Ask again then. */
  peek(now: number): P | undefined {
    const first = this.#epochs.first;
    if (first === undefined) return undefined;
    if (this.#mode === 'holding') {
      if (!this.#rules.timeAllows(now, this.#until)) return undefined;
      const matched = this.#matchedToLeave();
      if (matched !== undefined) return this.#packets.at(matched - this.#passed);
      if (!this.#rules.contentAllows(first, this.#through)) return undefined;
    }
    return this.#packets.first;
  }

  /** The number of the one that {@link peek} gives: S's like of it can be confirmed once it is {@link written}. */
  get nextNumber(): number {
    return this.#matchedToLeave() ?? this.#passed;
  }

  /** {@link peek} gives it because S's guest said it as well, and not because a checkpoint covers it. */
  get isNextMatched(): boolean {
    return this.#matchedToLeave() !== undefined;
  }

  /** What {@link peek} gave has left. */
  written(): void {
    const matched = this.#matchedToLeave();
    if (matched === undefined || matched === this.#passed) {
      this.#shift();
      return;
    }
    this.#gone.replace(matched - this.#passed, true);
    this.#goneCount++;
  }

  /** The one that leaves next for being matched, before older ones that no checkpoint covers. Later ones are of no earlier epoch. */
  #matchedToLeave(): number | undefined {
    const number = this.#mode === 'holding' ? this.#firstMatched() : undefined;
    const oldest = this.#epochs.first;
    if (number === undefined || oldest === undefined) return undefined;
    // Spec A.5: what was held leaves in order once a checkpoint has it, and then what was said after that.
    if (this.#rules.contentAllows(oldest, this.#through)) return undefined;
    const of = this.#epochs.at(number - this.#passed) as Epoch;
    return this.#rules.matchAllows(of, this.#through) ? number : undefined;
  }

  /** Of those that are matched and wait, the first one. */
  #firstMatched(): number | undefined {
    for (let number = this.#matched.first; number !== undefined; number = this.#matched.first) {
      if (number >= this.#passed && this.#gone.at(number - this.#passed) === false) return number;
      this.#matched.shift();
    }
    return undefined;
  }

  /** The oldest one leaves the queue, and with it those behind it that have left already. */
  #shift(): void {
    do {
      if (this.#gone.first === true) this.#goneCount--;
      this.#packets.shift();
      this.#epochs.shift();
      this.#gone.shift();
      this.#passed++;
    } while (this.#gone.first === true);
  }
}
