import { GuestSession } from '../guest-session.ts';
import type { RemoteProcess } from '../lab/connection.ts';
import type { Host } from '../lab/host.ts';
import { parseUsage, type Usage, usageCommand } from './usage.ts';

/** For one answer of a guest; emulated hosts are slow. */
export const patienceMs = 180_000;

/** A guest at its shell, under the VMM that is measured. */
export interface BenchGuest {
  /** Of its VMM. */
  readonly name: string;
  readonly host: Host;
  readonly session: GuestSession;
  /** What its VMM has used so far. */
  usage(): Promise<Usage>;
}

/**
 * Boots a guest with each of the command lines, and ends all of them after `measure`. They are up at the same time, so
 * that what is compared runs within seconds of each other; a guest at its prompt costs nearly nothing.
 */
export async function withBenchGuests<C extends string, T>(
  host: Host,
  contestants: Readonly<Record<C, readonly string[]>>,
  measure: (guests: ReadonlyMap<C, BenchGuest>) => Promise<T>,
): Promise<T> {
  const vmms: RemoteProcess[] = [];
  const guests = new Map<C, BenchGuest>();
  try {
    for (const [name, argv] of Object.entries(contestants) as [C, readonly string[]][]) {
      const pidFile = `/tmp/${name}.pid`;
      const vmm = host.spawn(['sh', '-c', `echo $$ > ${pidFile}; exec "$@"`, 'sh', ...argv]);
      vmms.push(vmm);
      const session = new GuestSession(vmm);
      await session.login(patienceMs);
      const pid = Number((await host.run(['cat', pidFile])).stdout);
      guests.set(name, { host, name, session, usage: () => usageOf(host, pid) });
    }
    const result = await measure(guests);
    for (const { session } of guests.values()) session.type('poweroff -f');
    await Promise.all(vmms.map(({ exit }) => exit));
    return result;
  } finally {
    for (const vmm of vmms) vmm.kill('SIGKILL');
    await Promise.allSettled(vmms.map(({ exit }) => exit));
  }
}

async function usageOf(host: Host, pid: number): Promise<Usage> {
  const { stdout, status, stderr } = await host.run(usageCommand(pid));
  if (status !== 0) throw new Error(`nothing is known of process ${pid}: ${stderr}`);
  return parseUsage(stdout);
}
