import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cpioArchive } from '../images/cpio.ts';
import { busyboxEntries, moduleEntries } from '../images/initramfs.ts';
import { imageSuites } from '../images/kernel.ts';
import { cached, keyOf } from '../packages/cache.ts';
import { execute } from '../packages/execute.ts';
import { fetchPackages } from '../packages/package-set.ts';
import type { Progress } from '../packages/progress.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { bundle } from './bundle.ts';
import { type HostTree, hostTree } from './host-tree.ts';

/** What an emulated host boots from. */
export interface HostImage {
  readonly kernel: string;
  /** Finds the disk, lays a RAM file system over it, and starts the agent; or boots the system that `lab.root=` names. */
  readonly initramfs: string;
  /** The host tree as a read-only EROFS disk, shared by all hosts. */
  readonly disk: string;
}

/** Needed to reach the disk and to write over it. */
const bootModules = ['virtio_pci', 'virtio_blk', 'erofs', 'overlay', 'crc32c_generic', 'ext4'] as const;
/** Needed before the first command: the channel, KVM, and what a VMM's network is made of. */
const hostModules = ['virtio_console', 'virtio_net', 'kvm_amd', 'tun', 'bridge', 'veth', 'vhost_net', 'sch_netem'];

/**
 * A system that boots from a disk of its own has of the lab's what lies over it until it is off: Node, the modules of the
 * kernel, and the agent as one more unit of its systemd. It is to be of the release whose libraries Node runs on.
 */
const initramfsInit = `#!/bin/sh
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
modprobe -a $(cat /etc/modules)
mkdir -p /disk /over /host
mount -t erofs -o ro /dev/vda /disk
root=
for word in $(cat /proc/cmdline); do
  case $word in lab.root=*) root=\${word#*=} ;; esac
done
if [ -n "$root" ]; then
  mount -t ext4 $root /host
  mkdir -p /host/usr/lib/modules/$(uname -r)
  touch /host/usr/bin/node
  for path in usr/bin/node usr/lib/modules/$(uname -r); do mount --bind /disk/$path /host/$path; done
  echo "$root / ext4 errors=remount-ro 0 1" > /host/etc/fstab
  mount -t tmpfs -o mode=755 tmpfs /host/run
  cp -a /lab /host/run/lab
  mkdir -p /host/run/systemd/system/sysinit.target.wants
  cp /lab/lab-agent.service /host/run/systemd/system/
  ln -s ../lab-agent.service /host/run/systemd/system/sysinit.target.wants/
  umount /proc
  mount --move /dev /host/dev
  exec switch_root /host /sbin/init
fi
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/disk,upperdir=/over/upper,workdir=/over/work overlay /host
cp -a /lab /host/run/lab
cp /lab/inittab /host/etc/inittab
umount /proc
mount --move /dev /host/dev
exec switch_root /host /usr/bin/busybox init
`;

/** busybox init's table: it reaps orphans, which Node as process 1 would not. */
const inittab = `::sysinit:/run/lab/start
::once:/run/lab/agent
::ctrlaltdel:/usr/bin/busybox poweroff -f
`;

/** The same where systemd is process 1, which has mounted all that. */
const agentUnit = `[Unit]
Description=Agent of the lab
DefaultDependencies=no
After=systemd-remount-fs.service systemd-udevd.service

[Service]
ExecStartPre=/bin/sh /run/lab/devices
ExecStart=/run/lab/agent
`;

const startScript = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
. /run/lab/devices
`;

const devicesScript = `modprobe -a ${hostModules.join(' ')}
ip link set lo up
for word in $(cat /proc/cmdline); do
  case $word in
    lab.name=*) hostname \${word#*=}; echo "127.0.0.1 \${word#*=}" >> /etc/hosts ;;
    lab.address=*) ip address add \${word#*=} dev eth0; ip link set eth0 up ;;
  esac
done
`;

/** The agent is the host's reason to be: without it the host goes off, which the lab sees. */
const agentScript = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
cd /
node /run/lab/agent.mjs /dev/vport*p1 < /dev/null > /dev/console 2>&1
echo 'lab: the agent ended' > /dev/console
poweroff -f
`;

/** Makes the images if they are not there. */
export async function hostImage(options: { progress: Progress; refresh?: boolean }): Promise<HostImage> {
  const tree = await hostTree(options);
  return { kernel: tree.kernel.vmlinuz, initramfs: await initramfs(tree, options), disk: await disk(tree, options) };
}

async function disk(tree: HostTree, options: { progress: Progress }): Promise<string> {
  const { progress } = options;
  const entry = await cached({
    kind: 'host-disk',
    key: tree.key,
    progress,
    build: async (directory) => {
      progress('making the host disk');
      const tools = await fetchPackages({ names: ['erofs-utils'], suites: imageSuites, progress });
      const { program, args } = commandFromSet(tools.root, 'usr/bin/mkfs.erofs');
      await execute(program, [...args, '-T0', '--all-root', join(directory, 'host.erofs'), tree.root]);
    },
  });
  return join(entry, 'host.erofs');
}

async function initramfs(tree: HostTree, options: { progress: Progress }): Promise<string> {
  const { progress } = options;
  const agent = bundle('agent.ts');
  const busybox = await fetchPackages({ names: ['busybox-static'], suites: imageSuites, progress });
  const scripts = [initramfsInit, inittab, startScript, devicesScript, agentScript, agentUnit, bootModules];
  const entry = await cached({
    kind: 'host-initramfs',
    key: keyOf(tree.kernel.packages.key, busybox.key, agent, scripts),
    progress,
    build: async (directory) => {
      const file = (path: string, content: string, mode = 0o644) => ({ path, type: 'file', content, mode }) as const;
      const archive = cpioArchive([
        ...['dev', 'proc', 'disk', 'over', 'host'].map((path) => ({ path, type: 'directory' }) as const),
        { path: 'dev/console', type: 'character-device', major: 5, minor: 1 },
        ...(await busyboxEntries(busybox)),
        ...(await moduleEntries(tree.kernel, bootModules)),
        file('init', initramfsInit, 0o755),
        file('lab/start', startScript, 0o755),
        file('lab/devices', devicesScript),
        file('lab/agent', agentScript, 0o755),
        file('lab/agent.mjs', agent),
        file('lab/inittab', inittab),
        file('lab/lab-agent.service', agentUnit),
      ]);
      await writeFile(join(directory, 'host.cpio'), archive);
    },
  });
  return join(entry, 'host.cpio');
}
