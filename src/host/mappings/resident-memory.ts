import { readFileSync } from 'node:fs';

/** Resident memory of this process, in bytes: all of it, and the part in [address, address + length). */
export interface ResidentMemory {
  readonly totalBytes: number;
  readonly insideBytes: number;
}

/** Reads /proc/self/smaps. The range should cover whole mappings: one that it cuts counts whole. */
export function residentMemory(address: number, length: number, smaps = readOwnSmaps()): ResidentMemory {
  let totalBytes = 0;
  let insideBytes = 0;
  let inside = false;
  for (const line of smaps.split('\n')) {
    const mapping = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (mapping !== null) {
      inside = Number(`0x${mapping[1]}`) < address + length && Number(`0x${mapping[2]}`) > address;
      continue;
    }
    const resident = /^Rss:\s+(\d+) kB/.exec(line);
    if (resident === null) continue;
    const bytes = Number(resident[1]) * 1024;
    totalBytes += bytes;
    if (inside) insideBytes += bytes;
  }
  return { totalBytes, insideBytes };
}

function readOwnSmaps(): string {
  return readFileSync('/proc/self/smaps', 'utf8');
}
