import { FlowKey, keyText, keyWords } from '../packet/flow-key.ts';
import { FlowTable } from '../packet/flow-table.ts';
import { PacketView, packetKind } from '../packet/packet-view.ts';
import { ipProtocol } from '../packet/wire.ts';
import { ComparedFlow, type FlowOutcome } from './compared-flow.ts';
import { Datagrams } from './datagrams.ts';
import type { Divergence } from './divergence.ts';
import { difference, excerpt } from './excerpt.ts';
import type { PolicyOf } from './flow-policy.ts';
import { isPartSaid, onlySecondarySaid } from './output-commit.ts';
import { PacketStore } from './packet-store.ts';
import type { CompareSettings } from './settings.ts';
import { Streams } from './streams.ts';

/** What comes of a comparison. Handles are numbers that the caller gave. Called from within the comparator's methods. */
export interface CompareOutcome {
  /**
   * This packet of P may leave now: content allows it (spec B.2, B.6). Packets of one connection come in P's order, but for those that do
   * nothing but acknowledge.
   */
  release(handle: number): void;
  /**
   * This packet of P, of TCP, waits for more of S: the first bytes of what it carries may leave, as a packet of their own (see
   * packet/cut.ts), after which the packet begins there. Only within {@link Comparator.releaseParts}.
   *
   * @returns whether that was done; else it is asked for again, or all of it released. Absent: it never is
   */
  releasePart?(handle: number, bytes: number): boolean;
  /**
   * All that this packet of S says has left in P's packets, or was not worth comparing: S need not keep it for a takeover (spec
   * B.15). Packets of S that differ, or have no counterpart, are never dropped: the end of the epoch undoes them.
   */
  drop(handle: number): void;
  /** Comes once for each connection that differs in an epoch. Several before a checkpoint are one (spec A.2). */
  wantCheckpoint(divergence: Divergence): void;
}

export interface ComparatorParts {
  readonly settings: CompareSettings;
  readonly outcome: CompareOutcome;
  readonly policyOf: PolicyOf;
  /** A random number: nobody outside may know where connections lie in the table. */
  readonly seed: number;
  /** Bytes of the virtio-net header in front of each frame. */
  readonly headerBytes?: 0 | 12;
}

/** Of packets, since the beginning. */
export interface CompareFacts {
  /** Of P: let out because S said the same, and let out without being compared. */
  released: number;
  passed: number;
  /** Of S. */
  dropped: number;
  /** Of S, of an epoch that is over. */
  stale: number;
  divergences: number;
}

/**
 * Are P's answers S's (spec A.5, B.2)? Packets of both and time go in; what may leave, and when a checkpoint is wanted, comes out.
 * Pure: it writes nothing, and has no clock.
 *
 *     P's packet --> its connection --> waits until S has said the same --> release
 *     S's packet --> its connection --> compared with what waits, kept as far as P has not said it --> drop, when it has left
 *     anything else                --> nothing of that connection leaves; wantCheckpoint
 *     endEpoch                     --> what waits waits for the checkpoint (the caller's gate lets it out), S is P again
 *
 * A packet of P stays where it is, unchanged but for {@link CompareOutcome.releasePart}, until it is released or its epoch ends. S's are
 * only lent for the call. Nothing is allocated for a packet that matches.
 */
export class Comparator implements FlowOutcome {
  readonly facts: CompareFacts = { released: 0, passed: 0, dropped: 0, stale: 0, divergences: 0 };
  readonly #parts: ComparatorParts;
  readonly #view: PacketView;
  readonly #key: FlowKey;
  readonly #flows: FlowTable<ComparedFlow>;
  readonly #store: PacketStore;
  readonly #streams: Streams;
  readonly #datagrams: Datagrams;
  /** Connections in which something waits. */
  readonly #waiting: ComparedFlow[] = [];
  /** Those of which S has said a part of P's first packet. */
  readonly #parted: ComparedFlow[] = [];
  #epoch: number;
  /** Since when S's guest runs in this epoch, ms; undefined: it does not yet, and nothing waits too long for it. */
  #runsSince: number | undefined;
  /** In this epoch there was no room for a connection. */
  #wasFull = false;

