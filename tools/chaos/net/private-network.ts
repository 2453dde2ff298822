import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { removeQuotas } from '../host/processor-quota.ts';

/** Set in the environment of the process that {@link inPrivateNetwork} starts: the folder for what outlives it. */
const mark = 'COLO_VMM_CHAOS_KEEP';

/**
 * Runs this program again in a network namespace and a mount namespace of its own, with the same arguments, and ends with its exit code;
 * returns only in that second process. What it makes there, namespaces within it, interfaces between them and file systems, the kernel
 * removes with the last process that is in there; its temporary files, and control groups that are called as their folder, are removed by
 * the first process, whatever becomes of the second.
 *
 * @returns the folder for what is to be kept
 */
export async function inPrivateNetwork(): Promise<string> {
  const keep = process.env[mark];
  if (keep !== undefined) return keep;
  const folder = mkdtempSync(join(tmpdir(), 'csm-'));
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', 'unshare', '--net', '--mount', ...again], {
    stdio: 'inherit',
    env: { ...process.env, [mark]: tmpdir(), TMPDIR: folder },
  });
  // A terminal's Ctrl-C goes to both; a signal to us alone is passed on.
  process.on('SIGINT', () => child.kill('SIGTERM'));
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill('SIGTERM'));
  const [code] = (await once(child, 'exit')) as [number | null];
  await removeQuotas(basename(folder));
  rmSync(folder, { recursive: true, force: true });
  process.exit(code ?? 1);
}
