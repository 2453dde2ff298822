import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PackageError } from '../packages/apt.ts';
import { fetchPackages, type PackageSet } from '../packages/package-set.ts';
import type { Progress } from '../packages/progress.ts';
import { type ModuleIndex, parseModuleIndex } from './modules.ts';

/**
 * The Debian release whose kernel, busybox and QEMU are used, on whatever release the machine runs: the one
 * all that is known about the lab was measured with.
 */
export const imageSuites = ['bookworm', 'bookworm-updates', 'bookworm-security'] as const;

/** `cloud` has the drivers of virtual machines only; `generic` is the kernel of an ordinary Debian machine. */
export type KernelFlavour = 'cloud' | 'generic';

const metaPackage = { cloud: 'linux-image-cloud-amd64', generic: 'linux-image-amd64' } as const;

export interface KernelOptions {
  readonly progress?: Progress;
  readonly refresh?: boolean;
}

/** A Debian kernel, unpacked in the cache. */
export interface Kernel {
  /** The bzImage. */
  readonly vmlinuz: string;
  /** As uname -r says: `6.1.0-56-cloud-amd64`. */
  readonly release: string;
  /** The folder `lib/modules/<release>`. */
  readonly modulesFolder: string;
  readonly modules: ModuleIndex;
  readonly packages: PackageSet;
}

/** Debian's stock kernel, fetched if it is not there. */
export async function fetchKernel(flavour: KernelFlavour = 'cloud', options: KernelOptions = {}): Promise<Kernel> {
  const packages = await fetchPackages({ names: [metaPackage[flavour], 'kmod'], suites: imageSuites, ...options });
  const file = (await readdir(join(packages.root, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (file === undefined) throw new PackageError(`${metaPackage[flavour]} brought no kernel`);
  const release = file.slice('vmlinuz-'.length);
  const modulesFolder = ['lib/modules', 'usr/lib/modules']
    .map((folder) => join(packages.root, folder, release))
    .find((folder) => existsSync(folder));
  if (modulesFolder === undefined) throw new PackageError(`${metaPackage[flavour]} brought no modules for ${release}`);
  const read = (name: string) => readFile(join(modulesFolder, name), 'utf8');
  const modules = parseModuleIndex(await read('modules.dep'), await read('modules.builtin'));
  return { vmlinuz: join(packages.root, 'boot', file), release, modulesFolder, modules, packages };
}

/** The path of Debian's stock kernel image for guests, fetched if it is not there. */
export async function guestKernel(flavour: KernelFlavour = 'cloud', options: KernelOptions = {}): Promise<string> {
  return (await fetchKernel(flavour, options)).vmlinuz;
}
