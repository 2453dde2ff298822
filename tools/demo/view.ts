import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { ClientsReport } from './client-program.ts';
import type { Side } from './lab-pair.ts';

/** What is known at a moment. Times in ms since the clients began. */
export interface Scene {
  readonly clients: ClientsReport | undefined;
  /** Answers in each {@link binMs} since the beginning. */
  readonly bins: readonly number[];
  readonly status: Readonly<Partial<Record<Side, ColoStatus>>>;
  /** Why that host has nothing to do with the guest any more. */
  readonly gone: Readonly<Partial<Record<Side, string>>>;
  readonly happened: readonly Happening[];
}

export interface Happening {
  readonly atMs: number;
  readonly text: string;
}

export const binMs = 500;
const shownBins = 40;
const shownHappenings = 8;
const bars = '▁▂▃▄▅▆▇█';

/** The lines of the live view. */
export function viewLines(scene: Scene): string[] {
  return [
    '',
    row('clients', `${sparkline(scene.bins)}  ${clientsLine(scene)}`),
    row('host a', hostLine(scene, 'a')),
    row('host b', hostLine(scene, 'b')),
    '',
    ...scene.happened.slice(-shownHappenings).map(happeningLine),
  ];
}

/** Answers a second and what they came to. */
export function clientsLine({ clients, bins }: Scene): string {
  if (clients === undefined) return 'not asking yet';
  const { summary } = clients;
  return [
    `${rate(bins)} answers/s`,
    `${thousands(summary.answers)} answered`,
    `${clients.violations.length} wrong`,
    `longest silence ${thousands(Math.round(summary.longestSilenceMs))} ms`,
  ].join('   ');
}

/** What that host is, and what it does. */
export function hostLine({ status, gone }: Scene, side: Side): string {
  const why = gone[side];
  if (why !== undefined) return why;
  const own = status[side];
  if (own === undefined) return 'starting';
  const parts = [
    own.headline,
    own.survivor === true ? 'survivor' : own.role === 'primary' ? 'primary' : 'standby',
    `term ${own.term}`,
  ];
  if (own.headline !== 'UNPROTECTED') parts.push(`checkpoint ${thousands(own.epoch)}`);
  if (own.stops !== undefined && own.stops.count > 0)
    parts.push(`guest stopped ${own.stops.median.toFixed(1)} ms each`);
  const synchronising = own.disk?.synchronising;
  if (own.headline === 'PAIRING' && synchronising !== undefined) {
    const { comparedBytes, totalBytes } = synchronising;
    parts.push(`disk compared ${totalBytes === 0 ? 100 : Math.floor((100 * comparedBytes) / totalBytes)} %`);
  }
  return parts.join('   ');
}

export function happeningLine({ atMs, text }: Happening): string {
  return row(seconds(atMs), text);
}

/** A line that a VMM said, as something that happened. */
export function told(side: Side, line: string): string {
  return `host ${side}: ${line.replace(/^colo-vmm: (web: )?/, '')}`;
}

/** The last {@link shownBins} of them, each a bar as high as its part of the highest; a gap where nobody was answered. */
export function sparkline(bins: readonly number[]): string {
  const shown = bins.slice(-shownBins);
  const most = Math.max(1, ...shown);
  const text = shown.map((count) => (count === 0 ? ' ' : bars[Math.min(7, Math.floor((8 * count) / most))])).join('');
  return text.padStart(shownBins);
}

/** Of the last two whole seconds. */
function rate(bins: readonly number[]): string {
  const whole = bins.slice(-5, -1);
  const sum = whole.reduce((total, count) => total + count, 0);
  return thousands(Math.round(whole.length === 0 ? 0 : (1000 * sum) / (whole.length * binMs)));
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

export function thousands(value: number): string {
  return value.toLocaleString('en-US');
}

function row(name: string, text: string): string {
  return `  ${name.padEnd(9)} ${text}`;
}
