import type { Flow } from '../packet/flow-table.ts';
import type { Divergence } from './divergence.ts';
import type { FlowPolicy } from './flow-policy.ts';
import { WaitingList } from './packet-store.ts';
import { Stream } from './stream.ts';

/** One connection, as the comparison knows it. Used for one connection after the other. */
export class ComparedFlow implements Flow {
  readonly index: number;
  policy: FlowPolicy = 'compare';
  /** The epoch that its state is of. */
  epoch = 0;
  /** It differs: until the next checkpoint nothing of it leaves, and what S says of it is no matter. */
  diverged = false;
  /** Of P, in the order in which it leaves. Of S, what P has not said yet. */
  readonly primary = new WaitingList();
  readonly secondary = new WaitingList();
  /** Of a stream of S: what has been compared and has not left with P's packets yet, without bytes. */
  readonly agreed = new WaitingList();
  /** Packets of P's stream that wait and do nothing but acknowledge. */
  acknowledgements = 0;
  /** The comparator has it among those of which a part may leave. */
  isParted = false;
  readonly stream = new Stream();
  /** Where it is in the list of those in which something waits; -1: nothing does. */
  waitingAt = -1;
  /** Pieces of datagrams that belong together: see Datagrams. */
  readonly pairs = new Int32Array(2 * pairsKept);
  pairCount = 0;
  /** Its packets are no stream's: when both sides have one that the other did not say, they have gone different ways. */
  isDatagrams = false;

  constructor(index: number) {
    this.index = index;
  }

  /** It is another connection now, of which nothing is known. */
  begin(policy: FlowPolicy, epoch: number): void {
    this.policy = policy;
    this.epoch = epoch;
    this.diverged = false;
    this.isDatagrams = false;
    this.stream.reset();
    this.pairCount = 0;
  }

  /** A checkpoint made S equal to P. Nothing waits any more. */
  rebase(epoch: number): void {
    this.epoch = epoch;
    this.diverged = false;
    this.stream.rebase();
    this.pairCount = 0;
  }
}

/** Datagrams whose pieces are kept together at a time. */
export const pairsKept = 16;

/** What comes of a comparison, of one connection. */
export interface FlowOutcome {
  /** P's packet may leave: S said the same. */
  release(handle: number): void;
  /** The first so many bytes of what P's packet carries may leave, S said those. Whether they have, and the packet is that much shorter. */
  releasePart(handle: number, bytes: number): boolean;
  /** What S's packet says has left. */
  drop(handle: number): void;
  /** The connection differs. Nothing of it waits when this returns. */
  diverge(flow: ComparedFlow, what: Omit<Divergence, 'flow'>): void;
}
