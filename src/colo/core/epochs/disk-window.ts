import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { Rules } from '../rules.ts';

/**
 * P's account of S's disk log (design: disks): what P forwarded and S did not yet lay down. Beyond half of the bound a
 * checkpoint is wanted; at the bound the guest's writes wait in their virtqueue.
 */
export class DiskWindow {
  readonly #bound: number;
  readonly #rules: Rules;
  #forwarded = 0;
  #laid = 0;

  constructor(boundBytes: number, rules: Rules) {
    this.#bound = boundBytes;
    this.#rules = rules;
  }

  get outstandingBytes(): number {
    return this.#forwarded - this.#laid;
  }

  /** What need not be sent at once should wait, and leave the room to the guest. */
  get isHalfFull(): boolean {
    return this.outstandingBytes * 2 >= this.#bound;
  }

  /** The next write must wait. */
  get mustWait(): boolean {
    return this.#rules.diskMustWait(this.outstandingBytes, this.#bound);
  }

  /** A write was forwarded. True when this is what passed half of the bound. */
  forward(bytes: number): boolean {
    const before = this.outstandingBytes;
    this.#forwarded += bytes;
    return before * 2 < this.#bound && this.outstandingBytes * 2 >= this.#bound;
  }

  /** S has laid down so many bytes since pairing. @throws ProtocolError */
  laid(bytes: number): void {
    if (bytes > this.#forwarded) {
      throw new ProtocolError('invalid-message', `the peer laid down ${bytes} bytes, ${this.#forwarded} were sent`);
    }
    this.#laid = Math.max(this.#laid, bytes);
  }
}
