import type { Fd } from '../../host/libc.ts';
import { RecordConsumer, RecordProducer } from '../../host/record-ring.ts';
import { cardOfKind, kindOfCard } from '../../vmm/platform/packet-rings.ts';
import type { CardPacket } from '../../vmm/platform/replayed-packets.ts';
import type { SharedReplica } from '../../vmm/platform/shared-protection.ts';
import { Fifo } from '../core/epochs/fifo.ts';
import type { SecondaryEvent } from '../core/events.ts';
import type { Message } from '../protocol/messages.ts';
import { type Epoch, noCheckpoint } from '../protocol/numbers.ts';
import type { LiveTranslation } from '../translate/live-translator.ts';
import { defaultTranslateSettings } from '../translate/settings.ts';
import { Translator } from '../translate/translator.ts';
import { sendAll } from './send-all.ts';
import { TapWriter } from './tap-writer.ts';

/** S keeps so much of what its guest said and P has not confirmed; at half of it a checkpoint is wanted. */
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
  readonly post: (event: SecondaryEvent) => void;
  /** This side's clock, ms. */
  readonly now: () => number;
  readonly wakeIo: () => void;
  /** A random number: nobody outside may know where connections lie in the table. */
  readonly seed: number;
}

/**
 * What S's own guest says and gets while both guests run (comparing): one pairing.
 *
 *     outbox --> P's numbers --> kept --> to P as `secondary-output`, and nowhere else
 *     input  --> its guest's numbers --> the card's feed
 *
 * What its guest said in an epoch that is over is dropped: it was rolled back. A feed that is full loses the packet, as a network
 * does: then the guests do not agree, and a checkpoint mends it.
 */
export class OwnPackets {
  /** Packets that found no room on the way to its guest, or among those that are kept. */
  lost = 0;
  readonly #parts: OwnPacketsParts;
  readonly #outbox: RecordConsumer;
  readonly #feeds: readonly RecordProducer[];
  readonly #taps: TapWriter;
  readonly #translator: Translator;
  readonly #kept = new Fifo<CardPacket>();
  #keptBytes = 0;
  /** Of what the guest said in this epoch, the first so many are not kept any more. */
  #gone = 0;
  /** The epoch that the guest runs in. */
  #epoch: number = noCheckpoint;
  #isHalf = false;
  #maySend = true;
  #speaks = false;
  #again: NodeJS.Immediate | undefined;
  readonly #scan: NodeJS.Timeout;
  #closed = false;

  constructor(parts: OwnPacketsParts) {
    const { shared, taps, wakeIo, seed } = parts;
    this.#parts = parts;
    this.#outbox = new RecordConsumer(shared.outbox, wakeIo);
    this.#feeds = shared.feeds.map((feed) => new RecordProducer(feed, wakeIo));
    this.#taps = new TapWriter(taps);
    this.#translator = new Translator({ settings: defaultTranslateSettings, seed, headerBytes: 12 });
    this.#scan = setInterval(() => this.#translator.scan(this.#parts.now()), scanMs).unref();
  }

  /** Bytes that are kept, and connections that are translated. */
  get facts(): { readonly bytes: number; readonly flows: number } {
    return { bytes: this.#keptBytes, flows: this.#translator.size };
  }

  /** The guest is about to run in that epoch, equal to P's: all that was said before is no concern. */
  begin(epoch: Epoch): void {
    this.#translator.checkpoint(this.#parts.now());
    this.#forgetAll();
    this.#epoch = epoch;
    this.work();
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#closed) return;
    const more = this.#take(turnPackets);
    if (more) this.#again ??= setImmediate(() => this.#goOn());
  }

  /** There is room on the way again, or the way is gone and whatever is sent goes nowhere. */
  drained(): void {
    this.#maySend = true;
    this.work();
  }

  /** This enters the guest. It has been checked. Hot path. */
  letIn(card: number, data: Uint8Array): void {
    const feed = this.#feeds[card];
    const at = feed?.reserve(data.length) ?? -1;
    if (feed === undefined || at < 0) {
      this.lost++;
      return;
    }
    feed.bytes.set(data, at);
    this.#translator.incoming(card, feed.bytes, at, data.length, this.#parts.now());
    feed.commit(kindOfCard(card), this.#epoch);
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
    const sent = await sendAll(this.#taps, this.#kept.toArray());
    this.#forgetAll();
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
      if (tag !== this.#epoch) {
        ring.giveBack();
        continue;
      }
      const card = cardOfKind(kind);
      const packet = Uint8Array.from(ring.bytes.subarray(offset, offset + length));
      ring.giveBack();
      // One that could not go on with P's numbers is nobody's: P's own waits for a checkpoint.
      if (!this.#translator.outgoing(card, packet, 0, length, now())) continue;
      this.#keep({ card, packet });
      this.#maySend = send({ kind: 'secondary-output', epoch: tag as Epoch, card, data: packet });
    }
    return true;
  }

  #keep(packet: CardPacket): void {
    this.#kept.push(packet);
    this.#keptBytes += packet.packet.length + keptWithBytes;
    if (this.#keptBytes > keepBytes / 2 && !this.#isHalf) {
      this.#isHalf = true;
      this.#parts.post({ kind: 'own-output-half' });
    }
    while (this.#keptBytes > keepBytes) {
      this.lost++;
      this.forget(this.#gone + 1);
    }
  }

  #forgetAll(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
    this.#gone = 0;
    this.#isHalf = false;
  }

  #goOn(): void {
    this.#again = undefined;
    this.work();
  }
}
