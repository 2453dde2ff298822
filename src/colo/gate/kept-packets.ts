import { longestPacket, shortestPacket } from '../../devices/net/packet-port.ts';
import type { Fd } from '../../host/libc.ts';
import { type CardPacket, packReplayed, type ReplayedPackets } from '../../vmm/platform/replayed-packets.ts';
import { PacketKeep } from '../core/epochs/packet-keep.ts';
import type { Rules } from '../core/rules.ts';
import type { Packet } from '../protocol/messages.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { TapWriter } from './tap-writer.ts';

/** S keeps so much of P's packets at most. */
const keepBytes = 16 * 1024 * 1024;
/** What a packet is kept with, of which a small one has more than of data. */
const keptWithBytes = 128;
/** A TAP holds a thousand packets unless its host says otherwise; whoever floods it is not waited for. */
const mostPiledUp = 20_000;
/** A TAP that is full is tried again after so long, ms; so often at most, for a takeover waits for all of them. */
const fullMs = 1;
const mostTries = 200;
/** Packets that are sent before the event loop gets its turn. */
const turnPackets = 256;

/** P's packets that may still be on their way (spec B.15), on S. One pairing: it begins with epoch 0. */
export class KeptPackets {
  readonly #keep: PacketKeep<CardPacket>;
  readonly #taps: TapWriter;
  readonly #cards: number;

  /** @param taps a descriptor for each card, of a machine that does not run */
  constructor(taps: readonly Fd[], rules: Rules, boundBytes = keepBytes) {
    this.#cards = taps.length;
    this.#taps = new TapWriter(taps);
    this.#keep = new PacketKeep(boundBytes, rules);
  }

  /** What is kept, with what it is kept with, and packets that went beyond the bound. */
  get facts(): { readonly bytes: number; readonly dropped: number } {
    return { bytes: this.#keep.bytes, dropped: this.#keep.dropped };
  }

  /** Nothing of the item is held on to. @throws ProtocolError */
  stage({ kind, epoch, card, data }: Packet): void {
    if (card >= this.#cards) throw notAPacket(kind, `card ${card} of ${this.#cards}`);
    if (data.length < shortestPacket || data.length > longestPacket) throw notAPacket(kind, `${data.length} bytes`);
    this.#keep.keep(kind, epoch, { card, packet: Uint8Array.from(data) }, data.length + keptWithBytes);
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

  /**
   * Sends what P may not have sent, in order; some of it may reach clients twice. Resolves soon, whatever the TAPs do.
   *
   * @returns the number of packets that were sent
   */
  async sendKept(standsAt: Epoch): Promise<number> {
    const packets = this.#keep.outputsToSend(standsAt);
    let sent = 0;
    let tries = 0;
    for (const [index, { card, packet }] of packets.entries()) {
      if (index % turnPackets === turnPackets - 1) await new Promise((resolve) => setImmediate(resolve));
      let written = this.#taps.write(card, packet);
      for (; written === 'full' && tries < mostTries; tries++) {
        await new Promise((resolve) => setTimeout(resolve, fullMs));
        written = this.#taps.write(card, packet);
      }
      if (written === 'sent') sent++;
    }
    return sent;
  }

  /** What is to enter the guest before anything new, in order. */
  inputsToReplay(standsAt: Epoch): ReplayedPackets {
    return packReplayed(this.#keep.inputsToReplay(standsAt));
  }
}

function notAPacket(kind: string, what: string): ProtocolError {
  return new ProtocolError('invalid-message', `invalid message: ${kind}: ${what} is no packet of this machine`);
}
