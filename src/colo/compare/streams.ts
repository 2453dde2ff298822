import type { PacketView } from '../packet/packet-view.ts';
import { advanced, distance } from '../packet/sequence.ts';
import { tcpFlag } from '../packet/wire.ts';
import type { ComparedFlow, FlowOutcome } from './compared-flow.ts';
import type { DivergenceReason } from './divergence.ts';
import { excerpt, excerptBefore } from './excerpt.ts';
import { endOf, isBare, isPartSaid, isReset, isSaid, mayBeAcknowledged, mayLeave } from './output-commit.ts';
import type { PacketStore, Waiting, WaitingList } from './packet-store.ts';
import { firstDifference, sameBytes } from './same-bytes.ts';
import { mostAhead, synKind } from './stream.ts';
import { isOtherSyn, isSynOfThis, kindOf, synShape } from './syns.ts';

const { syn, fin, rst, ack } = tcpFlag;

/**
 * TCP under strict output commit (spec B.2): a packet of P leaves when S has sent every byte of it, has acknowledged at least as
 * much, and has sent the same SYN, FIN or RST. Bytes are compared, not segments: how they are cut, sent again or in another order
 * is no matter, nor are windows and options, but for what SYNs agree on.
 *
 * S may say a part of what is one packet of P's, and wait until that is acknowledged before it says more, for its window or for Nagle's
 * sake (RFC 9293, 3.7.4): so that part leaves as a packet of its own, or each guest would wait for the other. And what does nothing
 * but acknowledge does not wait for bytes that S has not said.
 *
 * S's packets come in P's sequence numbers (spec A.6) from when P's SYN was here; what comes earlier, and any SYN, may have S's
 * own: nobody can translate before a client has heard P.
 */
export class Streams {
  readonly #store: PacketStore;
  readonly #outcome: FlowOutcome;
  readonly #packetsPerFlow: number;

  constructor(store: PacketStore, outcome: FlowOutcome, packetsPerFlow: number) {
    this.#store = store;
    this.#outcome = outcome;
    this.#packetsPerFlow = packetsPerFlow;
  }

  /** P sent a packet. Hot path. */
  primary(flow: ComparedFlow, view: PacketView, handle: number, now: number): void {
    const { stream } = flow;
    const flags = view.tcpFlags;
    const start = (flags & syn) === 0 ? view.sequence : advanced(view.sequence, 1);
    if ((flags & syn) !== 0 && stream.isNew && stream.secondarySyn === 0) this.#beginAlone(flow);
    const isBeforeSyn = view.payloadBytes > 0 && stream.isBeforeSyn(start);
    this.#notePrimary(flow, view, start);
    if (flow.diverged) return;
    if (isBeforeSyn) {
      this.#diverge(flow, 'unknown');
      return;
    }
    if (stream.hasFloor && view.payloadBytes > 0 && distance(start, stream.floor) < 0) {
      this.#diverge(flow, 'unknown');
      return;
    }
    if (flow.primary.length >= this.#packetsPerFlow) {
      this.#diverge(flow, 'overflow');
      return;
    }
    const packet = this.#store.take();
    packet.handle = handle;
    packet.bytes = view.bytes;
    packet.at = view.payload;
    packet.length = view.payloadBytes;
    packet.sequence = start;
    packet.acknowledgement = view.acknowledgement;
    packet.flags = flags;
    packet.since = now;
    flow.primary.push(packet);
    if (isBare(packet)) flow.acknowledgements++;
    if (view.payloadBytes > 0 || (flags & fin) !== 0) this.#verify(flow);
    this.#release(flow);
  }

  /** P sent a packet before a checkpoint that S stands at already: S said it too. */
  covered(flow: ComparedFlow, view: PacketView): void {
    const start = (view.tcpFlags & syn) === 0 ? view.sequence : advanced(view.sequence, 1);
    this.#notePrimary(flow, view, start);
    if (!flow.diverged) flow.stream.cover();
  }

