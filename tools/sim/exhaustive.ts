import type { Fault, FaultKind } from './faults.ts';
import type { Totals } from './report.ts';
import { runSchedule } from './run.ts';
import { simulatedSettings } from './simulated-settings.ts';
import type { Schedule } from './world/schedule.ts';

/**
 * The small model: a pair is made, and goes through its first checkpoints. Every fault is tried before every effect, then every
 * two of them, nearest pairs first, as far as the time goes.
 */
const kinds: readonly (readonly [FaultKind, durationMs: number])[] = [
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
const oneSided: ReadonlySet<FaultKind> = new Set([
  'connection-breaks',
  'arbiter-down',
  'arbiter-mute',
  'asked-switchover',
]);

/** Until all of this the pair is made and has been through two more checkpoints. */
const untilMs = 75;
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

/** @param budgetMs of real time, for pairs; single faults are all tried first */
export function explore(budgetMs: number, totals: Totals, seed = 2): Exploration {
  const points = pointsOf(seed);
  const effects = points.length;
  let single = 0;
  let pairs = 0;
  const done = (distance: number, complete: boolean, violating?: Schedule): Exploration => {
    return { effects, single, pairs, distance, complete, violating };
  };
  const holds = (faults: readonly Fault[]): Schedule | undefined => {
    const schedule = smallModel(seed, faults, untilMs + aftermathMs);
    const outcome = runSchedule(schedule, { counts: totals.counts });
    totals.add(schedule, outcome);
    return outcome.violation === undefined ? undefined : schedule;
  };
  for (const point of points) {
    for (const fault of faultsBefore(point)) {
      single++;
      const violating = holds([fault]);
      if (violating !== undefined) return done(0, false, violating);
    }
  }
  const end = performance.now() + budgetMs;
  for (let distance = 0; distance < effects; distance++) {
    for (let at = 0; at + distance < effects; at++) {
      for (const first of faultsBefore(points[at] as number)) {
        for (const second of faultsBefore(points[at + distance] as number)) {
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
function pointsOf(seed: number): number[] {
  const points: number[] = [];
  runSchedule(smallModel(seed, [], untilMs), {
    onEffect: (nth, kind) => {
      if (kind !== 'timer' && kind !== 'tell') points.push(nth);
    },
  });
  return points;
}

function* faultsBefore(nth: number): Generator<Fault> {
  for (const [kind, durationMs] of kinds) {
    yield { kind, side: 'primary', before: 'any', nth, durationMs, amount: 0.5 };
    if (!oneSided.has(kind)) yield { kind, side: 'secondary', before: 'any', nth, durationMs, amount: 0.5 };
  }
}

function smallModel(seed: number, faults: readonly Fault[], lengthMs: number): Schedule {
  return { seed, faults, arbiter: 'etcd', asBytes: false, lengthMs, settings: { ...simulatedSettings, livePasses: 0 } };
}
