import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PackageError } from '../packages/apt.ts';
import { cached, keyOf } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';
import { fetchPackages, type PackageSet } from '../packages/package-set.ts';
import { type Progress, silent } from '../packages/progress.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { fetchKernel, imageSuites, type Kernel, type KernelFlavour } from './kernel.ts';
import { formatModulesDep, loadOrder, moduleName } from './modules.ts';

/** A file to put into an image: its bytes, a file of this machine, or a symbolic link. */
export type ImageFile = { readonly path: string; readonly mode?: number } & (
  | { readonly content: Uint8Array | string }
  | { readonly source: string }
  | { readonly symlink: string }
);

export interface InitramfsRequest {
  /** Kernel modules to load, in this order; what they need is added. */
  readonly modules: readonly string[];
  /** Debian packages to unpack, with all they depend on, without documentation. */
  readonly packages?: readonly string[];
  readonly files?: readonly ImageFile[];
  /** The text of /init; the default loads the modules and gives a shell on the console. */
  readonly init?: string;
  readonly kernel?: KernelFlavour;
  readonly progress?: Progress;
}

const builderVersion = 2;
/** busybox's shell would run busybox's commands even where a package brought the real ones. */
const shellBesidePackages = 'dash';

/**
 * /init of a guest: says so before anything else (boot times are measured to that line), then gives a shell on the
 * console; leaving the shell powers off. `poweroff -f` does so at once. With packages
 * the shell is dash, and their commands come before busybox's.
 */
export const shellInit = `#!/bin/sh
echo 'guest: init'
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
[ -s /etc/modules ] && modprobe -a $(cat /etc/modules)
hostname guest
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PS1='guest# ' TERM=\${TERM:-linux}
setsid cttyhack /bin/sh
poweroff -f
`;

/**
 * An initramfs of static busybox, modules and whatever else is asked for; the path of an uncompressed cpio in the
 * cache (unpacking costs a slow guest more than reading).
 */
export async function buildGuestInitramfs(request: InitramfsRequest): Promise<string> {
  const progress = request.progress ?? silent;
  const kernel = await fetchKernel(request.kernel ?? 'cloud', { progress });
  const busybox = await fetchPackages({ names: ['busybox-static'], suites: imageSuites, progress });
  const packages =
    request.packages === undefined || request.packages.length === 0
      ? undefined
      : await fetchPackages({ names: [...request.packages, shellBesidePackages], suites: imageSuites, progress });
  const files = await fileEntries(request.files ?? []);
  const init = request.init ?? shellInit;
  const digest = createHash('sha256');
  for (const entry of files) {
    digest.update(`${JSON.stringify({ ...entry, content: undefined })}\n`);
    if (entry.type === 'file') digest.update(entry.content);
  }
  const key = keyOf(
    builderVersion,
    kernel.packages.key,
    busybox.key,
    packages?.key ?? null,
    request.modules,
    init,
    digest.digest('hex'),
  );
  const entry = await cached({
    kind: 'initramfs',
    key,
    progress,
    build: async (directory) => {
      progress('building the initramfs');
      const fromPackages = packages === undefined ? [] : await packageEntries(packages);
      const archive = cpioArchive([
        ...baseEntries,
        ...fromPackages,
        ...(await busyboxEntries(busybox, new Set(fromPackages.map(({ path }) => basename(path))))),
        ...(await moduleEntries(kernel, request.modules)),
        { path: 'init', type: 'file', mode: 0o755, content: init },
        ...files,
      ]);
      await writeFile(join(directory, 'initramfs.cpio'), archive);
    },
  });
  return join(entry, 'initramfs.cpio');
}

