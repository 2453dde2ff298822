/**
 * Records from one thread to another, through shared memory: one producer, one consumer, nothing allocated for a record.
 *
 *     cells     tail, head, consumer sleeps and up to where, producer waits    (a cache line each)
 *     data      records, one after the other; none is cut at the end of the ring
 *
 *     record    u32  bytes of its payload          u32  kind; 0: nothing follows up to the end of the ring, so many bytes
 *               f64  tag                           payload, up to a multiple of 8 bytes
 *
 * Tail and head count bytes, modulo 2^32: what lies between them belongs to the consumer, which reads records in place and
 * gives them back in order, whenever it has no more use for them. The size is a power of two, so that they wrap together.
 */

const tailCell = 0;
const headCell = 16;
const sleepsCell = 32;
const sleepsToCell = 33;
const waitsCell = 48;
const cellBytes = 256;
const headerBytes = 16;

/** The largest ring: positions that differ by its size must differ modulo 2^32. */
const mostBytes = 2 ** 30;

/** Kinds of a ring's users are above this one. */
const skip = 0;

/** Memory for a ring with `sizeBytes` of records, a power of two. */
export function recordRingStorage(sizeBytes: number): SharedArrayBuffer {
  if (sizeBytes < 64 || sizeBytes > mostBytes || (sizeBytes & (sizeBytes - 1)) !== 0) {
    throw new RangeError(`a ring has a power of two of bytes, 64 to ${mostBytes}, not ${sizeBytes}`);
  }
  return new SharedArrayBuffer(cellBytes + sizeBytes);
}

/** The largest payload that always finds room once a ring of `sizeBytes` is empty. */
export function mostPayloadBytes(sizeBytes: number): number {
  return sizeBytes / 2 - headerBytes;
}

/** What both ends have: the same memory, seen as cells, as bytes and as headers. */
class RingMemory {
  readonly cells: Int32Array<SharedArrayBuffer>;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly words: Uint32Array<SharedArrayBuffer>;
  readonly tags: Float64Array<SharedArrayBuffer>;
  readonly sizeBytes: number;
  readonly mask: number;

  constructor(storage: SharedArrayBuffer) {
    this.sizeBytes = storage.byteLength - cellBytes;
    this.mask = this.sizeBytes - 1;
    this.cells = new Int32Array(storage, 0, cellBytes / 4);
    this.bytes = new Uint8Array(storage, cellBytes);
    this.words = new Uint32Array(storage, cellBytes);
    this.tags = new Float64Array(storage, cellBytes);
  }
}

/** Bytes that a record takes in the ring. */
function spanOf(payloadBytes: number): number {
  return headerBytes + ((payloadBytes + 7) & ~7);
}

/** Whether a position is behind another one: they are closer than half of what they count modulo. */
function isBeyond(position: number, other: number): boolean {
  return ((position - other) | 0) > 0;
}

/** The end that writes. */
export class RecordProducer {
  readonly #memory: RingMemory;
  readonly #wakeConsumer: () => void;
  /** Position of the record that is being written, and its payload. */
  #reserved = 0;
  #payload = -1;
  /** As it was last seen: the consumer may have given more back since. */
  #head: number;

  /** @param wakeConsumer called when there is what a consumer that sleeps wants to be woken for */
  constructor(storage: SharedArrayBuffer, wakeConsumer: () => void) {
    this.#memory = new RingMemory(storage);
    this.#wakeConsumer = wakeConsumer;
    this.#head = Atomics.load(this.#memory.cells, headCell);
  }

  /** The consumer has given all records back. */
  get isEmpty(): boolean {
    const { cells } = this.#memory;
    return Atomics.load(cells, headCell) === cells[tailCell];
  }

