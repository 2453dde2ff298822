import type { PacketPort } from '../../../devices/net/packet-port.ts';
import { fillMemory, viewMemory } from '../../../host/libc.ts';

/** struct iovec: address and length, 8 bytes each. */
const iovecBytes = 16;

/**
 * A card's port: its TAP, and before it what a guest that has taken over is to get first (spec B.15). Where there is nothing of
 * that, it costs one comparison a packet.
 */
export class CardPort implements PacketPort {
  readonly #tap: PacketPort;
  #replayed: readonly Uint8Array[] | undefined;
  #next = 0;

  constructor(tap: PacketPort) {
    this.#tap = tap;
  }

  /** These come before what the TAP has, in order. They are this one's from now on. */
  replay(packets: readonly Uint8Array[]): void {
    const before = this.#replayed?.slice(this.#next) ?? [];
    this.#replayed = before.length + packets.length === 0 ? undefined : [...before, ...packets];
    this.#next = 0;
  }

  /** The guest that they were for is gone. */
  forgetReplay(): void {
    this.#replayed = undefined;
    this.#next = 0;
  }

  /** Packets that are still to come before what the TAP has. */
  get replaying(): number {
    return this.#replayed === undefined ? 0 : this.#replayed.length - this.#next;
  }

  /** Hot path. */
  readv(iovAddress: number, count: number): number {
    const packet = this.#replayed?.[this.#next++];
    if (packet === undefined) {
      if (this.#replayed !== undefined) this.forgetReplay();
      return this.#tap.readv(iovAddress, count);
    }
    return scatter(packet, iovAddress, count);
  }

  writev(iovAddress: number, count: number): number {
    return this.#tap.writev(iovAddress, count);
  }

  listen(isWanted: boolean): void {
    this.#tap.listen(isWanted);
  }

  setOffload(bits: number): number {
    return this.#tap.setOffload(bits);
  }
}

/** Copies a packet into buffers, as readv does: what does not fit is lost. The count copied. */
function scatter(packet: Uint8Array, iovAddress: number, count: number): number {
  const vector = new DataView(viewMemory(iovAddress, count * iovecBytes));
  let copied = 0;
  for (let index = 0; index < count && copied < packet.length; index++) {
    const address = Number(vector.getBigUint64(index * iovecBytes, true));
    const length = Number(vector.getBigUint64(index * iovecBytes + 8, true));
    const part = packet.subarray(copied, copied + length);
    fillMemory(address, part);
    copied += part.length;
  }
  return copied;
}
