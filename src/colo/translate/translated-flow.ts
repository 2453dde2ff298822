import type { Flow } from '../packet/flow-table.ts';
import type { PacketView } from '../packet/packet-view.ts';
import { advanced, distance, later } from '../packet/sequence.ts';
import { longAt, tcpFlag } from '../packet/wire.ts';
import type { FlowState } from './translator-state.ts';

const { syn, fin, rst, ack } = tcpFlag;

/** No window is bigger (RFC 7323, 2.3), and the one of a SYN has no scale. */
const mostWindow = 1 << 30;
const mostFirstWindow = 0xffff;
const mostWindowScale = 14;
/**
 * P's timestamps are ahead of S's by less than so many ticks (65 s of Linux's 1 ms): by no more than S lags, for which the comparison
 * waits only seconds. Whoever echoes more does not echo P.
 */
const mostSkew = 1 << 16;

/**
 * One TCP connection of S's guest, whose own numbers are not those that the other end knows:
 *
 *     on the wire = the guest's + offset                 sequence numbers
 *     on the wire = the guest's + timeOffset             timestamps
 *
 * The other end's numbers are the same for P's guest and S's, because both got its SYN.
 *
 * P's numbers are learned from what the other end echoes. P's SYN left only after S's guest had sent its own, and no byte of P left
 * before S's guest had sent it (spec B.2). So as long as S's guest has sent nothing but a SYN, whatever the other end acknowledges
 * is P's SYN. Should that have been somebody else's packet, an empty acknowledgement at exactly the number that the guest waits for puts
 * it right. But S's guest believes whatever acknowledgement is learned from, where P's guest checks it. So the offset is fixed as
 * soon as the guest shows that it is connected: from then on a forged acknowledgement is as wrong for S's guest as for P's.
 */
export class TranslatedFlow implements Flow {
  readonly index: number;
  /** The guest's initial sequence number. */
  isn = 0;
  offset = 0;
  /** {@link offset} is known: the other end has acknowledged the guest's SYN. */
  isKnown = false;
  /** {@link offset} stays as it is: the guest has sent data or FIN, or acknowledged data or a SYN-ACK, or has taken over. */
  isFixed = false;

  /** Of the guest: timestamp of its first SYN, and the greatest one. */
  hasTime = false;
  firstTime = 0;
  lastTime = 0;
  timeOffset = 0;
  isTimeKnown = false;

  /** What the guest waits for from the other end, once it knows that end's SYN. */
  hasPeerNext = false;
  peerNext = 0;
  /** Behind the last that the guest has sent, in its own numbers. */
  sentEnd = 0;
  /** What the guest takes from {@link peerNext} on, bytes; the scale (RFC 7323, 2) holds if both SYNs had one. */
  window = 0;
  windowScale = 0;

  /** Behind each end's FIN, in its own numbers; has the other end acknowledged it? */
  hasFin = false;
  finEnd = 0;
  isFinAcked = false;
  hasPeerFin = false;
  peerFinEnd = 0;
  isPeerFinAcked = false;
  isReset = false;

  /** Last packet, ms; 32 bits that wrap. */
  lastAt = 0;

  constructor(index: number) {
    this.index = index;
  }

  /** Both ends have ended, or one has broken it off. */
  get isClosed(): boolean {
    return this.isReset || (this.isFinAcked && this.isPeerFinAcked);
  }

  /** The guest sends the first SYN of a connection. */
  begin(view: PacketView): void {
    this.isn = view.sequence;
    this.offset = 0;
    this.isKnown = false;
    this.isFixed = false;
    this.hasTime = false;
    this.timeOffset = 0;
    this.isTimeKnown = false;
    this.hasPeerNext = false;
    this.sentEnd = view.sequence;
    this.window = 0;
    this.windowScale = Math.min(Math.max(0, view.tcpOptions.windowScale), mostWindowScale);
    this.hasFin = false;
    this.isFinAcked = false;
    this.hasPeerFin = false;
    this.isPeerFinAcked = false;
    this.isReset = false;
  }

