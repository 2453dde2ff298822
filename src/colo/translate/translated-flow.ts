import type { Flow } from '../packet/flow-table.ts';
import type { PacketView } from '../packet/packet-view.ts';
import { advanced, distance } from '../packet/sequence.ts';
import { longAt, tcpFlag } from '../packet/wire.ts';
import type { FlowState } from './translator-state.ts';

const { syn, fin, rst, ack } = tcpFlag;

/** No window is bigger (RFC 7323, 2.3), and the one of a SYN has no scale. */
const mostWindow = 1 << 30;
const mostFirstWindow = 0xffff;
/** P's clock is ahead of S's by less than so many ticks of their timestamps; whoever echoes more does not echo P. */
const mostSkew = 1 << 24;

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
 * is P's SYN; and should that have been somebody else's packet, the next one puts it right.
 */
export class TranslatedFlow implements Flow {
  readonly index: number;
  /** The guest's initial sequence number. */
  isn = 0;
  offset = 0;
  /** {@link offset} is known: the other end has acknowledged the guest's SYN. */
  isKnown = false;
  /** The guest has sent something other than its SYN: the offset stays as it is. */
  hasSpoken = false;

  /** Of the guest: timestamp of its first SYN, and the greatest one. */
  hasTime = false;
  firstTime = 0;
  lastTime = 0;
  timeOffset = 0;
  isTimeKnown = false;

  /** What the guest waits for from the other end, once it knows that end's SYN. */
  hasPeerNext = false;
  peerNext = 0;

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
    this.hasSpoken = false;
    this.hasTime = false;
    this.timeOffset = 0;
    this.isTimeKnown = false;
    this.hasPeerNext = false;
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
    // A guest that was reset says nothing but RST: it did not believe it.
    this.isReset = (flags & rst) !== 0;
    if ((flags & fin) !== 0) {
      this.hasFin = true;
      this.finEnd = advanced(view.sequence, payloadBytes + 1);
    }
    if (payloadBytes > 0 || (flags & fin) !== 0) this.hasSpoken = true;
    if ((flags & ack) !== 0 && (flags & rst) === 0) {
      this.hasPeerNext = true;
      this.peerNext = view.acknowledgement;
      if (this.hasPeerFin && distance(this.peerNext, this.peerFinEnd) >= 0) this.isPeerFinAcked = true;
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
    const { tcpFlags: flags, sequence, payloadBytes } = view;
    this.lastAt = now;
    if ((flags & ack) !== 0) {
      if (!this.hasSpoken && this.#answersSyn(view, isLive)) this.#learn(view);
      this.#keepUp(view);
      const acknowledged = (view.acknowledgement - this.offset) | 0;
      if (this.isKnown && this.hasFin && distance(acknowledged, this.finEnd) >= 0) this.isFinAcked = true;
    }
    if ((flags & fin) !== 0) {
      this.hasPeerFin = true;
      this.peerFinEnd = advanced(sequence, payloadBytes + 1);
    }
    if ((flags & rst) !== 0 && this.#isExpected(view, mostWindow)) this.isReset = true;
  }

  save(key: readonly number[]): FlowState {
    const { isn, offset, isKnown, hasSpoken, hasTime, firstTime, lastTime, timeOffset, isTimeKnown } = this;
    const { hasPeerNext, peerNext, hasFin, finEnd, isFinAcked, hasPeerFin, peerFinEnd, isPeerFinAcked, isReset } = this;
    const numbers = { isn, offset, isKnown, hasSpoken, hasTime, firstTime, lastTime, timeOffset, isTimeKnown };
    return {
      key,
      ...numbers,
      hasPeerNext,
      peerNext,
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
   * P's SYN that the other end has.
   */
  #answersSyn(view: PacketView, isLive: boolean): boolean {
    if ((view.tcpFlags & syn) !== 0 || (isLive && !this.hasPeerNext)) return true;
    return this.#isExpected(view, this.isKnown ? mostWindow : mostFirstWindow);
  }

  /** Before the guest has got a SYN, only one that breaks off is. */
  #isExpected({ sequence, tcpFlags: flags }: PacketView, window: number): boolean {
    if (!this.hasPeerNext) return (flags & rst) !== 0;
    const ahead = distance(sequence, this.peerNext);
    return ahead >= 0 && ahead <= window;
  }

  #learn(view: PacketView): void {
    const offset = (view.acknowledgement - 1 - this.isn) | 0;
    if (this.isKnown && offset === this.offset) return;
    this.isKnown = true;
    this.offset = offset;
    const { timestamps } = view.tcpOptions;
    this.isTimeKnown = this.hasTime && timestamps !== 0;
    // Rather too far ahead than behind: timestamps that fall are dropped (RFC 7323, 5).
    if (this.isTimeKnown) this.timeOffset = (longAt(view.bytes, timestamps + 4) - this.firstTime) | 0;
  }

  /** The guest's timestamps on the wire never fall behind what the other end echoes: that is how far P's were. */
  #keepUp({ bytes, tcpOptions: { timestamps } }: PacketView): void {
    if (!this.isTimeKnown || timestamps === 0) return;
    const echoed = longAt(bytes, timestamps + 4);
    if (echoed === 0) return;
    const behind = distance((echoed - this.timeOffset) | 0, this.lastTime);
    if (behind > 0 && behind < mostSkew) this.timeOffset = (this.timeOffset + behind) | 0;
  }
}
