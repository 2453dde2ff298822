import type { BlockRequest } from '../../block/block-backend.ts';
import type { IoVector } from '../../host/mappings/io-vector.ts';
import { MiB } from '../../memory/address.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';

/** Request types (Virtio 1.2, 5.2.6). */
export const blockRequestType = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;

/** Status, the last byte that the device may write. */
export const blockStatus = { ok: 0, ioError: 1, unsupported: 2 } as const;

/** type u32, reserved u32, sector u64. */
export const headerBytes = 16;
/** Of discard and write zeroes: sector u64, count of sectors u32, flags u32. */
export const segmentBytes = 16;

/**
 * Where a slot is. A request that has not been answered is in one of the middle four.
 *
 *     free -> inFlight -> (ready -> inFlight)* -> free        ready: between two pieces
 *                 |--> kept -> ready                           kept: it failed, and waits until the machine goes on
 *                 |--> held -> free                            held: its answer waits for that
 *                 '--> abandoned -> free                       abandoned: of a guest that is no more
 */
export const slotStage = { free: 0, inFlight: 1, ready: 2, kept: 3, held: 4, abandoned: 5 } as const;
type SlotStage = (typeof slotStage)[keyof typeof slotStage];

/**
 * Most bytes that go to the file in one piece. A call may be made on the thread itself (files in memory), and a pause waits
 * for reads: so no piece takes long, whatever a driver asks for. What Linux asks for goes in one piece.
 */
const pieceBytes = 4 * MiB;
/** Zeros may have to be written one by one. */
const zeroPieceBytes = 16 * MiB;
/** Space that is given back costs far less. */
const discardPieceBytes = 64 * MiB;
const discardCost = discardPieceBytes / (8 * MiB);

/** Whoever is told that a slot's piece went through the backend. */
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
  /** Of the piece that is on its way. */
  offset = 0;
  length = 0;
  /** What it costs whoever does it, in bytes moved. */
  cost = 0;
  readonly chain: DescriptorChain;
  readonly data: IoVector;
  stage: SlotStage = slotStage.free;
  /** Which of two was taken first, modulo 2^32. */
  order = 0;
  type = 0;
  /** First byte on the disk, and bytes, of the whole request. */
  start = 0;
  total = 0;
  /** Bytes of it that are done. */
  done = 0;
  unmap = false;
  /** The write is done and is being made durable, before the driver hears of it. */
  flushing = false;
  /** What the driver is to be told, while that is held. */
  status = 0;
  readonly #owner: SlotOwner;

  constructor(owner: SlotOwner, chainCapacity: number, data: IoVector) {
    this.#owner = owner;
    this.chain = new DescriptorChain(chainCapacity);
    this.data = data;
  }

  /** It begins from the front. */
  rewind(): void {
    this.done = 0;
    this.length = 0;
    this.cost = 0;
    this.flushing = false;
  }

  /** Sets {@link offset}, {@link length} and {@link cost} to what is to be done next. Pieces end where ranges of space do. Hot path. */
  nextPiece(): void {
    const from = this.start + this.done;
    const left = this.total - this.done;
    this.offset = from;
    if (left <= pieceBytes) this.length = left;
    else {
      const most = this.#mostBytes;
      this.length = left <= most ? left : most - (from % most);
    }
    this.cost = this.#isDiscard ? this.length / discardCost : this.length;
  }

  get #mostBytes(): number {
    if (this.type === blockRequestType.in || this.type === blockRequestType.out) return pieceBytes;
    return this.#isDiscard ? discardPieceBytes : zeroPieceBytes;
  }

  get #isDiscard(): boolean {
    return this.type === blockRequestType.discard || this.unmap;
  }

  finished(result: number): void {
    this.#owner.slotFinished(this, result);
  }
}