const baseEntries: readonly CpioEntry[] = [
  ...['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'usr/bin', 'usr/sbin', 'mnt'].map(
    (path) => ({ path, type: 'directory' }) as const,
  ),
  // The kernel opens this for /init's standard streams before anything is mounted.
  { path: 'dev/console', type: 'character-device', major: 5, minor: 1 },
  { path: 'dev/null', type: 'character-device', mode: 0o666, major: 1, minor: 3 },
  { path: 'etc/passwd', type: 'file', content: 'root:x:0:0:root:/root:/bin/sh\n' },
  { path: 'etc/group', type: 'file', content: 'root:x:0:\n' },
];

/** busybox and a link for each of its commands but those in `taken`. */
export async function busyboxEntries(
  busybox: PackageSet,
  taken: ReadonlySet<string> = new Set(),
): Promise<CpioEntry[]> {
  const binary = ['bin/busybox', 'usr/bin/busybox'].map((path) => join(busybox.root, path));
  const source = await firstReadable(binary);
  // Static, so it runs on this machine as it is.
  const applets = (await execute(source.path, ['--list']))
    .split('\n')
    .filter((name) => name !== '' && name !== 'busybox');
  return [
    { path: 'bin/busybox', type: 'file', mode: 0o755, content: source.content },
    ...applets
      .filter((name) => !taken.has(name))
      .map((name) => ({ path: `bin/${name}`, type: 'symlink', target: 'busybox' }) as const),
  ];
}

async function firstReadable(paths: readonly string[]): Promise<{ path: string; content: Buffer }> {
  for (const path of paths) {
    const content = await readFile(path).catch(() => undefined);
    if (content !== undefined) return { path, content };
  }
  throw new PackageError(`none of ${paths.join(', ')} is there`);
}

/** Modules `names` with all they need, a modules.dep for them, and /etc/modules with the names in loading order. */
export async function moduleEntries(kernel: Kernel, names: readonly string[]): Promise<CpioEntry[]> {
  const order = loadOrder(kernel.modules, names);
  const folder = `lib/modules/${kernel.release}`;
  const text = (path: string, content: string) => ({ path, type: 'file', content }) as const;
  const files = await Promise.all(
    order.map(async (path): Promise<CpioEntry> => {
      const content = await readFile(join(kernel.modulesFolder, path));
      return { path: `${folder}/${path}`, type: 'file', content };
    }),
  );
  return [
    ...files,
    text(`${folder}/modules.dep`, formatModulesDep(kernel.modules, order)),
    text('etc/modules', order.map((path) => `${moduleName(path)}\n`).join('')),
  ];
}

async function fileEntries(files: readonly ImageFile[]): Promise<(CpioEntry & { path: string })[]> {
  return Promise.all(
    files.map(async (file): Promise<CpioEntry> => {
      if ('symlink' in file) return { path: file.path, type: 'symlink', target: file.symlink };
      if ('content' in file) {
        return { path: file.path, type: 'file', mode: file.mode ?? 0o644, content: file.content };
      }
      const info = await lstat(file.source);
      return {
        path: file.path,
        type: 'file',
        mode: file.mode ?? info.mode & 0o777,
        content: await readFile(file.source),
      };
    }),
  );
}

/** Parts of packages that no guest reads. */
export const uselessFolders = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/info',
  'usr/share/lintian',
  'usr/share/bug',
];

/** Everything in `set`, documentation left out, /lib and its like kept where the packages put them. */
async function packageEntries(set: PackageSet): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  const walk = async (folder: string): Promise<void> => {
    for (const item of await readdir(join(set.root, folder), { withFileTypes: true })) {
      const path = folder === '' ? item.name : `${folder}/${item.name}`;
      const full = join(set.root, path);
      if (uselessFolders.includes(path)) continue;
      if (item.isDirectory()) {
        entries.push({ path, type: 'directory' });
        await walk(path);
      } else if (item.isSymbolicLink()) {
        entries.push({ path, type: 'symlink', target: await readlink(full) });
      } else if (item.isFile()) {
        const mode = (await lstat(full)).mode & 0o7777;
        entries.push({ path, type: 'file', mode, content: await readFile(full) });
      }
    }
  };
  await walk('');
  return entries;
}
