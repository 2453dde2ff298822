import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { Rules } from '../rules.ts';

/** Of what S's disk takes while the first copy waits for it, the guest has so many parts, and the copy one. */
const guestParts = 3;

/**
 * P's account of S's disk log (design: disks): what P forwarded and S did not yet lay down. Once the open epoch has half of the bound
 * a checkpoint is wanted; at the bound the guest's writes wait in their virtqueue.
 *
 *     |-- S may lay it down, as fast as its disk is --|-- open: S may once a checkpoint closes the epoch --|-- room --|
 *
 * The first copy leaves the upper half to the guest. A guest that writes more than S's disk takes leaves no room in the lower one,
 * ever: so a copy that waits has its turn after the guest has had three parts, and the guest waits then. Where S's disk keeps up nobody
 * has to.
 */
export class DiskWindow {
  readonly #bound: number;
  readonly #rules: Rules;
  #forwarded = 0;
  #laid = 0;
  /** Of the open epoch. */
  #open = 0;
  /** How many pieces of the copy wait for room. */
  #copyWaits = 0;
  /** What the guest had while the copy waited, less its parts of what the copy had. */
  #guestAhead = 0;

  constructor(boundBytes: number, rules: Rules) {
    this.#bound = boundBytes;
    this.#rules = rules;
  }

  get outstandingBytes(): number {
    return this.#forwarded - this.#laid;
  }

  /** There is no room: it is S's turn. */
  get isFull(): boolean {
    return this.#rules.diskMustWait(this.outstandingBytes, this.#bound);
  }

  /** So much waits for S's disk that its guest, which runs once all of that is on it, would be late. */
  get isHalfFull(): boolean {
    return this.outstandingBytes * 2 >= this.#bound;
  }

  /** S has not laid down all that was forwarded before the open epoch. */
  get hasClosed(): boolean {
    return this.outstandingBytes > this.#open;
  }

  /** The guest's next write must wait: for S, or for a block of the copy that waits for S. */
  get mustWait(): boolean {
    return this.isFull || this.#isCopysTurn;
  }

  /** The guest's write was forwarded. True when a checkpoint is wanted, for S to lay down what it has. */
  forward(bytes: number): boolean {
    if (this.#copyWaits > 0) this.#guestAhead += bytes;
    return this.#add(bytes);
  }

  /** Part of a block was. @returns as {@link forward} */
  forwardCopy(bytes: number): boolean {
    // What it had while nobody waited is no debt.
    this.#guestAhead = Math.max(this.#guestAhead, 0) - guestParts * bytes;
    return this.#add(bytes);
  }

  /** A piece of the copy begins to wait for room, or ceases to. */
  copyWaits(waits: boolean): void {
    this.#copyWaits += waits ? 1 : -1;
  }

  /**
   * A block of the copy may be forwarded, which takes so many bytes at most.
   *
   * @param holds the guest's writes wait for it already
   */
  copyMayForward(bytes: number, holds: boolean): boolean {
    if (this.outstandingBytes * 2 < this.#bound) return true;
    return (holds || this.#isCopysTurn) && this.outstandingBytes + bytes <= this.#bound;
  }

  /** What is forwarded from now on is of the next epoch. */
  epochEnded(): void {
    this.#open = 0;
  }

  /** S has laid down so many bytes since pairing. @returns whether that is more than before @throws ProtocolError */
  laid(bytes: number): boolean {
    if (bytes > this.#forwarded) {
      throw new ProtocolError('invalid-message', `the peer laid down ${bytes} bytes, ${this.#forwarded} were sent`);
    }
    const isMore = bytes > this.#laid;
    this.#laid = Math.max(this.#laid, bytes);
    return isMore;
  }

  get #isCopysTurn(): boolean {
    return this.#copyWaits > 0 && this.#rules.copysTurn(this.#guestAhead);
  }

  #add(bytes: number): boolean {
    const before = this.#rules.diskWaitsForCheckpoint(this.#open, this.outstandingBytes);
    this.#forwarded += bytes;
    this.#open += bytes;
    const after = this.#rules.diskWaitsForCheckpoint(this.#open, this.outstandingBytes);
    return before * 2 < this.#bound && after * 2 >= this.#bound;
  }
}
