import {
  decodeRegionFile,
  encodeRegionFile,
  regionBitmapBytes,
  regionBytes,
  regionPlaces,
} from '../../../../../src/block/replicated/region-file.ts';
import type { History } from '../../../../../src/colo/disk/history/history.ts';

export const blockBytes = 4096;
export const regions = 5;
export const sizes = [regions * regionBytes - 3 * blockBytes];
export const disks = sizes.map((sizeBytes) => ({ path: 'disk', sizeBytes, readOnly: false }));
/** Where the guest writes: in each region a few blocks, next to each other and far from each other. */
export const places = Array.from({ length: regions }, (_, region) =>
  [0, 1, 700].map((at) => region * 1024 + at),
).flat();
export const none = new Uint8Array(regionBitmapBytes(regionPlaces(sizes).count));

/** A host: what is on its disk, what of that survives a loss of power, and what is known of it after its process. */
export class HostDisk {
  readonly name: string;
  readonly cache = new Map<number, number>();
  readonly durable = new Map<number, number>();
  /** `suspect`: regions that S had marked when that generation began. */
  record: { readonly generation: string; readonly id: Uint8Array; readonly suspect: Uint8Array } | undefined;
  /** The file of regions: as it is read, and as it is after a loss of power. */
  log: { id: Uint8Array; cache: Uint8Array; durable: Uint8Array } = {
    id: new Uint8Array(16),
    cache: new Uint8Array(0),
    durable: new Uint8Array(0),
  };
  /** Beside the disk, not in the state directory: which log knows of it. */
  stamp: { cache: string; durable: string } = { cache: '', durable: '' };
  /** The state directory takes nothing: it says what it said before. */
  isBroken = false;

  constructor(name: string, seed: number) {
    this.name = name;
    for (const place of places) this.cache.set(place, seed + place);
    this.flush();
  }

  flush(): void {
    for (const [place, value] of this.cache) this.durable.set(place, value);
  }

  /** Durable, as its file is. */
  stampAs(id: Uint8Array): void {
    const name = Buffer.from(id).toString('hex');
    this.stamp = { cache: name, durable: name };
  }

  newLog(id: Uint8Array, bitmap: Uint8Array): void {
    const file = encodeRegionFile(id, bitmap, regions);
    this.log = { id, cache: file, durable: file.slice() };
  }

  loses(random: (limit: number) => number): void {
    for (const [place, value] of this.durable) if (random(2) === 0) this.cache.set(place, value);
    this.flush();
    const { stamp } = this;
    if (random(2) === 0) stamp.cache = stamp.durable;
    else stamp.durable = stamp.cache;
    // A sector that was not flushed is there or not; now and then it is torn.
    const { cache, durable } = this.log;
    if (random(2) === 0) cache.set(durable);
    else if (random(8) === 0 && cache.length > 300 && Buffer.compare(cache, durable) !== 0)
      cache[100] = 0xff ^ (cache[100] as number);
    durable.set(cache);
  }

  get history(): History | undefined {
    const { record, log, stamp } = this;
    if (record === undefined || stamp.cache !== Buffer.from(record.id).toString('hex')) return undefined;
    const bitmap = decodeRegionFile(log.cache, record.id, regions);
    return bitmap && { generation: record.generation, regions: union(bitmap, record.suspect) };
  }
}

export function union(one: Uint8Array, other: Uint8Array): Uint8Array {
  return one.map((byte, at) => byte | (other[at] ?? 0));
}
