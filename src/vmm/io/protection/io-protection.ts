import { DiskForwarding } from '../../../block/replicated/disk-forwarding.ts';
import { DoorbellButton } from '../../../host/doorbell.ts';
import type { Closable } from '../../../host/ownership.ts';
import { type ReplayedPackets, replayedOf } from '../../platform/replayed-packets.ts';
import { OpenEpoch, type SharedProtection } from '../../platform/shared-protection.ts';
import type { CardPort } from './card-port.ts';
import { type MirroredCard, PacketMirror } from './packet-mirror.ts';

/** A card of the machine, as it is protected. */
export interface ProtectedCard {
  readonly device: MirroredCard;
  readonly port: CardPort;
}

/**
 * What protects a machine, on its io thread: packets are mirrored and changes of disks forwarded, while somebody wants that.
 * Cards and disks are numbered in the order of the machine's.
 */
export class IoProtection implements Closable {
  /** Stands in front of every disk, always. */
  readonly disks = new DiskForwarding();
  readonly #cards: ProtectedCard[] = [];
  #mirror: PacketMirror | undefined;

  addCard(card: ProtectedCard): void {
    this.#cards.push(card);
  }

  /**
   * Begins; the thread is parked. What protected it before does not any more.
   *
   * @param changesInFlight counts requests of all disks that are no reads
   */
  attach(shared: SharedProtection, changesInFlight: () => number): void {
    this.detach();
    this.#mirror = new PacketMirror(
      this.#cards.map(({ device }) => device),
      shared,
    );
    const button = new DoorbellButton(shared.bell);
    this.disks.attach(
      { storage: shared.disks, epoch: new OpenEpoch(shared.epoch), ring: () => button.ring() },
      changesInFlight,
    );
  }

  /** Ends; the thread is parked. */
  detach(): void {
    this.#mirror?.close();
    this.#mirror = undefined;
    this.disks.detach();
  }

  /** The thread was woken: there may be room in a ring again. */
  woken(): void {
    this.#mirror?.woken();
    this.disks.woken();
  }

  /** These packets enter the guest before anything new. */
  replay(packets: ReplayedPackets): void {
    this.#cards.forEach(({ device, port }, number) => {
      port.replay(replayedOf(packets, number));
      device.portReady();
    });
  }

  close(): void {
    this.disks.close();
  }
}
