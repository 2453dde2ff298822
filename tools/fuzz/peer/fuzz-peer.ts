import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { randomNumbers } from '../../../test/support/random.ts';
import type { Coverage } from '../coverage.ts';
import { FuzzFailure } from '../fuzz-failure.ts';
import type { FuzzOptions } from '../fuzz-ground.ts';
import { framesCase } from './frames-case.ts';
import { PeerGround } from './peer-ground.ts';
import { primaryCase } from './primary-case.ts';
import { ways } from './spoiler.ts';
import { standbyCase } from './standby-case.ts';

/** More than this beside what there was at first is a leak, or an answer to a number of a peer's. */
const mostMemory = 1 << 30;
const casesBetweenLooks = 4096;

/**
 * Peers that are honest until they are not. Of sixteen cases two have a real standby or primary, the others what reads their
 * bytes.
 *
 * @throws FuzzFailure at the first case that fails
 */
export async function fuzzPeer({ seed: begin, runs, coverage, log, started }: FuzzOptions): Promise<void> {
  const { stackTraceLimit } = Error;
  const ground = new PeerGround();
  // Most of the time would go into traces of errors that are expected.
  if (log === undefined) Error.stackTraceLimit = 0;
  try {
    const before = process.memoryUsage.rss();
    const watcher = {
      count: (name: string) => coverage.count(name),
      log: log ?? (() => {}),
      isLogging: log !== undefined,
    };
    for (let seed = begin; seed < begin + runs; seed++) {
      started?.(seed);
      log?.(`seed ${seed}`);
      try {
        const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
        if (seed % 16 === 0) await standbyCase(ground, random, watcher);
        else if (seed % 16 === 8) await primaryCase(ground, random, watcher);
        else framesCase(ground.state, random, watcher);
        if (seed % casesBetweenLooks !== 0) continue;
        await collectGarbage();
        if (process.memoryUsage.rss() > before + mostMemory) throw new Error('it takes too much memory');
      } catch (error) {
        throw new FuzzFailure('peer', seed, `peer --seed ${seed} --runs 1 --log`, error);
      }
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    ground.close();
  }
}

/** Memory that threads share is not counted by V8, which collects it when it happens to. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let count = 0; count < 3; count++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const outcomes = [
  ...['listening', 'live', 'ended'].map((phase) => `standby ${phase}`),
  ...['unprotected', 'fenced', 'ended'].map((phase) => `primary ${phase}`),
];
const said = [
  'welcome',
  'disk-history',
  'disk-generation',
  'disk-hashes',
  'checkpoint-ready',
  'protected',
  'checkpoint-request',
  'vmstate-received',
  'vmstate-loaded',
  'refusal',
  'ended',
];

/** What a long run should have come to and did not. */
export function notCoveredByPeers(coverage: Coverage): string[] {
  const wanted = [...ways.map((way) => `way ${way}`), ...outcomes, ...said.map((kind) => `says ${kind}`)];
  return wanted.filter((name) => coverage.of(name) === 0);
}
