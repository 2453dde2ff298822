import { Coverage } from './coverage.ts';
import { notCovered } from './expected-coverage.ts';
import { fuzzQmp, notCoveredByQmp } from './fuzz-qmp.ts';
import { fuzzVirtio } from './fuzz-virtio.ts';
import { fuzzTargets } from './targets.ts';

/** What the thread was told to do. */
export interface FuzzOrder {
  readonly target: string;
  readonly seed: number;
  readonly runs: number;
  readonly log: boolean;
}

export interface FuzzReport {
  /** What was not tried. */
  readonly missing: readonly string[];
  /** Broken rules that were noticed. */
  readonly faults: number;
}

/** Runs cases in a thread of its own. Cell 0 of `progress` counts those that have begun. */
export function fuzzInThread(order: FuzzOrder, progress: SharedArrayBuffer): FuzzReport {
  const cells = new Int32Array(progress);
  const coverage = new Coverage();
  const log = order.log ? (line: string) => process.stderr.write(`${line}\n`) : undefined;
  const started = (): void => {
    Atomics.add(cells, 0, 1);
  };
  if (order.target === 'qmp') {
    fuzzQmp({ seed: order.seed, runs: order.runs, coverage, log, started });
    return { missing: notCoveredByQmp(coverage), faults: coverage.of('outcome GenericError') };
  }
  const target = fuzzTargets[order.target]?.();
  if (target === undefined) throw new Error(`no device is called ${order.target}`);
  try {
    fuzzVirtio(target, {
      seed: order.seed,
      runs: order.runs,
      coverage,
      log,
      started,
    });
    const faults = coverage.names('fault ').reduce((sum, name) => sum + coverage.of(`fault ${name}`), 0);
    return { missing: notCovered(target, coverage), faults };
  } finally {
    target.close();
  }
}
