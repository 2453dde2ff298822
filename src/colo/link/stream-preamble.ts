import { type StreamName, streams } from '../protocol/message-table.ts';

/**
 * What each connection of a link begins with. The side that dials sends it; the side that listens sends it back when all of the
 * link's connections are there and it took the link: with TLS 1.3 the former would not know otherwise whether its own
 * certificate was accepted.
 *
 *      0  8 bytes   "COLOLINK"
 *      8  u8        index of the stream
 *      9  7 bytes   0
 *     16  16 bytes  the link's id, random: connections with the same one belong together
 */
export const preambleBytes = 32;
const magic = Buffer.from('COLOLINK');
const idAt = 16;

/** Which link and stream a connection is for. */
export interface StreamPreamble {
  /** In hexadecimal. */
  readonly link: string;
  readonly stream: StreamName;
}

export function encodePreamble({ link, stream }: StreamPreamble): Uint8Array {
  const bytes = Buffer.alloc(preambleBytes);
  magic.copy(bytes);
  bytes[magic.length] = streams.indexOf(stream);
  bytes.write(link, idAt, 'hex');
  return bytes;
}

/** The preamble in `bytes`, {@link preambleBytes} of them; undefined if they are none. */
export function decodePreamble(bytes: Uint8Array): StreamPreamble | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!view.subarray(0, magic.length).equals(magic)) return undefined;
  if (view.subarray(magic.length + 1, idAt).some((byte) => byte !== 0)) return undefined;
  const stream = streams[view[magic.length] ?? 0];
  return stream === undefined ? undefined : { link: view.toString('hex', idAt, preambleBytes), stream };
}
