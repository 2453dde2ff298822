import * as v from 'valibot';

/**
 * Reads `key=value,key=value`, the way QEMU and cloud-hypervisor take a device. A comma in a value is written twice.
 * The first part that is not of this form is returned as a string.
 */
export function parseKeyValues(text: string): Record<string, string> | string {
  const parts = text.replaceAll(',,', '\0').split(',');
  const values: Record<string, string> = {};
  for (const part of parts) {
    const equals = part.indexOf('=');
    const key = part.slice(0, equals);
    // `in`, not hasOwn: `__proto__` would be a key that nobody sees.
    if (equals < 1 || key in values) return part.replaceAll('\0', ',');
    values[key] = part.slice(equals + 1).replaceAll('\0', ',');
  }
  return values;
}

/** `key=value,...` as a record of strings; an object from a configuration file as it is. */
export function keyValues(example: string) {
  return v.union(
    [
      v.pipe(
        v.string(),
        v.rawTransform<string, Record<string, unknown>>(({ dataset, addIssue, NEVER }) => {
          const values = parseKeyValues(dataset.value);
          if (typeof values !== 'string') return values;
          addIssue({ message: `"${values}" is not one more key=value; write it like ${example}` });
          return NEVER;
        }),
      ),
      v.custom<Record<string, unknown>>(
        (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
      ),
    ],
    (issue) => issue.issues?.find(({ kind }) => kind === 'transformation')?.message ?? `write it like ${example}`,
  );
}

/** What may be given once or several times, as a list. */
export const repeatable = v.pipe(
  v.unknown(),
  v.transform((value): unknown[] => (Array.isArray(value) ? value : [value])),
);
