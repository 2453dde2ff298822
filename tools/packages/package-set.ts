import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { openApt, PackageError, resolvePackages, unpackPackages } from './apt.ts';
import { cached, cacheRoot, keyOf, markUsed, replaceFile } from './cache.ts';
import { execute } from './execute.ts';
import { type Progress, silent } from './progress.ts';
import { commandFromSet } from './run-from-set.ts';

/** Packages wanted together, and where from. */
export interface PackageRequest {
  readonly names: readonly string[];
  /** Suites of the machine's mirror, such as `bookworm`, `bookworm-security`. */
  readonly suites: readonly string[];
  /** The suite to prefer where several have a package (apt's `-t`). */
  readonly preferSuite?: string;
  /** Ask the mirror again even if this was fetched before. */
  readonly refresh?: boolean;
  readonly progress?: Progress;
}

/** Packages with all they depend on, unpacked side by side as on an installed machine, no script of theirs run. */
export interface PackageSet {
  /** The folder that stands for `/`. */
  readonly root: string;
  /** Of every package in it, the asked-for ones and those they need. */
  readonly versions: Readonly<Record<string, string>>;
  /** Changes when any version does: part of the key of whatever is made from it. */
  readonly key: string;
}

const setFormat = 2;
const Resolved = v.object({ key: v.string(), versions: v.record(v.string(), v.string()) });

/**
 * Fetches `request.names`. What was fetched once is used without asking the mirror, until `refresh`:
 *
 *     resolved/<hash of the request>.json   which versions that request meant, the last time it was asked
 *     packages/<hash of the versions>/root  their files
 */
export async function fetchPackages(request: PackageRequest): Promise<PackageSet> {
  const progress = request.progress ?? silent;
  const asked = keyOf(setFormat, [...request.names].sort(), request.suites, request.preferSuite ?? null);
  const pointer = join(cacheRoot(), 'resolved', `${asked}.json`);
  const known = request.refresh ? undefined : await readResolved(pointer);
  if (known !== undefined && existsSync(join(cacheRoot(), 'packages', known.key))) {
    const entry = join(cacheRoot(), 'packages', known.key);
    await markUsed(entry);
    return { ...known, root: join(entry, 'root') };
  }
  const apt = await openApt(request.suites, progress);
  const packages = await resolvePackages(apt, request.names, request.preferSuite);
  if (packages.length === 0) throw new PackageError(`no packages found for ${request.names.join(', ')}`);
  const versions = Object.fromEntries(packages.map(({ name, version }) => [name, version]));
  const key = keyOf(setFormat, versions);
  const entry = await cached({
    kind: 'packages',
    key,
    progress,
    build: async (directory) => {
      const root = join(directory, 'root');
      await unpackPackages(apt, packages, root, progress);
      await indexModules({ root, versions, key });
    },
  });
  await replaceFile(pointer, JSON.stringify({ key, versions }));
  return { root: join(entry, 'root'), versions, key };
}

/** Writes the modules.dep of each kernel in `set`: the one thing of a kernel's installation script that is needed here. */
async function indexModules(set: PackageSet): Promise<void> {
  const kmod = ['usr/bin/kmod', 'bin/kmod'].find((path) => existsSync(join(set.root, path)));
  if (kmod === undefined) return;
  const folder = ['usr/lib/modules', 'lib/modules'].find((path) => existsSync(join(set.root, path)));
  for (const release of folder === undefined ? [] : await readdir(join(set.root, folder))) {
    const { program, args } = commandFromSet(set.root, kmod, 'depmod');
    await execute(program, [...args, '-b', set.root, release]);
  }
}

async function readResolved(path: string): Promise<v.InferOutput<typeof Resolved> | undefined> {
  try {
    return v.parse(Resolved, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
