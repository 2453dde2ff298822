/**
 * C struct layouts as data.
 *
 *     const clock = struct('kvm_clock_data', { clock: u64, flags: u32, pad0: u32, realtime: u64 });
 *     clock.size, clock.offsets.flags          numbers, also for hot paths that use a DataView directly
 *     const now = clock.allocate();            zeroed; now.$bytes goes to the ioctl
 *     now.flags = 0;                           fields are properties
 *
 * Fields follow C's natural alignment. {@link at} gives a field of a union its offset by hand.
 */

/** What a field holds, for code that walks a layout. */
export type FieldShape =
  | { readonly kind: 'number'; readonly minimum: number; readonly maximum: number }
  | { readonly kind: 'bigint'; readonly minimum: bigint; readonly maximum: bigint }
  | { readonly kind: 'bytes'; readonly length: number }
  // biome-ignore lint/suspicious/noExplicitAny: see Fields.
  | { readonly kind: 'array'; readonly length: number; readonly element: Field<any> }
  | { readonly kind: 'struct'; readonly fields: Fields };

/** A type that can stand in a struct: how large it is and how its value is read and written in place. */
export interface Field<T> {
  readonly shape: FieldShape;
  readonly size: number;
  readonly align: number;
  /** Set by {@link at} only. */
  readonly offset?: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
}

type FieldValue<F> = F extends Field<infer T> ? T : never;

/** A struct's fields as properties, over bytes that belong to whoever made the view. */
export type StructView<F extends Fields> = { -readonly [K in keyof F]: FieldValue<F[K]> } & {
  /** The bytes themselves, not a copy. */
  readonly $bytes: Uint8Array;
};

// biome-ignore lint/suspicious/noExplicitAny: a struct's fields differ in type; each is typed again by StructView.
export type Fields = Readonly<Record<string, Field<any>>>;

export interface Struct<F extends Fields> extends Field<StructView<F>> {
  readonly name: string;
  readonly offsets: Readonly<Record<keyof F, number>>;
  /** A view of `bytes` from `offset`. Throws RangeError if the struct does not fit. */
  over(bytes: Uint8Array | DataView, offset?: number): StructView<F>;
  /** A view of fresh zeroed bytes; `tail` adds room behind the struct (flexible array members). */
  allocate(tail?: number): StructView<F>;
}

export type ViewOf<S> = S extends Struct<infer F> ? StructView<F> : never;

const unsigned = (bits: number): FieldShape => ({ kind: 'number', minimum: 0, maximum: 2 ** bits - 1 });
const signed = (bits: number): FieldShape => ({
  kind: 'number',
  minimum: -(2 ** (bits - 1)),
  maximum: 2 ** (bits - 1) - 1,
});
const unsigned64: FieldShape = { kind: 'bigint', minimum: 0n, maximum: 2n ** 64n - 1n };
const signed64: FieldShape = { kind: 'bigint', minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n };

export const u8: Field<number> = {
  shape: unsigned(8),
  size: 1,
  align: 1,
  read: (view, offset) => view.getUint8(offset),
  write: (view, offset, value) => view.setUint8(offset, value),
};
export const u16: Field<number> = {
  shape: unsigned(16),
  size: 2,
  align: 2,
  read: (view, offset) => view.getUint16(offset, true),
  write: (view, offset, value) => view.setUint16(offset, value, true),
};
export const s16: Field<number> = {
  shape: signed(16),
  size: 2,
  align: 2,
  read: (view, offset) => view.getInt16(offset, true),
  write: (view, offset, value) => view.setInt16(offset, value, true),
};
export const u32: Field<number> = {
  shape: unsigned(32),
  size: 4,
  align: 4,
  read: (view, offset) => view.getUint32(offset, true),
  write: (view, offset, value) => view.setUint32(offset, value, true),
};
export const s32: Field<number> = {
  shape: signed(32),
  size: 4,
  align: 4,
  read: (view, offset) => view.getInt32(offset, true),
  write: (view, offset, value) => view.setInt32(offset, value, true),
};
export const u64: Field<bigint> = {
  shape: unsigned64,
  size: 8,
  align: 8,
  read: (view, offset) => view.getBigUint64(offset, true),
  write: (view, offset, value) => view.setBigUint64(offset, value, true),
};
export const s64: Field<bigint> = {
  shape: signed64,
  size: 8,
  align: 8,
  read: (view, offset) => view.getBigInt64(offset, true),
  write: (view, offset, value) => view.setBigInt64(offset, value, true),
};