  /** S sent a packet, which is only lent. Hot path. */
  secondary(flow: ComparedFlow, view: PacketView, handle: number, now: number): void {
    const { stream, secondary } = flow;
    const flags = view.tcpFlags;
    const saidSyn = stream.secondarySyn;
    const saidFin = stream.hasSecondaryFin;
    const saidReset = stream.secondaryReset;
    if (flow.diverged || !this.#noteSecondary(flow, view, handle)) return;
    const start = this.#secondaryStart(flow, view);
    const hasData = view.payloadBytes > 0 && isNewData(flow, start, advanced(start, view.payloadBytes));
    const resets = stream.isOpen && stream.secondaryReset && !saidReset;
    const isNew = hasData || resets || stream.secondarySyn !== saidSyn || stream.hasSecondaryFin !== saidFin;
    if (!isNew) {
      this.#outcome.drop(handle);
    } else {
      const packet = this.#store.take();
      packet.handle = handle;
      packet.flags = flags;
      packet.since = now;
      if (hasData) {
        packet.bytes = view.bytes;
        packet.at = view.payload;
        packet.length = view.payloadBytes;
        packet.sequence = start;
        secondary.push(packet);
      } else {
        packet.length = 0;
        packet.sequence = advanced(start, view.payloadBytes);
        flow.agreed.push(packet);
      }
    }
    if (hasData || (flags & fin) !== 0) this.#verify(flow);
    if (hasData && secondary.last !== undefined && secondary.last.blockClass < 0) this.#keep(flow, secondary.last);
    this.#release(flow);
  }

  /** The part of a packet of P's that S has said leaves, while S owes the rest. */
  releasePart(flow: ComparedFlow): void {
    const { stream } = flow;
    const packet = flow.primary.first;
    if (packet === undefined || !isPartSaid(flow, packet)) return;
    if (!mayBeAcknowledged(flow, packet)) return;
    const bytes = distance(stream.verified, packet.sequence);
    if (!this.#outcome.releasePart(packet.handle, bytes)) return;
    packet.sequence = advanced(packet.sequence, bytes);
    packet.at += bytes;
    packet.length -= bytes;
    this.#left(flow, packet.sequence);
    this.#dropLeft(flow);
  }

  /** What P has said, whether or not it leaves: a checkpoint makes it S's. */
  #notePrimary(flow: ComparedFlow, view: PacketView, start: number): void {
    const { stream } = flow;
    const flags = view.tcpFlags;
    if ((flags & syn) !== 0) this.#primarySyn(flow, view);
    else if (stream.secondarySyn !== 0 && stream.isNew) this.#secondaryIsEarly(flow);
    const end = advanced(start, view.payloadBytes);
    if (view.payloadBytes > 0 || (flags & fin) !== 0) {
      // A survivor's SYN has its own number, and what follows those of the SYN that its client knows (src/colo/translate).
      if (stream.isBeforeSyn(start)) stream.forgetSyn();
      if (!stream.isBased) stream.baseAt(start);
      stream.primarySaid((flags & fin) === 0 ? end : advanced(end, 1));
    }
    if ((flags & fin) !== 0) {
      stream.hasPrimaryFin = true;
      stream.primaryFin = end;
    }
    if ((flags & ack) !== 0) stream.primaryAcknowledged(view.acknowledgement);
    if ((flags & rst) !== 0) stream.primaryReset = true;
    else if (stream.primaryReset) stream.primaryGoesOn();
  }

  /** P begins a connection in this epoch, and S has not yet: what S has said was of one before. Its refusals may be of this one. */
  #beginAlone(flow: ComparedFlow): void {
    flow.stream.hasSecondaryAck = false;
    flow.stream.hasSecondaryFin = false;
    this.#forgetSecondary(flow);
  }

