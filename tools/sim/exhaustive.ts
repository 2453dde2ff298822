import { type Fault, type FaultKind, faultKinds } from './faults.ts';
import type { Totals } from './report.ts';
import { runSchedule } from './run.ts';
import { comparingSettings, simulatedSettings } from './simulated-settings.ts';
import type { Schedule } from './world/schedule.ts';

/**
 * The small model: a pair is made, and goes through its first checkpoints. Every fault is tried before every effect, then every
 * two of those that decide who goes on, nearest pairs first, as far as the time goes.
 */
const deciding: readonly (readonly [FaultKind, durationMs: number])[] = [
  ['process-killed', 0],
  ['power-lost', 0],
  ['frozen', 60],
  ['frozen', 1000],
  ['direction-cut', 250],
  ['connection-breaks', 0],
  ['arbiter-down', 250],
  ['arbiter-mute', 120],
  ['thread-hangs', 400],
  ['asked-switchover', 0],
];
const durationMs = 250;
const others = (Object.keys(faultKinds) as FaultKind[])
  .filter((kind) => deciding.every(([one]) => one !== kind))
  .map((kind): readonly [FaultKind, number] => [kind, faultKinds[kind].lasts ? durationMs : 0]);
const all = [...deciding, ...others];
/** Whichever side they are said to hit, they are the same. */
const oneSided: ReadonlySet<FaultKind> = new Set([
  'link-cut',
  'connection-breaks',
  'arbiter-down',
  'arbiter-mute',
  'load-fails',
  'guest-resets',
  'guest-powers-off',
  'asked-switchover',
  'asked-protect',
]);

/** Until then the pair is made and has been through two more checkpoints; or both guests have begun to run, two times. */
const buffered = { seed: 2, untilMs: 75 } as const;
const comparing = { seed: 3, untilMs: 150 } as const;
const aftermathMs = 480;

export interface Exploration {
  readonly effects: number;
  readonly single: number;
  readonly pairs: number;
  /** All pairs of faults less than so many effects apart were tried. */
  readonly distance: number;
  readonly complete: boolean;
  readonly violating: Schedule | undefined;
}

/**
 * @param budgetMs of real time, for pairs; single faults are all tried first
 * @param compares both guests run
 */
export function explore(budgetMs: number, totals: Totals, compares: boolean, ofSeed?: number): Exploration {
  const { untilMs, ...model } = compares ? comparing : buffered;
  const seed = ofSeed ?? model.seed;
  const points = pointsOf(seed, compares, untilMs);
  const effects = points.length;
  let single = 0;
  let pairs = 0;
  const done = (distance: number, complete: boolean, violating?: Schedule): Exploration => {
    return { effects, single, pairs, distance, complete, violating };
  };
  const holds = (faults: readonly Fault[]): Schedule | undefined => {
    const schedule = smallModel(seed, compares, faults, untilMs + aftermathMs);
    const outcome = runSchedule(schedule, { counts: totals.counts });
    totals.add(schedule, outcome);
    return outcome.violation === undefined ? undefined : schedule;
  };
  for (const point of points) {
    for (const fault of faultsBefore(point, all)) {
      single++;
      const violating = holds([fault]);
      if (violating !== undefined) return done(0, false, violating);
    }
  }
  const end = performance.now() + budgetMs;
  for (let distance = 0; distance < effects; distance++) {
    for (let at = 0; at + distance < effects; at++) {
      for (const first of faultsBefore(points[at] as number, deciding)) {
        for (const second of faultsBefore(points[at + distance] as number, deciding)) {
          pairs++;
          const violating = holds([first, second]);
          if (violating !== undefined) return done(distance, false, violating);
        }
        if (performance.now() > end) return done(distance, false);
      }
    }
  }
  return done(effects, true);
}

/** Before these effects something may happen. Setting an alarm, or telling somebody, changes nothing that the next effect does not. */
function pointsOf(seed: number, compares: boolean, untilMs: number): number[] {
  const points: number[] = [];
  runSchedule(smallModel(seed, compares, [], untilMs), {
    onEffect: (nth, kind) => {
      if (kind !== 'timer' && kind !== 'tell') points.push(nth);
    },
  });
  return points;
}

function* faultsBefore(nth: number, kinds: typeof deciding): Generator<Fault> {
  for (const [kind, durationMs] of kinds) {
    yield { kind, side: 'primary', before: 'any', nth, durationMs, amount: 0.5 };
    if (!oneSided.has(kind)) yield { kind, side: 'secondary', before: 'any', nth, durationMs, amount: 0.5 };
  }
}

function smallModel(seed: number, compares: boolean, faults: readonly Fault[], lengthMs: number): Schedule {
  const settings = { ...(compares ? comparingSettings : simulatedSettings), livePasses: 0 };
  return { seed, faults, arbiter: 'etcd', asBytes: false, lengthMs, settings };
}
