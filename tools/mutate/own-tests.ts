import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';

/** Imports of types load nothing. */
const typesOnly = /\bimport type [^;]*;/g;
/** What a file names that it loads: imports, and the first files of threads. */
const named = /\b(?:from|import|URL)\b\s*\(?\s*'(\.{1,2}\/[^']+\.ts)'/g;

/** Source files below the paths, from the root on, in order. @throws if there is nothing to change under a path */
export function sourceFilesOf(paths: readonly string[], root: string): string[] {
  const files = new Set<string>();
  for (const path of paths) {
    const absolute = resolve(root, path);
    if (!existsSync(absolute)) throw new Error(`there is no ${path}`);
    const found = statSync(absolute).isDirectory()
      ? readdirSync(absolute, { recursive: true, encoding: 'utf8' }).map((name) => join(absolute, name))
      : [absolute];
    const sources = found.filter((file) => file.endsWith('.ts')).map((file) => relative(root, file));
    if (sources.length === 0) throw new Error(`${path}: no TypeScript in it`);
    for (const file of sources.sort()) {
      if (!/^(src|firmware|tools)\//.test(file)) throw new Error(`${file} is no source file of this repository`);
      files.add(file);
    }
  }
  return [...files];
}

/**
 * The tests that answer for a source file: those in the folder of test/unit that mirrors its own which load the file, if only
 * through others. The file's namesake comes first. Where there are none, or the namesake is in test/kvm, the same there; failing that,
 * all unit tests that load it.
 */
export function ownTests(source: string, root: string): string[] {
  const mirror = dirname(source).replace(/^src(\/|$)/, '');
  const isNamesake = (test: string): boolean => basename(test) === basename(source).replace(/\.ts$/, '.test.ts');
  const [unit, kvm] = ['test/unit', 'test/kvm'].map((tier) => testsIn(join(tier, mirror), source, root)) as [
    string[],
    string[],
  ];
  const nearest = unit.some(isNamesake) || !kvm.some(isNamesake) ? [unit, kvm] : [kvm];
  const tests = nearest.find(({ length }) => length > 0) ?? testsIn('test/unit', source, root, true);
  return tests.sort((a, b) => Number(isNamesake(b)) - Number(isNamesake(a)));
}

/** Tests of a folder that load `source`. */
function testsIn(folder: string, source: string, root: string, recursive = false): string[] {
  return testsBelow(folder, root, recursive).filter((file) => loads(file, source, root));
}

function testsBelow(folder: string, root: string, recursive: boolean): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(folder, name))
    .sort();
}

function loads(test: string, source: string, root: string): boolean {
  const seen = new Set<string>();
  const open = [test];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (file === source) return true;
    if (seen.has(file) || !existsSync(join(root, file))) continue;
    seen.add(file);
    const text = readFileSync(join(root, file), 'utf8').replace(typesOnly, '');
    for (const [, name] of text.matchAll(named)) open.push(join(dirname(file), name as string));
  }
  return false;
}
