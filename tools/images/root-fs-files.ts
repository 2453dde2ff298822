import type { KernelFlavour } from './kernel.ts';

/** What is written into a root file system after its packages are installed, and what boots it. */
export interface RootFsFile {
  readonly path: string;
  /** The content, or the target of a symbolic link. */
  readonly content?: string;
  readonly symlink?: string;
}

export const rootFsKernels: readonly KernelFlavour[] = ['cloud', 'generic'];

/** Modules the initramfs loads: enough to see the disk, wherever the machine shows it, and to mount it. */
const bootModules = ['virtio_mmio', 'virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'] as const;
/** Modules that udev and the kernel find in the image itself: the other devices of a virtual machine. */
const deviceModules = ['virtio_net', 'virtio_rng', 'button', 'evdev', 'autofs4'] as const;

export const rootFsModules = { boot: bootModules, image: [...bootModules, ...deviceModules] } as const;

/**
 * /init of the initramfs: finds the disk that `root=` names (default: the first virtio disk) and becomes the system on
 * it. Says so before anything else, as every guest of ours does.
 */
export const rootFsInit = `#!/bin/sh
echo 'guest: init'
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
root=/dev/vda
for word in $(cat /proc/cmdline); do
  case $word in root=*) root=\${word#*=} ;; esac
done
modprobe -a $(cat /etc/modules)
tries=0
until [ -b $root ] || [ $tries = 50 ]; do
  sleep 0.2
  tries=$((tries + 1))
done
mkdir -p /newroot
if ! mount -t ext4 $root /newroot; then
  echo "guest: $root cannot be mounted"
  poweroff -f
fi
umount /proc
mount --move /dev /newroot/dev
exec switch_root /newroot /sbin/init
`;

/**
 * Units of Debian's that do nothing for a guest that lives for minutes, and whose start costs a slow one seconds:
 * upkeep of packages and disks, consoles it has not got, file systems nobody asked for.
 */
const maskedUnits = [
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'fstrim.timer'],
  ...['e2scrub_all.timer', 'e2scrub_reap.service', 'systemd-tmpfiles-clean.timer', 'systemd-update-utmp.service'],
  ...['systemd-update-utmp-runlevel.service', 'getty-static.service', 'getty@tty1.service', 'systemd-pstore.service'],
  ...['modprobe@configfs.service', 'modprobe@drm.service', 'modprobe@efi_pstore.service', 'modprobe@fuse.service'],
  ...['modprobe@loop.service', 'modprobe@dm_mod.service', 'systemd-modules-load.service', 'systemd-fsckd.socket'],
  ...['systemd-initctl.socket', 'proc-sys-fs-binfmt_misc.automount', 'systemd-network-generator.service'],
  ...['sys-kernel-config.mount', 'sys-fs-fuse-connections.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount'],
  ...['dev-hugepages.mount', 'dev-mqueue.mount'],
] as const;

const network = `[Match]
Type=ether

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
`;

/** Root is in at once, with the prompt that whoever types at a guest waits for. */
const console = `[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I vt220
`;

const profile = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PS1='guest# '
bind 'set enable-bracketed-paste off' 2> /dev/null
`;

/** Configuration of the system, as its administrator would write it. `machineId` has 32 hex digits. */
export function rootFsFiles(machineId: string): readonly RootFsFile[] {
  return [
    { path: 'etc/hostname', content: 'guest\n' },
    { path: 'etc/hosts', content: '127.0.0.1 localhost guest\n' },
    { path: 'etc/machine-id', content: `${machineId}\n` },
    { path: 'etc/fstab', content: '/dev/vda / ext4 errors=remount-ro 0 1\n' },
    { path: 'etc/systemd/network/10-card.network', content: network },
    { path: 'etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf', content: console },
    { path: 'root/.profile', content: profile },
    ...maskedUnits.map((unit) => ({ path: `etc/systemd/system/${unit}`, symlink: '/dev/null' })),
  ];
}
