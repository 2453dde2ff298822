import { GuestSession } from '../guest-session.ts';
import type { Host } from '../lab/host.ts';
import { parseUsage, type Usage, usageCommand } from './usage.ts';

/** For one answer of a guest; emulated hosts are slow. */
export const patienceMs = 180_000;

/** A guest at its shell, under the VMM that is measured. */
export interface BenchGuest {
  readonly host: Host;
  readonly session: GuestSession;
  /** What its VMM has used so far. */
  usage(): Promise<Usage>;
}

/** Boots a guest with the command line `argv` of a VMM, and ends both after `measure`. */
export async function withBenchGuest<T>(
  host: Host,
  argv: readonly string[],
  measure: (guest: BenchGuest) => Promise<T>,
): Promise<T> {
  const pidFile = '/tmp/bench.pid';
  const vmm = host.spawn(['sh', '-c', `echo $$ > ${pidFile}; exec "$@"`, 'sh', ...argv]);
  try {
    const session = new GuestSession(vmm);
    await session.login(patienceMs);
    const pid = Number((await host.run(['cat', pidFile])).stdout);
    const usage = async () => {
      const { stdout, status, stderr } = await host.run(usageCommand(pid));
      if (status !== 0) throw new Error(`nothing is known of process ${pid}: ${stderr}`);
      return parseUsage(stdout);
    };
    const result = await measure({ host, session, usage });
    session.type('poweroff -f');
    await vmm.exit;
    return result;
  } finally {
    vmm.kill('SIGKILL');
    await vmm.exit.catch(() => undefined);
  }
}
