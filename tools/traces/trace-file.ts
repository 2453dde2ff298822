import { gzipSync } from 'node:zlib';
import type { RecordedFrame } from './wire.ts';

const magic = 0xa1b2c3d4;
const ethernet = 1;
const mostFrameBytes = 1 << 18;

/** A classic pcap file, little-endian, of Ethernet, compressed: `zcat FILE | tcpdump -r -`. Its time begins with its first frame. */
export function traceFile(frames: readonly RecordedFrame[]): Uint8Array {
  const header = new DataView(new ArrayBuffer(24));
  header.setUint32(0, magic, true);
  header.setUint16(4, 2, true);
  header.setUint16(6, 4, true);
  header.setUint32(16, mostFrameBytes, true);
  header.setUint32(20, ethernet, true);
  const first = frames[0]?.ms ?? 0;
  const parts: Uint8Array[] = [new Uint8Array(header.buffer)];
  for (const { ms, bytes } of frames) {
    const microseconds = Math.round((ms - first) * 1000);
    const head = Uint32Array.of(Math.floor(microseconds / 1e6), microseconds % 1e6, bytes.length, bytes.length);
    parts.push(new Uint8Array(head.buffer), bytes);
  }
  return gzipSync(Buffer.concat(parts), { level: 9 });
}