  /** What S alone has said of a connection that is over is compared with nothing. It is not dropped: the next checkpoint undoes it. */
  #forgetSecondary(flow: ComparedFlow): void {
    this.#store.giveAll(flow.secondary);
    this.#store.giveAll(flow.agreed);
  }

  /** A SYN of P: sent again, the first of a connection, or the first of one that has the ports of another. */
  #primarySyn(flow: ComparedFlow, view: PacketView): void {
    const { stream } = flow;
    const kind = kindOf(view.tcpFlags);
    if (stream.primarySyn !== 0 && stream.primaryIsn === view.sequence) {
      stream.primarySyn |= kind;
      return;
    }
    if (stream.isNew) {
      if (stream.secondarySyn !== 0) this.#shiftSecondary(flow, distance(view.sequence, stream.secondaryIsn));
      stream.begin(kind, view.sequence, synShape(view));
      return;
    }
    const waits = flow.primary.length + flow.secondary.length > 0;
    const { nextSyn, nextHandle, nextIsn, nextShape, hasNextAck, nextAck } = stream;
    stream.beginAgain(kind, view.sequence, synShape(view));
    stream.secondaryShape = nextShape;
    stream.secondarySyn = nextSyn;
    stream.secondaryIsn = nextIsn;
    stream.hasSecondaryAck = hasNextAck;
    stream.secondaryAck = nextAck;
    for (let said = flow.agreed.first; said !== undefined; said = flow.agreed.first) this.#dropAgreed(flow, said);
    if (nextSyn !== 0) {
      const packet = this.#store.take();
      packet.handle = nextHandle;
      packet.length = 0;
      packet.sequence = stream.verified;
      packet.flags = syn;
      flow.agreed.push(packet);
    }
    if (waits && !flow.diverged) this.#diverge(flow, 'reuse');
  }

  /** S's numbers become P's: S was first. */
  #shiftSecondary(flow: ComparedFlow, by: number): void {
    shift(flow.secondary, by);
    shift(flow.agreed, by);
    flow.stream.secondaryFin = advanced(flow.stream.secondaryFin, by);
  }

  /** P is in the midst of a connection, of which nothing was known; S has begun one with the same ports. */
  #secondaryIsEarly(flow: ComparedFlow): void {
    const { stream } = flow;
    const begun = flow.agreed.first ?? flow.secondary.first;
    if (begun === undefined) {
      // It diverged since: what S has said is forgotten, and a checkpoint will make it P.
      stream.resetSecondary();
      return;
    }
    stream.nextSyn = stream.secondarySyn;
    stream.nextHandle = begun.handle;
    stream.nextIsn = stream.secondaryIsn;
    stream.nextShape = stream.secondaryShape;
    stream.hasNextAck = stream.hasSecondaryAck;
    stream.nextAck = stream.secondaryAck;
    stream.resetSecondary();
    this.#forgetSecondary(flow);
  }

  /** What S has said. False: it is not of P's connection, and that is all. */
  #noteSecondary(flow: ComparedFlow, view: PacketView, handle: number): boolean {
    const { stream } = flow;
    const flags = view.tcpFlags;
    if ((flags & syn) !== 0) {
      if (stream.isPast(view.sequence)) {
        this.#outcome.drop(handle);
        return false;
      }
      const isFirst = stream.secondarySyn === 0;
      if (!isSynOfThis(flow, view)) {
        this.#secondaryBegins(flow, view, handle);
        return false;
      }
      if (isFirst) this.#forgetSecondary(flow);
    } else if (stream.primarySyn !== 0 && stream.secondarySyn === 0 && (flags & rst) === 0) {
      // Of the connection before, which had the same ports.
      this.#outcome.drop(handle);
      return false;
    }
    if ((flags & ack) !== 0) stream.secondaryAcknowledged(view.acknowledgement);
    if ((flags & fin) !== 0) {
      stream.hasSecondaryFin = true;
      stream.secondaryFin = advanced(this.#secondaryStart(flow, view), view.payloadBytes);
    }
    if ((flags & rst) !== 0) {
      stream.secondaryReset = true;
      if ((flags & ack) !== 0) stream.secondaryRefused(view.acknowledgement);
    }
    return true;
  }

  /** S begins a connection that P has not begun yet, with the ports of another one. */
  #secondaryBegins({ stream }: ComparedFlow, view: PacketView, handle: number): void {
    const kind = kindOf(view.tcpFlags);
    const isAgain = stream.nextSyn !== 0 && stream.nextIsn === view.sequence;
    if (isAgain) {
      stream.nextSyn |= kind;
      this.#outcome.drop(handle);
      return;
    }
    if (stream.nextSyn !== 0) this.#outcome.drop(stream.nextHandle);
    stream.nextSyn = kind;
    stream.nextHandle = handle;
    stream.nextIsn = view.sequence;
    stream.nextShape = synShape(view);
    stream.hasNextAck = kind === synKind.answer;
    stream.nextAck = view.acknowledgement;
  }

  /** Where S's payload begins, in P's numbers as far as those are known. */
  #secondaryStart({ stream }: ComparedFlow, view: PacketView): number {
    if ((view.tcpFlags & syn) === 0) return view.sequence;
    return advanced(stream.primarySyn === 0 ? view.sequence : stream.primaryIsn, 1);
  }

  /** What P has not said yet is kept, and its bytes are copied: they were lent. */
  #keep(flow: ComparedFlow, packet: Waiting): void {
    const { stream } = flow;
    const known = stream.isBased ? Math.max(0, distance(stream.verified, packet.sequence)) : 0;
    packet.sequence = advanced(packet.sequence, known);
    const isKept =
      flow.secondary.length <= this.#packetsPerFlow &&
      this.#store.copy(packet, packet.bytes, packet.at + known, Math.max(0, packet.length - known));
    if (!isKept) this.#diverge(flow, 'overflow');
  }

  /** Compares what both have said by now. Hot path. */
  #verify(flow: ComparedFlow): void {
    const { stream } = flow;
    if (!stream.isBased) return;
    for (;;) {
      const { verified } = stream;
      const mine = primaryAt(flow, verified);
      const theirs = this.#secondaryAt(flow, verified);
      if (mine === undefined || theirs === undefined) {
        const isPastEnd =
          (mine !== undefined && stream.hasSecondaryFin && stream.secondaryFin === verified) ||
          (theirs !== undefined && stream.hasPrimaryFin && stream.primaryFin === verified);
        if (isPastEnd) this.#differ(flow, 'end', mine, theirs, 0);
        return;
      }
      const mineFrom = distance(verified, mine.sequence);
      const theirsFrom = distance(verified, theirs.sequence);
      const length = Math.min(mine.length - mineFrom, theirs.length - theirsFrom);
      const mineAt = mine.at + mineFrom;
      const theirsAt = theirs.at + theirsFrom;
      if (!sameBytes(mine.bytes, mineAt, theirs.bytes, theirsAt, length)) {
        const same = firstDifference(mine.bytes, mineAt, theirs.bytes, theirsAt, length);
        this.#differ(flow, 'payload', mine, theirs, same);
        return;
      }
      stream.verified = advanced(verified, length);
    }
  }

  /** The packet of S that has the byte at a place. Those that lie before it have been compared, and go. */
  #secondaryAt(flow: ComparedFlow, place: number): Waiting | undefined {
    let before: Waiting | undefined;
    for (let packet = flow.secondary.first; packet !== undefined; ) {
      const { next } = packet;
      const from = distance(place, packet.sequence);
      if (from >= packet.length) this.#agree(flow, packet, before);
      else if (from >= 0) return packet;
      else before = packet;
      packet = next;
    }
    return undefined;
  }

  /** All of it has been compared: it has left when P's packets have. */
  #agree(flow: ComparedFlow, packet: Waiting, before: Waiting | undefined): void {
    const { agreed } = flow;
    flow.secondary.remove(packet, before);
    this.#store.giveBytes(packet);
    agreed.push(packet);
    // Beyond the bound the oldest go: what is lost at a takeover is sent again, as in any network (spec B.15).
    if (agreed.length > this.#packetsPerFlow && agreed.first !== undefined) this.#dropAgreed(flow, agreed.first);
  }

  #dropAgreed(flow: ComparedFlow, packet: Waiting, before?: Waiting): void {
    flow.agreed.remove(packet, before);
    this.#outcome.drop(packet.handle);
    this.#store.give(packet);
  }

  /** Lets out what may leave, in P's order. Hot path. */
  #release(flow: ComparedFlow): void {
    const { primary, agreed, stream } = flow;
    for (let packet = primary.first; packet !== undefined; packet = primary.first) {
      if (!mayLeave(flow, packet)) {
        this.#mayNeverLeave(flow, packet);
        this.#releaseAcknowledgements(flow);
        break;
      }
      if (isReset(packet)) {
        // Further numbers of a connection that is reset mean nothing, and nobody waits for what it had to say.
        if (stream.primaryReset) {
          stream.isOpen = false;
          // Behind all that P said: it ends the connection, and the next checkpoint undoes what S alone has said.
          if (packet.sequence === stream.primaryEnd) this.#store.giveAll(flow.secondary);
        }
        // P went on behind it: S's RST was this one, and resets nothing that comes after.
        else stream.primaryGoesOn();
        for (let said = agreed.first; said !== undefined; said = agreed.first) this.#dropAgreed(flow, said);
      }
      // Its number is whatever it refuses: behind it nothing has left.
      else this.#left(flow, endOf(packet));
      this.#releaseOne(flow, packet, undefined);
    }
    this.#dropLeft(flow);
  }

  #releaseOne(flow: ComparedFlow, packet: Waiting, before: Waiting | undefined): void {
    if (isBare(packet)) flow.acknowledgements--;
    flow.primary.remove(packet, before);
    this.#outcome.release(packet.handle);
    this.#store.give(packet);
  }

  /** Behind a packet that waits. They are no part of the stream: whoever gets them learns nothing of what is held before them. */
  #releaseAcknowledgements(flow: ComparedFlow): void {
    let before = flow.primary.first;
    while (flow.acknowledgements > 0 && before?.next !== undefined) {
      const packet: Waiting = before.next;
      if (!isBare(packet)) before = packet;
      else if (mayBeAcknowledged(flow, packet)) this.#releaseOne(flow, packet, before);
      else return;
    }
  }

  #left({ stream }: ComparedFlow, end: number): void {
    if (distance(end, stream.left) > 0) stream.left = end;
  }

  /** S need not keep what has left. A RST stays until P's leaves, with which all goes. */
  #dropLeft(flow: ComparedFlow): void {
    const { agreed, stream } = flow;
    if (!stream.isBased) return;
    let before: Waiting | undefined;
    for (let packet = agreed.first; packet !== undefined; ) {
      const { next } = packet;
      if (isReset(packet)) before = packet;
      else if (distance(endOf(packet), stream.left) > 0) return;
      else this.#dropAgreed(flow, packet, before);
      packet = next;
    }
  }

  /** P's packet has to wait: for more of S, or does S contradict it? */
  #mayNeverLeave(flow: ComparedFlow, packet: Waiting): void {
    const { stream } = flow;
    const { flags } = packet;
    const isAtEnd = (flags & fin) !== 0 && stream.hasSecondaryFin && isSaid(flow, packet);
    const end = advanced(packet.sequence, packet.length);
    if (isAtEnd && stream.secondaryFin !== end) this.#diverge(flow, 'end');
    else if (isOtherSyn(flow, packet)) this.#diverge(flow, 'options');
    else if (stream.secondaryReset && !isReset(packet)) this.#diverge(flow, 'reset');
  }

  #differ(
    flow: ComparedFlow,
    reason: DivergenceReason,
    mine: Waiting | undefined,
    theirs: Waiting | undefined,
    same: number,
  ): void {
    const { stream } = flow;
    const { primarySyn, primaryIsn, isFarFromSyn, verified } = stream;
    const place = advanced(verified, same);
    this.#outcome.diverge(flow, {
      reason,
      ...(primarySyn === 0 || isFarFromSyn ? {} : { position: distance(place, primaryIsn) - 1 }),
      ...(mine === undefined ? {} : { before: excerptBefore(mine, distance(place, mine.sequence)) }),
      primary: mine === undefined ? noBytes : excerpt(mine, distance(place, mine.sequence)),
      secondary: theirs === undefined ? noBytes : excerpt(theirs, distance(place, theirs.sequence)),
    });
  }

  #diverge(flow: ComparedFlow, reason: DivergenceReason): void {
    this.#outcome.diverge(flow, { reason, primary: noBytes, secondary: noBytes });
  }
}

const noBytes = new Uint8Array(0);

/** The packet of P that has the byte at a place. */
function primaryAt(flow: ComparedFlow, place: number): Waiting | undefined {
  for (let packet = flow.primary.first; packet !== undefined; packet = packet.next) {
    const from = distance(place, packet.sequence);
    if (from >= 0 && from < packet.length) return packet;
  }
  return undefined;
}

/** Bytes of S that are neither compared nor kept, and within any window. */
function isNewData({ stream, secondary }: ComparedFlow, start: number, end: number): boolean {
  if (stream.isBased) {
    if (distance(end, stream.verified) <= 0 || distance(start, stream.verified) > mostAhead) return false;
  }
  return !isWithin(secondary.last, start, end);
}

function shift(list: WaitingList, by: number): void {
  for (let packet = list.first; packet !== undefined; packet = packet.next) {
    packet.sequence = advanced(packet.sequence, by);
  }
}

function isWithin(packet: Waiting | undefined, start: number, end: number): boolean {
  if (packet === undefined) return false;
  return distance(start, packet.sequence) >= 0 && distance(end, advanced(packet.sequence, packet.length)) <= 0;
}
