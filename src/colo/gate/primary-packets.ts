import type { Fd } from '../../host/libc/descriptors.ts';
import { RecordConsumer } from '../../host/threads/record-ring.ts';
import { cardOfKind, PacketControl, packetMode } from '../../vmm/platform/packet-rings.ts';
import type { SharedPackets } from '../../vmm/platform/shared-protection.ts';
import type { Divergence } from '../compare/divergence.ts';
import type { PolicyOf } from '../compare/flow-policy.ts';
import { Gate } from '../core/epochs/gate.ts';
import type { PrimaryEvent } from '../core/events.ts';
import type { Rules } from '../core/rules.ts';
import type { Message, SecondaryOutput } from '../protocol/messages.ts';
import { type Epoch, epoch, type Mode, next, noCheckpoint } from '../protocol/numbers.ts';
import type { PacketDecision, PacketRecord } from '../record/packet-record.ts';
import { ComparedOutput } from './compared-output.ts';
import { HeldInput } from './held-input.ts';
import { type Outgoing, OutgoingPool } from './outgoing.ts';
import { PartWriter } from './part-writer.ts';
import { TapWriter } from './tap-writer.ts';
import { WaitingOutput } from './waiting-output.ts';

export interface PrimaryPacketsParts {
  /** The io thread has the other ends. */
  readonly shared: SharedPackets;
  /** A descriptor for each card. */
  readonly taps: readonly Fd[];
  readonly rules: Rules;
  /** Sends, having taken a copy of its data; false: wait for {@link PrimaryPackets.drained}. */
  readonly send: (message: Message) => boolean;
  /** Hands what was sent to the kernel, now: S waits for it. */
  readonly flush: () => void;
  readonly post: (event: PrimaryEvent) => void;
  /** This side's clock, ms. */
  readonly now: () => number;
  readonly wakeIo: () => void;
  /** Absent: nobody records anything. */
  readonly record?: PacketRecord | undefined;
  /** How output is compared with S's, in epochs that are; absent: none is. */
  readonly comparing?: {
    readonly policyOf: PolicyOf;
    readonly seed: number;
    /** The two guests did not agree, for that reason. */
    readonly diverged: (divergence: Divergence) => void;
  };
}

/** Packets that are dealt with before the event loop gets its turn: heartbeats must not wait. */
const turnPackets = 256;
/** The comparison looks this often for what waits too long, ms (spec A.5): that costs nothing while nothing waits. */
const scanMs = 20;
/** Every so many of these looks, the core hears how long output has waited. */
const tellEveryScans = 10;
/** A TAP that is full is tried again after so long, ms. */
const fullMs = 1;

/**
 * P's packets, for one protection: from when the machine is attached, in epoch 0, until it is detached. Until something is to be
 * held they go past the rings: there is no checkpoint yet from which S could go on, and the first one has all that they did.
 *
 *     outbox --> to S as `output` --> gate --> TAP, each by the gate's word at that moment
 *     mirror --> to S as `input`
 *
 * In an epoch that is compared, output goes to the comparison in place of S, and what still waits when it ends to S. Packets may
 * leave before older ones then, but places in the outbox become free in order: those behind the oldest packet that waits do not.
 *
 * Both rings are read as far as there is room on the way to S, and not beyond the epoch that is open on its stream. What is not
 * read stays, and the guest waits with what finds no room: so memory is bounded, however long output is held. Once nothing leaves any
 * more the mirror alone is read: what the guest gets until it is paused is S's guest's to have.
 */
