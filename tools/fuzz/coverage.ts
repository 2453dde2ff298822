/** How often things happened, by name. */
export class Coverage {
  readonly #counts = new Map<string, { times: number }>();

  count(name: string): void {
    const count = this.#counts.get(name);
    if (count === undefined) this.#counts.set(name, { times: 1 });
    else count.times++;
  }

  of(name: string): number {
    return this.#counts.get(name)?.times ?? 0;
  }

  /** Names that begin with `prefix`, without it. */
  names(prefix: string): string[] {
    return [...this.#counts.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  }
}
