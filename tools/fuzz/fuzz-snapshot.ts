import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { decode, Encoder } from 'cbor-x';
import { gpa, MiB, pageSize } from '../../src/memory/address.ts';
import { mergeDevices } from '../../src/vmm/command/restore-config.ts';
import { ConfigError } from '../../src/vmm/config/config.ts';
import { SnapshotError } from '../../src/vmm/snapshot/snapshot-error.ts';
import { Snapshot } from '../../src/vmm/snapshot/snapshot-file.ts';
import {
  chunkBytes,
  encodePrelude,
  prelude,
  preludeChecksum,
  ramOffset,
} from '../../src/vmm/snapshot/snapshot-format.ts';
import { Snapshotter } from '../../src/vmm/snapshot/snapshotter.ts';
import { randomNumbers } from '../../test/support/random.ts';
import { fill, pagesOfRam, SnapshotRig } from '../../test/support/snapshot-machine.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import type { FuzzOptions } from './fuzz-ground.ts';
import type { Random } from './fuzz-target.ts';
import { spoilt } from './spoilt-state.ts';

/** What must have come of a file in a long run. */
export const snapshotOutcomes = [
  'accepted',
  'refused',
  'refused for its first page',
  'refused for its tail',
  'refused for its RAM',
  'refused with these flags',
] as const;

const ramPages = 20;
const ramBytes = ramPages * pageSize;
/** More than this beside what there was at first is a leak, or an answer to a number in a file. */
const mostMemory = 512 * MiB;

const encoder = new Encoder({ useRecords: false, tagUint8Array: false });

/** A good file, in parts. */
interface Parts {
  readonly ram: Uint8Array;
  readonly tail: Uint8Array;
}

/** Flags of `restore` that are right for one snapshot or another. */
const flags = [
  { disk: ['id=root,path=/other.img'], net: [] },
  { disk: ['path=/other.img', 'path=/third.img'], net: ['tap=tap9'] },
  { disk: ['id=disk1,overlay=/x,readonly=on'], net: ['mac=02:00:00:00:00:09', 'mtu=1400'] },
  { disk: [], net: [] },
] as const;

/**
 * Snapshots as they come back from a bad disk or a bad friend, with checksums made right again, so that all that is behind
 * them is reached. They are refused, or mapped and read as a whole; nothing else may come of them.
 *
 * @throws FuzzFailure at the first case that fails
 */
