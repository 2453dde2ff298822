import uPlot from 'uplot';
import { type Chart, clock } from './charts.ts';
import type { History } from './history.ts';

const heightPx = 150;

/** A chart on the page: its title, what its lines are and say now or under the pointer, and the plot. */
export class ChartCard {
  readonly element = document.createElement('article');
  readonly #chart: Chart;
  readonly #plotAt = document.createElement('div');
  readonly #values: readonly HTMLElement[];
  #plot: uPlot | undefined;
  #window: History['window'] = [0, 1];
  /** What each line says at each time, before lines are stacked. */
  #said: readonly (readonly (number | null)[])[] = [];

  constructor(chart: Chart) {
    this.#chart = chart;
    const { title, about, lines } = chart;
    this.element.className = 'card chart';
    this.element.hidden = true;
    this.#plotAt.className = 'plot';
    // The same figures stand in words above it.
    this.#plotAt.setAttribute('aria-hidden', 'true');
    const keys = textIn('p', '', 'keys');
    this.#values = lines.map(({ label, colour }) => {
      const key = document.createElement('span');
      const swatch = document.createElement('i');
      swatch.style.background = `var(${colour})`;
      const value = document.createElement('b');
      key.append(swatch, `${label} `, value);
      keys.append(key);
      return value;
    });
    this.element.append(textIn('h2', title), textIn('p', about, 'about'), keys, this.#plotAt);
    new ResizeObserver(() => this.#fit()).observe(this.#plotAt);
  }

  /** Draws what is known; hides what is not. */
  draw(history: History): void {
    const { lines, stacked } = this.#chart;
    this.element.hidden = !history.knows(lines.map(({ column }) => column));
    if (this.element.hidden) return;
    this.#window = history.window;
    this.#said = lines.map(({ column }) => history.column(column));
    const drawn = stacked === true ? piled(this.#said) : this.#said;
    const data = [history.column('at'), ...drawn] as uPlot.AlignedData;
    this.#plot ??= new uPlot(this.#options(), data, this.#plotAt);
    this.#plot.setData(data);
    this.#say(this.#plot.cursor.idx);
  }

  /** The style's colours are others now. */
  recolour(history: History): void {
    this.#plot?.destroy();
    this.#plot = undefined;
    this.draw(history);
  }

  /** What the lines say at a time; now, if the pointer is nowhere. */
  #say(index: number | null | undefined): void {
    for (const [line, value] of this.#values.entries()) {
      const said = this.#said[line] ?? [];
      const figure = index === null || index === undefined ? said.at(-1) : said[index];
      value.textContent = figure === null || figure === undefined ? '-' : this.#chart.show(figure);
    }
  }

  #fit(): void {
    const width = this.#plotAt.clientWidth;
    if (width > 0 && this.#plot !== undefined && this.#plot.width !== width) {
      this.#plot.setSize({ width, height: heightPx });
    }
  }

  #options(): uPlot.Options {
    const { lines, stacked, show, steps } = this.#chart;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour('--soft'),
      font: '11px system-ui, sans-serif',
      grid: { stroke: colour('--grid'), width: 1 },
      ticks: { show: false },
    };
    return {
      width: this.#plotAt.clientWidth,
      height: heightPx,
      legend: { show: false },
      // All charts show the same moment under the pointer.
      cursor: { sync: { key: 'page' }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { range: () => [...this.#window] },
        // What is nothing looks like nothing.
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
      },
      axes: [
        {
          ...axis,
          space: 70,
          size: 24,
          values: (_, times, __, ___, step) => times.map((time) => clock(time, step % 60 !== 0)),
        },
        {
          ...axis,
          size: 62,
          space: 34,
          values: (_, figures) => figures.map(show),
          ...(steps === undefined ? {} : { incrs: [...steps] }),
        },
      ],
      series: [
        {},
        ...lines.map(({ label, colour: name }) => ({
          label,
          stroke: colour(name),
          width: 1.5,
          points: { show: false },
          ...(stacked === true || lines.length === 1
            ? { fill: `color-mix(in srgb, ${colour(name)} ${stacked === true ? 100 : 14}%, transparent)` }
            : {}),
        })),
      ],
      hooks: { setCursor: [(plot) => this.#say(plot.cursor.idx)] },
    };
  }
}

/** Each line upon those behind it: the first one, which is drawn first, is all of them. */
function piled(lines: readonly (readonly (number | null)[])[]): (number | null)[][] {
  return lines.map((line, at) =>
    line.map((value, index) =>
      value === null ? null : lines.slice(at).reduce((sum, other) => sum + (other[index] ?? 0), 0),
    ),
  );
}

function textIn(tag: string, text: string, className = ''): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
