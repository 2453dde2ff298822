import { existsSync } from 'node:fs';
import { join } from 'node:path';

const libraryFolders = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu', 'lib', 'usr/lib'];

/**
 * The command line that runs `program` (a path below `root`) of unpacked packages in place: through their own
 * dynamic linker, so that the C library and all others are theirs whatever the machine has. `calledAs` is for a
 * program that does one thing or another by its name.
 */
export function commandFromSet(root: string, program: string, calledAs = program): { program: string; args: string[] } {
  // Where it is depends on whether the release has merged /lib into /usr.
  const linker = libraryFolders
    .map((folder) => join(root, folder, 'ld-linux-x86-64.so.2'))
    .find((path) => existsSync(path));
  if (linker === undefined) throw new Error(`${root} has no dynamic linker; libc6 is missing there`);
  const path = libraryFolders.map((folder) => join(root, folder)).join(':');
  return {
    program: linker,
    args: ['--library-path', path, '--argv0', calledAs, join(root, program)],
  };
}
