/** Where a little-endian field lies in its structure, and how many bytes it takes. */
export type Field = readonly [offset: number, size: 1 | 2 | 4 | 8];

/** A structure as data: its field names, as the specification spells them. */
export type Layout = Readonly<Record<string, Field>>;

/** The fields of one structure in `bytes`, which must be at least as long as its last field asks. */
export interface Fields<L extends Layout> {
  readonly bytes: Uint8Array;
  /** A u64 beyond 2^53 comes out rounded, never wrapped: a range check still sees that it is too large. */
  get(name: keyof L): number;
  /** Writes `value`, cut to the width of the field. */
  set(name: keyof L, value: number): void;
}

/** Gives named access to the structure `layout` in `bytes`. */
export function fieldsOf<L extends Layout>(layout: L, bytes: Uint8Array): Fields<L> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const field = (name: keyof L): Field => layout[name] as Field;
  return {
    bytes,
    get(name) {
      const [offset, size] = field(name);
      if (size === 1) return view.getUint8(offset);
      if (size === 2) return view.getUint16(offset, true);
      if (size === 4) return view.getUint32(offset, true);
      return Number(view.getBigUint64(offset, true));
    },
    set(name, value) {
      const [offset, size] = field(name);
      if (size === 1) view.setUint8(offset, value);
      else if (size === 2) view.setUint16(offset, value, true);
      else if (size === 4) view.setUint32(offset, value, true);
      else view.setBigUint64(offset, BigInt(value), true);
    },
  };
}
