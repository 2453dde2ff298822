import type { PacketView } from '../packet/packet-view.ts';
import { tcpFlag } from '../packet/wire.ts';
import type { ComparedFlow } from './compared-flow.ts';
import type { Waiting } from './packet-store.ts';
import { synKind } from './stream.ts';

const { syn, ack } = tcpFlag;

/** Whether a SYN with these flags opens a connection or answers one that does, as a bit of {@link synKind}. */
export function kindOf(flags: number): number {
  return (flags & ack) === 0 ? synKind.open : synKind.answer;
}

/** A SYN of S. False: it begins a connection that P has not begun yet. */
export function isSynOfThis({ stream }: ComparedFlow, view: PacketView): boolean {
  const kind = kindOf(view.tcpFlags);
  const { sequence } = view;
  const isOfThis = sequence === stream.secondaryIsn || (stream.primarySyn !== 0 && sequence === stream.primaryIsn);
  if (stream.secondarySyn !== 0 && isOfThis) {
    stream.secondarySyn |= kind;
    return true;
  }
  if (stream.secondarySyn === 0 && (stream.primarySyn !== 0 || stream.isNew)) {
    // What S said before was of a connection with the same ports; S may have acknowledged other numbers there, further on.
    stream.resetSecondary();
    stream.secondarySyn = kind;
    stream.secondaryIsn = sequence;
    stream.secondaryShape = synShape(view);
    return true;
  }
  return false;
}

/** S's SYN agrees on other things than P's. */
export function isOtherSyn({ stream }: ComparedFlow, { flags }: Waiting): boolean {
  return (flags & syn) !== 0 && stream.secondarySyn !== 0 && stream.secondaryShape !== stream.primaryShape;
}

/** What the options of a SYN agree on: the window's scale, selective acknowledgements, timestamps. */
export function synShape({ tcpOptions: { windowScale, sackPermitted, timestamps } }: PacketView): number {
  return (windowScale + 1) | (sackPermitted ? 0x100 : 0) | (timestamps === 0 ? 0 : 0x200);
}
