import type { RecordConsumer } from '../../host/threads/record-ring.ts';
import { cardOfKind } from '../../vmm/platform/packet-rings.ts';
import type { Mode } from '../protocol/numbers.ts';

/** A packet in the outbox, which stays there until it has left. The object is used again for another one. */
export interface Outgoing {
  card: number;
  offset: number;
  length: number;
  /** Behind the record before it: as long as it waits, nothing beyond that is given back. */
  begin: number;
  /** When it came out of the ring. */
  since: number;
  epoch: number;
  /** How output of its epoch leaves. */
  mode: Mode;
  /** It is never compared. Known only where packets are recorded. */
  isExempt: boolean;
}

/** The objects of {@link Outgoing}: as many as have ever waited together. */
export class OutgoingPool {
  readonly #idle: Outgoing[] = [];

  /** For the record that the outbox's reader stands at. Hot path. @param begin behind the record before it */
  take({ kind, tag, offset, length }: RecordConsumer, begin: number, since: number, mode: Mode): Outgoing {
    const card = cardOfKind(kind);
    const packet = this.#idle.pop();
    if (packet === undefined) return { card, offset, length, begin, since, epoch: tag, mode, isExempt: false };
    packet.card = card;
    packet.offset = offset;
    packet.length = length;
    packet.begin = begin;
    packet.since = since;
    packet.epoch = tag;
    packet.mode = mode;
    packet.isExempt = false;
    return packet;
  }

  /** It has left. */
  giveBack(packet: Outgoing): void {
    this.#idle.push(packet);
  }
}
