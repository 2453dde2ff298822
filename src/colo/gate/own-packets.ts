import type { Fd } from '../../host/libc/descriptors.ts';
import { RecordConsumer, RecordProducer } from '../../host/threads/record-ring.ts';
import { cardOfKind, kindOfCard } from '../../vmm/platform/packet-rings.ts';
import type { CardPacket } from '../../vmm/platform/replayed-packets.ts';
import { ReplicaNeeds, type SharedReplica } from '../../vmm/platform/shared-protection.ts';
import { Fifo } from '../core/epochs/fifo.ts';
import type { OwnRoom, SecondaryEvent } from '../core/events.ts';
import type { Message } from '../protocol/messages.ts';
import { type Epoch, noCheckpoint } from '../protocol/numbers.ts';
import type { PacketDecision, PacketRecord } from '../record/packet-record.ts';
import type { LiveTranslation } from '../translate/live-translator.ts';
import { defaultTranslateSettings } from '../translate/settings.ts';
import { Translator } from '../translate/translator.ts';
import type { TranslatorState } from '../translate/translator-state.ts';
import { sendAll } from './send-all.ts';
import { TapWriter } from './tap-writer.ts';

/**
 * S keeps so much of what its guest said and P has not confirmed, and as much of what its guest has not taken yet; at half of either a
 * checkpoint is wanted.
 */
const keepBytes = 16 * 1024 * 1024;
/** What a packet is kept with, of which a small one has more than of data. */
const keptWithBytes = 128;
/** Packets that are dealt with before the event loop gets its turn: heartbeats must not wait. */
const turnPackets = 256;
const scanMs = 1000;

export interface OwnPacketsParts {
  /** The io thread has the other ends. */
  readonly shared: SharedReplica;
  readonly taps: readonly Fd[];
  /** Sends, having taken a copy of its data; false: wait for {@link OwnPackets.drained}. */
  readonly send: (message: Message) => boolean;
  /** Hands what was sent to the kernel, now: P waits for it. */
  readonly flush: () => void;
  readonly post: (event: SecondaryEvent) => void;
  /** This side's clock, ms. */
  readonly now: () => number;
  readonly wakeIo: () => void;
  /** A random number: nobody outside may know where connections lie in the table. */
  readonly seed: number;
  /** Its guest did not take what came, and something of it had to go: once in an epoch. */
  readonly lostInput?: () => void;
  /** Absent: nobody records anything. */
  readonly record?: PacketRecord | undefined;
}

/**
 * What S's own guest says and gets while both guests run (comparing): one pairing.
 *
 *     outbox --> P's numbers --> kept --> to P as `secondary-output`, and nowhere else
 *     input  --> waits while the feed is full --> its guest's numbers --> the card's feed
 *
 * What its guest said in an epoch that is over is dropped: it was rolled back. So is what that has not taken. A guest that takes its
 * packets more slowly than P's does makes them wait, and a checkpoint is wanted before there is no room for more.
 */
export class OwnPackets {
  /** Packets that found no room among those that wait for its guest, or among those that are kept. */
  lost = 0;
  readonly #parts: OwnPacketsParts;
  readonly #outbox: RecordConsumer;
  readonly #feeds: readonly RecordProducer[];
  /** By card: what finds no room in its feed. */
  readonly #waiting: readonly Fifo<Uint8Array>[];
  #waitingBytes = 0;
  readonly #needs: ReplicaNeeds;
  readonly #taps: TapWriter;
  readonly #translator: Translator;
  readonly #kept = new Fifo<CardPacket>();
  #keptBytes = 0;
  /** Of what the guest said in this epoch, the first so many are not kept any more. */
  #gone = 0;
  /** The epoch that the guest runs in. */
  #epoch: number = noCheckpoint;
  /** What has asked for a checkpoint in this epoch. */
  readonly #asked = new Set<OwnRoom>();
  #hasLostInput = false;
  #maySend = true;
  /** Packets. */
  #sent = 0;
  #speaks = false;
  #again: NodeJS.Immediate | undefined;
  readonly #scan: NodeJS.Timeout;
  #closed = false;

