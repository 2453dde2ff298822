import { createHash } from 'node:crypto';
import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { uselessFolders } from '../images/initramfs.ts';
import { fetchKernel, imageSuites, type Kernel } from '../images/kernel.ts';
import { cached, keyOf } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';
import { fetchPackages, type PackageSet } from '../packages/package-set.ts';
import type { Progress } from '../packages/progress.ts';

/**
 * What every host has installed, emulated or not: busybox and tools, Debian's QEMU to compare with, this machine's
 * Node, the kernel (`/boot/vmlinuz`) and its modules. The same folder is an emulated host's disk and a namespace's root.
 */
export interface HostTree {
  /** The folder that stands for `/`. */
  readonly root: string;
  /** Holds `root`, and the empty folders `over` and `merged` that a native host mounts on. */
  readonly folder: string;
  readonly key: string;
  readonly kernel: Kernel;
}

const hostPackages = [
  // dash is /bin/sh: busybox's own shell would run busybox's ip and ps whatever is installed.
  ...['dash', 'bash', 'busybox-static'],
  // kmod's modprobe is where the kernel looks for one, so that `mount -t ext4` and its like find their module.
  ...['bsdutils', 'iproute2', 'kmod', 'procps', 'strace', 'e2fsprogs', 'qemu-system-x86'],
  // Clients of what guests serve.
  ...['curl', 'redis-tools'],
] as const;
const treeVersion = 4;
/** Folders of a Debian root that are links into /usr, here too. */
const mergedFolders = ['bin', 'sbin', 'lib', 'lib64'] as const;

/** Makes the tree if it is not there. */
export async function hostTree(options: { progress: Progress; refresh?: boolean }): Promise<HostTree> {
  const kernel = await fetchKernel('cloud', options);
  const packages = await fetchPackages({ names: hostPackages, suites: imageSuites, ...options });
  const runtime = await nodeRuntime();
  const key = keyOf(treeVersion, kernel.packages.key, packages.key, runtime.key);
  const entry = await cached({
    kind: 'host-tree',
    key,
    progress: options.progress,
    build: async (directory) => {
      options.progress('installing the host');
      await install(join(directory, 'root'), packages, kernel, runtime);
      for (const name of ['over', 'merged']) await mkdir(join(directory, name));
    },
  });
  return { root: join(entry, 'root'), folder: entry, key, kernel };
}

async function install(root: string, packages: PackageSet, kernel: Kernel, runtime: NodeRuntime): Promise<void> {
  for (const folder of mergedFolders) {
    await mkdir(join(root, 'usr', folder), { recursive: true });
    await symlink(`usr/${folder}`, join(root, folder));
  }
  for (const folder of await readdir(packages.root)) {
    const merged = (mergedFolders as readonly string[]).includes(folder);
    await linkFolder(join(packages.root, folder), join(root, merged ? `usr/${folder}` : folder));
  }
  for (const folder of uselessFolders) await rm(join(root, folder), { recursive: true, force: true });
  await linkFolder(kernel.modulesFolder, join(root, 'usr/lib/modules', kernel.release));
  await copyPath(kernel.vmlinuz, join(root, 'boot/vmlinuz'));
  await linkApplets(root);
  for (const path of runtime.files) await copyPath(path, join(root, path));
  await copyPath(process.execPath, join(root, 'usr/bin/node'));
  for (const folder of ['dev', 'proc', 'sys', 'run', 'tmp', 'root', 'opt', 'mnt', 'var', 'etc']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\ntty:x:5:\nkvm:x:106:\n');
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
}

/** Copies a folder by hard links where the cache is one file system. */
async function linkFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await execute('cp', ['-a', '--link', `${from}/.`, to]).catch(() => execute('cp', ['-a', `${from}/.`, to]));
}

/** A link for each command busybox has and no package brought. */
async function linkApplets(root: string): Promise<void> {
  const applets = (await execute(join(root, 'usr/bin/busybox'), ['--list'])).split('\n').filter(Boolean);
  const taken = new Set([...(await readdir(join(root, 'usr/bin'))), ...(await readdir(join(root, 'usr/sbin')))]);
  for (const name of applets) if (!taken.has(name)) await symlink('busybox', join(root, 'usr/bin', name));
}

interface NodeRuntime {
  readonly files: readonly string[];
  readonly key: string;
}

/**
 * What this machine's Node runs on. The C library comes whole: Node may need a newer one than the packages
 * have, and its parts only fit each other.
 */
async function nodeRuntime(): Promise<NodeRuntime> {
  const libraries = (await execute('ldd', [process.execPath])).matchAll(/(?:=>\s+|^\s+)(\/\S+)/gm);
  const libc = (await execute('dpkg', ['-L', 'libc6']))
    .split('\n')
    .filter((path) => /^(\/usr)?\/lib(64)?\/.*\.so(\.\d+)*$/.test(path) && !path.includes('/gconv/'));
  const files = new Set<string>();
  for (const path of [...libc, ...[...libraries].map(([, path = '']) => path)]) {
    files.add(path);
    if ((await lstat(path)).isSymbolicLink()) files.add(await realpath(path));
  }
  const digest = createHash('sha256');
  for (const path of [process.execPath, ...files]) digest.update(path).update(await readFile(path));
  return { files: [...files].sort(), key: digest.digest('hex') };
}

async function copyPath(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  // A hard link to a package's file may stand there: it must not be written through.
  await rm(to, { force: true });
  if ((await lstat(from)).isSymbolicLink()) await symlink(await readlink(from), to);
  else await copyFile(from, to);
}
