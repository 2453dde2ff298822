import { distance } from '../packet/sequence.ts';

/** Which SYN: one that opens, or one that answers. Simultaneous open sends both (RFC 9293, 3.5). */
export const synKind = { none: 0, open: 1, answer: 2 } as const;

/** Further apart than any window (RFC 7323, 2.3): such numbers are not of one connection. */
export const mostAhead = 1 << 30;

/** How many of S's refusals are remembered: as many attempts it may be ahead of P. */
const mostRefusals = 4;

/**
 * What P and S have said of one TCP connection, in P's sequence numbers. Only output is here: what both guests got is the same.
 *
 *     ---- left ----|---- both said it ----|---- one of them did, and it waits ----
 *                  left                 verified                              primaryEnd
 */
export class Stream {
  /** Kinds of SYN that were sent, bits of {@link synKind}, and the initial sequence number of each side. */
  primarySyn = 0;
  primaryIsn = 0;
  /** P has said so much since its SYN that no number of the connection lies before that: they wrap (RFC 9293, 3.4). */
  isFarFromSyn = false;
  secondarySyn = 0;
  secondaryIsn = 0;
  /** What the SYNs agree on (see synShape): both ends keep to it as long as the connection lives. */
  primaryShape = 0;
  secondaryShape = 0;
  /** {@link verified} and {@link primaryEnd} mean something. */
  isBased = false;
  verified = 0;
  /** Behind all that has left. */
  left = 0;
  /** Behind all that P sent. */
  primaryEnd = 0;
  /** Where this began to be known, if in the midst of a connection: of what is before nothing is known. */
  hasFloor = false;
  floor = 0;
  hasPrimaryAck = false;
  primaryAck = 0;
  hasSecondaryAck = false;
  secondaryAck = 0;
  /** Where a FIN is. */
  hasPrimaryFin = false;
  primaryFin = 0;
  hasSecondaryFin = false;
  secondaryFin = 0;
  primaryReset = false;
  secondaryReset = false;
  /** What S acknowledged with its last RSTs, each number once, in a ring; and how many there were. */
  readonly refusals = new Int32Array(mostRefusals);
  refusalCount = 0;
  /** There was a connection, so that numbers can be compared; else there were only refusals. */
  isOpen = false;
  /** S has begun the connection anew, P not yet: the SYN, its packet, and what it acknowledged. */
  nextSyn = 0;
  nextHandle = 0;
  nextIsn = 0;
  nextShape = 0;
  hasNextAck = false;
  nextAck = 0;
  /** P has begun the connection anew: the numbers of the one before, with which S may answer that once more. */
  hasPast = false;
  pastPrimaryIsn = 0;
  pastSecondaryIsn = 0;

  /** Nothing is known. */
  reset(): void {
    this.primarySyn = 0;
    this.isBased = false;
    this.hasFloor = false;
    this.hasPrimaryAck = false;
    this.hasPrimaryFin = false;
    this.primaryReset = false;
    this.isOpen = false;
    this.resetSecondary();
    this.refusalCount = 0;
    this.nextSyn = 0;
    this.hasNextAck = false;
    this.hasPast = false;
  }

  /** Of S nothing is known but which attempts it refused before: P may be about to. */
  resetSecondary(): void {
    this.secondarySyn = 0;
    this.hasSecondaryAck = false;
    this.hasSecondaryFin = false;
    this.secondaryReset = false;
  }

  /** P never said anything. */
  get isNew(): boolean {
    return this.primarySyn === 0 && !this.isBased && !this.hasPrimaryAck && !this.primaryReset;
  }

  /** A checkpoint: S is P, whatever it was before, and has said all that P has said. */
  rebase(): void {
    this.hasFloor = false;
    this.verified = this.primaryEnd;
    this.left = this.primaryEnd;
    this.secondarySyn = this.primarySyn;
    this.secondaryIsn = this.primaryIsn;
    this.secondaryShape = this.primaryShape;
    this.hasSecondaryAck = this.hasPrimaryAck;
    this.secondaryAck = this.primaryAck;
    this.hasSecondaryFin = this.hasPrimaryFin;
    this.secondaryFin = this.primaryFin;
    this.secondaryReset = this.primaryReset;
    if (this.primaryReset) this.isOpen = false;
    this.refusalCount = 0;
    this.nextSyn = 0;
    this.hasNextAck = false;
  }

