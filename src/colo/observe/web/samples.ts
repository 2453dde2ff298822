import type { MachineStatus } from '../../../vmm/client/machine-status.ts';
import { headlines } from '../../../vmm/client/pair-answers.ts';
import type { Heard } from './machine-watch.ts';
import type { Column, Columns, Word } from './told.ts';

/** In the order of their numbers. */
export const words: readonly Word[] = [...headlines, 'NO PAIR', 'NO ANSWER'];

export function wordOf(heard: Heard): Word {
  if ('problem' in heard) return 'NO ANSWER';
  const { colo, coloUnknown } = heard.status;
  return colo?.headline ?? (coloUnknown === undefined ? 'NO PAIR' : 'NO ANSWER');
}

/** What only grows, and is shown by how fast it does. */
const growing = ['checkpoints', 'stoppedMs', 'agreed', 'divergences'] as const;
type Growing = (typeof growing)[number];

/** Parts of a stop in the four that a person can tell apart; what is new is state. */
const partNames: Readonly<Record<string, 'pauseMs' | 'pagesMs' | 'resumeMs'>> = {
  vcpus: 'pauseMs',
  io: 'pauseMs',
  collect: 'pagesMs',
  copy: 'pagesMs',
  resume: 'resumeMs',
};

type Sample = Readonly<Record<Column, number>>;

/** The samples of the last quarter of an hour, one a second; memory of a fixed size. */
export class Samples {
  readonly #most: number;
  readonly #columns: Readonly<Record<Column, Float64Array>>;
  #next = 0;
  /** Of what grows, at the last sample. */
  #before: { readonly at: number; readonly grown: Readonly<Record<Growing, number>> } | undefined;

  /** @param most samples that are kept */
  constructor(most = 900) {
    this.#most = most;
    const names = Object.keys(sampleOf({ at: 0, problem: '' }, undefined)) as Column[];
    this.#columns = Object.fromEntries(names.map((name) => [name, new Float64Array(most)])) as Record<
      Column,
      Float64Array
    >;
  }

  add(heard: Heard): void {
    const grown = 'status' in heard ? grownOf(heard.status) : undefined;
    const before = this.#before;
    this.#before = grown && { at: heard.at, grown };
    const rates = before && grown && ratesOf(before.grown, grown, heard.at - before.at);
    const place = this.#next % this.#most;
    for (const [name, value] of Object.entries(sampleOf(heard, rates))) this.#columns[name as Column][place] = value;
    this.#next++;
  }

  /** Number of the next sample. */
  get next(): number {
    return this.#next;
  }

  /** The samples from that number on; all that there are if it is none of them. */
  since(number: number): Columns {
    const oldest = Math.max(0, this.#next - this.#most);
    const first = Number.isInteger(number) && number > oldest && number <= this.#next ? number : oldest;
    const places = Array.from({ length: this.#next - first }, (_, index) => (first + index) % this.#most);
    return Object.fromEntries(
      Object.entries(this.#columns).map(([name, values]) => [name, places.map((place) => shown(values[place]))]),
    ) as unknown as Columns;
  }
}

/** JSON knows no NaN, and nobody sees a thousandth of what is shown. */
function shown(value = Number.NaN): number | null {
  return Number.isNaN(value) ? null : Math.round(value * 1000) / 1000;
}

function grownOf({ colo }: MachineStatus): Readonly<Record<Growing, number>> {
  return {
    checkpoints: colo?.totals?.checkpoints ?? Number.NaN,
    stoppedMs: colo?.totals?.stoppedMs ?? Number.NaN,
    agreed: colo?.compared?.released ?? Number.NaN,
    divergences: colo?.compared?.divergences ?? Number.NaN,
  };
}

/** NaN where it has begun anew: by how much it grew is not known. */
function ratesOf(
  before: Readonly<Record<Growing, number>>,
  now: Readonly<Record<Growing, number>>,
  tookMs: number,
): Readonly<Record<Growing, number>> {
  const rate = (name: Growing): number => {
    const grown = now[name] - before[name];
    return grown >= 0 && tookMs > 0 ? (grown * 1000) / tookMs : Number.NaN;
  };
  return Object.fromEntries(growing.map((name) => [name, rate(name)])) as Record<Growing, number>;
}

function sampleOf(heard: Heard, rates: Readonly<Record<Growing, number>> | undefined): Sample {
  const colo = 'status' in heard ? heard.status.colo : undefined;
  const { checkpoint, stops, held, disk, arbiter, link, compared } = colo ?? {};
  const parts = { pauseMs: 0, stateMs: 0, pagesMs: 0, resumeMs: 0 };
  for (const [part, ms] of Object.entries(stops?.parts ?? {})) parts[partNames[part] ?? 'stateMs'] += ms;
  const nothing = { pauseMs: Number.NaN, stateMs: Number.NaN, pagesMs: Number.NaN, resumeMs: Number.NaN };
  return {
    at: heard.at / 1000,
    word: words.indexOf(wordOf(heard)),
    ageMs: checkpoint?.msAgo ?? Number.NaN,
    checkpoints: rates?.checkpoints ?? Number.NaN,
    stoppedMs: rates?.stoppedMs ?? Number.NaN,
    medianMs: stops?.median ?? Number.NaN,
    worstMs: stops?.worst ?? Number.NaN,
    ...(stops === undefined ? nothing : parts),
    heldPackets: held?.packets ?? Number.NaN,
    heldOldestMs: held?.oldestMs ?? Number.NaN,
    logBytes: disk?.logBytes ?? Number.NaN,
    syncComparedBytes: (disk?.synchronising ?? disk?.copying)?.comparedBytes ?? Number.NaN,
    syncSentBytes: disk?.synchronising?.sentBytes ?? disk?.copying?.receivedBytes ?? Number.NaN,
    agreed: rates?.agreed ?? Number.NaN,
    divergences: rates?.divergences ?? Number.NaN,
    behindMs: compared?.behind?.median ?? Number.NaN,
    behindWorstMs: compared?.behind?.worst ?? Number.NaN,
    arbiterMs: arbiter?.answeredInMs ?? Number.NaN,
    silenceMs: link?.lastHeardMsAgo ?? Number.NaN,
  };
}