  constructor(parts: OwnPacketsParts) {
    const { shared, taps, wakeIo, seed } = parts;
    this.#parts = parts;
    this.#outbox = new RecordConsumer(shared.outbox, wakeIo);
    this.#feeds = shared.feeds.map((feed) => new RecordProducer(feed, wakeIo));
    this.#waiting = shared.feeds.map(() => new Fifo<Uint8Array>());
    this.#needs = new ReplicaNeeds(shared.needs);
    this.#taps = new TapWriter(taps);
    this.#translator = new Translator({ settings: defaultTranslateSettings, seed, headerBytes: 12 });
    this.#scan = setInterval(() => this.#translator.scan(this.#parts.now()), scanMs).unref();
  }

  /** Bytes that are kept, and that wait for its guest, and connections that are translated. */
  get facts(): { readonly bytes: number; readonly waitingBytes: number; readonly flows: number } {
    return { bytes: this.#keptBytes, waitingBytes: this.#waitingBytes, flows: this.#translator.size };
  }

  /**
   * The guest is about to run in that epoch, equal to P's: all that was said before is no concern.
   *
   * @param translation of a P that translates, because it survived an earlier pair
   */
  begin(epoch: Epoch, translation?: TranslatorState): void {
    this.#translator.checkpoint(this.#parts.now(), translation);
    this.#forgetAll();
    this.#epoch = epoch;
    this.work();
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#closed) return;
    this.#feedWaiting();
    if (this.#needs.takeDiskRoom()) this.#ask('disk');
    const sent = this.#sent;
    const more = this.#take(turnPackets);
    if (this.#sent !== sent) this.#parts.flush();
    if (more) this.#again ??= setImmediate(() => this.#goOn());
  }

  /** There is room on the way again, or the way is gone and whatever is sent goes nowhere. */
  drained(): void {
    this.#maySend = true;
    this.work();
  }

  /** This enters the guest. It has been checked. Hot path. */
  letIn(card: number, data: Uint8Array): void {
    const waiting = this.#waiting[card];
    if (waiting === undefined) {
      this.lost++;
      return;
    }
    const { record } = this.#parts;
    if (waiting.length === 0 && this.#feed(card, data)) {
      record?.packet('mirrored', 'secondary', 'in', card, this.#epoch, 'it enters the guest', data);
      return;
    }
    const bytes = data.length + keptWithBytes;
    if (this.#waitingBytes + bytes > keepBytes) {
      this.lost++;
      record?.packet('dropped', 'secondary', 'in', card, this.#epoch, 'the guest takes its packets too slowly', data);
      if (!this.#hasLostInput) this.#parts.lostInput?.();
      this.#hasLostInput = true;
      return;
    }
    record?.packet('mirrored', 'secondary', 'in', card, this.#epoch, 'it waits for room on the way to the guest', data);
    waiting.push(new Uint8Array(data));
    this.#waitingBytes += bytes;
    if (this.#waitingBytes > keepBytes / 2) this.#ask('input');
  }

  /** What its guest has not been given, in order: it speaks for itself, and gets it before anything new. Nothing waits afterwards. */
  takeWaiting(): CardPacket[] {
    const left = this.#waiting.flatMap((waiting, card) => waiting.toArray().map((packet) => ({ card, packet })));
    this.#forgetWaiting();
    return left;
  }

  /** Of what the guest said in this epoch, the first so many need not be kept. */
  forget(items: number): void {
    for (; this.#gone < items; this.#gone++) {
      const first = this.#kept.shift();
      if (first === undefined) return;
      this.#keptBytes -= first.packet.length + keptWithBytes;
    }
  }

  /**
   * The guest is held, and will speak for itself: everything that it said and P has not confirmed is sent, in order. Some of it may
   * reach clients twice. The number of packets that were sent.
   */
  async speak(): Promise<number> {
    this.#maySend = true;
    while (this.#take(Number.POSITIVE_INFINITY));
    this.#speaks = true;
    const kept = this.#kept.toArray();
    for (const { card, packet } of kept) {
      this.#record(
        'released',
        card,
        this.#epoch,
        'a takeover: the primary has not confirmed that its like left',
        packet,
      );
    }
    const sent = await sendAll(this.#taps, kept);
    this.#forgetOutput();
    return sent;
  }

  /** What its packets are translated with from now on, which is the io thread's. @param aheadTicks see Translator.takeOver */
  translation(aheadTicks: number): LiveTranslation {
    return { state: this.#translator.save(), aheadTicks };
  }

  /** Its guest does not run here any more. */
  clear(): void {
    this.#epoch = noCheckpoint;
    this.#forgetAll();
    this.#translator.checkpoint(this.#parts.now());
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#scan);
    clearImmediate(this.#again);
  }

  /** Takes what the guest has said, as far as it may. True: there may be more. Hot path. */
  #take(most: number): boolean {
    const ring = this.#outbox;
    const { now, send } = this.#parts;
    for (let left = most; left > 0; ) {
      if (!this.#maySend || this.#speaks) return false;
      if (!ring.next()) {
        if (ring.sleep()) return false;
        continue;
      }
      left--;
      const { kind, tag, offset, length } = ring;
      const card = cardOfKind(kind);
      if (tag !== this.#epoch) {
        this.#record(
          'dropped',
          card,
          tag,
          'the guest was rolled back since',
          ring.bytes.subarray(offset, offset + length),
        );
        ring.giveBack();
        continue;
      }
      const packet = ring.bytes.slice(offset, offset + length);
      ring.giveBack();
      // One that could not go on with P's numbers is nobody's: P's own waits for a checkpoint, in vain for this one's like.
      if (!this.#translator.outgoing(card, packet, 0, length, now())) {
        this.#ask('connections');
        this.#record('dropped', card, tag, "the primary's numbers of its connection are not known", packet);
        continue;
      }
      this.#record('held', card, tag, 'the primary looks for its like', packet);
      this.#keep({ card, packet });
      this.#sent++;
      this.#maySend = send({ kind: 'secondary-output', epoch: tag as Epoch, card, data: packet });
    }
    return true;
  }

  #record(decision: PacketDecision, card: number, epoch: number, reason: string, packet: Uint8Array): void {
    this.#parts.record?.packet(decision, 'secondary', 'out', card, epoch, reason, packet);
  }

  #keep(packet: CardPacket): void {
    this.#kept.push(packet);
    this.#keptBytes += packet.packet.length + keptWithBytes;
    if (this.#keptBytes > keepBytes / 2) this.#ask('output');
    while (this.#keptBytes > keepBytes) {
      this.lost++;
      this.forget(this.#gone + 1);
    }
  }

  #forgetAll(): void {
    this.#forgetOutput();
    this.#forgetWaiting();
    this.#asked.clear();
    this.#hasLostInput = false;
    this.#needs.takeDiskRoom();
  }

  #forgetOutput(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
    this.#gone = 0;
  }

  #forgetWaiting(): void {
    for (const waiting of this.#waiting) waiting.clear();
    this.#waitingBytes = 0;
  }

  /** Of what its guest has not been given, as much as there is room for. */
  #feedWaiting(): void {
    if (this.#waitingBytes === 0 || this.#speaks) return;
    for (const [card, waiting] of this.#waiting.entries()) {
      for (let data = waiting.first; data !== undefined && this.#feed(card, data); data = waiting.first) {
        waiting.shift();
        this.#waitingBytes -= data.length + keptWithBytes;
      }
    }
  }

  /** Puts it into the card's feed; false if there is no room, and then the doorbell rings when there may be. Hot path. */
  #feed(card: number, data: Uint8Array): boolean {
    const feed = this.#feeds[card] as RecordProducer;
    let at = feed.reserve(data.length);
    while (at < 0) {
      if (feed.waitForRoom()) return false;
      at = feed.reserve(data.length);
    }
    feed.bytes.set(data, at);
    this.#translator.incoming(card, feed.bytes, at, data.length, this.#parts.now());
    feed.commit(kindOfCard(card), this.#epoch);
    return true;
  }

  /** Once in an epoch. */
  #ask(of: OwnRoom): void {
    if (this.#asked.has(of)) return;
    this.#asked.add(of);
    this.#parts.post({ kind: 'own-room-half', of });
  }

  #goOn(): void {
    this.#again = undefined;
    this.work();
  }
}