export class PrimaryPackets {
  readonly #parts: PrimaryPacketsParts;
  readonly #control: PacketControl;
  readonly #outbox: RecordConsumer;
  readonly #mirror: RecordConsumer;
  readonly #taps: TapWriter;
  readonly #partWriter: PartWriter;
  readonly #gate: Gate<Outgoing>;
  readonly #pool = new OutgoingPool();
  /** A record that a ring's reader stands at and that was not taken. */
  #outgoing = false;
  #incoming = false;
  /** Behind the last record of the outbox that was taken. */
  #taken: number;
  /** The epoch that is open on the stream. */
  #epoch = epoch(0);
  /** All packets up to this epoch's are in the rings. */
  #captured = noCheckpoint;
  #items = 0;
  /** How output of the epoch that is open on the stream leaves, and of the one after it. */
  #mode: Mode = 'buffered';
  #nextMode: Mode = 'buffered';
  readonly #compared: ComparedOutput | undefined;
  readonly #heldInput: HeldInput;
  readonly #waitingOutput: WaitingOutput;
  readonly #scan: NodeJS.Timeout | undefined;
  /** S gets them too. */
  #mirrors = true;
  #hasPeer = true;
  #maySend = true;
  /** What was sent and not flushed has something that S waits for. */
  #isUrgent = false;
  #bytes = 0;
  #scansUntilTold = tellEveryScans;
  #left = noCheckpoint;
  /** The epoch in which a backlog last wanted a checkpoint. */
  #askedIn = noCheckpoint;
  #again: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #emptied: (() => void) | undefined;
  /** Of {@link mirrored}. */
  #mirrorRead: (() => void) | undefined;
  #closed = false;

  constructor(parts: PrimaryPacketsParts) {
    this.#parts = parts;
    this.#control = new PacketControl(parts.shared.control);
    this.#outbox = new RecordConsumer(parts.shared.outbox, parts.wakeIo);
    this.#mirror = new RecordConsumer(parts.shared.mirror, parts.wakeIo);
    this.#taken = this.#outbox.position;
    this.#taps = new TapWriter(parts.taps);
    this.#partWriter = new PartWriter(this.#taps, parts.record);
    this.#gate = new Gate<Outgoing>('direct', parts.rules);
    this.#heldInput = new HeldInput(this.#control, parts.wakeIo);
    this.#waitingOutput = new WaitingOutput(parts.post);
    const { comparing } = parts;
    if (comparing !== undefined) {
      this.#compared = new ComparedOutput(
        {
          ...comparing,
          release: (number) => this.#gate.match(number),
          releasePart: (number, bytes) => this.#releasePart(number, bytes),
          wants: (divergence, epoch) => this.#diverged(divergence, epoch),
          confirm: (epoch, items) => {
            if (this.#mirrors && !this.#parts.send({ kind: 'output-confirmed', epoch, items })) this.#maySend = false;
          },
        },
        this.#epoch,
      );
      this.#scan = setInterval(() => this.#lookForOverdue(), scanMs).unref();
    }
    this.work();
  }

