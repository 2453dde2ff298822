import * as v from 'valibot';
import { list, record } from '../../devices/state-schema.ts';
import type { Field, Fields, Plain, Struct, StructView } from '../../host/layout.ts';

/** Checks plain data that claims to be a struct's: all fields, each in its range, and no others. */
export function schemaOf<F extends Fields>(layout: Struct<F>): v.GenericSchema<unknown, Plain<StructView<F>>> {
  return fieldSchema(layout) as v.GenericSchema<unknown, Plain<StructView<F>>>;
}

function fieldSchema({ shape, size }: Field<unknown>): v.GenericSchema {
  switch (shape.kind) {
    case 'number': {
      const message = `is no number from ${shape.minimum} to ${shape.maximum}`;
      return v.pipe(
        v.number(message),
        v.integer(message),
        v.minValue(shape.minimum, message),
        v.maxValue(shape.maximum, message),
      );
    }
    case 'bigint': {
      const message = `is no number of ${size * 8} bits`;
      return v.pipe(v.bigint(message), v.minValue(shape.minimum, message), v.maxValue(shape.maximum, message));
    }
    case 'bytes':
      return exactBytes(shape.length);
    case 'array':
      return v.pipe(
        list(fieldSchema(shape.element), shape.length),
        v.length(shape.length, ({ received }) => `has ${received} entries and must have ${shape.length}`),
      );
    case 'struct':
      return record(
        Object.fromEntries(Object.entries(shape.fields).map(([name, field]) => [name, fieldSchema(field)])),
      );
    default:
      return shape satisfies never;
  }
}

/** So many bytes, as a copy. */
export function exactBytes(length: number): v.GenericSchema<unknown, Uint8Array> {
  return v.pipe(
    v.instance(Uint8Array, 'is no sequence of bytes'),
    v.length(length, ({ received }) => `has ${received} bytes and must have ${length}`),
    v.transform((piece) => new Uint8Array(piece)),
  );
}
