/** A state with one thing changed. */
export interface BrokenState {
  /** What was changed, and how. */
  readonly change: string;
  /** Name of the field. */
  readonly field: string;
  /** No state can have this. */
  readonly hopeless: boolean;
  readonly value: unknown;
}

type Key = string | number;

/** Values that are of the wrong type wherever they are put. */
const misfits: readonly unknown[] = [undefined, 'text', -1, 1.5, Number.NaN, new Date(0)];
/** Values that may be of the right type. */
const strangers: readonly unknown[] = [
  0,
  1,
  7,
  0x8000,
  0xffff_ffff,
  2 ** 40,
  0n,
  1n,
  -1n,
  2n ** 64n - 1n,
  2n ** 64n,
  true,
];

/** Every field of a state broken in every way, one at a time. */
export function* brokenStates(state: unknown): Generator<BrokenState> {
  for (const [path, found] of fieldsOf(state)) {
    const field = String(path.findLast((key) => typeof key === 'string'));
    const make = (how: string, hopeless: boolean, change: (parent: Record<Key, unknown>, key: Key) => void) => {
      const value = structuredClone(state);
      let parent = value as Record<Key, unknown>;
      for (const key of path.slice(0, -1)) parent = parent[key] as Record<Key, unknown>;
      change(parent, path.at(-1) as Key);
      return { change: `${path.join('.')}: ${how}`, field, hopeless, value };
    };
    const set = (how: string, hopeless: boolean, value: unknown): BrokenState =>
      make(how, hopeless, (parent, key) => {
        parent[key] = value;
      });
    if (typeof path.at(-1) === 'string') {
      yield make('missing', true, (parent, key) => {
        delete parent[key];
      });
    }
    for (const value of misfits)
      if (typeof value !== typeof found || typeof found === 'number') yield set(String(value), true, value);
    for (const value of strangers) yield set(`${typeof value} ${value}`, typeof value !== typeof found, value);
    if (typeof found === 'number') for (const by of [1, -1]) yield set(`${found} + ${by}`, false, found + by);
    if (typeof found === 'bigint')
      for (let bit = 0n; bit < 64n; bit += 7n) yield set(`bit ${bit}`, false, found ^ (1n << bit));
    if (typeof found === 'boolean') yield set(`${!found}`, false, !found);
    if (found instanceof Uint8Array) {
      yield set('a byte more', false, Uint8Array.from([...found, 1]));
      yield set('a byte less', false, found.slice(1));
      yield set('very long', true, new Uint8Array(1 << 20));
      for (const at of found.keys()) {
        if (at > 80) break;
        yield set(
          `byte ${at}`,
          false,
          found.map((byte, index) => (index === at ? byte ^ 0xff : byte)),
        );
      }
    } else if (Array.isArray(found)) {
      yield set('one more', false, [...found, found.at(-1) ?? 0]);
      yield set('one less', false, found.slice(1));
      yield set('very long', true, new Array(100_000).fill(found[0] ?? 0));
      yield set('a hole', true, [undefined, ...found.slice(1)]);
    } else if (typeof found === 'object' && found !== null) {
      yield set('a field more', true, { ...found, surplus: 1 });
    }
  }
}

/** Path and value of everything in a state, containers too. */
function* fieldsOf(value: unknown, path: readonly Key[] = []): Generator<[readonly Key[], unknown]> {
  if (path.length > 0) yield [path, value];
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
  for (const [key, inner] of Object.entries(value)) {
    yield* fieldsOf(inner, [...path, Array.isArray(value) ? Number(key) : key]);
  }
}
