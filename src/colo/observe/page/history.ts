import type { Column, Columns, Told, Word } from '../web/told.ts';

/** How long the charts are, in seconds: as long as something is known, within these. */
const longestSeconds = 900;
const shortestSeconds = 60;

/** What the page has been told so far, for its charts. Of a VMM that was started anew nothing is left. */
export class History {
  #begun: number | undefined;
  #next = 0;
  #words: readonly Word[] = [];
  #columns: Record<Column, (number | null)[]> | undefined;

  /** What to ask for next: the number of the first sample that is not here; undefined: all. */
  get from(): number | undefined {
    return this.#begun === undefined ? undefined : this.#next;
  }

  /** Takes what was told. @returns false: it is part of a history that is not known here, and all has to be asked for */
  take({ begun, history: { next, words, columns } }: Told): boolean {
    const isNew = this.#begun !== begun;
    if (isNew && this.#begun !== undefined) {
      this.#begun = undefined;
      return false;
    }
    this.#begun = begun;
    this.#next = next;
    this.#words = words;
    const known = this.#columns;
    if (isNew || known === undefined) this.#columns = copyOf(columns);
    else for (const [name, values] of Object.entries(columns)) known[name as Column].push(...values);
    this.#forget();
    return true;
  }

  column(name: Column): readonly (number | null)[] {
    return this.#columns?.[name] ?? [];
  }

  /** From when to when charts are drawn, in seconds since 1970. */
  get window(): readonly [from: number, to: number] {
    const at = this.column('at');
    const to = at.at(-1) ?? 0;
    return [Math.min(at[0] ?? to, to - shortestSeconds), to];
  }

  /** Whether anything was said of one of them within the window. */
  knows(names: readonly Column[]): boolean {
    return names.some((name) => this.column(name).some((value) => value !== null));
  }

  /** For how long it was in which state, the oldest first; times in seconds since 1970. */
  stretches(): { readonly word: Word; readonly from: number; readonly to: number }[] {
    const found: { word: Word; from: number; to: number }[] = [];
    const at = this.column('at');
    for (const [index, number] of this.column('word').entries()) {
      const word = this.#words[number ?? -1] ?? 'NO ANSWER';
      const time = at[index] ?? 0;
      const last = found.at(-1);
      // Between two samples it was what it was at the first one.
      if (last !== undefined) last.to = time;
      if (last?.word !== word) found.push({ word, from: time, to: time });
    }
    return found;
  }

  /** What is older than the window. */
  #forget(): void {
    const at = this.column('at');
    const oldest = (at.at(-1) ?? 0) - longestSeconds;
    const old = at.findIndex((time) => (time ?? 0) >= oldest);
    if (old > 0) for (const values of Object.values(this.#columns ?? {})) values.splice(0, old);
  }
}

function copyOf(columns: Columns): Record<Column, (number | null)[]> {
  return Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, [...values]])) as Record<
    Column,
    (number | null)[]
  >;
}
