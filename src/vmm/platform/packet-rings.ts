import type { Fd } from '../../host/libc/descriptors.ts';
import { recordRingStorage } from '../../host/threads/record-ring.ts';
import { EpochSeed, OpenEpoch, ReplicaNeeds, type SharedPackets, type SharedReplica } from './shared-protection.ts';

/**
 * Rings of packets between the io thread and the colo thread. A record's kind is the card's number and 1, its tag the epoch, its
 * payload the packet: header and frame.
 */

/** Some hundred of the longest packets, or some ten thousand of the shortest. */
const ringBytes = 8 * 1024 * 1024;

/**
 * How packets travel. `direct`: past the rings. `mirrored`: all that the guest sends goes into the outbox and no further, all
 * that enters it into the mirror too. `draining`: as `direct` once the outbox is empty, so that nothing overtakes.
 */
export const packetMode = { direct: 0, mirrored: 1, draining: 2 } as const;
export type PacketMode = (typeof packetMode)[keyof typeof packetMode];

/** The cells that say how packets travel. */
export class PacketControl {
  readonly storage: SharedArrayBuffer;
  readonly #cells: Int32Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(8)) {
    this.storage = storage;
    this.#cells = new Int32Array(storage);
  }

  get mode(): PacketMode {
    return Atomics.load(this.#cells, 0) as PacketMode;
  }

  set mode(mode: PacketMode) {
    Atomics.store(this.#cells, 0, mode);
  }

  /**
   * From when this epoch begins nothing enters the guest of what is mirrored, until another one is set here; undefined: something
   * does in each. Who ends a wait wakes the io thread.
   */
  set inputWaitsIn(epoch: number | undefined) {
    Atomics.store(this.#cells, 1, epoch === undefined ? 0 : cellOf(epoch));
  }

  /** Hot path. */
  letsIn(epoch: number): boolean {
    return Atomics.load(this.#cells, 1) !== cellOf(epoch);
  }
}

/** Of an epoch's number so much that the next ones have others, and never 0. */
function cellOf(epoch: number): number {
  return (epoch & 0x3fff_ffff) + 1;
}

/** Packets are mirrored. */
export function newPacketControl(): SharedArrayBuffer {
  const control = new PacketControl();
  control.mode = packetMode.mirrored;
  return control.storage;
}

/** Rings for one protection. Packets go past them until something is to be held. */
export function newSharedPackets(): SharedPackets {
  return {
    control: new PacketControl().storage,
    outbox: recordRingStorage(ringBytes),
    mirror: recordRingStorage(ringBytes),
  };
}

/** Of each card's feed: what enters a guest is read at once, so it need not be large. */
const feedBytes = 4 * 1024 * 1024;

/** For one replica with so many cards. */
export function newSharedReplica(cards: number, bell: Fd): SharedReplica {
  return {
    epoch: new OpenEpoch().storage,
    seed: new EpochSeed().storage,
    bell,
    outbox: recordRingStorage(ringBytes),
    feeds: Array.from({ length: cards }, () => recordRingStorage(feedBytes)),
    needs: new ReplicaNeeds().storage,
  };
}

export function kindOfCard(card: number): number {
  return card + 1;
}

export function cardOfKind(kind: number): number {
  return kind - 1;
}
