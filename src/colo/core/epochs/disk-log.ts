import { type Epoch, noCheckpoint } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { Rules } from '../rules.ts';
import { Fifo } from './fifo.ts';

/** What the log keeps of a write; the bytes themselves are the owner's. */
export interface Logged {
  readonly epoch: Epoch;
  readonly bytes: number;
}

/**
 * P's writes on S, in order (design: disks).
 *
 *     |-- laid down --|-- committed, being laid down --|-- open: not of this disk until its checkpoint commits --|
 *
 * Reads of S's guest look here first, newest write first, then on the disk.
 */
export class DiskLog<R extends Logged> {
  readonly #bound: number;
  readonly #rules: Rules;
  /** Discards and zeroes are small: there may be half a million. */
  readonly #records = new Fifo<R>();
  #committed = noCheckpoint;
  #bytes = 0;
  /** Of what is not committed. */
  #openBytes = 0;
  #laidBytes = 0;

  constructor(boundBytes: number, rules: Rules) {
    this.#bound = boundBytes;
    this.#rules = rules;
  }

  /** How many writes are not on the disk. */
  get length(): number {
    return this.#records.length;
  }

  /** What these take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The oldest of them. */
  get first(): R | undefined {
    return this.#records.first;
  }

  /** The one behind so many older ones. */
  at(index: number): R | undefined {
    return this.#records.at(index);
  }

  /** Bytes laid down so far. */
  get laidBytes(): number {
    return this.#laidBytes;
  }

  /** True once it holds nothing that belongs to the disk. */
  get isLaid(): boolean {
    const { first } = this;
    return first === undefined || first.epoch > this.#committed;
  }

  /** The survivor's guest may be told that its flush is done, once the disk itself has flushed. */
  get mayAnswerFlush(): boolean {
    return this.#rules.mayAnswerFlush(this.isLaid);
  }

  /** True when a checkpoint is wanted, for the log to be laid down. @throws ProtocolError if P does not keep to the bound */
  append(record: R): boolean {
    // One write of P's may pass the bound: it waits with the next one.
    if (this.#bytes >= this.#bound) {
      throw new ProtocolError(
        'too-large',
        `the peer writes more than the ${this.#bound} bytes that the disk log holds`,
      );
    }
    const before = this.#rules.diskWaitsForCheckpoint(this.#openBytes, this.#bytes);
    this.#records.push(record);
    this.#bytes += record.bytes;
    if (record.epoch > this.#committed) this.#openBytes += record.bytes;
    const after = this.#rules.diskWaitsForCheckpoint(this.#openBytes, this.#bytes);
    return before * 2 < this.#bound && after * 2 >= this.#bound;
  }

  /** Writes up to this epoch belong to the disk. */
  commit(through: Epoch): void {
    this.#committed = through;
    this.#countOpen();
  }

  /** Drops what does not belong to this checkpoint. */
  discard(standsAt: Epoch): void {
    for (let last = this.#records.last; last !== undefined; last = this.#records.last) {
      if (this.#rules.keepsWrite(last.epoch, standsAt)) break;
      this.#bytes -= last.bytes;
      this.#records.pop();
    }
    const { last } = this.#records;
    if (last !== undefined && last.epoch > this.#committed) this.#committed = last.epoch;
    this.#countOpen();
  }

  /** The write that is to be laid down next, if the `begun` before it are being laid down. */
  nextToLay(begun = 0): R | undefined {
    const next = this.at(begun);
    return next === undefined || next.epoch > this.#committed ? undefined : next;
  }

  /** That write is on the disk. */
  laid(): void {
    const record = this.#records.shift();
    if (record === undefined) return;
    this.#bytes -= record.bytes;
    this.#laidBytes += record.bytes;
  }

  #countOpen(): void {
    this.#openBytes = 0;
    for (let index = this.length - 1; index >= 0; index--) {
      const { epoch, bytes } = this.at(index) as R;
      if (epoch <= this.#committed) return;
      this.#openBytes += bytes;
    }
  }
}