  /** @param epoch that begins: both sides stand at the checkpoint before it */
  constructor(parts: ComparatorParts, epoch: number) {
    const { settings, seed, headerBytes } = parts;
    this.#parts = parts;
    this.#epoch = epoch;
    this.#view = new PacketView(headerBytes);
    this.#key = new FlowKey(seed);
    this.#flows = new FlowTable(
      settings.flows,
      (index) => new ComparedFlow(index),
      ({ waitingAt }) => waitingAt < 0,
    );
    this.#store = new PacketStore(settings.storeBytes);
    this.#streams = new Streams(this.#store, this, settings.packetsPerFlow);
    this.#datagrams = new Datagrams(this.#store, this, settings.packetsPerFlow);
  }

  /** The epoch whose packets are compared. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Connections that are known, those in which something waits, and bytes of S's that are kept. */
  get sizes(): { readonly flows: number; readonly waiting: number; readonly storedBytes: number } {
    return { flows: this.#flows.size, waiting: this.#waiting.length, storedBytes: this.#store.usedBytes };
  }

  /**
   * P's guest sent a packet. One of an epoch that is over is not compared: its checkpoint lets it out.
   *
   * @param now this side's clock, ms
   */
  primary(
    epoch: number,
    card: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    handle: number,
    now: number,
  ): void {
    if (epoch > this.#epoch) this.endEpoch(epoch - 1);
    const view = this.#view;
    if (isUncompared(view, view.read(bytes, offset, length))) {
      this.facts.passed++;
      this.#parts.outcome.release(handle);
      return;
    }
    const flow = this.#flowOf(card, view);
    if (flow === undefined) {
      if (epoch === this.#epoch) this.#full();
      return;
    }
    if (flow.policy !== 'compare') {
      this.#asAsked(flow, handle, epoch);
    } else if (epoch < this.#epoch) {
      if (view.kind === packetKind.tcp) this.#streams.covered(flow, view);
      this.#noteWaiting(flow);
    } else {
      if (view.kind === packetKind.tcp) this.#streams.primary(flow, view, handle, now | 0);
      else this.#datagrams.primary(flow, view, handle, now | 0);
      this.#noteWaiting(flow);
    }
  }

  /**
   * S's guest sent a packet, in P's sequence numbers. The bytes are not needed after this returns. One of an epoch that is over is
   * dropped; one of an epoch to come says that P's epoch has ended.
   */
  secondary(
    epoch: number,
    card: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    handle: number,
    now: number,
  ): void {
    if (epoch > this.#epoch) this.endEpoch(epoch - 1);
    const view = this.#view;
    if (epoch < this.#epoch) {
      this.facts.stale++;
      this.drop(handle);
      return;
    }
    if (isUncompared(view, view.read(bytes, offset, length))) {
      this.drop(handle);
      return;
    }
    const flow = this.#flowOf(card, view);
    if (flow === undefined) {
      this.#full();
      return;
    }
    if (flow.policy !== 'compare') {
      if (flow.policy === 'pass') this.drop(handle);
      return;
    }
    if (view.kind === packetKind.tcp) this.#streams.secondary(flow, view, handle, now | 0);
    else this.#datagrams.secondary(flow, view, handle, now | 0);
    this.#noteWaiting(flow);
  }

  /**
   * P was stopped for the checkpoint that closes this epoch, and all its packets of it were given to {@link primary}. From here on
   * S is P, as it was then, and has said all that P had: whatever waits has its answer, and is forgotten here. That is so once S holds
   * that checkpoint; until then the caller's gate keeps what is released of the next epoch.
   */
  endEpoch(epoch: number): void {
    if (epoch < this.#epoch) return;
    this.#epoch = epoch + 1;
    this.#runsSince = undefined;
    this.#wasFull = false;
    for (let flow = this.#waiting.pop(); flow !== undefined; flow = this.#waiting.pop()) {
      flow.waitingAt = -1;
      this.#forgetAll(flow);
    }
  }

  /**
   * An epoch has ended whose packets were not here: what is known of connections is old, and where they go on would be waited for in
   * vain. Nothing waits: after {@link endEpoch}.
   */
  forget(): void {
    this.#flows.forEach((flow) => {
      this.#flows.remove(flow);
    });
  }

  /**
   * S's guest runs in the open epoch: from here on it may be too late with an answer. What P says while S loads the checkpoint is
   * not what the guests do not agree about.
   */
  secondaryRuns(now: number): void {
    this.#runsSince ??= now | 0;
  }

  /** There is something for {@link releaseParts}. */
  get hasParts(): boolean {
    return this.#parted.length > 0;
  }

  /**
   * Lets out the part of a packet that S has said, where S owes the rest. To be called soon after {@link primary} and
   * {@link secondary}, and not at once: the rest has mostly come by then.
   */
  releaseParts(): void {
    for (let flow = this.#parted.pop(); flow !== undefined; flow = this.#parted.pop()) {
      flow.isParted = false;
      this.#streams.releasePart(flow);
      this.#noteWaiting(flow, false);
    }
  }

  /** Looks for what has waited too long (spec A.5); to be called at least once a second. */
  scan(now: number): void {
    const runs = this.#runsSince;
    if (runs === undefined) return;
    const hasRunMs = ((now | 0) - runs) >>> 0;
    for (let at = this.#waiting.length - 1; at >= 0; at--) {
      const flow = this.#waiting[at] as ComparedFlow;
      this.#notePart(flow); // it may not have been let out when it was asked for
      const mine = flow.primary.first;
      const theirs = flow.secondary.first ?? onlySecondarySaid(flow);
      const disagrees = flow.isDatagrams && mine !== undefined && theirs !== undefined;
      const { disagreeMs, timeoutMs } = this.#parts.settings;
      const limit = disagrees ? disagreeMs : timeoutMs;
      const isMine = mine !== undefined && Math.min(((now | 0) - mine.since) | 0, hasRunMs) >= limit;
      const isTheirs = theirs !== undefined && Math.min(((now | 0) - theirs.since) | 0, hasRunMs) >= limit;
      if (!isMine && !isTheirs) continue;
      // Where each waits for the other, the later one has waited long enough, too.
      if (disagrees && !(isMine && isTheirs)) continue;
      if (disagrees) this.diverge(flow, { reason: 'payload', ...difference(mine, theirs) });
      else {
        this.diverge(flow, {
          reason: 'timeout',
          waits: isMine ? 'primary' : 'secondary',
          primary: mine === undefined ? noBytes : excerpt(mine, 0),
          secondary: theirs === undefined ? noBytes : excerpt(theirs, 0),
        });
      }
      this.#noteWaiting(flow);
    }
  }

  release(handle: number): void {
    this.facts.released++;
    this.#parts.outcome.release(handle);
  }

  releasePart(handle: number, bytes: number): boolean {
    return this.#parts.outcome.releasePart?.(handle, bytes) ?? false;
  }

  drop(handle: number): void {
    this.facts.dropped++;
    this.#parts.outcome.drop(handle);
  }

  diverge(flow: ComparedFlow, what: Omit<Divergence, 'flow'>): void {
    flow.diverged = true;
    this.#forgetAll(flow);
    this.#want({ ...what, flow: keyText(this.#flows.keys, flow.index * keyWords) });
  }

  /** A connection with a policy other than to compare. */
  #asAsked(flow: ComparedFlow, handle: number, epoch: number): void {
    if (flow.policy === 'pass') {
      this.facts.passed++;
      this.#parts.outcome.release(handle);
    } else if (epoch === this.#epoch && !flow.diverged) {
      this.diverge(flow, { reason: 'buffered', waits: 'primary', primary: noBytes, secondary: noBytes });
    }
  }

  /** The connection of the packet in view, which both sides send; a new one if there is room. Hot path. */
  #flowOf(card: number, view: PacketView): ComparedFlow | undefined {
    const key = this.#key;
    key.setOutgoing(card, view);
    let flow = this.#flows.find(key);
    if (flow === undefined) {
      flow = this.#flows.add(key);
      flow?.begin(this.#parts.policyOf(view), this.#epoch);
    } else if (flow.epoch !== this.#epoch) flow.rebase(this.#epoch);
    return flow;
  }

  /** @param looks whether a part of what waits may leave: not when that was just tried */
  #noteWaiting(flow: ComparedFlow, looks = true): void {
    if (looks) this.#notePart(flow);
    const waits = flow.primary.length + flow.secondary.length + flow.agreed.length > 0;
    if (waits === flow.waitingAt >= 0) return;
    if (waits) {
      flow.waitingAt = this.#waiting.length;
      this.#waiting.push(flow);
      return;
    }
    const last = this.#waiting.pop() as ComparedFlow;
    if (last !== flow) {
      this.#waiting[flow.waitingAt] = last;
      last.waitingAt = flow.waitingAt;
    }
    flow.waitingAt = -1;
  }

  #notePart(flow: ComparedFlow): void {
    const first = flow.primary.first;
    if (first === undefined || flow.isParted || flow.isDatagrams || !isPartSaid(flow, first)) return;
    flow.isParted = true;
    this.#parted.push(flow);
  }

  /** P's wait for the checkpoint, which undoes S's. */
  #forgetAll(flow: ComparedFlow): void {
    this.#store.giveAll(flow.secondary);
    this.#store.giveAll(flow.agreed);
    this.#store.giveAll(flow.primary);
    flow.acknowledgements = 0;
  }

  /** Every place of the table has something that waits: what finds none waits for the checkpoint. */
  #full(): void {
    if (this.#wasFull) return;
    this.#wasFull = true;
    this.#want({ reason: 'overflow', flow: keyText(this.#key.words), primary: noBytes, secondary: noBytes });
  }

  #want(divergence: Divergence): void {
    // Where nothing is compared nobody disagrees.
    if (divergence.reason !== 'buffered') this.facts.divergences++;
    this.#parts.outcome.wantCheckpoint(divergence);
  }
}

const noBytes = new Uint8Array(0);

/** Multicast listeners and neighbours (RFC 2710, 3810, 4861): no answer rests on what these say. */
const firstListenerType = 130;
const lastNeighbourType = 137;
const listenerReport2 = 143;

/** Let out as P says it, whatever S says (spec A.5): what only tells the network where the guest is. */
function isUncompared(view: PacketView, kind: number): boolean {
  switch (kind) {
    case packetKind.link:
    case packetKind.arp:
      return true;
    case packetKind.icmp6:
      return (
        (view.icmpType >= firstListenerType && view.icmpType <= lastNeighbourType) || view.icmpType === listenerReport2
      );
    case packetKind.ip:
      return view.ip.version === 4 && view.ip.protocol === ipProtocol.igmp;
    default:
      return false;
  }
}
