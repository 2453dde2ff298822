import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutant, MutationReport } from './mutation-report.ts';

/** What Stryker is to change, and who is to notice. */
export interface StrykerOrder {
  /** Of the project, which Stryker copies. */
  readonly root: string;
  readonly file: string;
  /** May be none: then nothing is noticed. */
  readonly tests: readonly string[];
  /** Test processes at a time. */
  readonly concurrency: number;
  /** Only mutants in these stretches of the file, as Stryker writes them (`line:column-line:column`). */
  readonly ranges?: readonly string[];
  /** A test that takes three times as long as without a change, and this on top, does not end. */
  readonly patienceMs?: number;
  /** Makes each test one file first: they start faster. Not every test bears it; if nothing is said, both ways are tried. */
  readonly bundled?: boolean;
}

const here = fileURLToPath(new URL('.', import.meta.url));
const noTest = 'tools/mutate/no-test.mjs';
const stryker = join(here, '../../node_modules/@stryker-mutator/core/bin/stryker.js');

/** Where sandboxes and reports lie, from the root on; git does not see it. */
export const folder = '.tap/mutate';

/** Stryker's settings for one file. `temporary` is a folder for its report, and names its copy of the project. */
function strykerConfig(order: StrykerOrder, temporary: string, bundled: boolean): Readonly<Record<string, unknown>> {
  const { file, tests, concurrency, ranges, patienceMs = 15_000 } = order;
  const loader = bundled ? [] : ['--import=tsx'];
  return {
    testRunner: 'tap',
    plugins: ['@stryker-mutator/tap-runner', join(here, 'ignore-texts.mjs')],
    ignorers: ['texts-of-errors'],
    mutate: ranges === undefined ? [file] : ranges.map((range) => `${file}:${range}`),
    ...(bundled ? { buildCommand: ['node', join(here, 'bundle-tests.mjs'), ...tests].map(escaped).join(' ') } : {}),
    tap: {
      testFiles: bundled ? tests.map((test) => test.replace(/\.ts$/, '.mjs')) : tests,
      nodeArgs: ['-r', join(here, 'coverage-of-threads.cjs'), '-r', '{{hookFile}}', ...loader, '{{testFile}}'],
      forceBail: true,
    },
    // A mutant is shown only to the test files that come to it.
    coverageAnalysis: 'perTest',
    concurrency,
    timeoutMS: patienceMs,
    timeoutFactor: 3,
    tempDirName: sandboxOf(temporary),
    ignorePatterns: ['.tap', 'dist', 'docs'],
    disableTypeChecks: false,
    reporters: ['json', 'progress-append-only'],
    jsonReporter: { fileName: reportIn(temporary) },
    logLevel: 'error',
    fileLogLevel: 'off',
  };
}

/** Stryker takes a command apart at spaces. */
const escaped = (argument: string): string => argument.replaceAll(' ', '\\ ');

/** Within the project, where packages are found. */
const sandboxOf = (temporary: string): string => join(folder, basename(temporary));
const reportIn = (temporary: string): string => join(temporary, 'report.json');

/**
 * Runs Stryker over one file; its mutants. Everything it starts is in a process group of its own, of which nothing is left
 * in the end, and what broken tests leave in the folder for temporary files goes too.
 */
export async function runStryker(order: StrykerOrder, stop: AbortSignal): Promise<readonly Mutant[]> {
  const { root, file } = order;
  mkdirSync(join(root, folder), { recursive: true });
  const temporary = mkdtempSync(join(tmpdir(), 'mutate-'));
  const config = join(temporary, 'stryker.json');
  // There is nothing to bundle where Stryker's wish for a test is met by a file that stands for none.
  const [tests, bundled] = order.tests.length > 0 ? [order.tests, order.bundled ?? true] : [[noTest], false];
  writeFileSync(config, JSON.stringify(strykerConfig({ ...order, tests }, temporary, bundled), null, 2));
  try {
    const env = { ...process.env, TMPDIR: temporary, TAP_TIMEOUT: '300' };
    const code = await runGroup([stryker, 'run', config], { cwd: root, env }, stop);
    if (stop.aborted) throw new Error('stopped');
    if (code !== 0 && bundled && order.bundled === undefined) {
      process.stderr.write(`${file}: once more, with the tests as they are\n`);
      return await runStryker({ ...order, bundled: false }, stop);
    }
    if (code !== 0) throw new Error(`${file}: Stryker ended with exit code ${code}; what it said is above`);
    // There is no report where there is nothing to change.
    if (!existsSync(reportIn(temporary))) return [];
    return (JSON.parse(readFileSync(reportIn(temporary), 'utf8')) as MutationReport).files[file]?.mutants ?? [];
  } finally {
    for (const path of [temporary, join(root, sandboxOf(temporary))]) rmSync(path, { recursive: true, force: true });
  }
}

function runGroup(
  args: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
  stop: AbortSignal,
): Promise<number | string> {
  const child = spawn(process.execPath, args, { ...options, detached: true, stdio: ['ignore', 2, 2] });
  const killGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // nothing of it is left
    }
  };
  stop.addEventListener('abort', killGroup);
  return new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'nothing'));
  }).finally(() => {
    stop.removeEventListener('abort', killGroup);
    killGroup();
  });
}