  /** The guest sends a packet, here in its own numbers. Hot path. */
  sent(view: PacketView, now: number): void {
    const { tcpFlags: flags, payloadBytes, tcpOptions, bytes } = view;
    this.lastAt = now;
    if ((flags & rst) === 0) this.#extend(view);
    // A guest that was reset says nothing but RST: it did not believe it.
    this.isReset = (flags & rst) !== 0;
    if ((flags & fin) !== 0) {
      this.hasFin = true;
      this.finEnd = advanced(view.sequence, payloadBytes + 1);
    }
    if (payloadBytes > 0 || (flags & fin) !== 0) this.isFixed = true;
    if ((flags & ack) !== 0 && (flags & rst) === 0) {
      const isFurther = !this.hasPeerNext || distance(view.acknowledgement, this.peerNext) > 0;
      if (this.isKnown && isFurther) this.isFixed = true;
      this.hasPeerNext = true;
      this.peerNext = view.acknowledgement;
      // What is acknowledged beyond a FIN was none of the other end's.
      this.isPeerFinAcked = this.hasPeerFin && this.peerNext === this.peerFinEnd;
    }
    if (tcpOptions.timestamps !== 0) {
      const time = longAt(bytes, tcpOptions.timestamps);
      if (!this.hasTime) {
        this.hasTime = true;
        this.firstTime = time;
        this.lastTime = time;
      } else if (distance(time, this.lastTime) > 0) this.lastTime = time;
    }
  }

  /**
   * The guest gets a packet, here in the numbers of the wire. Hot path.
   *
   * @param isLive after a takeover
   */
  received(view: PacketView, now: number, isLive: boolean): void {
    const { tcpFlags: flags } = view;
    this.lastAt = now;
    if ((flags & syn) !== 0 && !this.hasPeerNext && view.tcpOptions.windowScale < 0) this.windowScale = 0;
    if ((flags & ack) !== 0) {
      if (!this.isFixed && this.#answersSyn(view, isLive)) this.#learn(view, isLive);
      this.#keepUp(view);
      const acknowledged = (view.acknowledgement - this.offset) | 0;
      // There is nothing behind a FIN that could be acknowledged.
      if (this.isKnown && this.hasFin && acknowledged === this.finEnd) this.isFinAcked = true;
    }
    if ((flags & fin) !== 0) this.#ends(view);
    if ((flags & rst) !== 0 && this.#isBelieved(view)) this.isReset = true;
  }

  /** See Translator.takeOver. What is known of a guest that has answered the other end, nobody can move any more. */
  takeOver(aheadTicks: number): void {
    this.timeOffset = (this.timeOffset + aheadTicks) | 0;
    if (this.isKnown && this.hasPeerNext) this.isFixed = true;
  }

  save(key: readonly number[]): FlowState {
    const { isn, offset, isKnown, isFixed, hasTime, firstTime, lastTime, timeOffset, isTimeKnown } = this;
    const { hasPeerNext, peerNext, sentEnd, window, windowScale } = this;
    const { hasFin, finEnd, isFinAcked, hasPeerFin, peerFinEnd, isPeerFinAcked, isReset } = this;
    const numbers = { isn, offset, isKnown, isFixed, hasTime, firstTime, lastTime, timeOffset, isTimeKnown };
    return {
      key,
      ...numbers,
      hasPeerNext,
      peerNext,
      sentEnd,
      window,
      windowScale,
      hasFin,
      finEnd,
      isFinAcked,
      hasPeerFin,
      peerFinEnd,
      isPeerFinAcked,
      isReset,
    };
  }

  load({ key: _, ...state }: FlowState, now: number): void {
    Object.assign(this, state);
    this.lastAt = now;
  }

  /**
   * Whether the other end acknowledges the guest's SYN, as far as that can be told. An acknowledgement alone, of one whose SYN the
   * guest has not got, is of a connection before this one, and the guest refuses it; but at a takeover in the midst of opening it is
   * P's SYN that the other end has. What is known already no data corrects, or the guest would believe somebody else's.
   */
  #answersSyn({ tcpFlags: flags, sequence, payloadBytes }: PacketView, isLive: boolean): boolean {
    if (!this.hasPeerNext) return (flags & syn) !== 0 || (!this.isKnown && (isLive || (flags & rst) !== 0));
    if (this.isKnown) {
      return payloadBytes === 0 && (flags & (syn | fin | rst)) === 0 && sequence === this.peerNext;
    }
    const ahead = distance(advanced(sequence, (flags & syn) !== 0 ? 1 : 0), this.peerNext);
    return ahead >= 0 && ahead <= mostFirstWindow;
  }

  /** A FIN of the other end, which is in front of the guest or the last that it has got. */
  #ends({ sequence, payloadBytes }: PacketView): void {
    const end = advanced(sequence, payloadBytes + 1);
    const ahead = distance(end, this.peerNext);
    if (this.isPeerFinAcked || (this.hasPeerNext && (ahead < 0 || ahead > mostWindow))) return;
    this.hasPeerFin = true;
    this.peerFinEnd = end;
  }

