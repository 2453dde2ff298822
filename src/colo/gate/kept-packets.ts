import type { Fd } from '../../host/libc.ts';
import type { ReplayedPacket } from '../../vmm/platform/shared-protection.ts';
import { PacketKeep } from '../core/epochs/packet-keep.ts';
import type { Rules } from '../core/rules.ts';
import type { Packet } from '../protocol/messages.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { TapWriter } from './tap-writer.ts';

/** S keeps so much of P's packets at most. */
const keepBytes = 16 * 1024 * 1024;
/** A TAP holds a thousand packets unless its host says otherwise. */
const mostPiledUp = 100_000;
/** A TAP that is full is tried again after so long, ms; so often at most, for a takeover waits for it. */
const fullMs = 1;
const mostTries = 20;

/** P's packets that may still be on their way (spec B.15), on S. */
export class KeptPackets {
  readonly #keep: PacketKeep<ReplayedPacket>;
  readonly #taps: TapWriter;

  /** @param taps a descriptor for each card, of a machine that does not run */
  constructor(taps: readonly Fd[], rules: Rules, boundBytes = keepBytes) {
    this.#taps = new TapWriter(taps);
    this.#keep = new PacketKeep(boundBytes, rules);
  }

  /** What is kept, and what went beyond the bound. */
  get facts(): { readonly bytes: number; readonly dropped: number } {
    return { bytes: this.#keep.bytes, dropped: this.#keep.dropped };
  }

  /** Nothing of the item is held on to. */
  stage({ kind, epoch, card, data }: Packet): void {
    this.#keep.keep(kind, epoch, { card, packet: Uint8Array.from(data) }, data.length);
  }

  /** P's output up to this epoch is out. */
  left(epoch: Epoch): void {
    this.#keep.left(epoch);
  }

  /** A checkpoint contains all input up to this epoch. */
  committed(epoch: Epoch): void {
    this.#keep.committed(epoch);
  }

  clear(): void {
    this.#keep.clear();
  }

  /** Throws away what has piled up in the TAPs: the guest gets what P's got, not what came by the way. */
  drainTaps(): void {
    this.#taps.drain(mostPiledUp);
  }

  /** Sends what P may not have sent, in order. The number of packets; clients may see some of them twice. */
  async sendKept(standsAt: Epoch): Promise<number> {
    const packets = this.#keep.outputsToSend(standsAt);
    for (const { card, packet } of packets) {
      for (let tries = 0; this.#taps.write(card, packet) === 'full' && tries < mostTries; tries++) {
        await new Promise((resolve) => setTimeout(resolve, fullMs));
      }
    }
    return packets.length;
  }

  /** What is to enter the guest before anything new, in order. */
  inputsToReplay(standsAt: Epoch): readonly ReplayedPacket[] {
    return this.#keep.inputsToReplay(standsAt);
  }
}
