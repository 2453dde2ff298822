import type { Fd } from '../../host/libc.ts';
import { RecordConsumer } from '../../host/record-ring.ts';
import { cardOfKind, PacketControl, packetMode } from '../../vmm/platform/packet-rings.ts';
import type { SharedPackets } from '../../vmm/platform/shared-protection.ts';
import { Gate } from '../core/epochs/gate.ts';
import type { PrimaryEvent } from '../core/events.ts';
import type { Rules } from '../core/rules.ts';
import type { Message } from '../protocol/messages.ts';
import { type Epoch, epoch, next, noCheckpoint } from '../protocol/numbers.ts';
import { TapWriter } from './tap-writer.ts';

export interface PrimaryPacketsParts {
  /** The io thread has the other ends. */
  readonly shared: SharedPackets;
  /** A descriptor for each card. */
  readonly taps: readonly Fd[];
  readonly rules: Rules;
  /** Sends, having taken a copy of its data; false: wait for {@link PrimaryPackets.drained}. */
  readonly send: (message: Message) => boolean;
  readonly post: (event: PrimaryEvent) => void;
  /** This side's clock, ms. */
  readonly now: () => number;
  readonly wakeIo: () => void;
}

/** A packet in the outbox, which stays there until it has left. */
interface Outgoing {
  readonly card: number;
  readonly epoch: Epoch;
  readonly offset: number;
  readonly length: number;
  /** What to give back when it has left. */
  readonly position: number;
  readonly since: number;
}

/** Packets that are dealt with before the event loop gets its turn. */
const turnPackets = 256;
/** A TAP that is full is tried again after so long, ms. */
const fullMs = 1;

/** P's packets, from when the machine is attached until it is detached. One protection: it begins with epoch 0. */
export class PrimaryPackets {
  readonly #parts: PrimaryPacketsParts;
  readonly #control: PacketControl;
  readonly #outbox: RecordConsumer;
  readonly #mirror: RecordConsumer;
  readonly #taps: TapWriter;
  readonly #gate: Gate<Outgoing>;
  /** A record that a ring's reader stands at and that was not taken. */
  #outgoing = false;
  #incoming = false;
  #epoch = epoch(0);
  /** All packets up to this epoch's are in the rings. */
  #captured = noCheckpoint;
  #items = 0;
  /** S gets them too. */
  #mirrors = true;
  #mayWrite = true;
  #bytes = 0;
  #outputWaits = false;
  #left = noCheckpoint;
  #again: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #emptied: (() => void) | undefined;
  #closed = false;

  constructor(parts: PrimaryPacketsParts) {
    this.#parts = parts;
    this.#control = new PacketControl(parts.shared.control);
    this.#outbox = new RecordConsumer(parts.shared.outbox, parts.wakeIo);
    this.#mirror = new RecordConsumer(parts.shared.mirror, parts.wakeIo);
    this.#taps = new TapWriter(parts.taps);
    this.#gate = new Gate<Outgoing>('direct', parts.rules);
    this.work();
  }

  /** What is held back, for `status`. */
  get facts(): { readonly packets: number; readonly bytes: number; readonly oldestMs: number } {
    const [oldest] = this.#gate.waiting();
    return {
      packets: this.#gate.held,
      bytes: this.#bytes,
      oldestMs: oldest === undefined ? 0 : this.#parts.now() - oldest.since,
    };
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#closed) return;
    const more = this.#takeOutgoing() || this.#takeIncoming();
    this.#endEpoch();
    this.#release();
    if (more) this.#later();
  }

  /** There is room on the way again. */
  drained(): void {
    this.#mayWrite = true;
    this.work();
  }

  /** The epoch's last packet is in the rings: its end is sent after that. */
  epochCaptured(epoch: Epoch): void {
    this.#captured = epoch;
    this.work();
  }

