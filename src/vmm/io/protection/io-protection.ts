import type { EngineChooser } from '../../../block/disk-engines.ts';
import { ActivityLog } from '../../../block/replicated/activity-log.ts';
import { DiskForwarding } from '../../../block/replicated/disk-forwarding.ts';
import type { SharedChanges } from '../../../block/replicated/shared-changes.ts';
import type { Closable } from '../../../host/ownership.ts';
import { DoorbellButton } from '../../../host/threads/doorbell.ts';
import { newPacketControl } from '../../platform/packet-rings.ts';
import { type ReplayedPackets, replayedOf } from '../../platform/replayed-packets.ts';
import {
  OpenEpoch,
  ReplicaNeeds,
  type SharedProtection,
  type SharedReplica,
} from '../../platform/shared-protection.ts';
import { HostEntropy } from './host-entropy.ts';
import { PacketFeed } from './packet-feed.ts';
import { PacketMirror, type ProtectedCard } from './packet-mirror.ts';
import { type PacketTranslation, SharedTranslation } from './translation.ts';

/**
 * What protects a machine, on its io thread: packets are mirrored and changes of disks forwarded, while somebody wants that.
 * Cards and disks are numbered in the order of the machine's.
 */
export class IoProtection implements Closable {
  /** Stands in front of every disk, always. */
  readonly disks = new DiskForwarding();
  /** Of the packets of a guest that has taken over. */
  readonly translation = new SharedTranslation();
  /** Of the source of entropy, if that is the host's. */
  readonly entropy = new HostEntropy();
  readonly #cards: ProtectedCard[] = [];
  #mirror: PacketMirror | undefined;
  #isReplica = false;
  /** Its guest was a replica's: what waits in its cards is what that was fed. */
  #hasEmerged = false;

  /** How many cards it knows: the number of the next one. */
  get cards(): number {
    return this.#cards.length;
  }

  addCard(card: ProtectedCard): void {
    this.#cards.push(card);
  }

  /**
   * Begins; the thread is parked. What protected it before does not any more.
   *
   * @param changesInFlight counts requests of all disks that are no reads
   * @throws DiskError if there is no such activity log
   */
  attach(shared: SharedProtection, engines: () => EngineChooser, changesInFlight: () => number): void {
    this.detach();
    if (shared.changes !== undefined) this.#keepLog(shared.changes, engines);
    this.#mirror = new PacketMirror(this.#cards, shared);
    this.entropy.follow(shared.seed);
    const button = new DoorbellButton(shared.bell);
    this.disks.attach(
      { storage: shared.disks, epoch: new OpenEpoch(shared.epoch), ring: () => button.ring() },
      changesInFlight,
    );
  }

  /**
   * From now on it is kept which regions of disks change, protected or not; the thread is parked, and no change is in flight of which
   * another log was to know. What a replica's guest wrote counts as changed.
   *
   * @param turnUntil as of {@link DiskForwarding.markApart}
   * @throws DiskError if there is no such activity log, or it can be neither written nor given up
   */
  keepChanges(
    changes: SharedChanges,
    engines: () => EngineChooser,
    turnUntil: (isDone: () => boolean) => boolean,
  ): void {
    this.#keepLog(changes, engines);
    this.disks.markApart(turnUntil);
  }

  #keepLog(changes: SharedChanges, engines: () => EngineChooser): void {
    const { disks } = this;
    if (changes.sizes.length === 0 || sameBytes(disks.log?.id, changes.id)) return;
    disks.keepLog(new ActivityLog(changes, disks.ownDisks, engines(), disks));
  }

  /** The machine is a replica from now on; the thread is parked. Its disks keep what its guest writes to themselves. */
  replicate(shared: SharedReplica): void {
    this.detach();
    const { outbox, epoch, seed, bell, feeds } = shared;
    this.entropy.follow(seed);
    const button = new DoorbellButton(bell);
    const needs = new ReplicaNeeds(shared.needs);
    this.#mirror = new PacketMirror(this.#cards, { packets: { control: newPacketControl(), outbox }, epoch, bell });
    const open = new OpenEpoch(epoch);
    this.#cards.forEach(({ port }, number) => {
      const feed = feeds[number];
      if (feed !== undefined) port.feed(new PacketFeed(feed, open, () => button.ring()));
    });
    this.disks.keepApart(() => {
      needs.diskRoom();
      button.ring();
    });
    this.#isReplica = true;
  }

  /** What the replica's guest wrote to its disks is forgotten: it is rolled back. The thread is parked. */
  rollBack(): void {
    this.disks.forgetApart();
  }

  /**
   * The machine is no replica any more, but speaks for itself: what its guest was fed comes first, and what it wrote goes to its
   * disks. The thread is parked.
   *
   * @param turn waits a while for calls on disks
   * @throws Error if a disk does not take it
   */
  emerge(translation: PacketTranslation | undefined, turn: () => void): void {
    this.disks.layDown(turn);
    this.#mirror?.close();
    this.#mirror = undefined;
    this.#isReplica = false;
    this.#hasEmerged = true;
    this.entropy.release();
    this.translation.begin(translation);
    for (const { device, port } of this.#cards) {
      port.endFeed();
      device.portReady();
    }
  }

  /** Ends; the thread is parked. */
  detach(): void {
    this.#mirror?.close();
    this.#mirror = undefined;
    this.entropy.release();
    this.disks.detach();
  }

  /** The thread was woken: there may be room in a ring again. */
  woken(): void {
    this.#mirror?.woken();
    if (this.#isReplica) for (const { device } of this.#cards) device.portReady();
    this.disks.woken();
  }

  /** All devices have a state that was loaded; the thread is parked. */
  loaded(): void {
    if (this.#isReplica) this.#setWaitingAside();
  }

  /** These packets enter the guest before anything new; the thread is parked. */
  replay(packets: ReplayedPackets): void {
    if (!this.#hasEmerged) this.#setWaitingAside();
    this.#cards.forEach(({ device, port }, number) => {
      port.replay(replayedOf(packets, number));
      device.portReady();
    });
  }

  /** What waits in the cards came with a checkpoint, and the other side's guest had not got it yet. */
  #setWaitingAside(): void {
    for (const { device, port } of this.#cards) port.setAside(device.takeWaiting());
  }

  close(): void {
    for (const { port } of this.#cards) port.close();
    this.entropy.close();
    this.disks.close();
  }
}

function sameBytes(one: Uint8Array | undefined, other: Uint8Array): boolean {
  return one !== undefined && Buffer.compare(one, other) === 0;
}
