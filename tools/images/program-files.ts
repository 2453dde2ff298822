import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached, keyOf } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';
import { fetchPackages } from '../packages/package-set.ts';
import { type Progress, silent } from '../packages/progress.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { stubLibrary } from '../packages/stub-library.ts';
import { imageSuites } from './kernel.ts';

export interface ProgramRequest {
  /** The Debian package it comes from, and its path in it. */
  readonly package: string;
  readonly path: string;
  /** Libraries that it is linked with and does without: stubs stand for them, one of which has all the functions. */
  readonly without?: {
    /** A library whose symbols have no versions: the linker does not take unversioned ones from one that had some. */
    readonly holder: string;
    readonly others: readonly string[];
    /** What the names of their functions begin with. */
    readonly prefixes: readonly string[];
  };
  readonly progress?: Progress;
}

/** A file of this machine and its place below a root folder. */
export interface PlacedFile {
  readonly source: string;
  readonly path: string;
  readonly mode: number;
}

/** Where programs find libraries and their linker in any Debian root. */
export const libraryFolder = 'usr/lib/x86_64-linux-gnu';
export const dynamicLinker = 'lib64/ld-linux-x86-64.so.2';

const stubVersion = 2;

/**
 * A program of a Debian package with just the libraries it is linked with, for images in which all that the package
 * depends on would be too much.
 */
export async function programFiles(request: ProgramRequest): Promise<PlacedFile[]> {
  const { path, without, progress = silent } = request;
  const set = await fetchPackages({ names: [request.package], suites: imageSuites, progress });
  const { program, args } = commandFromSet(set.root, path);
  if (without !== undefined) {
    const stubs = await cached({
      kind: 'program-stubs',
      key: keyOf(stubVersion, set.key, path, without),
      progress,
      build: async (directory) => {
        const names = functionNames(await readFile(join(set.root, path)), without.prefixes);
        await writeFile(join(directory, without.holder), stubLibrary(names));
        for (const library of without.others) await writeFile(join(directory, library), stubLibrary([]));
      },
    });
    const search = args.indexOf('--library-path') + 1;
    args[search] = `${stubs}:${args[search]}`;
  }
  const linked = parseLinked(await execute(program, ['--list', ...args]));
  return [
    { source: join(set.root, path), path },
    { source: program, path: dynamicLinker },
    ...linked.map(({ name, source }) => ({ source, path: `${libraryFolder}/${name}` })),
  ].map((file) => ({ ...file, mode: 0o755 }));
}

/** Libraries and where they were found, from what the dynamic linker prints for `--list`. */
export function parseLinked(text: string): { name: string; source: string }[] {
  return [...text.matchAll(/^\s*(\S+) => (\/.+) \(0x[0-9a-f]+\)$/gm)].flatMap(([, name = '', source = '']) =>
    // The linker itself is listed by the path that the libraries have for it.
    name.includes('/') ? [] : [{ name, source }],
  );
}

/** Names beginning with one of `prefixes` among the strings of an ELF file. */
export function functionNames(elf: Buffer, prefixes: readonly string[]): string[] {
  const pattern = new RegExp(`(?<=\\0)(?:${prefixes.join('|')})[a-zA-Z0-9_]+(?=\\0)`, 'g');
  return [...new Set(elf.toString('latin1').match(pattern))].sort();
}
