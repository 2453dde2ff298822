import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FileResult, runFile } from './test-runner/run-file.ts';
import { byRoom, filesOf, type Tier, tiers } from './test-runner/tiers.ts';

const usage = `npm test -- [tier ...] [--grep PATTERN]

  tiers          ${tiers.map((tier) => tier.name).join(', ')}; in this order, all but "long" when none is named
  --grep PATTERN run the top-level tests whose name matches, and the files whose path does

The last line is "N passed, N failed, N skipped": test cases, a case being a test with no tests in it. The exit code
is 0 if at least one case ran and none failed. With CI=true a case that is skipped in the lab tier counts as failed.`;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const inCi = process.env.CI === 'true';

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

/** Runs the tiers and prints what came of them; the process's exit code. */
async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { grep: { type: 'string', short: 'g' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const unknown = positionals.filter((name) => !tiers.some((tier) => tier.name === name));
  if (unknown.length > 0) throw new Error(`no tier is called ${unknown.join(', ')}\n${usage}`);
  const chosen = tiers.filter(({ name, onlyByName }) =>
    positionals.length === 0 ? onlyByName !== true : positionals.includes(name),
  );
  const grep = values.grep === undefined ? undefined : new RegExp(values.grep);
  // A test that can be as thorough as one has time for is so when it was asked for by name.
  if (values.grep !== undefined) process.env.COLO_TEST_GREP = values.grep;

  // Tests of the command line run the bundle.
  const build = spawnSync(process.execPath, [join(root, 'tools/build.mjs')], { cwd: root, stdio: ['ignore', 2, 2] });
  if (build.status !== 0) throw new Error('the bundle cannot be built');

  const stop = new AbortController();
  const signalled = new Promise<number>((resolve) => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const) {
      process.on(signal, () => {
        stop.abort();
        resolve(code);
      });
    }
  });

  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  const failedFiles: string[] = [];
  for (const tier of chosen) {
    if (stop.signal.aborted) break;
    for (const result of await runTier(tier, grep, stop.signal)) {
      add(totals, tier, result);
      if (result.failed > 0 || (mustRun(tier) && result.skips.length > 0)) failedFiles.push(result.file);
    }
    if (tier.name === 'lab' && inCi && grep === undefined && filesOf(tier, root).length === 0) {
      console.log('the lab tier has no tests, and CI must not do without');
      totals.failed++;
    }
  }
  if (failedFiles.length > 0) console.log(`\nfailed: ${failedFiles.join(' ')}`);
  const nothing = totals.passed + totals.failed + totals.skipped === 0;
  if (nothing) console.log(grep === undefined ? 'there are no tests' : `no test matches ${grep}`);
  console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  if (stop.signal.aborted) return signalled;
  return nothing || totals.failed > 0 ? 1 : 0;
}

async function runTier(tier: Tier, grep: RegExp | undefined, stop: AbortSignal): Promise<FileResult[]> {
  const files = filesOf(tier, root);
  const results: FileResult[] = [];
  if (files.length === 0) return results;
  console.log(`\n${tier.name}`);
  const lane = async (waiting: string[]): Promise<void> => {
    while (!stop.aborted) {
      const file = waiting.shift();
      if (file === undefined) return;
      const result = await runFile(file, {
        root,
        timeoutMs: tier.fileTimeoutMs,
        stop,
        ...(grep === undefined || grep.test(file) ? {} : { grep: String(grep) }),
        ...(tier.slow
          ? {
              caseEnded: tellCase,
              printed: (line: string) => console.log(`      ${basename(file, '.test.ts')}: ${line}`),
            }
          : {}),
      });
      results.push(result);
      report(tier, result, grep !== undefined);
    }
  };
  const { shared, alone } = byRoom(tier, files);
  await Promise.all(Array.from({ length: tier.parallel }, () => lane(shared)));
  await lane(alone);
  return results;
}

function add(totals: Totals, tier: Tier, result: FileResult): void {
  totals.passed += result.passed;
  totals.failed += result.failed;
  totals[mustRun(tier) ? 'failed' : 'skipped'] += result.skips.length;
}

/** In CI the lab is there by definition: without it nothing about Linux guests has been shown. */
function mustRun(tier: Tier): boolean {
  return tier.name === 'lab' && inCi;
}

function report(tier: Tier, result: FileResult, filtered: boolean): void {
  const { file, passed, failed, skips, failures, output } = result;
  if (filtered && passed + failed + skips.length === 0) return;
  const counts = [`${passed} passed`];
  if (failed > 0) counts.push(`${failed} FAILED`);
  if (skips.length > 0) counts.push(`${skips.length} skipped`);
  console.log(`  ${failed > 0 ? 'FAIL' : 'ok  '} ${file}  ${counts.join(', ')}, ${seconds(result.durationMs)}`);
  const reasons = new Map<string, string[]>();
  for (const skip of skips) reasons.set(skip.reason, [...(reasons.get(skip.reason) ?? []), skip.path.join(' > ')]);
  for (const [reason, names] of reasons) {
    const what = names.length === 1 ? names[0] : `${names.length} cases`;
    console.log(`       skipped ${what}: ${reason}${mustRun(tier) ? ' (counts as failed in CI)' : ''}`);
  }
  for (const failure of failures) {
    console.log(`\n       FAILED ${failure.path.join(' > ')}`);
    for (const line of failure.details) console.log(`         ${line}`);
  }
  if (failed > 0 && !tier.slow && output.length > 0) {
    console.log(`\n       ${file} printed:`);
    for (const line of output) console.log(`         ${line}`);
  }
}

function tellCase(mark: string, path: readonly string[], durationMs: number): void {
  console.log(`    ${mark}  ${path.join(' > ')}${durationMs > 0 ? `  ${seconds(durationMs)}` : ''}`);
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  },
);
