import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Failure, type Skip, TapCases } from './tap-cases.ts';

/** What a file came to. */
export interface FileResult {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly Skip[];
  readonly failures: readonly Failure[];
  readonly durationMs: number;
  /** What it printed besides TAP; shown when it failed. */
  readonly output: readonly string[];
}

export interface FileOptions {
  readonly root: string;
  readonly timeoutMs: number;
  /** Regular expression that the names of top-level tests must match. */
  readonly grep?: string;
  /** Aborted when the whole run is to end. */
  readonly stop: AbortSignal;
  /** Told of each case as it ends. */
  readonly caseEnded?: (mark: 'ok' | 'FAILED' | 'skipped', path: readonly string[], durationMs: number) => void;
  /** Told of each line that is not TAP. */
  readonly printed?: (line: string) => void;
}

/** Lines kept of what a file prints. */
const outputLimit = 400;
/** A file that is told to end gets this long before it is killed. */
const graceMs = 3000;

/** Runs one test file as a process group of its own, and leaves nothing of it behind. */
export function runFile(file: string, options: FileOptions): Promise<FileResult> {
  const started = performance.now();
  let passed = 0;
  let failed = 0;
  const skips: Skip[] = [];
  const failures: Failure[] = [];
  const output: string[] = [];
  const print = (line: string): void => {
    output.push(line);
    if (output.length > outputLimit) output.shift();
    options.printed?.(line);
  };
  const cases = new TapCases({
    passed: (path, ms) => {
      passed++;
      options.caseEnded?.('ok', path, ms);
    },
    failed: (path, ms) => {
      failed++;
      options.caseEnded?.('FAILED', path, ms);
    },
    skipped: (skip) => {
      skips.push(skip);
      options.caseEnded?.('skipped', [...skip.path, skip.reason], 0);
    },
    failure: (failure) => failures.push(failure),
    stray: print,
  });

  const seconds = Math.ceil(options.timeoutMs / 1000);
  const child = spawn(process.execPath, ['--enable-source-maps', '--import=tsx', file], {
    cwd: options.root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      // The file's own clock: it fires first and says which test was running.
      TAP_TIMEOUT: String(seconds),
      ...(options.grep === undefined ? {} : { TAP_GREP: options.grep }),
    },
  });
  createInterface({ input: child.stdout }).on('line', (line) => cases.line(line));
  createInterface({ input: child.stderr }).on('line', print);

  let killed: string | undefined;
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // the group is gone already
    }
  };
  let killTimer: NodeJS.Timeout | undefined;
  const end = (why: string): void => {
    killed ??= why;
    signalGroup('SIGTERM');
    killTimer ??= setTimeout(() => signalGroup('SIGKILL'), graceMs);
  };
  const timer = setTimeout(() => end(`took longer than ${seconds} s`), options.timeoutMs + 5000);
  const stopped = (): void => end('was stopped');
  options.stop.addEventListener('abort', stopped);

  return new Promise((resolve) => {
    const settle = (exit: string | undefined): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      options.stop.removeEventListener('abort', stopped);
      signalGroup('SIGKILL'); // processes that the file forgot
      cases.end();
      const fail = (why: string): void => {
        failed++;
        failures.push({ path: [`the file ${why}`], details: [] });
      };
      if (killed !== undefined) fail(killed);
      else if (exit !== undefined && (failed === 0 || exit.includes('SIG'))) fail(exit);
      else if (failed === 0 && !cases.complete) fail('ended before its tests');
      resolve({ file, passed, failed, skips, failures, output, durationMs: performance.now() - started });
    };
    child.on('error', (error) => settle(`does not start: ${error.message}`));
    child.on('exit', (code, signal) => {
      // The pipes may outlive the process in children of it; what it said itself is here after a moment.
      const done = (): void => settle(code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`);
      const late = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, 1000);
      child.once('close', () => {
        clearTimeout(late);
        done();
      });
    });
  });
}
