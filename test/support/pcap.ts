import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

const fileHeaderBytes = 24;
const recordHeaderBytes = 16;

/** The frames of a classic pcap file, little-endian, of Ethernet; one whose name ends in `.gz` is compressed. */
export function readPcap(path: string | URL): Uint8Array[] {
  const file = readFileSync(path);
  return pcapFrames(`${path}`.endsWith('.gz') ? gunzipSync(file) : file, path);
}

function pcapFrames(bytes: Buffer, path: string | URL): Uint8Array[] {
  if (bytes.readUInt32LE(0) !== 0xa1b2c3d4 || bytes.readUInt32LE(20) !== 1) throw new Error(`${path} is no such file`);
  const frames: Uint8Array[] = [];
  for (let at = fileHeaderBytes; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    at += recordHeaderBytes;
    frames.push(Uint8Array.from(bytes.subarray(at, at + length)));
    at += length;
  }
  return frames;
}
