import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { openApt, PackageError, type PrivateApt, type ResolvedPackage, resolvePackages } from './apt.ts';
import { cached, cacheRoot, keyOf, markUsed, replaceFile } from './cache.ts';
import { type Progress, silent } from './progress.ts';

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

/** What is made of the packages of a request. */
export interface FetchRecipe {
  /** The folder of the cache. */
  readonly kind: string;
  /** One no other recipe has; a new one when `fill` makes something else of the same packages. */
  readonly format: number;
  /** The packages' scripts will run, see {@link resolvePackages}. */
  readonly scriptsRun?: boolean;
  /** Fills the entry's folder. */
  readonly fill: (directory: string, fetched: Fetched) => Promise<void>;
}

export interface Fetched {
  readonly apt: PrivateApt;
  readonly packages: readonly ResolvedPackage[];
  readonly progress: Progress;
}

const Resolved = v.object({ key: v.string(), versions: v.record(v.string(), v.string()) });

/** An entry of the cache made of packages. */
export interface FetchedEntry extends v.InferOutput<typeof Resolved> {
  readonly entry: string;
}

/**
 * Makes `recipe` of `request.names`. What was fetched once is used without asking the mirror, until `refresh`:
 *
 *     resolved/<hash of the request>.json   which versions that request meant, the last time it was asked
 *     <kind>/<hash of the versions>         what was made of them
 */
export async function fetchOnce(request: PackageRequest, recipe: FetchRecipe): Promise<FetchedEntry> {
  const { kind, format } = recipe;
  const progress = request.progress ?? silent;
  const asked = keyOf(format, [...request.names].sort(), request.suites, request.preferSuite ?? null);
  const pointer = join(cacheRoot(), 'resolved', `${asked}.json`);
  const known = request.refresh ? undefined : await readResolved(pointer);
  if (known !== undefined && existsSync(join(cacheRoot(), kind, known.key))) {
    const entry = join(cacheRoot(), kind, known.key);
    await markUsed(entry);
    return { ...known, entry };
  }
  const apt = await openApt(request.suites, progress);
  const { preferSuite } = request;
  const packages = await resolvePackages(apt, request.names, { preferSuite, scriptsRun: recipe.scriptsRun ?? false });
  if (packages.length === 0) throw new PackageError(`no packages found for ${request.names.join(', ')}`);
  const versions = Object.fromEntries(packages.map(({ name, version }) => [name, version]));
  const key = keyOf(format, versions);
  const entry = await cached({
    kind,
    key,
    progress,
    build: (directory) => recipe.fill(directory, { apt, packages, progress }),
  });
  await replaceFile(pointer, JSON.stringify({ key, versions }));
  return { entry, key, versions };
}

async function readResolved(path: string): Promise<v.InferOutput<typeof Resolved> | undefined> {
  try {
    return v.parse(Resolved, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