export async function fuzzSnapshot({ seed: begin, runs, coverage, started }: FuzzOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-fuzz-'));
  try {
    const files = await goodFiles(folder);
    const before = process.memoryUsage.rss();
    for (let seed = begin; seed < begin + runs; seed++) {
      started?.(seed);
      try {
        runCase(join(folder, 'case.snap'), files, seed, (outcome) => coverage.count(`snapshot ${outcome}`));
        if (process.memoryUsage.rss() > before + mostMemory) throw new Error('it takes too much memory');
      } catch (error) {
        throw new FuzzFailure('snapshot', seed, `snapshot --seed ${seed} --runs 1`, error);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A whole snapshot and one that has it as its base. */
async function goodFiles(folder: string): Promise<[Parts, Parts]> {
  const memory = pagesOfRam(ramPages);
  fill(memory, 0, 3, 1);
  fill(memory, 17, 1, 2);
  const snapshotter = new Snapshotter(new SnapshotRig(memory), {
    cpus: 1,
    disk: [
      { path: '/root.img', id: 'root', readonly: false, direct: false, werror: 'enospc' },
      { path: '/base.img', id: 'disk1', readonly: false, direct: false, overlay: '/mine.img', werror: 'stop' },
    ],
    net: [{ tap: 'tap0', mac: '02:00:00:00:00:01', offload: true }],
    rng: { kind: 'seed', seed: 3 },
  });
  await snapshotter.take(join(folder, 'whole.snap'), { incremental: true });
  fill(memory, 1, 4, 3);
  await snapshotter.take(join(folder, 'changes.snap'), { incremental: true });
  await snapshotter.close();
  return [partsOf(join(folder, 'whole.snap')), partsOf(join(folder, 'changes.snap'))];
}

function partsOf(path: string): Parts {
  const bytes = readFileSync(path);
  return { ram: bytes.subarray(ramOffset, ramOffset + ramBytes), tail: bytes.subarray(ramOffset + ramBytes) };
}

function runCase(path: string, files: [Parts, Parts], seed: number, count: (outcome: string) => void): void {
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  writeSpoilt(path, files, random);
  let snapshot: Snapshot;
  try {
    snapshot = new Snapshot(path);
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    count(`refused${whyRefused(error.message)}`);
    return;
  }
  try {
    const ram = snapshot.mapRam();
    try {
      if (ram.memory.sizeBytes > ramBytes) throw new Error('RAM has grown');
      crc32(ram.memory.slice(gpa(0), ram.memory.sizeBytes));
    } finally {
      ram.close();
    }
    const { disk, net } = flags[random(flags.length)] as (typeof flags)[number];
    mergeDevices(snapshot.tail.config, { disk: [...disk], net: [...net] });
    count('accepted');
  } catch (error) {
    if (!(error instanceof SnapshotError || error instanceof ConfigError)) throw error;
    count(error instanceof ConfigError ? 'refused with these flags' : 'refused');
  } finally {
    snapshot.close();
  }
}

function whyRefused(message: string): string {
  if (/first page/.test(message)) return ' for its first page';
  if (/ of RAM/.test(message)) return ' for its RAM';
  return / (snapshot|machine|serial|devices)[^ ]* /.test(message) ? ' for its tail' : '';
}

/** Writes a file with something wrong in one of its parts, or nothing. */
function writeSpoilt(path: string, files: [Parts, Parts], random: Random): void {
  const which = random(2);
  const good = files[which] as Parts;
  const ram = Uint8Array.from(good.ram);
  let { tail } = good;
  const kind = random(8);
  if (kind < 2) tail = spoiltBytes(tail, random);
  else if (kind < 5) {
    const value = spoilt(decode(tail), decode((files[1 - which] as Parts).tail), random);
    tail = value === undefined ? spoiltBytes(tail, random) : encoder.encode(value);
  } else if (kind === 5) {
    const at = random(ramBytes);
    ram[at] = random(256);
    if (random(2) === 0) tail = withChecksum(tail, ram, Math.floor(at / chunkBytes));
  }
  const page = encodePrelude(ramBytes, tail);
  let size = ramOffset + ramBytes + tail.length;
  if (kind === 6) size = spoilPrelude(page, random) ?? size;
  writeFileSync(path, Buffer.concat([page, ram, tail]));
  if (random(10) === 0) size = random(2) === 0 ? random(size) : size + 1 + random(5000);
  truncateSync(path, size);
}

function spoiltBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const spoiled = Uint8Array.from(bytes);
  for (let count = 1 + random(3); count > 0; count--) {
    const at = random(spoiled.length);
    spoiled[at] = random(2) === 0 ? (spoiled[at] as number) ^ (1 << random(8)) : random(256);
  }
  return random(4) === 0 ? spoiled.subarray(0, 1 + random(spoiled.length)) : spoiled;
}

/** The tail with the right checksum for a part of RAM that has changed. */
function withChecksum(tail: Uint8Array, ram: Uint8Array, chunk: number): Uint8Array {
  const value = decode(tail) as { checksums: Uint8Array };
  const checksums = Uint8Array.from(value.checksums);
  const sum = crc32(ram.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes));
  new DataView(checksums.buffer).setUint32(chunk * 4, sum, true);
  return encoder.encode({ ...value, checksums });
}

const sizes: readonly bigint[] = [
  0n,
  1n,
  4095n,
  4096n,
  8192n,
  1n << 20n,
  1n << 32n,
  1n << 40n,
  (1n << 40n) + 4096n,
  1n << 63n,
];

/** Changes what the first page says; how long the file is to be then, if it can be. */
function spoilPrelude(page: Uint8Array, random: Random): number | undefined {
  const fields = prelude.over(page);
  const size = (): bigint => sizes[random(sizes.length)] as bigint;
  const pick = random(5);
  if (pick === 0) fields.version = random(4);
  else if (pick === 1) fields.tailBytes = size();
  else if (pick === 2) fields.tailChecksum = random(0x1_0000_0000);
  else {
    fields.ramBytes = size();
    fields.tailOffset = pick === 3 ? fields.ramBytes + BigInt(ramOffset) : size();
  }
  if (random(8) !== 0) fields.checksum = preludeChecksum(page);
  const whole = Number(fields.tailOffset + fields.tailBytes);
  // What file systems take; sparse, whatever it is.
  return whole > 0 && whole < 2 ** 41 ? whole : undefined;
}
