import { FlowKey, keyWords } from '../packet/flow-key.ts';
import { FlowTable } from '../packet/flow-table.ts';
import { PacketView, packetKind } from '../packet/packet-view.ts';
import { QuotedSegment } from '../packet/quoted-segment.ts';
import { sackBlockBytes } from '../packet/tcp-options.ts';
import { longAt, tcpField, tcpFlag } from '../packet/wire.ts';
import { moveLong } from './rewrite.ts';
import type { TranslateSettings } from './settings.ts';
import { TranslatedFlow } from './translated-flow.ts';
import { checkedTranslatorState, type FlowState, type TranslatorState } from './translator-state.ts';

const { syn, fin, rst, ack } = tcpFlag;

export interface TranslatorParts {
  readonly settings: TranslateSettings;
  /** A random number: nobody outside may know where connections lie in the table. */
  readonly seed: number;
  /** Bytes of the virtio-net header in front of each frame. */
  readonly headerBytes?: 0 | 12;
}

/** Since the beginning. */
export interface TranslateFacts {
  /** Packets that were changed. */
  translated: number;
  /** Packets of S's guest that the comparison must not see, because the connection could not go on here. */
  withheld: number;
}

/**
 * Gives the connections of S's guest the numbers that P's guest has for them, so that one client talks to either (spec A.6): in place,
 * in both directions, whichever end began them.
 *
 *     P's guest ......................... client      its ISN and timestamps are what the client knows
 *     S's guest <-- incoming(packet) ---- client      ack, SACK, TSecr, and the seq that an ICMP error quotes: the wire's -> the guest's
 *               --- outgoing(packet) --->             seq, TSval: the guest's -> the wire's
 *
 * It begins when S's guest sends a SYN of its own. A checkpoint ends it for all, because S's guest has P's numbers from then on. After a
 * takeover nothing begins any more, and what was translated stays so until it has closed.
 *
 * Pure: it has no clock and does no I/O; nothing is allocated per packet.
 */
export class Translator {
  readonly facts: TranslateFacts = { translated: 0, withheld: 0 };
  readonly #settings: TranslateSettings;
  readonly #view: PacketView;
  readonly #quoted = new QuotedSegment();
  readonly #key: FlowKey;
  readonly #flows: FlowTable<TranslatedFlow>;
  #isLive = false;

  constructor({ settings, seed, headerBytes }: TranslatorParts) {
    this.#settings = settings;
    this.#view = new PacketView(headerBytes);
    this.#key = new FlowKey(seed);
    this.#flows = new FlowTable(settings.flows, (index) => new TranslatedFlow(index));
  }

  /** Connections that are translated. After a takeover 0 is for good: packets need not come here any more. */
  get size(): number {
    return this.#flows.size;
  }

