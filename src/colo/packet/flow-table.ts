import { type FlowKey, keyWords } from './flow-key.ts';

const none = -1;
/** How many of those unused longest are asked whether they may go. */
const tries = 8;

/** What a table keeps for a connection; it is made once for each place, and used for one connection after the other. */
export interface Flow {
  /** Its place in the table. */
  readonly index: number;
}

const inUse = 0;
const retired = 1;

/**
 * Connections by their keys, a bounded number of them. When all places are taken, the one goes that has been retired longest; if there
 * is none, the one that was unused longest, if it may: a place with something that must not be forgotten is kept. Objects are
 * made as places are first used; nothing is allocated after that.
 */
export class FlowTable<F extends Flow> {
  /** Of all places, side by side. */
  readonly keys: Int32Array;
  readonly capacity: number;
  readonly #make: (index: number) => F;
  readonly #mayGo: (flow: F) => boolean;
  readonly #flows: F[] = [];
  /** First place of each bucket, and the next of the same one. */
  readonly #buckets: Int32Array;
  readonly #next: Int32Array;
  readonly #bucketOf: Int32Array;
  /** All that are in use, and all that have retired: of each the one used last first. */
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  readonly #listOf: Uint8Array;
  readonly #newest = new Int32Array(2).fill(none);
  readonly #oldest = new Int32Array(2).fill(none);
  /** Places that were in use and are free, linked by `#next`. */
  #free = none;
  #size = 0;
  /** Connections that were forgotten to make room. */
  forgotten = 0;

  /** @param mayGo which of those that have not retired may be forgotten */
  constructor(capacity: number, make: (index: number) => F, mayGo: (flow: F) => boolean = () => false) {
    this.capacity = capacity;
    this.#make = make;
    this.#mayGo = mayGo;
    this.keys = new Int32Array(capacity * keyWords);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(capacity * 2))).fill(none);
    this.#next = new Int32Array(capacity);
    this.#bucketOf = new Int32Array(capacity);
    this.#newer = new Int32Array(capacity);
    this.#older = new Int32Array(capacity);
    this.#listOf = new Uint8Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** Undefined: not there. It is then in use, and the one used last. Hot path. */
  find(key: FlowKey): F | undefined {
    const bucket = key.hash & (this.#buckets.length - 1);
    for (let at = this.#buckets[bucket] as number; at !== none; at = this.#next[at] as number) {
      if (!key.isAt(this.keys, at * keyWords)) continue;
      if (at !== this.#newest[inUse]) {
        this.#unlink(at);
        this.#linkNewest(at, inUse);
      }
      return this.#flows[at];
    }
    return undefined;
  }

  /** A place for a key that is not there, with whatever was in the object before. Undefined: there is no room. */
  add(key: FlowKey): F | undefined {
    const at = this.#place();
    if (at === none) return undefined;
    const flow = this.#flows[at] ?? this.#make(at);
    this.#flows[at] = flow;
    this.keys.set(key.words, at * keyWords);
    const bucket = key.hash & (this.#buckets.length - 1);
    this.#bucketOf[at] = bucket;
    this.#next[at] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = at;
    this.#linkNewest(at, inUse);
    this.#size++;
    return flow;
  }

  /** It goes before any that is in use when there is no room, after those that retired before it; until it is found again. Hot path. */
  retire(flow: F): void {
    this.#unlink(flow.index);
    this.#linkNewest(flow.index, retired);
  }

  remove(flow: F): void {
    const at = flow.index;
    const bucket = this.#bucketOf[at] as number;
    const first = this.#buckets[bucket] as number;
    if (first === at) this.#buckets[bucket] = this.#next[at] as number;
    else {
      let before = first;
      while (this.#next[before] !== at) before = this.#next[before] as number;
      this.#next[before] = this.#next[at] as number;
    }
    this.#unlink(at);
    this.#next[at] = this.#free;
    this.#free = at;
    this.#size--;
  }

  /** Each connection, the one used last first, those that have retired behind the others. It may be removed meanwhile. */
  forEach(action: (flow: F) => void): void {
    for (const newest of this.#newest) {
      for (let at = newest; at !== none; ) {
        const older = this.#older[at] as number;
        action(this.#flows[at] as F);
        at = older;
      }
    }
  }

  #place(): number {
    if (this.#free === none && this.#size === this.capacity) this.#forgetOne();
    const at = this.#free;
    if (at !== none) {
      this.#free = this.#next[at] as number;
      return at;
    }
    return this.#size < this.capacity ? this.#size : none;
  }

  #forgetOne(): void {
    const first = this.#oldest[retired] as number;
    if (first !== none) {
      this.forgotten++;
      this.remove(this.#flows[first] as F);
      return;
    }
    let at = this.#oldest[inUse] as number;
    for (let left = tries; left > 0 && at !== none; left--) {
      const flow = this.#flows[at] as F;
      if (this.#mayGo(flow)) {
        this.forgotten++;
        this.remove(flow);
        return;
      }
      at = this.#newer[at] as number;
    }
  }

  #linkNewest(at: number, list: number): void {
    const newest = this.#newest[list] as number;
    this.#listOf[at] = list;
    this.#newer[at] = none;
    this.#older[at] = newest;
    if (newest === none) this.#oldest[list] = at;
    else this.#newer[newest] = at;
    this.#newest[list] = at;
  }

  #unlink(at: number): void {
    const list = this.#listOf[at] as number;
    const newer = this.#newer[at] as number;
    const older = this.#older[at] as number;
    if (newer === none) this.#newest[list] = older;
    else this.#older[newer] = older;
    if (older === none) this.#oldest[list] = newer;
    else this.#newer[older] = newer;
  }
}
