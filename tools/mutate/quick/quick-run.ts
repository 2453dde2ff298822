import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Mutant, strykerRange } from '../mutation-report.ts';
import { folder, type StrykerOrder } from '../stryker-run.ts';
import { bundleTests } from './bundle.ts';
import { instrument, type PlacedMutant } from './instrument.ts';

type Counts = Readonly<Record<string, number>>;

/** What a child says. */
interface Said {
  readonly failed?: string;
  readonly coverage?: { readonly static: Counts; readonly perTest: Readonly<Record<string, Counts>> };
  /** How long each test took, and all of it. */
  readonly times?: readonly number[];
  readonly ms?: number;
  readonly begins?: string;
  readonly mutant?: string;
  readonly noticedBy?: string;
}

/**
 * Which tests come to a mutant, by its id, the quickest first; none are named if modules come to it as they load. And how often
 * they do.
 */
interface Reach {
  readonly reach: Readonly<Record<string, readonly number[]>>;
  readonly hits: Counts;
  readonly ms: number;
}

/** A child is given so many mutants: tests leave memory behind. */
const mutantsAChild = 30;

const program = fileURLToPath(new URL('show-mutants.mjs', import.meta.url));

/**
 * The mutants of a file, shown to its tests in `concurrency` processes at a time. A test that takes five times as long as all
 * of them without a change, and four seconds on top, hangs. @throws if a test fails without a change
 */
export async function quickRun(order: StrykerOrder, stop: AbortSignal): Promise<readonly Mutant[]> {
  const { root, file, tests, concurrency, ranges, patienceMs = 4000 } = order;
  const path = join(root, file);
  mkdirSync(join(root, folder), { recursive: true });
  const [content, all] = await instrument(path, readFileSync(path, 'utf8'));
  const mutants =
    ranges === undefined
      ? all
      : all.filter((mutant) => ranges.includes(strykerRange(placed(mutant, 'Pending').location)));
  if (tests.length === 0) return mutants.map((mutant) => placed(mutant, mutant.status ?? 'NoCoverage'));
  const temporary = mkdtempSync(join(root, folder, 'quick-'));
  try {
    const module = join(temporary, 'tests.mjs');
    await bundleTests(root, tests, { path, content }, module);
    const bundle = pathToFileURL(module).href;
    const found = await reached(file, bundle, stop);
    const results = new Map<string, Mutant['status']>();
    const open = mutants
      .filter(({ id, status }) => status === undefined && found.hits[id] !== undefined)
      .map(({ id }) => id);
    const patience = patienceMs + 5 * found.ms;
    const worker = async (): Promise<void> => {
      for (let some = open.splice(0, mutantsAChild); some.length > 0; some = open.splice(0, mutantsAChild)) {
        while (some.length > 0 && !stop.aborted) await showSome(bundle, some, found, patience, results, stop);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    if (stop.aborted) throw new Error('stopped');
    return mutants.map((mutant) => placed(mutant, mutant.status ?? results.get(mutant.id) ?? 'NoCoverage'));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Runs all tests without a mutant. */
async function reached(file: string, bundle: string, stop: AbortSignal): Promise<Reach> {
  let answer: Said = {};
  await child({ bundle }, stop, (said) => {
    answer = said;
  });
  const { coverage, times = [], ms = 0 } = answer;
  if (coverage === undefined) {
    throw new Error(`${file}: without a change a test fails: ${answer.failed ?? 'its process ended'}`);
  }
  const reach: Record<string, number[]> = {};
  const hits: Record<string, number> = {};
  for (const [test, counts] of Object.entries(coverage.perTest)) {
    for (const [mutant, count] of Object.entries(counts)) {
      reach[mutant] = [...(reach[mutant] ?? []), Number(test)];
      hits[mutant] = (hits[mutant] ?? 0) + count;
    }
  }
  for (const [mutant, count] of Object.entries(coverage.static)) {
    delete reach[mutant];
    hits[mutant] = (hits[mutant] ?? 0) + count;
  }
  for (const tests of Object.values(reach)) tests.sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0));
  return { reach, hits, ms };
}

/** Has a child try mutants until it is through or one hangs or ends it. Those that were tried are taken out of `open`. */
async function showSome(
  bundle: string,
  open: string[],
  { reach, hits }: Reach,
  patienceMs: number,
  results: Map<string, Mutant['status']>,
  stop: AbortSignal,
): Promise<void> {
  let current: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const settle = (mutant: string, status: Mutant['status']): void => {
    clearTimeout(timer);
    current = undefined;
    results.set(mutant, status);
    open.splice(open.indexOf(mutant), 1);
  };
  const order = { bundle, mutants: open, reach, hits };
  await child(order, stop, ({ begins, mutant, noticedBy }, process) => {
    if (mutant !== undefined) settle(mutant, noticedBy === undefined ? 'Survived' : 'Killed');
    else if (begins !== undefined) {
      current = begins;
      timer = setTimeout(() => {
        settle(begins, 'Timeout');
        process.kill('SIGKILL');
      }, patienceMs);
    }
  });
  // It ended the process.
  if (current !== undefined) settle(current, 'RuntimeError');
}

function child(order: object, stop: AbortSignal, said: (said: Said, child: ChildProcess) => void): Promise<void> {
  const process = fork(program, [], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const kill = (): void => {
    process.kill('SIGKILL');
  };
  stop.addEventListener('abort', kill);
  process.on('message', (message) => said(message as Said, process));
  process.send(order);
  return new Promise<void>((resolve, reject) => {
    process.once('error', reject);
    process.once('close', () => resolve());
  }).finally(() => stop.removeEventListener('abort', kill));
}

/** Places count from 1 in a report. */
function placed({ mutatorName, replacement, location }: PlacedMutant, status: Mutant['status']): Mutant {
  const [start, end] = [location.start, location.end].map(({ line, column }) => ({
    line: line + 1,
    column: column + 1,
  }));
  return { mutatorName, replacement, status, location: { start: start ?? location.start, end: end ?? location.end } };
}