  /** All bytes of records: where {@link reserve} says, a payload is written. */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    return this.#memory.bytes;
  }

  /**
   * Makes room for a record. Nobody sees it before {@link commit}; another call begins anew. Hot path.
   *
   * @returns where in {@link bytes} its payload goes; -1 if there is no room now (see {@link waitForRoom})
   */
  reserve(payloadBytes: number): number {
    const { cells, mask, sizeBytes } = this.#memory;
    const span = spanOf(payloadBytes);
    const tail = cells[tailCell] as number;
    const at = tail & mask;
    // A record that does not fit before the end begins at the ring's first byte.
    const skipped = at + span > sizeBytes ? sizeBytes - at : 0;
    if (skipped + span > this.#freeBytes(tail) && skipped + span > this.#refreshed(tail)) return -1;
    if (skipped > 0) {
      this.#memory.words[at >> 2] = skipped;
      this.#memory.words[(at >> 2) + 1] = skip;
    }
    this.#reserved = (tail + skipped) | 0;
    this.#payload = payloadBytes;
    return ((tail + skipped) & mask) + headerBytes;
  }

  /**
   * Hands the record over that was reserved last. Hot path.
   *
   * @param kind 1 or more
   * @param payloadBytes if it became shorter than reserved
   */
  commit(kind: number, tag: number, payloadBytes = this.#payload): void {
    const { cells, words, tags, mask } = this.#memory;
    if (this.#payload < 0 || payloadBytes > this.#payload) throw new RangeError('no such record was reserved');
    const at = this.#reserved & mask;
    words[at >> 2] = payloadBytes;
    words[(at >> 2) + 1] = kind;
    tags[(at + 8) >> 3] = tag;
    this.#payload = -1;
    const tail = (this.#reserved + spanOf(payloadBytes)) | 0;
    Atomics.store(cells, tailCell, tail);
    // Written before it is looked whether the consumer sleeps, which says so before it looks for records: one sees the other.
    if (Atomics.load(cells, sleepsCell) !== 0 && isBeyond(tail, cells[sleepsToCell] as number)) this.#wake();
  }

  /**
   * Asks to be woken when something was given back. A consumer that sleeps is woken for it, however little there is.
   *
   * @returns false if that has happened already: {@link reserve} is worth another try
   */
  waitForRoom(): boolean {
    const { cells } = this.#memory;
    Atomics.store(cells, waitsCell, 1);
    const head = Atomics.load(cells, headCell);
    if (head === this.#head) {
      if (Atomics.load(cells, sleepsCell) !== 0) this.#wake();
      return true;
    }
    this.#head = head;
    Atomics.store(cells, waitsCell, 0);
    return false;
  }

  #wake(): void {
    if (Atomics.exchange(this.#memory.cells, sleepsCell, 0) !== 0) this.#wakeConsumer();
  }

  #freeBytes(tail: number): number {
    return this.#memory.sizeBytes - ((tail - this.#head) >>> 0);
  }

  #refreshed(tail: number): number {
    this.#head = Atomics.load(this.#memory.cells, headCell);
    return this.#freeBytes(tail);
  }
}

/** The end that reads. A record is read in place and stays until it is given back. */
export class RecordConsumer {
  /** Of the record that {@link next} came to last. */
  kind = 0;
  tag = 0;
  /** Where in {@link bytes} its payload lies, and how long it is. */
  offset = 0;
  length = 0;
  readonly #memory: RingMemory;
  readonly #wakeProducer: () => void;
  /** Position behind the record that was read last. */
  #cursor: number;

  /** @param wakeProducer called when there is room again for a producer that waits */
  constructor(storage: SharedArrayBuffer, wakeProducer: () => void) {
    this.#memory = new RingMemory(storage);
    this.#wakeProducer = wakeProducer;
    this.#cursor = Atomics.load(this.#memory.cells, headCell);
  }

  get bytes(): Uint8Array<SharedArrayBuffer> {
    return this.#memory.bytes;
  }

  /** Goes on to the next record; false if there is none. Hot path. */
  next(): boolean {
    const { cells, words, tags, mask } = this.#memory;
    if (Atomics.load(cells, tailCell) === this.#cursor) return false;
    let at = this.#cursor & mask;
    if (words[(at >> 2) + 1] === skip) {
      this.#cursor = (this.#cursor + (words[at >> 2] as number)) | 0;
      at = this.#cursor & mask;
    }
    this.length = words[at >> 2] as number;
    this.kind = words[(at >> 2) + 1] as number;
    this.tag = tags[(at + 8) >> 3] as number;
    this.offset = at + headerBytes;
    this.#cursor = (this.#cursor + spanOf(this.length)) | 0;
    return true;
  }

  /** There is no record behind the one that was read last. */
  get isEmpty(): boolean {
    return Atomics.load(this.#memory.cells, tailCell) === this.#cursor;
  }

  /** A producer found no room, and waits for what is given back. */
  get producerWaits(): boolean {
    return Atomics.load(this.#memory.cells, waitsCell) !== 0;
  }

  /** What to {@link giveBack} once all records up to the last one read have been dealt with. */
  get position(): number {
    return this.#cursor;
  }

  /**
   * Gives all records before `position` back; their bytes may be written over from now on. What was given back once is not held
   * again by an earlier position: the producer would find less room than there is, for good.
   */
  giveBack(position = this.#cursor): void {
    const { cells } = this.#memory;
    const head = cells[headCell] as number;
    if (position === head) return;
    if (isBeyond(head, position)) throw new RangeError('records are given back in order');
    Atomics.store(cells, headCell, position);
    if (Atomics.load(cells, waitsCell) !== 0 && Atomics.exchange(cells, waitsCell, 0) !== 0) this.#wakeProducer();
  }

  /**
   * Asks to be woken for the next record, or once records take more than so many bytes, or when the producer finds no room: look
   * whether it {@link producerWaits} after this.
   *
   * @returns false if there is so much already
   */
  sleep(gatheredBytes = 0): boolean {
    const { cells } = this.#memory;
    const to = (this.#cursor + gatheredBytes) | 0;
    cells[sleepsToCell] = to;
    Atomics.store(cells, sleepsCell, 1);
    if (!isBeyond(Atomics.load(cells, tailCell), to)) return true;
    Atomics.store(cells, sleepsCell, 0);
    return false;
  }
}
