import { pathToFileURL } from 'node:url';
import { vmmBundle, vmmInHost } from '../vmm-files.ts';
import { patienceMs } from './bench-guest.ts';
import { withBenchHost } from './bench-host.ts';
import { benchBesideQemu } from './beside-qemu.ts';
import type { GuestSpec } from './contestants.ts';
import { runInHost } from './in-host.ts';
import type { PausesOrder } from './pause-in-host.ts';
import { type PauseResult, type PauseRow, pauseResult } from './pause-report.ts';
import { benchPauses } from './pauses.ts';

/** Room for two guests, what they write, and three snapshots. */
const hostMemoryMib = 3072;
/** Pauses are short, so that many can be measured where a restore is. */
const pausesARound = 6;

/**
 * How long a guest stands still for a checkpoint, natively and in the lab; and in the lab, beside QEMU, what stopping,
 * saving and restoring a machine takes.
 */
export async function benchPause(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<PauseResult> {
  const pauses = rounds * pausesARound;
  const native = await benchPauses('native', pathToFileURL(vmmBundle), pauses, progress);
  return withBenchHost(
    async (host, mode) => {
      const order: PausesOrder = { program: vmmInHost, rounds: pauses };
      const rows = await runInHost<PauseRow[]>(host, 'pause-in-host.ts', order, progress, 10 * patienceMs);
      const figures = await benchBesideQemu(host, mode, guest, { pauses, restores: rounds }, progress);
      return pauseResult([...native, ...rows], figures);
    },
    { memoryMib: hostMemoryMib },
  );
}
