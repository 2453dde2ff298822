import { distance } from '../packet/sequence.ts';

/** Which SYN: one that opens, or one that answers. Simultaneous open sends both (RFC 9293, 3.5). */
export const synKind = { none: 0, open: 1, answer: 2 } as const;

/** Further apart than any window (RFC 7323, 2.3): such numbers are not of one connection. */
export const mostAhead = 1 << 30;

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
  /** What S acknowledged with its last RST. */
  hasResetAck = false;
  resetAck = 0;
  /** There was a connection, so that numbers can be compared; else there were only refusals. */
  isOpen = false;
  /** S has begun the connection anew, P not yet: the SYN, its packet, and what it acknowledged. */
  nextSyn = 0;
  nextHandle = 0;
  nextIsn = 0;
  nextShape = 0;
  hasNextAck = false;
  nextAck = 0;

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
    this.nextSyn = 0;
    this.hasNextAck = false;
  }

  /** Of S nothing is known. */
  resetSecondary(): void {
    this.secondarySyn = 0;
    this.hasSecondaryAck = false;
    this.hasSecondaryFin = false;
    this.secondaryReset = false;
    this.hasResetAck = false;
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
    this.hasResetAck = false;
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
    if (this.primaryReset) this.secondaryReset = true;
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
    return this.primarySyn !== 0 && distance(sequence, this.primaryIsn) < 0;
  }

  /** The number of P's SYN was none of the connection's, so that nothing of these is known. */
  forgetSyn(): void {
    this.primarySyn = 0;
    this.secondarySyn = 0;
    this.isBased = false;
    this.hasPrimaryFin = false;
    this.hasSecondaryFin = false;
  }

  /** P's SYN. */
  begin(kind: number, isn: number, shape: number): void {
    this.primarySyn = kind;
    this.primaryShape = shape;
    this.primaryIsn = isn;
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
    if (further > 0 && further < mostAhead) this.primaryEnd = end;
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
