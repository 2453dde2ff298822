import { EAGAIN } from '../../../host/errno.ts';
import { RecordConsumer } from '../../../host/threads/record-ring.ts';
import { scatterPacket } from './scatter-packet.ts';

/**
 * What enters a replica's guest through one card, in place of what its TAP has: packets that the thread which keeps it equal to
 * another guest puts into a ring, each with the epoch that it belongs to. Those of another epoch than the open one are dropped:
 * the guest that they were for was rolled back.
 */
export class PacketFeed {
  readonly #ring: RecordConsumer;
  readonly #epoch: { readonly number: number };

  /**
   * @param epoch the one that the guest runs in
   * @param hasRoom called when something was given back that the other thread waits for
   */
  constructor(storage: SharedArrayBuffer, epoch: { readonly number: number }, hasRoom: () => void) {
    this.#ring = new RecordConsumer(storage, hasRoom);
    this.#epoch = epoch;
  }

  /** As PacketPort's. Hot path. */
  readv(iovAddress: number, count: number): number {
    if (!this.#next()) return -EAGAIN;
    const ring = this.#ring;
    const copied = scatterPacket(ring.bytes.subarray(ring.offset, ring.offset + ring.length), iovAddress, count);
    ring.giveBack();
    return copied;
  }

  /** All that is left of it, in order: copies. Nothing is in it afterwards. */
  take(): Uint8Array[] {
    const left: Uint8Array[] = [];
    while (this.#next()) {
      left.push(Uint8Array.from(this.#ring.bytes.subarray(this.#ring.offset, this.#ring.offset + this.#ring.length)));
      this.#ring.giveBack();
    }
    return left;
  }

  /** Goes on to the next packet of the open epoch; false if there is none, and then the thread is woken for the next one. */
  #next(): boolean {
    const ring = this.#ring;
    for (;;) {
      if (!ring.next()) {
        if (ring.sleep()) return false;
        continue;
      }
      if (ring.tag === this.#epoch.number) return true;
      ring.giveBack();
    }
  }
}
