import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Owner } from '../../src/host/ownership.ts';
import { MiB, pageSize } from '../../src/memory/address.ts';
import type { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../src/memory/dirty-collector.ts';
import { StagingArea } from '../../src/memory/staging-area.ts';
import { Machine } from '../../src/vmm/machine/machine.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { firstFreePage, obedientGuest, obey, pagesOfItsOwn, signOfLife } from './obedient-guest.ts';
import { type Pause, type PauseRow, pauseOf, pauseRow } from './pause-report.ts';

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
  readonly tracker: DirtyTracker;
  readonly staging: StagingArea;
  readonly dirty: readonly DirtyBitmap[];
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
    const tracker = owner.own(machine.trackDirtyPages());
    const staging = owner.own(new StagingArea(memoryBytes / pageSize));
    staging.prepare(Math.max(...pageCounts) + pagesOfItsOwn);
    return await body({ machine, tracker, staging, dirty: tracker.emptyBitmaps() });
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
    for (let round = -warmUp; round < rounds; round++) {
      await obey(memory, firstFreePage, pages, step);
      const pause = pauseOnce(rig);
      if (round < 0) continue;
      const expected = pages + pagesOfItsOwn;
      if (rig.staging.count !== expected) throw new Error(`${rig.staging.count} dirty pages found of ${expected}`);
      figures.push(pause);
    }
    const row = pauseRow({ vcpus: rig.machine.shape.cpus, pages, where }, figures);
    progress(`${where}, ${row.vcpus} vCPUs, ${pages} pages: ${row.total_ms} ms, at best ${row.least_ms} ms`);
    rows.push(row);
  }
  return rows;
}

function pauseOnce({ machine, tracker, staging, dirty }: Rig): Pause {
  const { memory } = machine.ram;
  for (const bitmap of dirty) bitmap.clear();
  let log = 0;
  let copy = 0;
  let sign = 0;
  const start = performance.now();
  machine.whileStill(() => {
    machine.save();
    const saved = performance.now();
    tracker.collect(dirty);
    const collected = performance.now();
    staging.copy(memory, dirty);
    log = collected - saved;
    copy = performance.now() - collected;
    sign = signOfLife(memory);
  });
  while (signOfLife(memory) === sign);
  const elapsed = performance.now() - start;
  const times = machine.pauseTimes;
  return pauseOf(
    {
      vcpus: times.ms('vcpus'),
      io: times.ms('io'),
      clocks: times.ms('clocks'),
      vcpu_state: times.ms('vcpuState'),
      vm_state: times.ms('vmState'),
      device_state: times.ms('deviceState'),
      dirty_log: log,
      copy,
      go_on: times.ms('goOn'),
    },
    elapsed,
  );
}
