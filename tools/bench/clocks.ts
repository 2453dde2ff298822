import { pathToFileURL } from 'node:url';
import { vmmBundle, vmmInHost } from '../vmm-files.ts';
import { patienceMs } from './bench-guest.ts';
import { withBenchHost } from './bench-host.ts';
import { type ClockDrift, clockDrift } from './clock-drift.ts';
import type { ClocksOrder } from './clocks-in-host.ts';
import { runInHost } from './in-host.ts';

/**
 * What kvmclock loses to the TSC while a guest is paused and resumed, natively and in the lab. A KVM that gives guests the host's
 * TSC, as one that interprets them does, has kvmclock lose all of each pause.
 */
export async function benchClocks(
  pauses: number,
  progress: (line: string) => void,
): Promise<{ native: ClockDrift; lab: ClockDrift }> {
  const native = await clockDrift(pathToFileURL(vmmBundle), pauses, progress);
  progress(`native: ${native.lost_ns_a_pause} ns a pause`);
  return withBenchHost(async (host) => {
    const order: ClocksOrder = { program: vmmInHost, pauses };
    const lab = await runInHost<ClockDrift>(host, 'clocks-in-host.ts', order, progress, 10 * patienceMs);
    return { native, lab };
  });
}
