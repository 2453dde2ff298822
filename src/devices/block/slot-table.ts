import { IoVectors } from '../../host/mappings/io-vector.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { BlockSlot, type SlotOwner, slotStage as stage } from './block-request.ts';

/** All slots of a disk, and where each of them is (see {@link slotStage}). None is made after the first moment. */
export class SlotTable implements Closable {
  readonly #owner = new Owner();
  readonly #slots: BlockSlot[] = [];
  readonly #free: BlockSlot[] = [];
  /** From #firstReady on, round the end. */
  readonly #ready: BlockSlot[] = [];
  #firstReady = 0;
  #readyCount = 0;
  /** In the order in which they failed, and finished. */
  readonly #kept: BlockSlot[] = [];
  readonly #held: BlockSlot[] = [];
  #abandoned = 0;
  #order = 0;

  /**
   * @param count as many requests as there can be; one more slot is made, for to look whether there is another request
   *   takes one
   * @param chainCapacity most buffers of a request
   */
  constructor(owner: SlotOwner, count: number, chainCapacity: number) {
    const { vectors } = this.#owner.own(new IoVectors(count + 1, chainCapacity));
    for (const data of vectors) this.#slots.push(new BlockSlot(owner, chainCapacity, data));
    this.#free.push(...this.#slots);
    this.#ready.push(...this.#slots);
  }

  /** Requests of a guest that is no more, which the backend still has. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** A free slot, which is in flight from now on. Hot path. */
  take(): BlockSlot {
    const slot = this.#free.pop() as BlockSlot;
    slot.stage = stage.inFlight;
    this.#order = (this.#order + 1) | 0;
    slot.order = this.#order;
    return slot;
  }

  /** Hot path. */
  free(slot: BlockSlot): void {
    if (slot.stage === stage.abandoned) this.#abandoned--;
    slot.stage = stage.free;
    this.#free.push(slot);
  }

  /** The slot is to go on, after those that are ready before it. */
  makeReady(slot: BlockSlot): void {
    slot.stage = stage.ready;
    this.#ready[(this.#firstReady + this.#readyCount) % this.#ready.length] = slot;
    this.#readyCount++;
  }

  /** The next one that is to go on, in flight from now on. Hot path. */
  takeReady(): BlockSlot | undefined {
    if (this.#readyCount === 0) return undefined;
    const slot = this.#ready[this.#firstReady] as BlockSlot;
    this.#firstReady = (this.#firstReady + 1) % this.#ready.length;
    this.#readyCount--;
    slot.stage = stage.inFlight;
    return slot;
  }

  get hasReady(): boolean {
    return this.#readyCount > 0;
  }

  keep(slot: BlockSlot): void {
    slot.stage = stage.kept;
    this.#kept.push(slot);
  }

  /** Those that were kept, which are the caller's now. */
  takeKept(): BlockSlot[] {
    return this.#kept.splice(0);
  }

  /** The slot is to begin again. */
  again(slot: BlockSlot): void {
    slot.rewind();
    this.makeReady(slot);
  }

  hold(slot: BlockSlot): void {
    slot.stage = stage.held;
    this.#held.push(slot);
  }

  /** Those that were held, which are the caller's now. */
  takeHeld(): BlockSlot[] {
    return this.#held.splice(0);
  }

  /** Heads of the requests that the driver has no answer to, in the order in which it made them. */
  heads(): number[] {
    return this.#slots
      .filter((slot) => slot.stage !== stage.free && slot.stage !== stage.abandoned)
      .sort((one, other) => (one.order - other.order) | 0)
      .map(({ chain }) => chain.head);
  }

  /** Forgets all requests. What the backend has it goes on with; such a slot is free when that has finished. */
  abandonAll(): void {
    this.#readyCount = 0;
    this.#kept.length = 0;
    this.#held.length = 0;
    for (const slot of this.#slots) {
      if (slot.stage === stage.inFlight) {
        slot.stage = stage.abandoned;
        this.#abandoned++;
      } else if (slot.stage !== stage.free && slot.stage !== stage.abandoned) this.free(slot);
    }
  }

  close(): void {
    this.#owner.close();
  }
}
