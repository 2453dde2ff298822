import { readFileSync } from 'node:fs';
import { copyMemory, viewMemory } from '../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../src/host/mappings/mapping.ts';
import { type Closable, Owner } from '../../src/host/ownership.ts';
import { MiB, pageSize } from '../../src/memory/address.ts';
import { CheckpointedMemory } from '../../src/memory/checkpointed-memory.ts';
import type { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import { DirtyCollector, type SlottedRam } from '../../src/memory/dirty-collector.ts';
import { Ram } from '../../src/memory/ram.ts';
import { DirtyingGuest, firstFreePage } from './dirtying-guest.ts';
import { median, rounded } from './statistics.ts';

/** RAM with a checkpoint, however it is kept. */
interface Contestant extends Closable, SlottedRam {
  rollBack(dirty: readonly DirtyBitmap[]): void;
  write(firstPage: number, bytes: Uint8Array): void;
}

/** The plain way: all of RAM twice. */
class SecondCopy implements Contestant {
  readonly #ram: Ram;
  readonly #copy: AnonymousMapping;
  readonly #copyBytes: Uint8Array;
  readonly #ramBytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.#ram = new Ram(sizeBytes);
    this.#copy = new AnonymousMapping('second copy', sizeBytes);
    const bytes = (address: number) => new Uint8Array(viewMemory(address, sizeBytes));
    this.#copyBytes = bytes(this.#copy.address);
    this.#ramBytes = bytes(this.#ram.shared.address);
  }

  get memory() {
    return this.#ram.memory;
  }

  get slots() {
    return this.#ram.slots;
  }

  rollBack(dirty: readonly DirtyBitmap[]): void {
    dirty[0]?.forEachRun((page, pages) => {
      const offset = page * pageSize;
      copyMemory(this.#ram.shared.address + offset, this.#copy.address + offset, pages * pageSize);
    });
  }

  write(firstPage: number, bytes: Uint8Array): void {
    this.#copyBytes.set(bytes, firstPage * pageSize);
    this.#ramBytes.set(bytes, firstPage * pageSize);
  }

  close(): void {
    this.#copy.close();
    this.#ram.close();
  }
}

const ramBytes = 256 * MiB;
const pagesOfRam = ramBytes / pageSize;
const contestants = {
  ours: () => new CheckpointedMemory(ramBytes),
  // All copies are dropped by every roll-back.
  drop: () => new CheckpointedMemory(ramBytes, 0),
  second_copy: () => new SecondCopy(ramBytes),
} as const;
type Name = keyof typeof contestants;

interface Row {
  /** Written by the guest and rolled back, in each round. Half as many are changed by the next checkpoint. */
  readonly pages: number;
  readonly step: number;
  readonly ours_pages_per_s: number;
  readonly drop_pages_per_s: number;
  readonly second_copy_pages_per_s: number;
  /** What the guest takes to write the pages again. */
  readonly ours_guest_us_per_page: number;
  readonly drop_guest_us_per_page: number;
  readonly second_copy_guest_us_per_page: number;
  /** Resident memory of all that stands for RAM, after the last round. */
  readonly ours_mib: number;
  readonly drop_mib: number;
  readonly second_copy_mib: number;
}

export interface CheckpointedMemoryResult {
  readonly bench: 'checkpointed-memory';
  readonly ram_mib: number;
  readonly rows: readonly Row[];
  readonly rounds: number;
}

const works = [
  { pages: 100, step: 64 },
  { pages: 1000, step: 1 },
  { pages: 1000, step: 32 },
  { pages: 5000, step: 1 },
  { pages: 5000, step: 8 },
  { pages: 20_000, step: 2 },
];

/** A checkpoint of 256 MiB of touched RAM, and a guest that writes pages and is rolled back, again and again. */
export function benchCheckpointedMemory(rounds: number, progress: (line: string) => void): CheckpointedMemoryResult {
  const contents = new Uint8Array((pagesOfRam - firstFreePage) * pageSize).fill(0x5a);
  const rows = works.map((work) => {
    const figures = Object.fromEntries(
      Object.entries(contestants).map(([name, make]) => [name, measure(make, work, rounds, contents)]),
    ) as Record<Name, Figures>;
    const row: Row = {
      ...work,
      ours_pages_per_s: rounded(figures.ours.pagesPerSecond, 0),
      drop_pages_per_s: rounded(figures.drop.pagesPerSecond, 0),
      second_copy_pages_per_s: rounded(figures.second_copy.pagesPerSecond, 0),
      ours_guest_us_per_page: rounded(figures.ours.guestUsPerPage, 2),
      drop_guest_us_per_page: rounded(figures.drop.guestUsPerPage, 2),
      second_copy_guest_us_per_page: rounded(figures.second_copy.guestUsPerPage, 2),
      ours_mib: rounded(figures.ours.mib, 1),
      drop_mib: rounded(figures.drop.mib, 1),
      second_copy_mib: rounded(figures.second_copy.mib, 1),
    };
    progress(JSON.stringify(row));
    return row;
  });
  return { bench: 'checkpointed-memory', ram_mib: ramBytes / MiB, rows, rounds };
}

interface Figures {
  readonly pagesPerSecond: number;
  readonly guestUsPerPage: number;
  readonly mib: number;
}

const warmUp = 30;

function measure(
  make: () => Contestant,
  work: { pages: number; step: number },
  rounds: number,
  contents: Uint8Array,
): Figures {
  const owner = new Owner();
  try {
    const before = pssBytes();
    const ram = owner.own(make());
    ram.write(firstFreePage, contents);
    const guest = owner.own(new DirtyingGuest(ram));
    // What was put into the running RAM for the guest becomes part of the checkpoint.
    for (const region of ram.memory.regions.slice(0, 1)) {
      ram.write(0, ram.memory.slice(region.start, firstFreePage * pageSize).slice());
    }
    const tracker = owner.own(new DirtyCollector(guest.vm, ram).track());
    const dirty = tracker.emptyBitmaps();
    const peers = contents.subarray(0, pageSize);
    const restoring: number[] = [];
    const writing: number[] = [];
    for (let round = -warmUp; round < rounds; round++) {
      const written = time(() => guest.dirty(firstFreePage, work.pages, work.step));
      for (const bitmap of dirty) bitmap.clear();
      tracker.collect(dirty);
      const restored = time(() => {
        for (let page = 0; page < work.pages; page += 2) ram.write(firstFreePage + page * work.step, peers);
        ram.rollBack(dirty);
      });
      if (round < 0) continue;
      restoring.push(restored);
      writing.push(written);
    }
    return {
      pagesPerSecond: (work.pages / median(restoring)) * 1e6,
      guestUsPerPage: median(writing) / work.pages,
      mib: (pssBytes() - before) / MiB,
    };
  } finally {
    owner.close();
  }
}

/** Memory of this process; a page that is mapped twice counts once. */
function pssBytes(): number {
  const kib = /^Pss:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1];
  return Number(kib) * 1024;
}

/** Microseconds that `work` takes. */
function time(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1000;
}
