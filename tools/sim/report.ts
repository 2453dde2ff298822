import { describe, faultKinds } from './faults.ts';
import type { Outcome } from './run.ts';
import { runSchedule } from './run.ts';
import { shrink } from './shrink.ts';
import type { Schedule, WorldOptions } from './world/schedule.ts';

/** What many schedules came to, as data. */
export interface Sums {
  readonly counts: ReadonlyMap<string, number>;
  readonly schedules: number;
  readonly simulatedMs: number;
  readonly effects: number;
  readonly faults: number;
  readonly frames: number;
  readonly answered: number;
}

/** What many schedules came to. */
export class Totals implements Sums {
  readonly counts = new Map<string, number>();
  schedules = 0;
  simulatedMs = 0;
  effects = 0;
  faults = 0;
  frames = 0;
  answered = 0;

  add(schedule: Schedule, outcome: Outcome): void {
    this.schedules++;
    this.simulatedMs += schedule.lengthMs;
    this.effects += outcome.effects;
    this.faults += outcome.faults;
    this.frames += outcome.frames;
    this.answered += outcome.answered;
  }

  /** What others came to. */
  include(others: Sums): void {
    for (const [what, count] of others.counts) this.counts.set(what, (this.counts.get(what) ?? 0) + count);
    this.schedules += others.schedules;
    this.simulatedMs += others.simulatedMs;
    this.effects += others.effects;
    this.faults += others.faults;
    this.frames += others.frames;
    this.answered += others.answered;
  }

  /** In words. */
  lines(): string[] {
    const { schedules } = this;
    const a = (value: number) => (value / schedules).toFixed(1);
    return [
      `${schedules} schedules, ${(this.simulatedMs / 3_600_000).toFixed(2)} simulated hours`,
      `a run: ${a(this.faults)} faults, ${a(this.effects)} effects, ${a(this.frames)} frames, ${a(this.answered)} answers`,
      ...this.#table('states reached', (name) => name.startsWith('primary ') || name.startsWith('secondary ')),
      ...this.#table('faults', (name) => name.startsWith('fault: ')),
      ...this.#table('and', (name) => !/^(primary |secondary |fault: )/.test(name)),
    ];
  }

  /** Faults and states that no schedule reached. */
  missing(): string[] {
    const expected = [
      ...Object.keys(faultKinds).map((kind) => `fault: ${kind}`),
      ...[
        'synchronising',
        'seeding',
        'protected',
        'ending',
        'handing-over',
        'handed-over',
        'giving-up',
        'waiting',
        'fenced',
        'ended',
      ].map((phase) => `primary ${phase}`),
      ...[
        'greeting',
        'seeding',
        'ready',
        'protecting',
        'leaving',
        'taking-over',
        'claiming',
        'going-live',
        'live',
        'refused',
        'failed',
        'ended',
      ].map((phase) => `secondary ${phase}`),
      'survivor: primary',
      'survivor: secondary',
      'switched over',
    ];
    const reached = [...this.counts.keys()];
    return expected.filter((name) => !reached.some((key) => key === name || key.startsWith(`${name}/`)));
  }

  #table(title: string, wanted: (name: string) => boolean): string[] {
    const rows = [...this.counts].filter(([name]) => wanted(name)).sort(([one], [other]) => (one < other ? -1 : 1));
    return rows.length === 0
      ? []
      : [
          '',
          `${title}:`,
          ...rows.map(([name, count]) => `${String(count).padStart(10)}  ${name.replace('fault: ', '')}`),
        ];
  }
}

/** A violation for a person: the faults that it takes, and what happened. */
export function explain(schedule: Schedule, options: Pick<WorldOptions, 'rules'> = {}): string[] {
  const small = shrink(schedule, options);
  const history: string[] = [];
  const { violation } = runSchedule(small, { ...options, history });
  const shown = 60;
  return [
    violation?.message ?? 'no violation',
    `seed ${schedule.seed}, arbiter ${schedule.arbiter}; ${small.faults.length} of ${schedule.faults.length} faults suffice:`,
    ...small.faults.map((fault) => `  ${describe(fault)}`),
    ...(history.length > shown ? [`  ... ${history.length - shown} lines before`] : []),
    ...history.slice(-shown),
  ];
}
