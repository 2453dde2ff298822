/** Why a checkpoint is wanted. */
export type DivergenceReason =
  /** Both sides said something at the same place, and not the same. */
  | 'payload'
  /** One side closed the connection (FIN) where the other goes on, or elsewhere. */
  | 'end'
  /** Their SYNs agree on different things: the window's scale, selective acknowledgements or timestamps. */
  | 'options'
  /** S reset the connection, P goes on. */
  | 'reset'
  /** P began a connection anew before S had said all of the one before. */
  | 'reuse'
  /** P sends again what it sent before this connection was known here: whether S did is not known. */
  | 'unknown'
  /** No counterpart within the time (spec A.5). */
  | 'timeout'
  /** More waits than the tables hold. */
  | 'overflow'
  /** The connection is one whose output always waits for a checkpoint. */
  | 'buffered';

/** One reason for a checkpoint. Made only when there is one. */
export interface Divergence {
  readonly reason: DivergenceReason;
  /** The connection: {@link keyText}. */
  readonly flow: string;
  /** Who waits for the other. Undefined: nobody in particular. */
  readonly waits?: 'primary' | 'secondary';
  /** Of what differs: how many bytes into the stream or the packet. Undefined: not known. */
  readonly position?: number;
  /** What both sides said just before, in the same packet, at most {@link shownBefore} bytes. */
  readonly before?: Uint8Array;
  /** The first bytes that differ, from there on, at most {@link shownBytes}; empty: that side has none there. */
  readonly primary: Uint8Array;
  readonly secondary: Uint8Array;
}

/** How many bytes of each side are shown. */
export const shownBytes = 16;
/** How many bytes are shown of what both said before: enough to see of which line or field they are. */
export const shownBefore = 32;

/** What each reason means, as the end of a sentence. */
export const meaning: Readonly<Record<DivergenceReason, string>> = {
  payload: 'the two guests said different things',
  end: 'one guest ended the connection where the other one did not',
  options: 'the two guests opened the connection with different options (window scale, SACK or timestamps)',
  reset: "the secondary's guest reset the connection, the primary's did not",
  reuse: "the primary's guest began the connection anew before the secondary's had finished the one before",
  unknown: 'the primary sent again what had been sent before the connection was known',
  timeout: 'one guest said something and the other one did not',
  overflow: 'more output waits for its counterpart than there is room for',
  buffered: 'its output waits for a checkpoint, as was asked for',
};

/** A divergence in a sentence. */
export function divergenceText(divergence: Divergence): string {
  const { reason, flow, waits, position, primary, secondary } = divergence;
  const where = position === undefined ? '' : `, at byte ${position}`;
  const who = waits === undefined ? '' : ` (the ${waits} waits)`;
  const bytes = primary.length + secondary.length === 0 ? '' : `: ${bytesText(divergence)}`;
  return `${flow}${where}: ${meaning[reason]}${who}${bytes}`;
}

/** The first bytes that differ, P's and S's, after what both said: `"Date: 16:10:0[2|3]"`. */
export function bytesText({ before = noBytes, primary, secondary }: Divergence): string {
  const text = isText(primary) && isText(secondary) ? plain : hexadecimal;
  return `"${text(before)}[${text(primary) || nothing}|${text(secondary) || nothing}]"`;
}

/** Whether at least half of it can be read. */
function isText(bytes: Uint8Array): boolean {
  return 2 * bytes.filter((byte) => byte >= 0x20 && byte < 0x7f).length >= bytes.length;
}

function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** As text, with a dot for what is none. */
export function plain(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
}

const nothing = '(nothing)';
const noBytes = new Uint8Array(0);
