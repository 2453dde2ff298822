import { Owner } from '../../src/host/ownership.ts';
import { MiB, pageSize } from '../../src/memory/address.ts';
import type { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import { DirtyCollector } from '../../src/memory/dirty-collector.ts';
import { Ram } from '../../src/memory/ram.ts';
import { StagingArea } from '../../src/memory/staging-area.ts';
import { DirtyRing } from './dirty-ring.ts';
import { DirtyingGuest, firstFreePage } from './dirtying-guest.ts';
import { median, rounded } from './statistics.ts';

interface Row {
  readonly ram_mib: number;
  readonly dirty_pages: number;
  readonly adjacent: boolean;
  /** From "which pages?" to bitmaps of them, KVM watching those pages again. */
  readonly log_us: number;
  readonly ring_us: number;
  /** Ring to log: below 1 is for the ring. */
  readonly ratio: number;
  /** Copying the pages aside. */
  readonly staging_us: number;
  /** Log and copy, for each page: what a page adds to the time that the guest stands still. */
  readonly us_per_page: number;
  /** The same in the best round: what is left when nothing else runs on the machine. */
  readonly least_us_per_page: number;
}

export interface DirtyResult {
  readonly bench: 'dirty';
  readonly rows: readonly Row[];
  readonly rounds: number;
}

const ramSizes = [128 * MiB, 1024 * MiB, 4096 * MiB];
const works = [
  { pages: 0, adjacent: false },
  { pages: 100, adjacent: false },
  { pages: 1000, adjacent: false },
  { pages: 1000, adjacent: true },
  { pages: 10_000, adjacent: false },
  { pages: 10_000, adjacent: true },
];
/** The largest that KVM has: 65,536 pages. */
const ringBytes = 1 << 20;
/** Rounds that warm V8 and caches up. */
const warmUp = 10;

/** What it costs to learn which pages a guest wrote, by KVM's dirty log and by its ring, and to copy them aside. */
export function benchDirty(rounds: number, progress: (line: string) => void): DirtyResult {
  const rows: Row[] = [];
  for (const ramBytes of ramSizes) {
    const owner = new Owner();
    try {
      const logRam = owner.own(new Ram(ramBytes));
      const logGuest = owner.own(new DirtyingGuest(logRam));
      const tracker = owner.own(new DirtyCollector(logGuest.vm, logRam).track());
      const staging = owner.own(new StagingArea(ramBytes / pageSize));
      staging.prepare(Math.max(...works.map(({ pages }) => pages)));
      const ringRam = owner.own(new Ram(ramBytes));
      const ringGuest = owner.own(new DirtyingGuest(ringRam, ringBytes));
      const ring = owner.own(new DirtyRing(ringGuest.vm, ringGuest.vcpu, ringBytes));
      for (const slot of ringRam.slots) ringGuest.vm.setMemory(slot, true);
      const dirty = tracker.emptyBitmaps();
      const fromRing = tracker.emptyBitmaps();
      for (const { pages, adjacent } of works) {
        // Scattered, each page is a copy of its own, and cold: the worst case.
        const spread = Math.max(
          2,
          Math.min(64, Math.floor((ramBytes / pageSize - firstFreePage) / Math.max(1, pages))),
        );
        const step = adjacent ? 1 : spread;
        const figures = [];
        for (let round = -warmUp; round < rounds; round++) {
          for (const bitmap of [...dirty, ...fromRing]) bitmap.clear();
          logGuest.dirty(firstFreePage, pages, step);
          const log = time(() => tracker.collect(dirty));
          const copy = time(() => staging.copy(logRam.memory, dirty));
          ringGuest.dirty(firstFreePage, pages, step);
          const harvest = time(() => {
            ring.collect(fromRing);
            ringRam.memory.regions.forEach((region, index) => {
              region.written.drainInto(fromRing[index] as DirtyBitmap);
            });
          });
          expectPages(dirty, pages);
          expectPages(fromRing, pages);
          if (round >= 0) figures.push({ log, ring: harvest, copy });
        }
        const log = median(figures.map((figure) => figure.log));
        const copy = median(figures.map((figure) => figure.copy));
        const row = {
          ram_mib: ramBytes / MiB,
          dirty_pages: pages,
          adjacent,
          log_us: rounded(log, 1),
          ring_us: rounded(median(figures.map((figure) => figure.ring)), 1),
          ratio: rounded(median(figures.map((figure) => figure.ring / figure.log)), 2),
          staging_us: rounded(copy, 1),
          us_per_page: pages === 0 ? 0 : rounded((log + copy) / pages, 3),
          least_us_per_page:
            pages === 0 ? 0 : rounded(Math.min(...figures.map((figure) => figure.log + figure.copy)) / pages, 3),
        };
        progress(
          `${row.ram_mib} MiB, ${pages} pages${adjacent ? ' in a row' : ''}: log ${row.log_us} us, ring ${row.ring_us} us, copy ${row.staging_us} us`,
        );
        rows.push(row);
      }
    } finally {
      owner.close();
    }
  }
  return { bench: 'dirty', rows, rounds };
}

function expectPages(dirty: readonly DirtyBitmap[], pages: number): void {
  // The page with the guest's orders may be there too.
  const found = dirty.reduce((sum, bitmap) => sum + bitmap.count, 0);
  if (found < pages || found > pages + 4) throw new Error(`${found} dirty pages found of ${pages}`);
}

/** Microseconds that `work` takes. */
function time(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1000;
}
