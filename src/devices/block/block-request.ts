import type { BlockRequest } from '../../block/block-backend.ts';
import type { IoVector } from '../../host/io-vector.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';

/** Request types (Virtio 1.2, 5.2.6). */
export const blockRequestType = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;

/** Status, the last byte that the device may write. */
export const blockStatus = { ok: 0, ioError: 1, unsupported: 2 } as const;

/** type u32, reserved u32, sector u64. */
export const headerBytes = 16;
/** Of discard and write zeroes: sector u64, count of sectors u32, flags u32. */
export const segmentBytes = 16;

/** Whoever is told that a slot's request went through the backend. */
export interface SlotOwner {
  slotFinished(slot: BlockSlot, result: number): void;
}

/**
 * A request of the driver, from the queue until its status is written. Slots are made once and used again and again.
 *
 *     readable stream   header, then the data to be written or the segment
 *     writable stream   the data that is read, then the status byte
 */
export class BlockSlot implements BlockRequest {
  offset = 0;
  length = 0;
  readonly chain: DescriptorChain;
  readonly data: IoVector;
  type = 0;
  /** The write is done and is being made durable, before the driver hears of it. */
  flushing = false;
  unmap = false;
  readonly #owner: SlotOwner;

  constructor(owner: SlotOwner, chainCapacity: number, data: IoVector) {
    this.#owner = owner;
    this.chain = new DescriptorChain(chainCapacity);
    this.data = data;
  }

  finished(result: number): void {
    this.#owner.slotFinished(this, result);
  }
}

/** 32 bits at `offset` of the readable stream, wherever its buffers are cut. The stream is long enough. Hot path. */
export function readableU32(memory: GuestMemory, chain: DescriptorChain, offset: number): number {
  let skip = offset;
  for (let index = 0; index < chain.readable; index++) {
    const length = chain.lengthOf(index);
    if (skip + 4 <= length) return memory.readU32(gpa(chain.addressOf(index) + skip));
    if (skip < length) break;
    skip -= length;
  }
  let value = 0;
  for (let byte = 0; byte < 4; byte++) value |= readableU8(memory, chain, offset + byte) << (8 * byte);
  return value >>> 0;
}

/**
 * 64 bits, as a number: exact below 2^53; what is above is rounded, and beyond every disk either way.
 */
export function readableU64(memory: GuestMemory, chain: DescriptorChain, offset: number): number {
  return readableU32(memory, chain, offset) + readableU32(memory, chain, offset + 4) * 0x1_0000_0000;
}

function readableU8(memory: GuestMemory, chain: DescriptorChain, offset: number): number {
  let skip = offset;
  for (let index = 0; index < chain.readable; index++) {
    const length = chain.lengthOf(index);
    if (skip < length) return memory.readU8(gpa(chain.addressOf(index) + skip));
    skip -= length;
  }
  return 0;
}

/** Writes the status. The writable stream has at least that byte. Hot path. */
export function writeStatus(memory: GuestMemory, chain: DescriptorChain, status: number): void {
  const last = chain.count - 1;
  memory.writeU8(gpa(chain.addressOf(last) + chain.lengthOf(last) - 1), status);
}