  /** Nothing leaves but what is permitted. */
  hold(): void {
    this.#gate.set('holding');
    if (this.#gate.held > 0) this.#tellThatOutputWaits();
  }

  /** Content and time (spec B.6). */
  permit(through: Epoch, until: number): void {
    this.#gate.permit(through, until);
    this.#release();
  }

  /** All leaves, as it comes. */
  open(): void {
    this.#gate.set('direct');
    this.#release();
  }

  /** Nothing leaves, ever. */
  shut(): void {
    this.#gate.set('shut');
    this.#bytes = 0;
    this.#outbox.giveBack();
    this.work();
  }

  /** S gets nothing any more, and the io thread sends by itself as soon as nothing can be overtaken. Resolves then. */
  async detach(): Promise<void> {
    this.#mirrors = false;
    this.#control.mode = packetMode.draining;
    this.work();
    if (this.#isEmpty) return;
    await new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
  }

  /** The io thread does not use the rings any more. What is in them still leaves. */
  close(): void {
    this.work();
    this.#closed = true;
    clearTimeout(this.#again as NodeJS.Timeout);
    clearImmediate(this.#again as NodeJS.Immediate);
    this.#emptied?.();
  }

  get #isEmpty(): boolean {
    return this.#gate.held === 0 && !this.#outgoing;
  }

  /** Takes what is in the outbox, as far as there is room on the way. True: there may be more. */
  #takeOutgoing(): boolean {
    const ring = this.#outbox;
    for (let count = 0; count < turnPackets; ) {
      if (!this.#outgoing) this.#outgoing = ring.next();
      if (!this.#outgoing) {
        if (ring.sleep()) return false;
        continue;
      }
      if (!this.#mayTake(ring.tag)) return false;
      this.#outgoing = false;
      count++;
      const { kind, offset, length, position } = ring;
      const packet: Outgoing = {
        card: cardOfKind(kind),
        epoch: epoch(ring.tag),
        offset,
        length,
        position,
        since: this.#parts.now(),
      };
      if (this.#mirrors) {
        const data = ring.bytes.subarray(offset, offset + length);
        this.#send({ kind: 'output', epoch: packet.epoch, card: packet.card, data });
      }
      if (this.#gate.mode === 'shut') ring.giveBack(position);
      else {
        this.#gate.take(packet, packet.epoch);
        this.#bytes += length;
        if (this.#gate.mode === 'holding') this.#tellThatOutputWaits();
      }
    }
    return true;
  }

  #takeIncoming(): boolean {
    const ring = this.#mirror;
    for (let count = 0; count < turnPackets; ) {
      if (!this.#incoming) this.#incoming = ring.next();
      if (!this.#incoming) {
        if (ring.sleep()) return false;
        continue;
      }
      if (!this.#mayTake(ring.tag)) return false;
      this.#incoming = false;
      count++;
      const { kind, offset, length } = ring;
      if (this.#mirrors) {
        const data = ring.bytes.subarray(offset, offset + length);
        this.#send({ kind: 'input', epoch: epoch(ring.tag), card: cardOfKind(kind), data });
      }
      ring.giveBack();
    }
    return true;
  }

  /** What belongs to the next epoch waits until this one has ended on its stream. */
  #mayTake(tag: number): boolean {
    return !this.#mirrors || (this.#mayWrite && tag <= this.#epoch);
  }

  #send(message: Message): void {
    this.#items++;
    if (!this.#parts.send(message)) this.#mayWrite = false;
  }

  /** An epoch that is captured, and of which both rings have nothing more, ends on this stream. */
  #endEpoch(): void {
    if (!this.#mirrors || this.#captured < this.#epoch || !this.#mayWrite) return;
    if (!this.#isPast(this.#outbox, this.#outgoing) || !this.#isPast(this.#mirror, this.#incoming)) {
      this.#later();
      return;
    }
    const items = this.#items;
    if (!this.#parts.send({ kind: 'packets-end', epoch: this.#epoch, items })) this.#mayWrite = false;
    this.#items = 0;
    this.#epoch = next(this.#epoch);
    this.#outputWaits = false;
    if (this.#outgoing || this.#incoming) this.#later();
  }

  /** The ring's reader stands behind all records of the epoch. */
  #isPast(ring: RecordConsumer, stands: boolean): boolean {
    if (stands) return ring.tag > this.#epoch;
    return ring.isEmpty;
  }

  /** Writes what may be written, each packet by the gate's word at that moment. */
  #release(): void {
    for (;;) {
      const packet = this.#gate.next(this.#parts.now());
      if (packet === undefined) break;
      const { card, offset, length, position } = packet;
      if (this.#taps.write(card, this.#outbox.bytes.subarray(offset, offset + length)) === 'full') {
        this.#gate.putBack(packet, packet.epoch);
        this.#again ??= setTimeout(() => this.#go(), fullMs);
        return;
      }
      this.#bytes -= length;
      this.#outbox.giveBack(position);
    }
    const { left, mode } = this.#gate;
    if (mode === 'holding' && left > this.#left) {
      this.#left = left;
      this.#parts.post({ kind: 'output-left', epoch: left });
    }
    if (this.#isEmpty && this.#emptied !== undefined) {
      this.#emptied();
      this.#emptied = undefined;
    }
  }

  #tellThatOutputWaits(): void {
    if (this.#outputWaits) return;
    this.#outputWaits = true;
    this.#parts.post({ kind: 'output-waits' });
  }

  #later(): void {
    this.#again ??= setImmediate(() => this.#go());
  }

  #go(): void {
    this.#again = undefined;
    this.work();
  }
}
