import { type StreamName, streams } from '../protocol/message-table.ts';
import type { Role } from '../protocol/numbers.ts';

/**
 * What each connection of a link begins with. The side that dials sends it; the side that listens sends it back when all of the
 * link's connections are there and it took the link: with TLS 1.3 the former would not know otherwise whether its own
 * certificate was accepted.
 *
 *      0  8 bytes   "COLOLINK"
 *      8  u8        index of the stream
 *      9  u8        role of the side that dials: 0 a primary, 1 a standby that looks for a survivor (spec B.7)
 *     10  6 bytes   0
 *     16  16 bytes  the link's id, random: connections with the same one belong together
 */
export const preambleBytes = 32;
const magic = Buffer.from('COLOLINK');
const roleAt = magic.length + 1;
const idAt = 16;
const roles: readonly Role[] = ['primary', 'secondary'];

/** Which link and stream a connection is for, and who dials. */
export interface StreamPreamble {
  /** In hexadecimal. */
  readonly link: string;
  readonly stream: StreamName;
  readonly role: Role;
}

export function encodePreamble({ link, stream, role }: StreamPreamble): Uint8Array {
  const bytes = Buffer.alloc(preambleBytes);
  magic.copy(bytes);
  bytes[magic.length] = streams.indexOf(stream);
  bytes[roleAt] = roles.indexOf(role);
  bytes.write(link, idAt, 'hex');
  return bytes;
}

/** The preamble in `bytes`, {@link preambleBytes} of them; undefined if they are none. */
export function decodePreamble(bytes: Uint8Array): StreamPreamble | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!view.subarray(0, magic.length).equals(magic)) return undefined;
  if (view.subarray(roleAt + 1, idAt).some((byte) => byte !== 0)) return undefined;
  const stream = streams[view[magic.length] ?? 0];
  const role = roles[view[roleAt] ?? 0];
  if (stream === undefined || role === undefined) return undefined;
  return { link: view.toString('hex', idAt, preambleBytes), stream, role };
}