  /**
   * Whether the guest believes a RST: at exactly the number that it waits for (RFC 5961, 3.2), or as an answer to its SYN. One
   * that breaks off behind data which the guest has not acknowledged yet is not counted, and the connection falls silent.
   */
  #isBelieved({ tcpFlags: flags, sequence }: PacketView): boolean {
    return this.hasPeerNext ? sequence === this.peerNext : (flags & ack) !== 0;
  }

  #learn(view: PacketView, isLive: boolean): void {
    this.isFixed = isLive && this.hasPeerNext;
    const offset = (view.acknowledgement - 1 - this.isn) | 0;
    if (this.isKnown && offset === this.offset) return;
    this.isKnown = true;
    this.offset = offset;
    const { timestamps } = view.tcpOptions;
    this.isTimeKnown = this.hasTime && timestamps !== 0;
    // Rather too far ahead than behind: timestamps that fall are dropped (RFC 7323, 5).
    if (this.isTimeKnown) this.timeOffset = (longAt(view.bytes, timestamps + 4) - this.firstTime) | 0;
  }

  /** Not for a RST: its number may be one that somebody else made up (RFC 9293, 3.10.7.4). */
  #extend({ tcpFlags: flags, sequence, payloadBytes, window }: PacketView): void {
    const isSyn = (flags & syn) !== 0;
    const bytes = payloadBytes + (isSyn ? 1 : 0) + ((flags & fin) !== 0 ? 1 : 0);
    this.sentEnd = later(this.sentEnd, advanced(sequence, bytes));
    this.window = isSyn ? window : window << this.windowScale;
  }

  /** The guest's timestamps on the wire never fall behind what the other end echoes: that is how far P's were. */
  #keepUp(view: PacketView): void {
    const { timestamps } = view.tcpOptions;
    if (!this.isTimeKnown || timestamps === 0 || !this.#isTaken(view)) return;
    const { bytes } = view;
    const echoed = longAt(bytes, timestamps + 4);
    if (echoed === 0) return;
    const behind = distance((echoed - this.timeOffset) | 0, this.lastTime);
    if (behind > 0 && behind < mostSkew) this.timeOffset = (this.timeOffset + behind) | 0;
  }

  /**
   * Whether the guest would take a segment: an echo of another moves nothing, or a few forged ones would carry the timestamps so far that
   * the other end drops all that the guest sends (RFC 7323, 5). Twice its window, because P's may be the larger one. What is compared
   * leaves behind S's guest, so that nobody acknowledges more than it has sent. The echo of a segment from before, a keep-alive say,
   * comes again in the next one.
   */
  #isTaken({ tcpFlags: flags, sequence, acknowledgement }: PacketView): boolean {
    if (!this.hasPeerNext || (flags & (syn | rst)) !== 0) return false;
    const ahead = distance(sequence, this.peerNext);
    if (ahead < 0 || ahead > Math.max(2 * this.window, mostFirstWindow)) return false;
    const acknowledged = distance((acknowledgement - this.offset) | 0, this.sentEnd);
    return acknowledged <= 0 && acknowledged >= -mostWindow;
  }
}
