import type { DiskCompare, DiskRecord } from '../../protocol/messages.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { OpenDisk } from '../disk-view.ts';

/** Disks count in these. */
export const sectorBytes = 512;

/** The disk that a message of P's is about. @throws ProtocolError if it has no such disk, or no such bytes */
export function diskOf(
  disks: readonly OpenDisk[],
  { kind, disk, offset }: DiskRecord | DiskCompare,
  lengthBytes: number,
): OpenDisk {
  const found = disks[disk];
  if (found === undefined)
    throw new ProtocolError('invalid-message', `the peer sent ${kind} to disk ${disk}: there is none`);
  const isWhole = offset % sectorBytes === 0 && lengthBytes % sectorBytes === 0 && lengthBytes > 0;
  if (!isWhole || offset + lengthBytes > found.backend.sizeBytes) {
    throw new ProtocolError(
      'invalid-message',
      `the peer sent ${kind} of ${lengthBytes} bytes at ${offset} to disk ${disk}, which has ${found.backend.sizeBytes}`,
    );
  }
  return found;
}
