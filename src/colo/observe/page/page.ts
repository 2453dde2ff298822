import type { Told } from '../web/told.ts';
import { ChartCard } from './chart-card.ts';
import { charts } from './charts.ts';
import { Face } from './face.ts';
import { History } from './history.ts';

/** The page asks each second, and gives up a question after some. */
const periodMs = 1000;
const patienceMs = 4000;

const history = new History();
const face = new Face();
const cards = charts.map((chart) => new ChartCard(chart));
document.getElementById('charts')?.append(...cards.map(({ element }) => element));

let asking = false;
let silentSince: number | undefined;

async function ask(): Promise<void> {
  if (asking) return;
  asking = true;
  try {
    const told = await tell();
    silentSince = undefined;
    if (history.take(told) || history.take(await tell())) {
      face.show(told, history);
      for (const card of cards) card.draw(history);
    }
  } catch {
    silentSince ??= Date.now();
  }
  face.lost(silentSince);
  asking = false;
}

async function tell(): Promise<Told> {
  const { from } = history;
  const answer = await fetch(from === undefined ? 'now.json' : `now.json?from=${from}`, {
    signal: AbortSignal.timeout(patienceMs),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return (await answer.json()) as Told;
}

setInterval(() => void ask(), periodMs);
// Of a page in the background, timers rest.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void ask();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const card of cards) card.recolour(history);
});
void ask();
