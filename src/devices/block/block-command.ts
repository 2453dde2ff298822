import type { BlockGeometry } from '../../block/block-backend.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { type BlockSlot, headerBytes, segmentBytes, blockRequestType as type } from './block-request.ts';
import { maxRangeSectors, sectorBytes } from './block-shape.ts';

/** What becomes of a request. `noRoom`: there is not even room to say what. */
export const verdict = { carryOut: 0, tellId: 1, refuse: 2, unsupported: 3, noRoom: 4 } as const;
export type Verdict = (typeof verdict)[keyof typeof verdict];

const UNMAP = 1;

/** The disk as its driver knows it. */
export type ToldDisk = Pick<BlockGeometry, 'sizeBytes' | 'readOnly'>;

/**
 * Reads what a driver asks for (Virtio 1.2, 5.2.6) out of the slot's chain into its other fields, and looks whether the disk
 * has that. Nothing is begun. Hot path.
 */
export function readCommand(memory: GuestMemory, slot: BlockSlot, disk: ToldDisk): Verdict {
  const { chain } = slot;
  if (chain.writableBytes === 0) return verdict.noRoom;
  if (chain.readableBytes < headerBytes) return verdict.refuse;
  slot.rewind();
  slot.unmap = false;
  slot.type = readableU32(memory, chain, 0);
  switch (slot.type) {
    case type.in:
      return readTransfer(memory, slot, chain.writableBytes - 1, disk);
    case type.out:
      return disk.readOnly ? verdict.refuse : readTransfer(memory, slot, chain.readableBytes - headerBytes, disk);
    case type.flush:
      slot.start = 0;
      slot.total = 0;
      return verdict.carryOut;
    case type.getId:
      return verdict.tellId;
    case type.discard:
    case type.writeZeroes:
      return disk.readOnly ? verdict.refuse : readRange(memory, slot, disk);
    default:
      return verdict.unsupported;
  }
}

function readTransfer(memory: GuestMemory, slot: BlockSlot, length: number, disk: ToldDisk): Verdict {
  slot.start = readableU64(memory, slot.chain, 8) * sectorBytes;
  slot.total = length;
  return isOnDisk(slot, disk) ? verdict.carryOut : verdict.refuse;
}

/** Discard and write zeroes: one segment, as the configuration says. */
function readRange(memory: GuestMemory, slot: BlockSlot, disk: ToldDisk): Verdict {
  const { chain } = slot;
  if (chain.readableBytes !== headerBytes + segmentBytes) return verdict.refuse;
  const sectors = readableU32(memory, chain, headerBytes + 8);
  const flags = readableU32(memory, chain, headerBytes + 12);
  slot.start = readableU64(memory, chain, headerBytes) * sectorBytes;
  slot.total = sectors * sectorBytes;
  slot.unmap = (flags & UNMAP) !== 0;
  if ((flags & ~(slot.type === type.writeZeroes ? UNMAP : 0)) !== 0) return verdict.unsupported;
  return sectors <= maxRangeSectors && isOnDisk(slot, disk) ? verdict.carryOut : verdict.refuse;
}

function isOnDisk({ start, total }: BlockSlot, { sizeBytes }: ToldDisk): boolean {
  return total > 0 && total % sectorBytes === 0 && start + total <= sizeBytes;
}

/** 32 bits at `offset` of the readable stream, wherever its buffers are cut. The stream is long enough. Hot path. */
function readableU32(memory: GuestMemory, chain: DescriptorChain, offset: number): number {
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

/** 64 bits, as a number: exact below 2^53; what is above is rounded, and beyond every disk either way. */
function readableU64(memory: GuestMemory, chain: DescriptorChain, offset: number): number {
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
