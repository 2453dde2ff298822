import type { Column, Word } from '../web/told.ts';

/** How a state is meant; a colour, for whoever sees it. */
export type Tone = 'safe' | 'busy' | 'alarm' | 'stopped' | 'quiet';

export const tones: Readonly<Record<Word, Tone>> = {
  PROTECTED: 'safe',
  PROTECTING: 'safe',
  PAIRING: 'busy',
  LISTENING: 'quiet',
  UNPROTECTED: 'alarm',
  WAITING: 'stopped',
  TAKEOVER: 'busy',
  FENCED: 'stopped',
  ENDED: 'quiet',
  'NO PAIR': 'quiet',
  'NO ANSWER': 'stopped',
};

/** A line of a chart. */
export interface Line {
  readonly column: Column;
  readonly label: string;
  /** A custom property of the style. */
  readonly colour: '--one' | '--two' | '--three' | '--four';
}

/** A chart, and what its figures are. */
export interface Chart {
  readonly title: string;
  readonly about: string;
  readonly lines: readonly Line[];
  /** Lines lie on each other: together they are something. */
  readonly stacked?: true;
  readonly show: (value: number) => string;
  /** Steps that an axis may have, in the unit of its lines; default round decimal ones. */
  readonly steps?: readonly number[];
}

/** The reader's own time of day, such as 14:02. @param seconds since 1970 */
export function clock(seconds: number, withSeconds = true): string {
  const parts = { hour: '2-digit', minute: '2-digit', ...(withSeconds ? { second: '2-digit' as const } : {}) } as const;
  return new Date(seconds * 1000).toLocaleTimeString('en-GB', parts);
}

/** With as many digits as mean something. */
export function digits(value: number): string {
  if (value === 0) return '0';
  if (Math.abs(value) < 0.05) return value.toPrecision(1);
  if (Math.abs(value) < 10) return String(Number(value.toFixed(1)));
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A length of time. @param ms may be of any size */
export function time(ms: number): string {
  if (ms < 1000) return `${digits(ms)} ms`;
  if (ms < 120_000) return `${digits(ms / 1000)} s`;
  return `${digits(ms / 60_000)} min`;
}

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let shown = value;
  for (; shown >= 1024 && unit < units.length - 1; unit++) shown /= 1024;
  return `${digits(shown)} ${units[unit]}`;
}

/** 1, 2, 4, ... 512 of each unit. */
const binarySteps = Array.from({ length: 50 }, (_, power) => 2 ** power);

const aSecond = (value: number): string => `${digits(value)}/s`;

/** All of them, in the order of the page. One of which nothing is known is not shown. */
export const charts: readonly Chart[] = [
  {
    title: 'Age of the last checkpoint',
    about: 'What a failover would take the guest back by; clients do not notice, for their answers wait for it.',
    lines: [{ column: 'ageMs', label: 'age', colour: '--one' }],
    show: time,
  },
  {
    title: 'Checkpoints',
    about: 'The more output or writes, the more often.',
    lines: [{ column: 'checkpoints', label: 'made', colour: '--one' }],
    show: aSecond,
  },
  {
    title: 'A checkpoint stops the guest',
    about: 'The last one, by part.',
    lines: [
      { column: 'pauseMs', label: 'pause', colour: '--one' },
      { column: 'stateMs', label: 'state', colour: '--two' },
      { column: 'pagesMs', label: 'pages', colour: '--three' },
      { column: 'resumeMs', label: 'resume', colour: '--four' },
    ],
    stacked: true,
    show: time,
  },
  {
    title: 'Stops of the last minute',
    about: 'How long checkpoints stopped the guest.',
    lines: [
      { column: 'worstMs', label: 'worst', colour: '--two' },
      { column: 'medianMs', label: 'median', colour: '--one' },
    ],
    show: time,
  },
  {
    title: 'Stopped in each second',
    about: 'What all checkpoints together take of the guest.',
    lines: [{ column: 'stoppedMs', label: 'stopped', colour: '--one' }],
    show: time,
  },
  {
    title: 'Packets held',
    about: 'Output that waits for the standby to have what explains it.',
    lines: [{ column: 'heldPackets', label: 'packets', colour: '--one' }],
    show: digits,
  },
  {
    title: 'The oldest packet held',
    about: 'How long clients wait for it already.',
    lines: [{ column: 'heldOldestMs', label: 'waits', colour: '--one' }],
    show: time,
  },
  {
    title: 'Both guests agreed',
    about: 'Packets that left because both said them.',
    lines: [{ column: 'agreed', label: 'packets', colour: '--three' }],
    show: aSecond,
  },
  {
    title: "The standby's guest is behind",
    about: 'How long the last packets that both said waited for it.',
    lines: [
      { column: 'behindWorstMs', label: 'worst', colour: '--two' },
      { column: 'behindMs', label: 'median', colour: '--one' },
    ],
    show: time,
  },
  {
    title: 'Divergences',
    about: 'Times that the two guests did not agree; each costs a checkpoint.',
    lines: [{ column: 'divergences', label: 'divergences', colour: '--two' }],
    show: aSecond,
  },
  {
    title: 'Disk log',
    about: 'What was written and is not committed by a checkpoint.',
    lines: [{ column: 'logBytes', label: 'waiting', colour: '--one' }],
    show: bytes,
    steps: binarySteps,
  },
  {
    title: 'Disks are made equal',
    about: 'What was compared, and what differed and was copied.',
    lines: [
      { column: 'syncComparedBytes', label: 'compared', colour: '--one' },
      { column: 'syncSentBytes', label: 'copied', colour: '--two' },
    ],
    show: bytes,
    steps: binarySteps,
  },
  {
    title: 'Answer of the arbiter',
    about: 'How long its last one took.',
    lines: [{ column: 'arbiterMs', label: 'took', colour: '--one' }],
    show: time,
  },
  {
    title: 'Silence of the peer',
    about: 'Since its last heartbeat.',
    lines: [{ column: 'silenceMs', label: 'silent for', colour: '--one' }],
    show: time,
  },
];
