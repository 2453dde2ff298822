import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Owner } from '../../src/host/ownership.ts';
import { MiB, pageSize } from '../../src/memory/address.ts';
import type { Checkpoint, CheckpointArea } from '../../src/vmm/checkpoint/checkpoint.ts';
import { Machine } from '../../src/vmm/machine/machine.ts';
import { StateImage } from '../../src/vmm/vmstate/state-image.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { firstFreePage, obedientGuest, obey, pagesOfItsOwn, signOfLife } from './obedient-guest.ts';
import { type Pause, type PauseRow, pauseOf, pauseRow } from './pause-report.ts';
import { median } from './statistics.ts';

const memoryBytes = 256 * MiB;
const cpuCounts = [1, 4];
const pageCounts = [0, 100, 1000, 10_000];
/** Rounds that warm V8 and caches up. */
const warmUp = 20;

/**
 * How long a guest stands still for a checkpoint: it is stopped, its state read, its dirty pages copied aside, and it goes
 * on. Its devices are a disk and a source of entropy, so that there is an io thread to park.
 */
export async function benchPauses(
  where: PauseRow['where'],
  program: URL,
  rounds: number,
  progress: (line: string) => void,
): Promise<PauseRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-vmm-bench-'));
  try {
    const disk = join(folder, 'disk');
    writeFileSync(disk, new Uint8Array(MiB));
    const rows: PauseRow[] = [];
    for (const cpus of cpuCounts) {
      rows.push(...(await withMachine(cpus, disk, program, (rig) => measure(rig, where, rounds, progress))));
    }
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Rig {
  readonly machine: Machine;
  readonly area: CheckpointArea;
}

async function withMachine<T>(cpus: number, disk: string, program: URL, body: (rig: Rig) => Promise<T>): Promise<T> {
  const machine = new Machine(
    {
      cpus,
      memoryBytes,
      cpuMask: [],
      devices: {
        disks: [{ path: disk, readonly: false, direct: false, werror: 'enospc' }],
        nets: [],
        rng: { kind: 'host' },
      },
    },
    program,
  );
  const owner = new Owner();
  try {
    machine.boot({ kernel: { name: 'guest', bytes: tinyElf(obedientGuest(cpus)) }, commandLine: '' });
    const area = owner.own(machine.checkpointArea(Math.max(...pageCounts) + pagesOfItsOwn));
    return await body({ machine, area });
  } finally {
    owner.close();
    await machine.close();
  }
}

async function measure(
  rig: Rig,
  where: PauseRow['where'],
  rounds: number,
  progress: (line: string) => void,
): Promise<PauseRow[]> {
  const { memory } = rig.machine.ram;
  const rows: PauseRow[] = [];
  for (const pages of pageCounts) {
    // Scattered, each page is a copy of its own, and cold: the worst case.
    const most = Math.floor((memoryBytes / pageSize - firstFreePage) / Math.max(1, pages));
    const step = Math.max(1, Math.min(64, most));
    const figures: Pause[] = [];
    // Pages of the rounds before are not left writable any more.
    rig.area.collectLive();
    for (let round = -warmUp; round < rounds; round++) {
      await obey(memory, firstFreePage, pages, step);
      const pause = pauseOnce(rig);
      if (round < 0) continue;
      const expected = pages + pagesOfItsOwn;
      if (rig.area.staging.count !== expected) {
        throw new Error(`${rig.area.staging.count} dirty pages found of ${expected}`);
      }
      figures.push(pause);
    }
    const loads: number[] = [];
    for (let round = -warmUp; round < rounds; round++) {
      await obey(memory, firstFreePage, pages, step);
      const loadMs = await loadOnce(rig);
      if (round >= 0) loads.push(loadMs);
    }
    const kind = { vcpus: rig.machine.shape.cpus, pages, where };
    const row = pauseRow(kind, figures, { loads, garbageBytes: garbageOf(rig) });
    progress(`${where}, ${row.vcpus} vCPUs, ${pages} pages: ${row.total_ms} ms, at best ${row.least_ms} ms`);
    rows.push(row);
  }
  return rows;
}

function pauseOnce({ machine, area }: Rig): Pause {
  const { memory } = machine.ram;
  const start = performance.now();
  const sign = signOfLife(memory);
  machine.capture(area);
  while (signOfLife(memory) === sign);
  const elapsed = performance.now() - start;
  const { pauseTimes: times } = machine;
  return pauseOf((part) => times.ms(part), elapsed);
}

/** How long it takes to load a checkpoint, as it comes from a peer, into the machine that ran on meanwhile. */
async function loadOnce({ machine, area }: Rig): Promise<number> {
  const { pages, image, own, devices } = machine.capture(area);
  const received = Uint8Array.from(image.bytes);
  await new Promise((resolve) => setTimeout(resolve, 1));
  machine.hold();
  const start = performance.now();
  const checkpoint: Checkpoint = { pages, image: StateImage.from(received), own, devices };
  machine.apply(checkpoint);
  const ms = performance.now() - start;
  machine.release();
  return ms;
}

/** Bytes that this thread's heap grows by with each checkpoint. */
function garbageOf({ machine, area }: Rig): number {
  const checkpoints = 40;
  const grown: number[] = [];
  for (let batch = 0; batch < 9; batch++) {
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < checkpoints; round++) machine.capture(area);
    grown.push((process.memoryUsage().heapUsed - before) / checkpoints);
  }
  // In a batch in which garbage was collected it shrank.
  return median(grown.filter((bytes) => bytes > 0));
}
