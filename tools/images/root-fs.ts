import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PackageError } from '../packages/apt.ts';
import { type ArchiveSet, fetchArchives } from '../packages/archive-set.ts';
import { cached, keyOf } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';
import { fetchPackages } from '../packages/package-set.ts';
import { type Progress, silent } from '../packages/progress.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { uselessFolders } from './initramfs.ts';
import { fetchKernel, imageSuites, type Kernel } from './kernel.ts';
import { loadOrder } from './modules.ts';
import { rootFsFiles, rootFsKernels, rootFsModules } from './root-fs-files.ts';

const builderVersion = 1;
const sizeMib = 600;

/** The system: what boots, finds its devices and its address, and two services people know. */
const packageNames = [
  ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'kmod', 'e2fsprogs', 'iproute2', 'usr-is-merged'],
  ...['nginx', 'redis-server', 'redis-tools'],
] as const;

/** Folders of a Debian root that are links into /usr; they must be there before anything is unpacked. */
const mergedFolders = ['bin', 'sbin', 'lib', 'lib64'] as const;

/**
 * Process 1 of a PID and mount namespace, so that its mounts and what packages' scripts start end with it. Essential
 * packages are there already, but not installed: they go first, as every other script counts on them.
 */
const installScript = `set -e
root=$1 archives=$2 essential=$3
mkdir -p "$root/proc" "$root/dev" "$root/mnt"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  : > "$root/dev/$node"
  mount --bind /dev/$node "$root/dev/$node"
done
mount --bind "$archives" "$root/mnt"
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C HOME=/root
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
install() { chroot "$root" dpkg --status-fd 3 --force-depends --force-unsafe-io --install "$@"; }
cd "$archives"
install $(for name in $essential; do echo /mnt/$name; done)
install $(for name in *.deb; do case " $essential " in *" $name "*) ;; *) echo /mnt/$name ;; esac; done)
unfinished=$(chroot "$root" dpkg --audit)
[ -z "$unfinished" ] || { echo "$unfinished" >&2; exit 1; }
`;

const configureScript = `set -e
systemctl --quiet enable systemd-networkd.service
sed -i -e 's/^bind .*/bind 0.0.0.0/' -e 's/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf
for release in $(ls /lib/modules); do depmod $release; done
rm -f /usr/sbin/policy-rc.d
rm -rf /var/lib/apt/lists /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
find /var/log -type f -delete
# systemd takes these for "nothing below /usr is newer than what was made of it".
touch /etc/.updated /var/.updated
`;

/**
 * An ext4 image of a minimal Debian with systemd, nginx and redis-server, installed from its packages with their
 * scripts; its path in the cache. The kernels of {@link rootFsKernels} find their modules in it.
 */
export async function rootFsImage(options: { progress?: Progress; refresh?: boolean } = {}): Promise<string> {
  const progress = options.progress ?? silent;
  const request = { suites: imageSuites, progress, refresh: options.refresh ?? false };
  const archives = await fetchArchives({ names: packageNames, ...request });
  const tools = await fetchPackages({ names: ['e2fsprogs'], ...request });
  const kernels: Kernel[] = [];
  for (const flavour of rootFsKernels) kernels.push(await fetchKernel(flavour, request));
  const key = keyOf(
    ...[builderVersion, sizeMib, archives.key, tools.key, kernels.map(({ packages }) => packages.key)],
    ...[rootFsModules, rootFsFiles(''), installScript, configureScript],
  );
  const entry = await cached({
    kind: 'root-fs',
    key,
    progress,
    build: async (directory) => {
      mustBeRoot();
      const root = join(directory, 'root');
      const id = createHash('sha256').update(key).digest('hex').slice(0, 32);
      await install(root, archives, progress);
      progress('configuring the root file system');
      for (const kernel of kernels) await copyModules(kernel, root);
      await writeFiles(root, id);
      await execute('chroot', [root, '/bin/sh', '-c', configureScript]);
      for (const folder of uselessFolders) await rm(join(root, folder), { recursive: true, force: true });
      progress('making the ext4 image');
      await makeExt4(tools.root, root, join(directory, 'root.ext4'), id);
      await rm(root, { recursive: true });
    },
  });
  return join(entry, 'root.ext4');
}

function mustBeRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new PackageError(
    'a root file system is made by the scripts of its packages, which need root in a chroot; run this once as root',
  );
}

async function install(root: string, archives: ArchiveSet, progress: Progress): Promise<void> {
  for (const folder of mergedFolders) {
    await mkdir(join(root, 'usr', folder), { recursive: true });
    await symlink(`usr/${folder}`, join(root, folder));
  }
  const files = (await readdir(archives.folder)).sort();
  const essential: string[] = [];
  for (const file of files) {
    const archive = join(archives.folder, file);
    const fields = await execute('dpkg-deb', ['--field', archive, 'Essential']);
    if (fields.trim() === 'yes') essential.push(file);
  }
  for (const [index, file] of files.entries()) {
    // Not `dpkg-deb --extract`: it would put folders where the links into /usr are.
    progress(`unpacking packages: ${Math.round((100 * index) / files.length)} % ${file.split('_')[0]}`);
    await execute('sh', ['-c', extractScript, 'sh', join(archives.folder, file), root]);
  }
  await mkdir(join(root, 'var/lib/dpkg/info'), { recursive: true });
  for (const name of ['status', 'available']) await writeFile(join(root, 'var/lib/dpkg', name), '');
  const excluded = uselessFolders.map((folder) => `path-exclude=/${folder}/*\n`).join('');
  await mkdir(join(root, 'etc/dpkg/dpkg.cfg.d'), { recursive: true });
  await writeFile(join(root, 'etc/dpkg/dpkg.cfg.d/small'), excluded);
  // What invoke-rc.d(8) asks before it starts a service: no.
  await writeFile(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const namespaces = ['--mount', '--pid', '--ipc', '--net', '--fork', '--kill-child=KILL'];
  const script = ['sh', '-c', installScript, 'sh', root, archives.folder, essential.join(' ')];
  let configured = 0;
  await execute('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, ...script], {
    onStatusLine: (line) => {
      const name = /^processing: configure: (\S+)/.exec(line)?.[1];
      if (name === undefined) return;
      configured++;
      progress(`installing packages: ${Math.round((100 * configured) / files.length)} % ${name}`);
    },
  }).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    const remedy = /unshare:|mount:|chroot:/.test(why)
      ? '; that needs the right to mount and to change the root (CAP_SYS_ADMIN, CAP_SYS_CHROOT): run it as root outside a container'
      : '';
    throw new PackageError(`the packages could not be installed in a chroot${remedy}: ${why}`, { cause });
  });
}

const extractScript = 'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" --keep-directory-symlink -xf -';

/** The modules a guest needs, with the lists depmod(8) wants; it runs in the image. */
async function copyModules(kernel: Kernel, root: string): Promise<void> {
  const folder = join(root, 'usr/lib/modules', kernel.release);
  const lists = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'];
  for (const path of [...lists, ...loadOrder(kernel.modules, rootFsModules.image)]) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await copyFile(join(kernel.modulesFolder, path), join(folder, path));
  }
}

async function writeFiles(root: string, machineId: string): Promise<void> {
  for (const file of rootFsFiles(machineId)) {
    const path = join(root, file.path);
    await mkdir(dirname(path), { recursive: true });
    await rm(path, { force: true });
    if (file.symlink === undefined) await writeFile(path, file.content ?? '');
    else await symlink(file.symlink, path);
  }
}

/** Without mounting anything. Nothing is left to initialise at the first mount: the file starts as zeros. */
async function makeExt4(tools: string, root: string, image: string, id: string): Promise<void> {
  await writeFile(image, '');
  await truncate(image, sizeMib * 1024 * 1024);
  const uuid = id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const extended = `root_owner=0:0,hash_seed=${uuid},assume_storage_prezeroed=1,lazy_itable_init=0,lazy_journal_init=0`;
  const { program, args } = commandFromSet(tools, 'sbin/mke2fs');
  const options = ['-q', '-F', '-t', 'ext4', '-L', 'root', '-U', uuid, '-m', '1', '-E', extended];
  await execute(program, [...args, ...options, '-d', root, image], {
    env: { MKE2FS_CONFIG: join(tools, 'etc/mke2fs.conf') },
  });
}
