import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import { seedBytes } from '../../devices/rng/random-source.ts';
import type { Fd } from '../../host/libc/descriptors.ts';

/**
 * What the threads of a protected machine share. Whoever protects the machine makes it; the io thread gets it while it is
 * parked, and the thread that decides what leaves (the colo thread) beside it. Rings are record rings (record-ring.ts).
 */
export interface SharedProtection {
  /** The epoch that the guest runs in: see {@link OpenEpoch}. */
  readonly epoch: SharedArrayBuffer;
  /** What the guest's entropy comes from in that epoch: see {@link EpochSeed}. */
  readonly seed: SharedArrayBuffer;
  /** Button of the doorbell that wakes the colo thread. */
  readonly bell: Fd;
  readonly packets: SharedPackets;
  readonly disks: SharedDisks;
  /** Which regions of disks change is kept here; absent: as before. */
  readonly changes?: SharedChanges;
}

/** Packets between the io thread and the colo thread. */
export interface SharedPackets {
  /** How the cards' packets travel now: the io thread looks at it for each packet. */
  readonly control: SharedArrayBuffer;
  /** What the guest sent, io to colo. */
  readonly outbox: SharedArrayBuffer;
  /** What entered the guest, io to colo. */
  readonly mirror: SharedArrayBuffer;
}

/**
 * What the threads of a replica share: a machine whose guest gets what another one gets, and of which nobody hears but the thread
 * that compares the two. Given to the io thread while it is parked.
 */
export interface SharedReplica {
  /** See {@link OpenEpoch}. */
  readonly epoch: SharedArrayBuffer;
  /** See {@link EpochSeed}. */
  readonly seed: SharedArrayBuffer;
  readonly bell: Fd;
  /** What its guest sent, io to colo. */
  readonly outbox: SharedArrayBuffer;
  /** What is to enter its guest, colo to io: a ring for each card. */
  readonly feeds: readonly SharedArrayBuffer[];
  /** See {@link ReplicaNeeds}. */
  readonly needs: SharedArrayBuffer;
}

/** What a replica's io thread wants of the colo thread, whose doorbell it rings then. */
export class ReplicaNeeds {
  readonly storage: SharedArrayBuffer;
  readonly #cell: Int32Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(4)) {
    this.storage = storage;
    this.#cell = new Int32Array(storage);
  }

  /** io: half of the room for what its guest writes to disks is taken, or more. */
  diskRoom(): void {
    Atomics.store(this.#cell, 0, 1);
  }

  /** colo: whether that was said since this was last asked. */
  takeDiskRoom(): boolean {
    return Atomics.load(this.#cell, 0) !== 0 && Atomics.exchange(this.#cell, 0, 0) !== 0;
  }
}

/** What the guest writes to its disks, io to colo. */
export interface SharedDisks {
  readonly control: SharedArrayBuffer;
  readonly ring: SharedArrayBuffer;
}

/**
 * The number of the epoch that the guest runs in (specification B.1). It changes only inside a stop, while no thread of the
 * guest's runs: so what a thread tags with it belongs to the checkpoint that closes that epoch.
 */
export class OpenEpoch {
  readonly storage: SharedArrayBuffer;
  readonly #cell: Float64Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(8)) {
    this.storage = storage;
    this.#cell = new Float64Array(storage);
  }

  get number(): number {
    return this.#cell[0] as number;
  }

  set number(value: number) {
    this.#cell[0] = value;
  }
}

/**
 * The seed that the guest's entropy comes from in the open epoch (specification B.9), on its way to the io thread. It is given inside a
 * stop, as {@link OpenEpoch} is; who takes it leaves nothing of it behind.
 */
export class EpochSeed {
  readonly storage: SharedArrayBuffer;
  readonly #isThere: Int32Array<SharedArrayBuffer>;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(4 + seedBytes)) {
    this.storage = storage;
    this.#isThere = new Int32Array(storage, 0, 1);
    this.#bytes = new Uint8Array(storage, 4, seedBytes);
  }

  give(seed: Uint8Array): void {
    this.#bytes.set(seed);
    Atomics.store(this.#isThere, 0, 1);
  }

  /** io: whether one was given since it last looked; that is in `into` then. Hot path. */
  take(into: Uint8Array): boolean {
    if (Atomics.load(this.#isThere, 0) === 0) return false;
    into.set(this.#bytes);
    this.#bytes.fill(0);
    Atomics.store(this.#isThere, 0, 0);
    return true;
  }
}
