import { readFileSync } from 'node:fs';

/** A packet in a pcapng file. */
export interface RecordedPacket {
  /** Name of its interface. */
  readonly on: string;
  readonly atUs: number;
  readonly comment: string;
  readonly direction: 'in' | 'out' | 'unknown';
  readonly frame: Uint8Array;
}

/** What is known of an interface at the end of a section. */
export interface RecordedStatistics {
  readonly on: string;
  readonly received: number;
  readonly dropped: number;
  readonly comment: string;
}

export interface Recorded {
  readonly sections: number;
  readonly packets: readonly RecordedPacket[];
  readonly statistics: readonly RecordedStatistics[];
}

type Options = ReadonlyMap<number, Buffer>;

/** A pcapng file, little-endian, as written by anybody; by the format's description and not by what writes ours. @throws Error if it is not whole */
export function readPcapng(file: string | Uint8Array): Recorded {
  const bytes = typeof file === 'string' ? readFileSync(file) : Buffer.from(file);
  const packets: RecordedPacket[] = [];
  const statistics: RecordedStatistics[] = [];
  let names: string[] = [];
  let sections = 0;
  for (let at = 0; at < bytes.length; ) {
    const type = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    if (length % 4 !== 0 || length < 12 || bytes.readUInt32LE(at + length - 4) !== length) {
      throw new Error(`no block at ${at}`);
    }
    const body = bytes.subarray(at + 8, at + length - 4);
    at += length;
    if (type === 0x0a0d0d0a) {
      if (body.readUInt32LE(0) !== 0x1a2b3c4d) throw new Error('another byte order');
      sections++;
      names = [];
    } else if (type === 1) {
      if (body.readUInt16LE(0) !== 1) throw new Error('no Ethernet');
      const options = readOptions(body, 8);
      if (options.get(9)?.[0] !== 6) throw new Error('no microseconds');
      names.push(String(options.get(2)));
    } else if (type === 6) {
      const frameBytes = body.readUInt32LE(12);
      const options = readOptions(body, 20 + ((frameBytes + 3) & ~3));
      packets.push({
        on: named(names, body),
        atUs: timeOf(body),
        comment: String(options.get(1)),
        direction: (['unknown', 'in', 'out'] as const)[(options.get(2)?.readUInt32LE(0) ?? 0) & 3] ?? 'unknown',
        frame: Uint8Array.from(body.subarray(20, 20 + frameBytes)),
      });
    } else if (type === 5) {
      const options = readOptions(body, 12);
      statistics.push({
        on: named(names, body),
        received: Number(options.get(4)?.readBigUInt64LE(0)),
        dropped: Number(options.get(5)?.readBigUInt64LE(0)),
        comment: String(options.get(1)),
      });
    } else throw new Error(`block ${type}`);
  }
  return { sections, packets, statistics };
}

function named(names: readonly string[], body: Buffer): string {
  const name = names[body.readUInt32LE(0)];
  if (name === undefined) throw new Error('a packet of no interface');
  return name;
}

function timeOf(body: Buffer): number {
  return body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8);
}

function readOptions(body: Buffer, from: number): Options {
  const options = new Map<number, Buffer>();
  for (let at = from; at < body.length; ) {
    const code = body.readUInt16LE(at);
    const length = body.readUInt16LE(at + 2);
    if (code === 0) return options;
    options.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
  throw new Error('options without an end');
}
