import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Only the build puts it in. */
declare const __COLO_VMM_VERSION__: string;

/** Program and arguments of the process that keeps terms in `folder`: term-process.ts, which the build makes a program of its own. */
export function termCommand(folder: string): readonly [string, ...string[]] {
  if (typeof __COLO_VMM_VERSION__ === 'string') return [process.execPath, join(__dirname, 'terms.cjs'), folder];
  // Sources are TypeScript, which Node cannot run.
  const loader = createRequire(import.meta.url).resolve('tsx');
  return [process.execPath, '--import', loader, fileURLToPath(new URL('./term-process.ts', import.meta.url)), folder];
}

/** Begins it. */
export function beginTermProcess([program, ...args]: ReturnType<typeof termCommand>): ChildProcess {
  return spawn(program, args, {
    // Nothing of it keeps a folder in use, holds a pipe of the owner's open, or hears of a Ctrl-C at its terminal.
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    detached: true,
  });
}