  /** P said what it has said before a checkpoint: S said it too, and has gone on since. */
  cover(): void {
    if (distance(this.primaryEnd, this.verified) > 0) this.verified = this.primaryEnd;
    this.left = this.primaryEnd;
    this.hasFloor = false;
    if (this.secondarySyn === 0) this.secondaryIsn = this.primaryIsn;
    this.secondarySyn |= this.primarySyn;
    this.secondaryShape = this.primaryShape;
    if (this.hasPrimaryAck) this.secondaryAcknowledged(this.primaryAck);
    if (this.hasPrimaryFin) {
      this.hasSecondaryFin = true;
      this.secondaryFin = this.primaryFin;
    }
    if (!this.primaryReset) return;
    this.secondaryReset = true;
    this.isOpen = false;
  }

  /** P's first byte that is known, in the midst of a connection. */
  baseAt(sequence: number): void {
    this.isBased = true;
    this.hasFloor = true;
    this.floor = sequence;
    this.verified = sequence;
    this.left = sequence;
    this.primaryEnd = sequence;
    this.isOpen = true;
  }

  /** Whether a number lies before P's SYN: the connection has other ones. A probe that asks for life has the SYN's own. */
  isBeforeSyn(sequence: number): boolean {
    return this.primarySyn !== 0 && !this.isFarFromSyn && distance(sequence, this.primaryIsn) < 0;
  }

  /** The number of P's SYN was none of the connection's, so that nothing of these is known. */
  forgetSyn(): void {
    this.primarySyn = 0;
    this.secondarySyn = 0;
    this.isBased = false;
    this.hasPrimaryFin = false;
    this.hasSecondaryFin = false;
  }

  /** P begins it anew: of the connection that there was, only how its SYNs are known is kept. */
  beginAgain(kind: number, isn: number, shape: number): void {
    const { primaryIsn, secondaryIsn, primarySyn, secondarySyn } = this;
    this.reset();
    this.begin(kind, isn, shape);
    this.hasPast = primarySyn !== 0 && secondarySyn !== 0;
    this.pastPrimaryIsn = primaryIsn;
    this.pastSecondaryIsn = secondaryIsn;
  }

  /** A SYN of S with this number is of the connection before, of which S has not begun the next one. */
  isPast(sequence: number): boolean {
    const isKnown = sequence === this.pastSecondaryIsn || sequence === this.pastPrimaryIsn;
    return this.hasPast && this.secondarySyn === 0 && isKnown;
  }

  /** P's SYN. */
  begin(kind: number, isn: number, shape: number): void {
    this.primarySyn = kind;
    this.primaryShape = shape;
    this.primaryIsn = isn;
    this.isFarFromSyn = false;
    this.isBased = true;
    this.hasFloor = false;
    this.verified = (isn + 1) | 0;
    this.primaryEnd = this.verified;
    this.left = isn;
    this.isOpen = true;
  }

  /** P said something up to here. */
  primarySaid(end: number): void {
    const further = distance(end, this.primaryEnd);
    if (further <= 0 || further >= mostAhead) return;
    this.primaryEnd = end;
    // Further on a number would seem to lie before these.
    if (distance(end, this.primaryIsn) >= mostAhead) this.isFarFromSyn = true;
    if (this.hasFloor && distance(end, this.floor) >= mostAhead) this.hasFloor = false;
  }

  /** P goes on after a RST: whatever that reset, and S's, was not this connection, which is as open as before. */
  primaryGoesOn(): void {
    this.isOpen = true;
    this.primaryReset = false;
    this.secondaryReset = false;
    this.refusalCount = 0;
  }

  /** S sent a RST with this acknowledgement: it refuses an attempt to connect, or gives up a connection. */
  secondaryRefused(number: number): void {
    if (this.hasRefused(number)) return;
    this.refusals[this.refusalCount++ % mostRefusals] = number;
  }

  hasRefused(number: number): boolean {
    const count = Math.min(this.refusalCount, mostRefusals);
    for (let index = 0; index < count; index++) if (this.refusals[index] === number) return true;
    return false;
  }

  primaryAcknowledged(number: number): void {
    if (this.hasPrimaryAck && distance(number, this.primaryAck) <= 0) return;
    this.hasPrimaryAck = true;
    this.primaryAck = number;
  }

  secondaryAcknowledged(number: number): void {
    if (this.hasSecondaryAck && distance(number, this.secondaryAck) <= 0) return;
    this.hasSecondaryAck = true;
    this.secondaryAck = number;
  }
}