  /** What is held back, for `status`; `lost`: packets that no TAP would have. */
  get facts(): {
    readonly packets: number;
    readonly bytes: number;
    readonly oldestMs: number;
    readonly lost: number;
  } {
    const { oldest, held } = this.#gate;
    const oldestMs = oldest === undefined ? 0 : this.#parts.now() - oldest.since;
    return { packets: held, bytes: this.#bytes, oldestMs, lost: this.#taps.lost };
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#closed) return;
    if (this.#gate.mode === 'shut') {
      this.#mirrorRest();
      return;
    }
    // What enters the guest comes first: S's guest is to have it while P's is still at it.
    const moreIn = this.#takeIncoming();
    const moreOut = this.#takeOutgoing();
    const more = moreOut || moreIn;
    if (!more) this.#endEpoch();
    this.#flush();
    this.#release();
    if (more) this.#later();
    else this.#laterForParts();
  }

  /** There is room on the way again, or the way is gone and whatever is sent goes nowhere. */
  drained(): void {
    this.#maySend = true;
    this.work();
  }

  /**
   * The epoch's last packet is in the rings: the epoch ends on its stream behind that. What is of the next one is not looked at
   * before this returns.
   *
   * @param mode how output of the next one leaves
   */
  epochCaptured(epoch: Epoch, mode: Mode = 'buffered'): void {
    this.#captured = epoch;
    this.#nextMode = mode;
    this.work();
  }

  /** S's guest said this; the core lets it be compared. */
  secondary(output: SecondaryOutput): void {
    if (this.#closed || this.#mode !== 'comparing') return;
    const { epoch: of, card, data } = output;
    this.#parts.record?.packet('compared', 'secondary', 'out', card, of, 'the primary looks for its like', data);
    this.#compared?.secondary(output, this.#parts.now());
    this.#release();
    this.#laterForParts();
  }

  /**
   * A stop is about to be made that closes this epoch. If S's guest is to run from there, P's gets nothing before that one does
   * ({@link secondaryRuns}).
   *
   * @param mode how output of the next one leaves
   */
  stopping(epoch: Epoch, mode: Mode): void {
    this.#heldInput.stopping(epoch, mode);
  }

  /** S's guest stands at this checkpoint, the last one, and runs on from it, if it is to run. A stop for the next may be ordered. */
  secondaryRuns(epoch: Epoch): void {
    this.#heldInput.secondaryRuns(epoch);
    this.#compared?.secondaryRuns(this.#parts.now());
  }

  /** What the comparison has found since protection began, if there is one. */
  get comparison(): ComparedOutput['facts'] | undefined {
    return this.#compared?.facts;
  }

  /** See {@link WaitingOutput.behind}. */
  get behind(): WaitingOutput['behind'] {
    return this.#waitingOutput.behind;
  }

  /** Nothing leaves but what is permitted. */
  hold(): void {
    this.#control.mode = packetMode.mirrored;
    this.#gate.set('holding');
    if (this.#gate.held > 0) this.#waitingOutput.waits();
  }

  /** Content and time (spec B.6). */
  permit(through: Epoch, until: number): void {
    // Consent is given up where S is: nobody disagrees then.
    this.#hasPeer = until !== Number.NEGATIVE_INFINITY;
    this.#gate.permit(through, until);
    this.#release();
  }

  /** All leaves, as it comes. */
  open(): void {
    this.#heldInput.letIn();
    this.#gate.set('direct');
    this.work();
  }

  /** Nothing leaves, ever. What was taken is dropped; what comes fills its ring, and then waits where it is. */
  shut(): void {
    // The io thread would send by itself what comes before a first checkpoint.
    this.#control.mode = packetMode.mirrored;
    if (this.#parts.record !== undefined) {
      for (const packet of this.#gate.waiting()) this.#record('dropped', packet, 'the other side goes on');
    }
    this.#gate.set('shut');
    this.#bytes = 0;
    this.#outbox.giveBack(this.#taken);
    this.#tellIfEmptied();
  }

  /**
   * After {@link shut}, and once nothing enters the guest any more: resolves when S has been sent all that did, or no way leads there.
   * What is of an epoch that does not end on the stream any more stays.
   */
  mirrored(): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#mirrorRead = resolve;
      if (this.#closed) this.#tellMirrored();
      else this.work();
    });
  }

  /**
   * S gets nothing any more. If the gate is open, the io thread sends by itself as soon as nothing can be overtaken, and this
   * resolves when all is out; else nothing more will leave, and it resolves at once.
   */
  async detach(): Promise<void> {
    this.#mirrors = false;
    if (this.#gate.mode !== 'direct') return;
    this.#control.mode = packetMode.draining;
    this.#parts.wakeIo();
    this.work();
    if (this.#isEmpty) return;
    await new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
  }

  /** The io thread does not use the rings any more. */
  close(): void {
    this.work();
    this.#closed = true;
    clearInterval(this.#scan);
    clearTimeout(this.#again as NodeJS.Timeout);
    clearImmediate(this.#again as NodeJS.Immediate);
    this.#tellIfEmptied();
    this.#tellMirrored();
  }

  get #isEmpty(): boolean {
    return this.#gate.held === 0 && !this.#outgoing && this.#outbox.isEmpty;
  }

  /** Takes what is in the outbox, as far as it may. True: there may be more. Hot path. */
  #takeOutgoing(): boolean {
    const ring = this.#outbox;
    const now = this.#parts.now();
    for (let left = turnPackets; left > 0; ) {
      if (!this.#outgoing) this.#outgoing = ring.next();
      if (!this.#outgoing) {
        if (ring.sleep()) return false;
        continue;
      }
      if (!this.#mayTake(ring.tag)) return false;
      this.#outgoing = false;
      left--;
      const { kind, tag, offset, length, position } = ring;
      const card = cardOfKind(kind);
      const isCompared = this.#mode === 'comparing' && this.#mirrors;
      if (this.#mirrors && !isCompared) {
        this.#send({ kind: 'output', epoch: epoch(tag), card, data: ring.bytes.subarray(offset, offset + length) });
      }
      const packet = this.#pool.take(ring, this.#taken, now, this.#mode);
      this.#taken = position;
      this.#bytes += length;
      const number = this.#gate.take(packet, epoch(tag));
      if (this.#gate.mode === 'holding') {
        this.#record('held', packet, isCompared ? 'until both guests have said it' : 'until a checkpoint covers it');
      }
      const exempt = this.#compared?.facts.passed;
      if (isCompared) this.#compared?.primary(card, ring.bytes, offset, length, number, now);
      else if (this.#gate.mode === 'holding') this.#waitingOutput.waits();
      packet.isExempt = this.#compared?.facts.passed !== exempt;
    }
    return true;
  }

  /** The same of the mirror. Hot path. */
  #takeIncoming(): boolean {
    const ring = this.#mirror;
    for (let left = turnPackets; left > 0; ) {
      if (!this.#incoming) this.#incoming = ring.next();
      if (!this.#incoming) {
        if (ring.sleep()) return false;
        continue;
      }
      if (!this.#mayTake(ring.tag)) return false;
      this.#incoming = false;
      left--;
      const { kind, tag, offset, length } = ring;
      if (this.#mirrors) {
        const data = ring.bytes.subarray(offset, offset + length);
        this.#send({ kind: 'input', epoch: epoch(tag), card: cardOfKind(kind), data });
        this.#isUrgent = true;
        this.#parts.record?.packet('mirrored', 'primary', 'in', cardOfKind(kind), tag, 'sent to the standby', data);
      }
      ring.giveBack();
    }
    return true;
  }

  /** Epochs do not end any more: what P's guest said of this one was dropped, and S is not to take it for whole. */
  #mirrorRest(): void {
    const more = this.#takeIncoming();
    this.#flush();
    if (more) this.#later();
    else if (this.#maySend) this.#tellMirrored();
  }

  /** What belongs to the next epoch waits until this one has ended on its stream. */
  #mayTake(tag: number): boolean {
    return !this.#mirrors || (this.#maySend && tag <= this.#epoch);
  }

  #send(message: Message): void {
    this.#items++;
    if (!this.#parts.send(message)) this.#maySend = false;
  }

  #flush(): void {
    if (!this.#isUrgent) return;
    this.#isUrgent = false;
    this.#parts.flush();
  }

  /** Both rings were read as far as they may be: if all of the epoch is in them, it ends here. */
  #endEpoch(): void {
    if (!this.#mirrors || !this.#maySend || this.#captured < this.#epoch) return;
    // Spec B.15: of an epoch that was compared, what still waits travels with its checkpoint.
    if (this.#mode === 'comparing') for (const packet of this.#gate.waiting(this.#epoch)) this.#sendWaiting(packet);
    this.#compared?.endEpoch(this.#epoch, this.#mode === 'comparing');
    this.#mode = this.#nextMode;
    const items = this.#items;
    if (!this.#parts.send({ kind: 'packets-end', epoch: this.#epoch, items })) this.#maySend = false;
    this.#isUrgent = true;
    this.#items = 0;
    this.#epoch = next(this.#epoch);
    this.#waitingOutput.beginEpoch();
    this.#later();
  }

  /** Writes what may be written, each packet by the gate's word at that moment. Hot path. */
  #release(): void {
    const { bytes } = this.#outbox;
    for (let left = turnPackets; ; left--) {
      const now = this.#parts.now();
      const packet = this.#gate.peek(now);
      if (packet === undefined) break;
      if (left === 0) {
        this.#later();
        return;
      }
      const { card, offset, length } = packet;
      const written = this.#taps.write(card, bytes.subarray(offset, offset + length));
      if (written === 'full') {
        this.#again ??= setTimeout(() => this.#goOn(), fullMs);
        return;
      }
      if (written === 'lost') this.#record('dropped', packet, 'its TAP did not take it');
      else if (this.#parts.record !== undefined) this.#record('released', packet, this.#whyReleased(packet));
      if (this.#gate.mode === 'holding') {
        this.#waitingOutput.left(packet.mode, now - packet.since);
        if (this.#gate.isNextMatched) this.#waitingOutput.matched(now - packet.since);
      }
      this.#gate.written();
      this.#bytes -= length;
      this.#pool.giveBack(packet);
      this.#outbox.giveBack(this.#gate.oldest?.begin ?? this.#taken);
    }
    const { left, mode } = this.#gate;
    if (mode === 'holding' && left > this.#left) {
      this.#left = left;
      this.#parts.post({ kind: 'output-left', epoch: left });
    }
    if (!this.#gate.hasMatched) this.#compared?.allLeft();
    if (this.#isEmpty) this.#tellIfEmptied();
    this.#lookForBacklog();
  }

  /**
   * The guest finds no room in the outbox, most of which has left but is not free, for something older waits: only S's guest or a
   * checkpoint ends that. What S is merely late with waits itself, and wants none. Hot path.
   */
  #lookForBacklog(): void {
    if (this.#mode !== 'comparing' || this.#askedIn === this.#epoch || !this.#outbox.producerWaits) return;
    const { oldest } = this.#gate;
    if (oldest === undefined) return;
    const leftBytes = ((this.#taken - oldest.begin) | 0) - this.#bytes;
    if (leftBytes < this.#outbox.bytes.length / 2) return;
    this.#askedIn = this.#epoch;
    const waitedMs = this.#parts.now() - oldest.since;
    this.#parts.post({ kind: 'comparison-wants', epoch: this.#epoch, why: 'backlog', waitedMs });
  }

  /** S's guest has said a part of a packet, and owes the rest: the part leaves, and the packet waits on without it, in its place. */
  #releasePart(number: number, bytes: number): boolean {
    const packet = this.#gate.inPart(number, this.#parts.now());
    if (packet === undefined) return false;
    if (!this.#partWriter.write(packet, this.#outbox.bytes, bytes)) return false;
    this.#bytes -= bytes;
    return true;
  }

  /** What became of a packet of P's guest. Before its place is given back. */
  #record(decision: PacketDecision, { card, offset, length, epoch: of }: Outgoing, reason: string): void {
    this.#parts.record?.packet(decision, 'primary', 'out', card, of, reason, this.#outbox.bytes, offset, length);
  }

  /** Before it is `written` at the gate. */
  #whyReleased({ isExempt }: Outgoing): string {
    if (this.#gate.mode === 'direct') return 'nothing is held';
    if (isExempt) return 'it is not compared';
    return this.#gate.isNextMatched ? 'both guests have said it' : 'a checkpoint covers it';
  }

  #sendWaiting({ card, offset, length }: Outgoing): void {
    const data = this.#outbox.bytes.subarray(offset, offset + length);
    this.#send({ kind: 'output', epoch: this.#epoch, card, data });
  }

  /** Once for each connection and epoch. */
  #diverged(divergence: Divergence, epoch: Epoch): void {
    const isAsked = divergence.reason === 'buffered';
    if (!isAsked && this.#hasPeer) this.#parts.comparing?.diverged(divergence);
    const now = this.#parts.now();
    const waitedMs = now - (this.#gate.oldest?.since ?? now);
    this.#parts.post({ kind: 'comparison-wants', epoch, why: isAsked ? 'output' : 'divergence', waitedMs });
  }

  #lookForOverdue(): void {
    if (this.#closed) return;
    if (--this.#scansUntilTold <= 0) {
      this.#scansUntilTold = tellEveryScans;
      this.#waitingOutput.tell();
    }
    if (this.#mode !== 'comparing' || !this.#hasPeer) return;
    this.#compared?.scan(this.#parts.now());
    this.#release();
    this.#laterForParts();
  }

  #tellIfEmptied(): void {
    this.#emptied?.();
    this.#emptied = undefined;
  }

  #tellMirrored(): void {
    this.#mirrorRead?.();
    this.#mirrorRead = undefined;
  }

  #later(): void {
    this.#again ??= setImmediate(() => this.#goOn());
  }

  /** A part of a packet may leave: in the next turn, when S's guest may have said the rest. */
  #laterForParts(): void {
    if (this.#compared?.hasParts === true) this.#later();
  }

  #goOn(): void {
    this.#again = undefined;
    if (!this.#closed) this.#compared?.releaseParts();
    this.work();
  }
}
