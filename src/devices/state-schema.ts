import * as v from 'valibot';
import { VmStateError } from './vm-state-error.ts';

// What states are made of. Only the main thread loads this, and the files named `-schema`: it checks a state before the
// threads that start fast get to see it.

const number = (largest: number, name: string) => {
  const message = `is no ${name}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(0, message), v.maxValue(largest, message));
};

export const u8 = number(0xff, 'number from 0 to 255');
export const u16 = number(0xffff, 'number from 0 to 65535');
export const u32 = number(0xffff_ffff, 'number of 32 bits');

const u64Message = 'is no number of 64 bits';
export const u64 = v.pipe(
  v.bigint(u64Message),
  v.minValue(0n, u64Message),
  v.maxValue(0xffff_ffff_ffff_ffffn, u64Message),
);

export const flag = v.boolean('is neither true nor false');

/** Bytes, as a copy: those that were decoded are a piece of all that was read. */
export const bytes = (most: number) =>
  v.pipe(
    v.instance(Uint8Array, 'is no sequence of bytes'),
    v.maxLength(most, ({ received }) => `has ${received} bytes and may have ${most}`),
    v.transform((piece) => new Uint8Array(piece)),
  );

export const list = <T extends v.GenericSchema>(item: T, most: number) =>
  v.pipe(
    v.array(item, 'is no list'),
    v.maxLength(most, ({ received }) => `has ${received} entries and may have ${most}`),
  );

/** Named fields: these, all of them, and no others. */
export const record = <T extends v.ObjectEntries>(entries: T) =>
  v.strictObject(entries, ({ received, expected }) =>
    expected === 'never' ? 'is not known' : received === 'undefined' ? 'is missing' : 'is no record of named fields',
  );

/**
 * The value as a state.
 *
 * @param version the newest that is known
 * @throws VmStateError that names what is wrong
 */
export function checkState<T>(part: string, version: number, schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const found = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (typeof found === 'number' && found > version) {
    const reason = `was written by a newer version of colo-vmm: it is of version ${found}, and this one knows up to ${version}`;
    throw new VmStateError(part, reason);
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  throw new VmStateError(`${part}${path}`, issue.message);
}
