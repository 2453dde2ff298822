import { setTimeout as sleep } from 'node:timers/promises';
import { serviceGuest } from '../../demo/guest.ts';
import { LabPair } from '../../demo/lab-pair.ts';
import { median, quantile, rounded } from '../statistics.ts';
import { Asking, perSecond, type Reading } from './asking.ts';
import {
  type CheckpointResult,
  type ContenderName,
  checkpointResult,
  contenderNames,
  type Figures,
  type StopFigures,
} from './checkpoint-report.ts';
import { type Contender, memoryMib, type Stop } from './contender.ts';
import { bootUnprotected, vmmMib } from './footprint.ts';
import { load, loadProgram } from './load.ts';
import { OurPair } from './ours.ts';
import { QemuPair } from './qemu.ts';

/** How long is measured, in ms. */
export interface CheckpointTimes {
  /** Stops with a checkpoint every half a second, idle and loaded. */
  readonly stopsMs: number;
  /** Stops with one every 20 s. 0: that is left out. */
  readonly rareMs: number;
  readonly answersMs: number;
}

export const wholeTimes: CheckpointTimes = { stopsMs: 25_000, rareMs: 82_000, answersMs: 8000 };
export const quickTimes: CheckpointTimes = { stopsMs: 4000, rareMs: 0, answersMs: 2000 };

const clientCounts = [1, 32];
const warmUpMs = 2000;
const tries = 3;
/** Nothing fails here, and hosts of a busy machine may be silent for long. */
const detectionMs = 15_000;

/**
 * What protection costs a guest, part by part: ours and QEMU's COLO one after the other on the same two hosts of a lab, with the
 * same guest and clients outside.
 */
export async function benchCheckpoint(
  times: CheckpointTimes,
  progress: (line: string) => void,
  names: readonly ContenderName[] = contenderNames,
): Promise<CheckpointResult> {
  const pair = await LabPair.make(progress, await serviceGuest(progress, memoryMib, loadProgram));
  try {
    const figures: Partial<Record<ContenderName, Figures>> = {};
    const failures: string[] = [];
    await bootUnprotected(pair);
    const unprotectedMib = rounded(await vmmMib(pair));
    for (const name of names) {
      const say = (line: string): void => progress(`${name}: ${line}`);
      const contender =
        name === 'qemu'
          ? await QemuPair.make(pair, progress)
          : new OurPair(pair, { isInsecure: name === 'plaintext', isCompared: name === 'comparing', detectionMs }, say);
      for (let round = 1; round <= tries && figures[name] === undefined; round++) {
        try {
          figures[name] = await measure(contender, pair, times, say);
        } catch (error) {
          if (pair.lab.failure !== undefined) throw pair.lab.failure;
          failures.push(`${name}: ${(error as Error).message}`);
          say(`failed: ${(error as Error).message}`);
        } finally {
          await contender.end();
        }
      }
    }
    return checkpointResult(pair.lab.mode, { memoryMib, unprotectedMib }, figures, failures);
  } finally {
    await pair.close();
  }
}

async function measure(
  contender: Contender,
  pair: LabPair,
  { stopsMs, rareMs, answersMs }: CheckpointTimes,
  say: (line: string) => void,
): Promise<Figures> {
  await contender.boot();
  const rates = async (): Promise<number[]> => {
    const found: number[] = [];
    for (const clients of clientCounts) {
      const asking = await Asking.begin(pair, { clients, isDiffering: true });
      await sleep(warmUpMs);
      found.push(rounded(await asking.rate(answersMs), 2));
      await asking.end();
    }
    return found;
  };
  const alone = await rates();
  say(`unprotected, answers a second: ${alone.join(', ')}`);

  const asking = await Asking.begin(pair, { clients: 4 });
  await sleep(warmUpMs);
  const speed = await asking.rate(answersMs);
  const copying: Reading[] = [];
  const beginningMs = await contender.protect(() => copying.push(asking.reading));
  const [from, to] = copying;
  const copyingSpeed = from === undefined || to === undefined ? null : rounded(perSecond(from, to) / speed, 2);
  await asking.end();
  say(`protected; for that it was stopped for ${rounded(beginningMs)} ms`);

  const stops: Record<string, StopFigures> = {};
  const observe = async (name: string, ms: number): Promise<void> => {
    stops[name] = stopFigures(await contender.stops(ms));
    say(`${name}: ${JSON.stringify(stops[name])}`);
  };
  // The checkpoints right after the beginning still have what it left behind.
  await contender.stops(warmUpMs);
  await observe('idle', stopsMs);
  const idleMib = await contender.standbyMib();
  await load(pair.lab.outside, true);
  await observe('loaded', stopsMs);
  await load(pair.lab.outside, false);
  const loadedMib = await contender.standbyMib();
  await contender.setDelay(20_000);
  const guarded = await rates();
  say(`protected, answers a second: ${guarded.join(', ')}`);
  if (rareMs > 0) await observe('rare', rareMs);
  return {
    beginningMs: rounded(beginningMs, 2),
    copyingSpeed,
    stops,
    answers: clientCounts.map((clients, index) => ({
      clients,
      unprotected: alone[index] ?? Number.NaN,
      protected: guarded[index] ?? Number.NaN,
    })),
    standbyMib: { idle: rounded(idleMib), loaded: rounded(loadedMib) },
  };
}

function stopFigures(stops: readonly Stop[]): StopFigures {
  if (stops.length === 0) throw new Error('the guest was not stopped once');
  const all = stops.map(({ ms }) => ms);
  const parted = stops.flatMap(({ parts }) => (parts === undefined ? [] : [parts]));
  const names = Object.keys(parted[0] ?? {});
  return {
    count: all.length,
    median: rounded(median(all), 2),
    p99: rounded(quantile(all, 0.99), 2),
    ...(parted.length === 0
      ? {}
      : {
          parts: Object.fromEntries(
            names.map((name) => [name, rounded(median(parted.map((parts) => parts[name] ?? 0)), 2)]),
          ),
        }),
  };
}
