import { longestPacket, shortestPacket } from '../../devices/net/packet-port.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { type CardPacket, packReplayed, type ReplayedPackets } from '../../vmm/platform/replayed-packets.ts';
import { PacketKeep } from '../core/epochs/packet-keep.ts';
import type { Rules } from '../core/rules.ts';
import type { Packet } from '../protocol/messages.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import type { PacketRecord } from '../record/packet-record.ts';
import { sendAll } from './send-all.ts';
import { TapWriter } from './tap-writer.ts';

/** S keeps so much of P's packets at most. */
const keepBytes = 16 * 1024 * 1024;
/** What a packet is kept with, of which a small one has more than of data. */
const keptWithBytes = 128;
/** A TAP holds a thousand packets unless its host says otherwise; whoever floods it is not waited for. */
const mostPiledUp = 20_000;

/** P's packets that may still be on their way (spec B.15), on S. One pairing: it begins with epoch 0. */
export class KeptPackets {
  readonly #keep: PacketKeep<CardPacket>;
  readonly #taps: TapWriter;
  readonly #cards: number;
  readonly #record: PacketRecord | undefined;
  readonly #overflowed: (() => void) | undefined;

  /**
   * @param taps a descriptor for each card, of a machine that does not run
   * @param record absent: nobody records anything
   * @param overflowed called once, when the first packet goes beyond the bound: a takeover will not have it
   */
  constructor(
    taps: readonly Fd[],
    rules: Rules,
    boundBytes = keepBytes,
    record?: PacketRecord,
    overflowed?: () => void,
  ) {
    this.#record = record;
    this.#overflowed = overflowed;
    this.#cards = taps.length;
    this.#taps = new TapWriter(taps);
    this.#keep = new PacketKeep(boundBytes, rules);
  }

  /** What is kept, with what it is kept with, and packets that went beyond the bound. */
  get facts(): { readonly bytes: number; readonly dropped: number } {
    return { bytes: this.#keep.bytes, dropped: this.#keep.dropped };
  }

  /** Nothing of the item is held on to. @throws ProtocolError */
  stage(item: Packet): void {
    this.check(item);
    const { kind, epoch, card, data } = item;
    if (kind === 'input')
      this.#record?.packet('mirrored', 'primary', 'in', card, epoch, 'a takeover may need it', data);
    else this.#record?.packet('held', 'primary', 'out', card, epoch, 'until it has left the primary', data);
    const before = this.#keep.dropped;
    this.#keep.keep(kind, epoch, { card, packet: new Uint8Array(data) }, data.length + keptWithBytes);
    if (this.#keep.dropped > 0 && before === 0) this.#overflowed?.();
  }

  /** @throws ProtocolError if it is no packet of this machine */
  check({ kind, card, data }: Packet): void {
    if (card >= this.#cards) throw notAPacket(kind, `card ${card} of ${this.#cards}`);
    if (data.length < shortestPacket || data.length > longestPacket) throw notAPacket(kind, `${data.length} bytes`);
  }

  /** Takes what waited for that epoch: its guest runs now. */
  takeInputs(epoch: Epoch): readonly CardPacket[] {
    return this.#keep.takeInputs(epoch);
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

  /** Throws away what has piled up in the TAPs: P's guest got it, or nobody. */
  drainTaps(): void {
    this.#taps.drain(mostPiledUp);
  }

  /**
   * Sends what P may not have sent, in order; some of it may reach clients twice. Resolves soon, whatever the TAPs do.
   *
   * @returns the number of packets that were sent
   */
  async sendKept(standsAt: Epoch): Promise<number> {
    const kept = this.#keep.outputsToSend(standsAt);
    for (const { card, packet } of kept) {
      this.#record?.packet('released', 'primary', 'out', card, standsAt, 'a takeover: it may not have left', packet);
    }
    return sendAll(this.#taps, kept);
  }

  /** What is to enter the guest before anything new, in order. @param first what it was to get before that */
  inputsToReplay(standsAt: Epoch, first: readonly CardPacket[] = []): ReplayedPackets {
    const kept = [...first, ...this.#keep.inputsToReplay(standsAt)];
    for (const { card, packet } of kept) {
      this.#record?.packet('mirrored', 'primary', 'in', card, standsAt, 'a takeover: the guest gets it again', packet);
    }
    return packReplayed(kept);
  }
}

function notAPacket(kind: string, what: string): ProtocolError {
  return new ProtocolError('invalid-message', `invalid message: ${kind}: ${what} is no packet of this machine`);
}
