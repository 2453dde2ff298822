import { fillMemory, viewMemory } from '../../../host/libc/memory.ts';

/** struct iovec: address and length, 8 bytes each. */
const iovecBytes = 16;

/** Copies a packet into the `count` struct iovec at `iovAddress`, as readv does: what does not fit is lost. The count copied. */
export function scatterPacket(packet: Uint8Array, iovAddress: number, count: number): number {
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

/** Copies what the `count` struct iovec at `iovAddress` have into `target`. The count copied; what does not fit is left out. */
export function gatherPacket(target: Uint8Array, iovAddress: number, count: number): number {
  const vector = new DataView(viewMemory(iovAddress, count * iovecBytes));
  let copied = 0;
  for (let index = 0; index < count && copied < target.length; index++) {
    const address = Number(vector.getBigUint64(index * iovecBytes, true));
    const length = Math.min(Number(vector.getBigUint64(index * iovecBytes + 8, true)), target.length - copied);
    if (length === 0) continue;
    target.set(new Uint8Array(viewMemory(address, length)), copied);
    copied += length;
  }
  return copied;
}
