import { advanced, distance } from '../packet/sequence.ts';
import { tcpFlag } from '../packet/wire.ts';
import type { ComparedFlow } from './compared-flow.ts';
import type { Waiting } from './packet-store.ts';
import { kindOf } from './syns.ts';

const { syn, fin, rst, ack } = tcpFlag;

/** May a packet of P leave, by what S has said (spec B.2)? Hot path. */
export function mayLeave(flow: ComparedFlow, packet: Waiting): boolean {
  const { stream } = flow;
  const { flags } = packet;
  if (!isSaid(flow, packet)) return false;
  if (isReset(packet)) return mayReset(flow, packet);
  if ((flags & ack) !== 0 && !mayBeAcknowledged(flow, packet)) return false;
  if ((flags & syn) !== 0) {
    if ((stream.secondarySyn & kindOf(flags)) === 0 || stream.secondaryShape !== stream.primaryShape) return false;
  }
  if ((flags & fin) === 0) return true;
  return stream.hasSecondaryFin && stream.secondaryFin === advanced(packet.sequence, packet.length);
}

/** S has sent every byte of it. */
export function isSaid({ stream }: ComparedFlow, packet: Waiting): boolean {
  return packet.length === 0 || distance(advanced(packet.sequence, packet.length), stream.verified) <= 0;
}

/** S has sent the beginning of it, and not all. */
export function isPartSaid({ diverged, stream }: ComparedFlow, { sequence, length, flags }: Waiting): boolean {
  if (diverged || !stream.isBased || (flags & (syn | rst)) !== 0) return false;
  const said = distance(stream.verified, sequence);
  return said > 0 && said < length;
}

/** S has acknowledged as much. */
export function mayBeAcknowledged({ stream }: ComparedFlow, { acknowledgement }: Waiting): boolean {
  return stream.hasSecondaryAck && distance(acknowledgement, stream.secondaryAck) <= 0;
}

/** S has reset it too, and knew as much; a refusal refuses the same, after which S may have refused or accepted others. */
function mayReset({ stream }: ComparedFlow, { flags, acknowledgement }: Waiting): boolean {
  if ((flags & ack) !== 0 && stream.hasRefused(acknowledgement)) return true;
  if (!stream.secondaryReset) return false;
  if ((flags & ack) === 0) return true;
  return stream.isOpen && stream.hasSecondaryAck && distance(acknowledgement, stream.secondaryAck) <= 0;
}

/** It ends the connection whatever its numbers are: those do not tell whether P's has left. */
export function isReset({ flags }: Waiting): boolean {
  return (flags & rst) !== 0;
}

/** It does nothing but acknowledge. */
export function isBare({ length, flags }: Waiting): boolean {
  return length === 0 && (flags & (syn | fin | rst)) === 0;
}

/** Behind all that it says, a FIN included. */
export function endOf({ sequence, length, flags }: Waiting): number {
  return advanced(sequence, (flags & fin) === 0 ? length : length + 1);
}

/** The first SYN, FIN or RST of S that has no counterpart yet; bytes that have none are in `secondary`. */
export function onlySecondarySaid({ agreed, stream }: ComparedFlow): Waiting | undefined {
  for (let packet = agreed.first; packet !== undefined; packet = packet.next) {
    if (!stream.isBased || isReset(packet) || distance(endOf(packet), stream.primaryEnd) > 0) return packet;
  }
  return undefined;
}
