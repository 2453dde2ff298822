import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { unpackPackages } from './apt.ts';
import { execute } from './execute.ts';
import { fetchOnce, type PackageRequest } from './fetch-once.ts';
import { commandFromSet } from './run-from-set.ts';

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

/** Fetches `request.names` and unpacks them. */
export async function fetchPackages(request: PackageRequest): Promise<PackageSet> {
  const { entry, versions, key } = await fetchOnce(request, {
    kind: 'packages',
    format: setFormat,
    fill: async (directory, fetched) => {
      const root = join(directory, 'root');
      await unpackPackages(fetched.apt, fetched.packages, root, fetched.progress);
      await indexModules(root);
    },
  });
  return { root: join(entry, 'root'), versions, key };
}

/** Writes the modules.dep of each kernel in `root`: the one thing of a kernel's installation script that is needed here. */
async function indexModules(root: string): Promise<void> {
  const kmod = ['usr/bin/kmod', 'bin/kmod'].find((path) => existsSync(join(root, path)));
  if (kmod === undefined) return;
  const folder = ['usr/lib/modules', 'lib/modules'].find((path) => existsSync(join(root, path)));
  for (const release of folder === undefined ? [] : await readdir(join(root, folder))) {
    const { program, args } = commandFromSet(root, kmod, 'depmod');
    await execute(program, [...args, '-b', root, release]);
  }
}
