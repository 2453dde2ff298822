import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '../../../host/console/tell.ts';
import { machineFacts } from '../../../vmm/client/machine-status.ts';
import { type Fact, pairInWords } from '../../../vmm/client/pair-status.ts';
import { roughly, size, timeOfDay } from '../../../vmm/client/quantities.ts';
import { renderDivergences } from '../../../vmm/client/why-status.ts';
import type { ColoStatus, MemoryCopy } from '../../../vmm/monitor/colo-control.ts';
import type { Heard, MachineWatch } from './machine-watch.ts';
import type { Page, Route } from './read-only-server.ts';
import { Samples, wordOf, words } from './samples.ts';
import type { Told, Word } from './told.ts';

const sampleMs = 1000;
/** As many events stand on the page. */
const shownEvents = 20;

/** The page loads what is served beside it, asks nobody else, and is in nobody's frame. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Looks at a machine each second, and tells the page what it saw: `dashboard.close` ends that. */
export class Dashboard {
  readonly routes: ReadonlyMap<string, Route>;
  readonly #watch: MachineWatch;
  readonly #samples: Samples;
  readonly #timer: NodeJS.Timeout;
  readonly #begun = Date.now();
  /** How long it has been what it is, of what the machine itself does not say. */
  #last: { readonly word: Word; readonly since: number } | undefined;

  /**
   * @param folder with the page, its program and its style, as the build makes them
   * @param samples those of before
   */
  constructor(watch: MachineWatch, folder: string, samples = new Samples()) {
    this.#watch = watch;
    this.#samples = samples;
    const file = (name: string, type: string): Page => ({ type, body: readFileSync(join(folder, name)), policy });
    const page = file('page.html', 'text/html; charset=utf-8');
    const program = file('page.js', 'text/javascript; charset=utf-8');
    const style = file('page.css', 'text/css; charset=utf-8');
    this.routes = new Map<string, Route>([
      ['/', () => page],
      ['/page.js', () => program],
      ['/page.css', () => style],
      ['/now.json', (query) => this.#tell(Number(query.get('from') ?? Number.NaN))],
    ]);
    this.#timer = setInterval(() => void this.#sample(), sampleMs);
    void this.#sample();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    const heard = this.#hear(await this.#watch.now());
    // That a machine which begins does not answer yet is nothing to remember.
    if ('status' in heard || this.#samples.next > 0) this.#samples.add(heard);
  }

  #hear(heard: Heard): Heard {
    const word = wordOf(heard);
    if (word !== this.#last?.word) this.#last = { word, since: heard.at };
    return heard;
  }

  /** @param from number of the first sample that is wanted */
  async #tell(from: number): Promise<Page> {
    const heard = this.#hear(await this.#watch.now());
    const { next } = this.#samples;
    const now = Date.now();
    const told: Told = {
      begun: this.#begun,
      at: now,
      hostTime: timeOfDay(now),
      word: wordOf(heard),
      ...inWords(heard, this.#last?.since ?? heard.at),
      events: this.#watch.events
        .slice(-shownEvents)
        .reverse()
        .map(({ at, topic, text }) => ({ at, topic, text })),
      history: { next, words, columns: this.#samples.since(from) },
    };
    return { type: 'application/json', body: JSON.stringify(told) };
  }
}

/** @param since when it came to be so, ms since 1970 */
function inWords(
  heard: Heard,
  since: number,
): Pick<Told, 'name' | 'state' | 'place' | 'pair' | 'machine' | 'sync' | 'disagreements'> {
  const now = Date.now();
  const begun = `since ${timeOfDay(since)} (${roughly(Math.max(0, now - since) / 1000)})`;
  if ('problem' in heard) {
    const place = 'the VMM hangs, begins, or ends; what is below is what was seen last';
    return { name: '', state: `NO ANSWER ${begun}`, place, pair: [['why', printable(heard.problem)]], machine: [] };
  }
  const { status } = heard;
  const { colo, coloUnknown } = status;
  const machine = clean(machineFacts(status));
  const name = colo?.pair ?? status.name ?? String(status.pid);
  if (colo !== undefined) {
    const { state, place, facts } = pairInWords(colo, now);
    return {
      name,
      state,
      place: printable(place),
      pair: clean(facts),
      machine,
      ...syncOf(colo),
      ...disagreements(colo, now),
    };
  }
  if (coloUnknown !== undefined) {
    const place = 'the thread that protects the guest does not answer: ask the other side';
    return { name, state: `NO ANSWER ${begun}`, place, pair: [['why', coloUnknown]], machine };
  }
  const place = 'nobody protects this guest: colo-vmm protect --standby HOST:PORT';
  return { name, state: `NO PAIR ${begun}`, place, pair: [], machine };
}

function clean(facts: readonly Fact[]): Fact[] {
  return facts.map(([label, text]) => [printable(label), printable(text)]);
}

/** What is being copied: disks first, then memory. */
function syncOf({ disk, memory }: ColoStatus): Pick<Told, 'sync'> {
  if (disk?.synchronising === undefined) return memory === undefined ? {} : { sync: memoryCopy(memory) };
  const { totalBytes, comparedBytes, sentBytes, secondsLeft } = disk.synchronising;
  const left = secondsLeft === undefined ? '' : `, about ${roughly(Math.ceil(secondsLeft))} left`;
  const text = `Disks are made equal: ${size(comparedBytes)} of ${size(totalBytes)} compared, ${size(sentBytes)} differed and copied${left}`;
  return { sync: { done: totalBytes === 0 ? 1 : comparedBytes / totalBytes, text } };
}

function memoryCopy({ totalBytes, leftBytes }: MemoryCopy): NonNullable<Told['sync']> {
  const text = `Memory is copied: ${size(leftBytes)} left of ${size(totalBytes)}`;
  return { done: 1 - leftBytes / totalBytes, text };
}

/** As `colo-vmm status --why` has them, if there are any. */
function disagreements(colo: ColoStatus, now: number): Pick<Told, 'disagreements'> {
  if (colo.compared === undefined || colo.compared.recent.length === 0) return {};
  return { disagreements: renderDivergences(colo, now).slice(1) };
}
