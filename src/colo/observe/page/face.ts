import type { Told, ToldEvent } from '../web/told.ts';
import { clock, tones } from './charts.ts';
import type { History } from './history.ts';

/** Labels that somebody has to read first. */
const urgent = new Set(['but', 'why', 'unprotected', 'last attempt', 'next']);

/** All of the page that is words. */
export class Face {
  #name = 'colo-vmm';
  /** What stands there, so that nothing is written again that a reader may have selected. */
  readonly #written = new Map<string, string>();

  show(told: Told, history: History): void {
    const { word, state, place, pair, machine, sync, disagreements = [], events, at, hostTime } = told;
    if (told.name !== '') this.#name = told.name;
    document.body.dataset.tone = tones[word];
    this.#text('name', this.#name);
    this.#unlessWritten('state', state, (heading) => {
      const first = document.createElement('strong');
      first.textContent = word;
      const rest = document.createElement('span');
      rest.textContent = state.slice(word.length);
      heading.replaceChildren(first, rest);
    });
    this.#text('place', place);
    this.#facts(
      'urgent',
      pair.filter(([label]) => urgent.has(label)),
    );
    // What cannot be asked now stays as it was seen.
    if (word !== 'NO ANSWER')
      this.#facts(
        'pair',
        pair.filter(([label]) => !urgent.has(label)),
      );
    if (machine.length > 0) this.#facts('machine', machine);
    this.#sync(sync);
    this.#band(history);
    byId('disagreements').hidden = disagreements.length === 0;
    this.#text('disagree', disagreements.join('\n'));
    this.#events(events);
    this.#text(
      'seen',
      `Its host says ${hostTime}, this browser ${clock(at / 1000)}: times of charts and events are the browser's.`,
    );
    document.title = `${word} · ${this.#name}`;
    this.#icon();
  }

  /** Nobody tells any more. @param since ms since 1970; undefined: somebody does */
  lost(since: number | undefined): void {
    document.body.classList.toggle('lost', since !== undefined);
    const element = byId('lost');
    element.hidden = since === undefined;
    if (since === undefined) return;
    const when = clock(since / 1000);
    this.#text(
      'lost',
      `NO CONNECTION since ${when}: the VMM has ended, or the way to it is cut. What stands here is old.`,
    );
    document.title = `NO CONNECTION · ${this.#name}`;
  }

  #facts(id: string, facts: Told['pair']): void {
    this.#unlessWritten(id, JSON.stringify(facts), (list) => {
      list.replaceChildren(
        ...facts.flatMap(([label, text]) => {
          const term = document.createElement('dt');
          term.textContent = label;
          const said = document.createElement('dd');
          said.textContent = text;
          return [term, said];
        }),
      );
    });
  }

  #sync(sync: Told['sync']): void {
    const element = byId('sync');
    element.hidden = sync === undefined;
    if (sync === undefined) return;
    const [bar, text] = [element.querySelector('progress'), element.querySelector('p')];
    if (bar !== null) bar.value = sync.done;
    if (text !== null) text.textContent = sync.text;
  }

  /** A strip of the last minutes: which state when, and the same in words. */
  #band(history: History): void {
    const stretches = history.stretches();
    const [begin, end] = history.window;
    const share = (seconds: number): string => `${(100 * seconds) / (end - begin)}%`;
    byId('band').replaceChildren(
      ...stretches.map(({ word, from, to }) => {
        const part = document.createElement('span');
        part.dataset.tone = tones[word];
        part.title = `${word} from ${clock(from)} to ${clock(to)}`;
        part.style.left = share(from - begin);
        part.style.width = share(to - from);
        return part;
      }),
    );
    const shown = stretches.slice(-5).map(({ word, from }) => `${word} from ${clock(from)}`);
    const long = Math.round((end - begin) / 60);
    this.#text('band-says', `The last ${long === 1 ? 'minute' : `${long} minutes`}: ${shown.join(', ')}`);
  }

  #events(events: readonly ToldEvent[]): void {
    this.#unlessWritten('events', JSON.stringify(events), (list) => {
      list.replaceChildren(
        ...events.map(({ at, topic, text }) => {
          const item = document.createElement('li');
          const when = document.createElement('time');
          when.dateTime = new Date(at).toISOString();
          when.title = new Date(at).toLocaleString();
          when.textContent = clock(at / 1000);
          const what = document.createElement('span');
          what.textContent = `${topic}: ${text}`;
          item.append(when, what);
          return item;
        }),
      );
      if (events.length === 0) list.textContent = 'Nothing yet.';
    });
  }

  /** A dot of the state's colour in the browser's tab. */
  #icon(): void {
    const colour = getComputedStyle(document.body).getPropertyValue('--tone').trim();
    const dot = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='${colour}'/></svg>`;
    const icon = `data:image/svg+xml,${encodeURIComponent(dot)}`;
    this.#unlessWritten('icon', icon, (link) => link.setAttribute('href', icon));
  }

  #text(id: string, text: string): void {
    this.#unlessWritten(id, text, (element) => {
      element.textContent = text;
    });
  }

  #unlessWritten(id: string, what: string, write: (element: HTMLElement) => void): void {
    if (this.#written.get(id) === what) return;
    this.#written.set(id, what);
    write(byId(id));
  }
}

function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no ${id}`);
  return element;
}
