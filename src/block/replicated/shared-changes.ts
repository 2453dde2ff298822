/** What the io thread and the colo thread share of the changes that may make two machines' disks differ. */
export interface SharedChanges {
  /** A file of marked regions (region-file.ts), which is the io thread's from now on. */
  readonly path: string;
  readonly id: Uint8Array;
  /** Of all disks of the machine. */
  readonly sizes: readonly number[];
  /** Beside each disk that is written, what says that this log knows of it (../pair-stamp.ts): made before the io thread hears of the log. */
  readonly stamps: readonly string[];
  /** See {@link ActivityControl}. */
  readonly control: SharedArrayBuffer;
  /** Blocks that changed while nobody was sent changes (changed-blocks.ts). */
  readonly blocks: SharedArrayBuffer;
}

/** Cells between the two threads. */
export class ActivityControl {
  readonly #through: Float64Array<SharedArrayBuffer>;
  readonly #cells: Int32Array<SharedArrayBuffer>;

  static storage(): SharedArrayBuffer {
    return new SharedArrayBuffer(32);
  }

  constructor(storage: SharedArrayBuffer) {
    this.#through = new Float64Array(storage, 0, 1);
    this.#cells = new Int32Array(storage, 8, 6);
  }

  /** The standby has all of the epochs up to this one on its disks, durable; below 0: nothing is known of it. */
  get through(): number {
    return this.#through[0] as number;
  }

  set through(epoch: number) {
    this.#through[0] = epoch;
  }

  /** Has the io thread look, when it is woken, which marks can go. */
  sweep(): void {
    Atomics.add(this.#cells, 0, 1);
  }

  /** io: counts these. */
  get sweeps(): number {
    return Atomics.load(this.#cells, 0);
  }

  /** Regions that are marked. */
  get marked(): number {
    return Atomics.load(this.#cells, 1);
  }

  set marked(count: number) {
    Atomics.store(this.#cells, 1, count);
  }

  /** Has the io thread, when it is woken, make all disks durable as they are: {@link flushed}. Once at a time. */
  askFlush(): void {
    Atomics.store(this.#cells, 3, 0);
    Atomics.add(this.#cells, 2, 1);
  }

  /** io: counts these. */
  get flushes(): number {
    return Atomics.load(this.#cells, 2);
  }

  /** Undefined: not yet; or 0, or a negative errno. */
  get flushed(): number | undefined {
    const result = Atomics.load(this.#cells, 3);
    return result === 0 ? undefined : Math.min(result, 0);
  }

  set flushed(result: number | undefined) {
    Atomics.store(this.#cells, 3, (result ?? 0) < 0 ? (result as number) : 1);
  }

  /** Has the io thread, when it is woken, keep no log any more: {@link lost}, or {@link keptAgainst}. */
  askToGiveUp(): void {
    const before = Atomics.load(this.#cells, 5);
    if (before < 0) Atomics.compareExchange(this.#cells, 5, before, 0);
    Atomics.add(this.#cells, 4, 1);
  }

  /** io: counts these. */
  get wishesToGiveUp(): number {
    return Atomics.load(this.#cells, 4);
  }

  /** The errno for which no log is kept any more, and nobody will ever rely on what its file says; undefined: it is kept. */
  get lost(): number | undefined {
    const errno = Atomics.load(this.#cells, 5);
    return errno > 0 ? errno : undefined;
  }

  set lost(errno: number) {
    Atomics.store(this.#cells, 5, errno);
  }

  /** The errno for which it could not be given up when that was tried last. */
  get keptAgainst(): number | undefined {
    const errno = Atomics.load(this.#cells, 5);
    return errno < 0 ? -errno : undefined;
  }

  set keptAgainst(errno: number) {
    Atomics.store(this.#cells, 5, -errno);
  }
}
