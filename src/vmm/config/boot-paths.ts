import * as v from 'valibot';

const path = v.pipe(v.string('give a path'), v.nonEmpty('give a path'));

/** What a machine boots, by the names of files. */
export const bootPaths = {
  kernel: path,
  initrd: v.optional(path),
  cmdline: v.string('give a string'),
  kaslr: v.picklist(['on', 'off'], 'is on or off'),
};

export type BootPaths = v.InferOutput<v.StrictObjectSchema<typeof bootPaths, undefined>>;
