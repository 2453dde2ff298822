import type { LabPair } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import { footprintMib, parseFootprint } from '../memory.ts';

const patienceMs = 180_000;

/** Starts a guest on host a that nobody protects, nor ever will. */
export async function bootUnprotected(pair: LabPair): Promise<void> {
  await pair.renew({ areTwo: true });
  pair.start('a');
  await until('the guest to serve', patienceMs, async () => (await pair.serial('a')).includes(pair.guest.ready));
}

/** What the VMM on host a that was started with `run` holds beyond its guest's RAM, in MiB. */
export async function vmmMib(pair: LabPair): Promise<number> {
  const { stdout } = await pair.host('a').run(`cat /proc/${processOf('run')}/smaps`);
  return footprintMib(parseFootprint(stdout, pair.guest.memoryMib));
}

/** For a host's shell: the process of that command. The brackets keep it from finding itself. */
export function processOf(command: string): string {
  return `$(pgrep -f 'colo-vmm[.]cjs ${command}' | head -1)`;
}