  /**
   * S's guest sent a packet: it gets P's numbers. Its SYN keeps its own, until P's are known.
   *
   * @param now this side's clock, ms
   * @returns false: the comparison must not see it. P's counterpart waits for a checkpoint then, which mends everything, and which the
   *     caller should ask for.
   */
  outgoing(card: number, bytes: Uint8Array, offset: number, length: number, now: number): boolean {
    if (this.#isLive && this.#flows.size === 0) return true;
    const view = this.#view;
    if (!isTcp(view, bytes, offset, length)) return true;
    this.#key.setOutgoing(card, view);
    const flow = this.#flowOfSent(view);
    if (flow === undefined) return this.#mayBeUntranslated(view);
    flow.sent(view, now | 0);
    if (flow.isClosed) this.#flows.retire(flow);
    if (!flow.isKnown) return this.#isLive || mayBeEarly(view) || this.#withhold();
    const { timestamps } = view.tcpOptions;
    moveLong(view, view.transport + tcpField.sequence, flow.offset);
    if (timestamps !== 0 && flow.isTimeKnown) moveLong(view, timestamps, flow.timeOffset);
    this.facts.translated++;
    return true;
  }

  /** S's guest is about to get a packet: it gets that guest's numbers. */
  incoming(card: number, bytes: Uint8Array, offset: number, length: number, now: number): void {
    if (this.#flows.size === 0) return;
    const view = this.#view;
    if (!isTcp(view, bytes, offset, length)) {
      if (this.#quoted.read(view)) this.#incomingError(card);
      return;
    }
    this.#key.setIncoming(card, view);
    const flow = this.#flows.find(this.#key);
    if (flow === undefined) return;
    flow.received(view, now | 0, this.#isLive);
    if (flow.isClosed) this.#flows.retire(flow);
    if (!flow.isKnown || (view.tcpFlags & ack) === 0) return;
    const { timestamps, sack, sackBlocks } = view.tcpOptions;
    moveLong(view, view.transport + tcpField.acknowledgement, -flow.offset | 0);
    for (let edge = 0; edge < sackBlocks * sackBlockBytes; edge += 4) moveLong(view, sack + edge, -flow.offset | 0);
    if (timestamps !== 0 && flow.isTimeKnown && longAt(bytes, timestamps + 4) !== 0) {
      moveLong(view, timestamps + 4, -flow.timeOffset | 0);
    }
    this.facts.translated++;
  }

  /**
   * S's guest was made equal to P's: all its connections have P's numbers.
   *
   * @param state of a P that translates itself, because it survived an earlier pair: what its guest needs, S's needs now
   * @throws RangeError: the state is none; nothing is translated then
   */
  checkpoint(now: number, state?: TranslatorState): void {
    this.#flows.forEach((flow) => {
      this.#flows.remove(flow);
    });
    if (state === undefined) return;
    for (const saved of checkedTranslatorState(state, this.#settings.flows).flows) {
      this.#key.setSaved(saved.key);
      const flow = this.#flows.find(this.#key) ?? this.#flows.add(this.#key);
      flow?.load(saved, now | 0);
      if (flow?.isClosed) this.#flows.retire(flow);
    }
  }

  /** What S's guest would need, if it were made equal to this side's guest now. */
  save(): TranslatorState {
    const flows: FlowState[] = [];
    this.#flows.forEach((flow) => {
      const at = flow.index * keyWords;
      flows.push(flow.save([...this.#flows.keys.subarray(at, at + keyWords)]));
    });
    return { flows };
  }

  /**
   * This side's guest is the one that clients speak with.
   *
   * @param aheadTicks P's timestamps may have been ahead of what clients have echoed, by so many ticks (of Linux 1 ms): it is the time
   *     that answers took from P's guest to S's. The guest's go on from there, so that they grow (spec B.12).
   */
  takeOver(aheadTicks: number): void {
    this.#isLive = true;
    this.#flows.forEach((flow) => {
      flow.takeOver(aheadTicks);
    });
  }

  /** Forgets connections that have closed, or never came about, and such as nobody speaks in any more; to be called about once a second. */
  scan(now: number): void {
    const { lingerMs, handshakeMs, idleMs } = this.#settings;
    this.#flows.forEach((flow) => {
      const silentMs = ((now | 0) - flow.lastAt) | 0;
      // As a SYN, an end that nobody acknowledges is said again within that time, or was given up.
      const owesEnd = flow.hasFin && !flow.isFinAcked;
      const openMs = flow.isKnown && !owesEnd ? idleMs : handshakeMs;
      const mostMs = flow.isClosed ? lingerMs : openMs;
      if (silentMs >= mostMs) this.#flows.remove(flow);
    });
  }

  /** An ICMP error about a packet of the guest: a guest takes notice only where it has sent that number (RFC 5927, 4.1). */
  #incomingError(card: number): void {
    const view = this.#view;
    this.#key.setQuoted(card, view, this.#quoted);
    const flow = this.#flows.find(this.#key);
    if (flow === undefined) return;
    if (flow.isClosed) this.#flows.retire(flow);
    if (!flow.isKnown) return;
    moveLong(view, this.#quoted.sequence, -flow.offset | 0);
    this.facts.translated++;
  }

  /** The connection of a packet that the guest sends; a SYN may begin one. Hot path. */
  #flowOfSent(view: PacketView): TranslatedFlow | undefined {
    const flow = this.#flows.find(this.#key);
    const isSyn = (view.tcpFlags & syn) !== 0;
    if (!isSyn || (flow !== undefined && flow.isn === view.sequence)) return flow;
    if (this.#isLive || view.payloadBytes > 0) {
      // The ports of one that has closed are used again, and nobody ever spoke with P here.
      if (flow !== undefined) this.#flows.remove(flow);
      return undefined;
    }
    const begun = flow ?? this.#flows.add(this.#key);
    begun?.begin(view);
    return begun;
  }

  /** A SYN that finds no room, or has data, of which the answer may acknowledge as much as it likes: P's SYN could not be told. */
  #mayBeUntranslated(view: PacketView): boolean {
    return this.#isLive || (view.tcpFlags & syn) === 0 || this.#withhold();
  }

  #withhold(): false {
    this.facts.withheld++;
    return false;
  }
}

/** Whether a packet says nothing that depends on P's numbers, which are not known yet. */
function mayBeEarly({ tcpFlags: flags, payloadBytes }: PacketView): boolean {
  return (flags & (syn | rst)) !== 0 || (payloadBytes === 0 && (flags & fin) === 0);
}

/** A first piece of a packet counts too, if it has the header: its numbers are there, and so is the checksum. Hot path. */
function isTcp(view: PacketView, bytes: Uint8Array, offset: number, length: number): boolean {
  const kind = view.read(bytes, offset, length);
  return kind === packetKind.tcp || (kind === packetKind.fragment && view.openFirstFragment());
}
