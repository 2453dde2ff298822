import { Coverage } from './coverage.ts';
import { notCovered } from './expected-coverage.ts';
import type { FuzzOptions } from './fuzz-ground.ts';
import { fuzzPackets, notCoveredByPackets } from './fuzz-packets.ts';
import { fuzzQmp, notCoveredByQmp } from './fuzz-qmp.ts';
import { fuzzSnapshot, snapshotOutcomes } from './fuzz-snapshot.ts';
import { fuzzVirtio } from './fuzz-virtio.ts';
import { fuzzSerialState, fuzzVmState, stateOutcomes } from './fuzz-vmstate.ts';
import { fuzzPeer, notCoveredByPeers } from './peer/fuzz-peer.ts';
import { fuzzTargets } from './targets.ts';

/** What the thread was told to do. */
export interface FuzzOrder {
  readonly command: 'virtio' | 'vmstate' | 'qmp' | 'snapshot' | 'peer' | 'packets';
  readonly target: string;
  readonly seed: number;
  readonly runs: number;
  readonly log: boolean;
}

export interface FuzzReport {
  /** What was not tried. */
  readonly missing: readonly string[];
  /** What came of it, in words. */
  readonly found: string;
}

/** Runs cases in a thread of its own. Cell 0 of `progress` counts those that have begun. */
export async function fuzzInThread(order: FuzzOrder, progress: SharedArrayBuffer): Promise<FuzzReport> {
  const cells = new Int32Array(progress);
  const coverage = new Coverage();
  const options: FuzzOptions = {
    seed: order.seed,
    runs: order.runs,
    coverage,
    log: order.log ? (line) => process.stderr.write(`${line}\n`) : undefined,
    started: () => {
      Atomics.add(cells, 0, 1);
    },
  };
  if (order.command === 'qmp') {
    fuzzQmp(options);
    return { missing: notCoveredByQmp(coverage), found: `${coverage.of('outcome GenericError')} requests refused` };
  }
  if (order.command === 'snapshot') {
    await fuzzSnapshot(options);
    const missing = snapshotOutcomes.filter((outcome) => coverage.of(`snapshot ${outcome}`) === 0);
    return { missing, found: `${coverage.of('snapshot accepted')} snapshots accepted` };
  }
  if (order.command === 'peer') {
    await fuzzPeer(options);
    return { missing: notCoveredByPeers(coverage), found: `${coverage.of('standby live')} takeovers` };
  }
  if (order.command === 'packets') {
    fuzzPackets(options);
    return { missing: notCoveredByPackets(coverage), found: `${coverage.of('outcome release')} packets released` };
  }
  if (order.target === 'serial') {
    fuzzSerialState(options);
    return { missing: [], found: `${coverage.of('state accepted')} states accepted` };
  }
  const target = fuzzTargets[order.target]?.();
  if (target === undefined) throw new Error(`no device is called ${order.target}`);
  try {
    if (order.command === 'vmstate') {
      fuzzVmState(target, options);
      const missing = stateOutcomes.filter((outcome) => coverage.of(`state ${outcome}`) === 0);
      return { missing, found: `${coverage.of('state accepted')} states accepted` };
    }
    fuzzVirtio(target, options);
    const faults = coverage.names('fault ').reduce((sum, name) => sum + coverage.of(`fault ${name}`), 0);
    return { missing: notCovered(target, coverage), found: `${faults} faults found` };
  } finally {
    target.close();
  }
}
