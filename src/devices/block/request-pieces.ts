import type { BlockBackend } from '../../block/block-backend.ts';
import { MiB } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type BlockSlot, headerBytes, slotStage, blockRequestType as type } from './block-request.ts';

/** With so many bytes on their way no more are taken: a pause waits for reads. */
const mostBytesInFlight = 32 * MiB;

/** Pieces of requests on their way through the backend, between the guest's buffers and the file, and how many there are. */
export class RequestPieces {
  readonly #backend: BlockBackend;
  readonly #memory: GuestMemory;
  #inFlight = 0;
  #readsInFlight = 0;
  #bytesInFlight = 0;

  constructor(backend: BlockBackend, memory: GuestMemory) {
    this.#backend = backend;
    this.#memory = memory;
  }

  /** Requests that the backend has. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Those of them that write guest memory; those of a guest that is no more do so too, but nobody minds. */
  get readsInFlight(): number {
    return this.#readsInFlight;
  }

  /** No more should be sent until one has come back. */
  get isFull(): boolean {
    return this.#bytesInFlight >= mostBytesInFlight;
  }

  /** Sends the next piece of a request to the backend. False: its buffers are not where the driver says. Hot path. */
  submit(slot: BlockSlot): boolean {
    const { chain, data } = slot;
    const backend = this.#backend;
    slot.nextPiece();
    data.clear();
    const fits =
      slot.type === type.in
        ? chain.gatherWritable(this.#memory, slot.done, slot.length, data)
        : slot.type !== type.out || chain.gatherReadable(this.#memory, headerBytes + slot.done, slot.length, data);
    if (!fits) return false;
    this.#inFlight++;
    this.#bytesInFlight += slot.cost;
    if (slot.flushing) backend.flush(slot);
    else {
      switch (slot.type) {
        case type.in:
          this.#readsInFlight++;
          backend.read(slot);
          break;
        case type.out:
          backend.write(slot);
          break;
        case type.flush:
          backend.flush(slot);
          break;
        case type.discard:
          backend.discard(slot);
          break;
        default:
          backend.writeZeroes(slot, slot.unmap);
      }
    }
    return true;
  }

  /** A piece has come back. Hot path. */
  returned(slot: BlockSlot): void {
    this.#inFlight--;
    this.#bytesInFlight -= slot.cost;
    if (slot.stage === slotStage.abandoned || slot.type !== type.in) return;
    this.#readsInFlight--;
    // A read that failed may have written all the same.
    slot.chain.markWritten(this.#memory, slot.done, slot.length);
  }

  /** All that are on their way are of a guest that is no more. */
  abandonAll(): void {
    this.#readsInFlight = 0;
  }
}