/** `length` raw bytes. Reading gives a view in place; writing copies, and must bring exactly that many. */
export function bytes(length: number): Field<Uint8Array> {
  return {
    shape: { kind: 'bytes', length },
    size: length,
    align: 1,
    read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length),
    write: (view, offset, value) => {
      if (value.length !== length) throw new RangeError(`${value.length} bytes for a field of ${length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, length).set(value);
    },
  };
}

/** `length` elements of one type. Reading gives copies of scalars and views of structs. */
export function array<T>(element: Field<T>, length: number): Field<T[]> {
  return {
    shape: { kind: 'array', length, element },
    size: element.size * length,
    align: element.align,
    read: (view, offset) => Array.from({ length }, (_, index) => element.read(view, offset + index * element.size)),
    write: (view, offset, values) => {
      if (values.length !== length) throw new RangeError(`${values.length} elements for an array of ${length}`);
      values.forEach((value, index) => {
        element.write(view, offset + index * element.size, value);
      });
    },
  };
}

/** A field that lies at a fixed offset: unions, and gaps that no field names. */
export function at<T>(offset: number, field: Field<T>): Field<T> {
  return { ...field, offset };
}

/** Lays the fields out in order. `size` is for structs that end in a union or padding the fields do not show. */
export function struct<F extends Fields>(name: string, fields: F, size?: number): Struct<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let largest = 0;
  let align = 1;
  for (const field in fields) {
    const type = fields[field] as Field<unknown>;
    const offset = type.offset ?? Math.ceil(end / type.align) * type.align;
    offsets[field] = offset;
    end = offset + type.size;
    largest = Math.max(largest, end);
    align = Math.max(align, type.align);
  }
  const total = size ?? Math.ceil(largest / align) * align;
  // Made for the first view: most structs never have one in most threads, and all of them are defined at every start.
  let made: (new (view: DataView, bytes: Uint8Array) => Instance) | undefined;
  const over = (source: Uint8Array | DataView, offset = 0): StructView<F> => {
    const view = new DataView(source.buffer, source.byteOffset + offset, total);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, source.byteLength - offset);
    made ??= viewClass(fields, offsets);
    return new made(view, bytes) as unknown as StructView<F>;
  };
  return {
    name,
    shape: { kind: 'struct', fields },
    size: total,
    align,
    offsets: offsets as Record<keyof F, number>,
    over,
    allocate: (tail = 0) => over(new Uint8Array(total + tail)),
    read: (view, offset) => over(view, offset),
    write: (view, offset, value) => {
      new Uint8Array(view.buffer, view.byteOffset + offset, total).set(value.$bytes.subarray(0, total));
    },
  };
}

/** What views of a struct are instances of. */
function viewClass(fields: Fields, offsets: Readonly<Record<string, number>>): typeof Instance {
  const made = class extends Instance {};
  for (const field in fields) {
    const type = fields[field] as Field<unknown>;
    const offset = offsets[field] as number;
    Object.defineProperty(made.prototype, field, {
      enumerable: true,
      get(this: Instance) {
        return type.read(this.$view, offset);
      },
      set(this: Instance, value: unknown) {
        type.write(this.$view, offset, value);
      },
    });
  }
  return made;
}

/** A value as plain data: bytes copied, structs as objects of their fields. */
export type Plain<T> = T extends Uint8Array
  ? Uint8Array
  : T extends readonly (infer E)[]
    ? Plain<E>[]
    : T extends { readonly $bytes: Uint8Array }
      ? { -readonly [K in keyof T as K extends '$bytes' ? never : K]: Plain<T[K]> }
      : T;

/** A struct's values as plain data, which keeps nothing of `view`. */
export function toPlain<F extends Fields>(layout: Struct<F>, { $bytes }: StructView<F>): Plain<StructView<F>> {
  return plainAt(layout, viewOf($bytes), 0) as Plain<StructView<F>>;
}

/** A struct made of plain data that has all of its fields. */
export function fromPlain<F extends Fields>(layout: Struct<F>, plain: Plain<StructView<F>>): StructView<F> {
  const made = layout.allocate();
  writePlain(layout, viewOf(made.$bytes), 0, plain);
  return made;
}

/** Without a view for each struct and element inside, which would take several times longer. */
function plainAt(field: Field<unknown>, view: DataView, offset: number): unknown {
  const { shape } = field;
  switch (shape.kind) {
    case 'bytes':
      return (field.read(view, offset) as Uint8Array).slice();
    case 'array': {
      const { element } = shape;
      const plain: unknown[] = [];
      for (let index = 0; index < shape.length; index++) {
        plain.push(plainAt(element, view, offset + index * element.size));
      }
      return plain;
    }
    case 'struct': {
      const { offsets } = field as Struct<Fields>;
      const plain: Record<string, unknown> = {};
      for (const name in shape.fields) {
        plain[name] = plainAt(shape.fields[name] as Field<unknown>, view, offset + (offsets[name] as number));
      }
      return plain;
    }
    default:
      return field.read(view, offset);
  }
}

function writePlain(field: Field<unknown>, view: DataView, offset: number, plain: unknown): void {
  const { shape } = field;
  switch (shape.kind) {
    case 'array': {
      const { element, length } = shape;
      const values = plain as unknown[];
      if (values.length !== length) throw new RangeError(`${values.length} elements for an array of ${length}`);
      for (let index = 0; index < length; index++) {
        writePlain(element, view, offset + index * element.size, values[index]);
      }
      return;
    }
    case 'struct': {
      const { offsets } = field as Struct<Fields>;
      const values = plain as Record<string, unknown>;
      for (const name in shape.fields) {
        writePlain(shape.fields[name] as Field<unknown>, view, offset + (offsets[name] as number), values[name]);
      }
      return;
    }
    default:
      field.write(view, offset, plain);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes that a struct's accessors look at. */
class Instance {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(view: DataView, bytes: Uint8Array) {
    this.#view = view;
    this.#bytes = bytes;
  }

  get $view(): DataView {
    return this.#view;
  }

  get $bytes(): Uint8Array {
    return this.#bytes;
  }
}
