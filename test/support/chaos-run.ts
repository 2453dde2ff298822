import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

const cli = fileURLToPath(new URL('../../tools/chaos/cli.ts', import.meta.url));
/** Generous: a busy machine is no dead one. */
const detection = ['--detection', '500'];

/** What it said, and how it ended. */
export interface ChaosEnd {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `npm run chaos -- small`. It lives no longer than we do. */
export function chaos(...args: readonly string[]): { child: ChildProcess; ended: Promise<ChaosEnd> } {
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', process.execPath, '--import', 'tsx', cli, 'small', ...detection, ...args],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (text) => {
    output.stdout += text;
  });
  child.stderr.on('data', (text) => {
    output.stderr += text;
  });
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, ...output }));
  return { child, ended };
}

/** Of such runs, those that are. */
export function chaosFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^csm-[A-Za-z0-9]{6}$/.test(name));
}

/** Processes whose command lines name a folder. */
export function processesIn(folder: string): readonly { readonly pid: string; readonly command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid, command: readOr(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }))
    .filter(({ command }) => command.includes(folder));
}

/** The text of a file of /proc; nothing if what it is of has ended. */
export function readOr(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
