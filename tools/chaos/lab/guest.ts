import { guestNetwork, type ServiceGuest, serviceProgram } from '../../demo/guest.ts';
import { buildGuestInitramfs, type ImageFile } from '../../images/initramfs.ts';
import { programFiles } from '../../images/program-files.ts';
import type { Progress } from '../../packages/progress.ts';

/** TCP ports of the guest: a line is answered by itself and how many this connection has had; redis; nginx. */
export const guestPorts = { lines: 7070, redis: 6379, web: 80 } as const;

/** What the guest says on its serial port when all its services can be asked. */
export const servicesReady = 'services: ready';

/** What nginx gives for /. */
export const page = `<!doctype html>\n<title>protected</title>\n${'<p>One guest, two hosts.\n'.repeat(100)}`;

/** Files of its file system, from its root: the counter's records, by number in sectors, and redis' log of commands. */
export const guestFiles = {
  counter: '/counter',
  redis: '/redis/appendonlydir/appendonly.aof.1.incr.aof',
} as const;

/** Says when redis and nginx answer, then serves one connection after another. */
const lines = `
sub address { pack('S n a4 x8', 2, @_) }
for my $port (${guestPorts.redis}, ${guestPorts.web}) {
  for (;;) {
    socket(my $probe, 2, 1, 0) or die "socket: $!";
    last if connect($probe, address($port, "\\x7f\\0\\0\\1"));
    select(undef, undef, undef, 0.1);
  }
}
socket(my $listener, 2, 1, 0) or die "socket: $!";
bind($listener, address(${guestPorts.lines}, "\\0" x 4)) or die "bind: $!";
listen($listener, 4) or die "listen: $!";
syswrite(STDOUT, "${servicesReady}\\n");
while (accept(my $peer, $listener)) {
  my ($count, $rest) = (0, '');
  while (sysread($peer, my $part, 4096)) {
    $rest .= $part;
    while ($rest =~ s/^([^\\n]*)\\n//) {
      $count++;
      syswrite($peer, "$1 $count\\n");
    }
  }
}
`;

/** No log of commands is ever written anew: all that was done stands in it. */
const redis = `bind 0.0.0.0
port ${guestPorts.redis}
protected-mode no
daemonize yes
dir /data/redis
save ""
appendonly yes
appendfsync always
auto-aof-rewrite-percentage 0
`;

const nginx = `user root;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/console;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen ${guestPorts.web};
    root /www;
  }
}
`;

const init = `#!/bin/sh
echo 'guest: init'
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a $(cat /etc/modules)
mkdir -p /data
mount -t ext4 /dev/vda /data || echo 'guest: its disk cannot be mounted'
mkdir -p /data/redis
: > /data/counter
ip link set lo up
ip link set eth0 up
address=${guestNetwork.address}
for word in $(cat /proc/cmdline); do
  case $word in address=*) address=\${word#*=} ;; esac
done
ip address add $address/${guestNetwork.bits} dev eth0
redis-server /etc/redis.conf || echo 'guest: redis did not start'
nginx -e /dev/console -c /etc/nginx.conf || echo 'guest: nginx did not start'
perl /counter.pl &
perl /lines.pl
echo 'guest: a service ended'
sh
`;

/**
 * A guest with a file system on its disk, a counter that appends each value to a file there before it answers, redis that does the
 * same, a page behind nginx, and a service for a connection that stays open.
 */
export async function servicesGuest(progress: Progress): Promise<ServiceGuest> {
  const files = new Map<string, ImageFile>();
  // Debian's redis-server is a link to a program of redis-tools, which does what it is called.
  for (const [name, path, as] of [
    ['perl-base', 'usr/bin/perl', 'usr/bin/perl'],
    ['redis-tools', 'usr/bin/redis-check-rdb', 'usr/bin/redis-server'],
    ['nginx', 'usr/sbin/nginx', 'usr/sbin/nginx'],
  ] as const) {
    for (const file of await programFiles({ package: name, path, progress })) {
      const place = file.path === path ? as : file.path;
      files.set(place, { ...file, path: place });
    }
  }
  const initrd = await buildGuestInitramfs({
    modules: ['virtio_mmio', 'virtio_pci', 'virtio_blk', 'virtio_net', 'crc32c_generic', 'ext4'],
    files: [
      ...files.values(),
      { path: 'counter.pl', content: serviceProgram(`/data${guestFiles.counter}`, '1 << 30') },
      { path: 'lines.pl', content: lines },
      { path: 'etc/redis.conf', content: redis },
      { path: 'etc/nginx.conf', content: nginx },
      { path: 'www/index.html', content: page },
    ],
    init,
    progress,
  });
  // Small blocks and a small journal: it is copied, compared and checked in every round.
  const file = 'f=$1; truncate -s 24M $f && mke2fs -q -F -t ext4 -b 1024 -J size=1 -m 0 -E lazy_itable_init=0 $f';
  return { initrd, memoryMib: 160, ready: servicesReady, makeDisk: `sh -ec '${file}' sh` };
}
