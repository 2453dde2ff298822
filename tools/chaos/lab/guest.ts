import { guestNetwork, guestNetwork6, type ServiceGuest, serviceProgram } from '../../demo/guest.ts';
import { buildGuestInitramfs, type ImageFile } from '../../images/initramfs.ts';
import { programFiles } from '../../images/program-files.ts';
import type { Progress } from '../../packages/progress.ts';
import { guestCredentials } from './guest-credentials.ts';
import { pieceBytes, wordBytes } from './stream-clients.ts';

/**
 * TCP ports of the guest: a line is answered by itself and how many this connection has had; redis; nginx without and with TLS; a shell
 * on a terminal; streams of bytes, one that is asked for and one that is sent.
 */
export const guestPorts = {
  lines: 7070,
  redis: 6379,
  web: 80,
  tls: 443,
  shell: 23,
  download: 7071,
  upload: 7072,
} as const;

/** What the guest says on its serial port when all its services can be asked. */
export const servicesReady = 'services: ready';

/** What nginx gives for /, with TLS and without. */
export const page = `<!doctype html>\n<title>protected</title>\n${'<p>One guest, two hosts.\n'.repeat(100)}`;

/** Files of its file system, from its root: the counter's records, by number in sectors, and redis' log of commands. */
export const guestFiles = {
  counter: '/counter',
  redis: '/redis/appendonlydir/appendonly.aof.1.incr.aof',
} as const;

/**
 * Perl of services over TCP, each of which may be asked over many connections at once; it says when those on `ports` answer, too.
 * Streams are those of stream-clients.ts.
 */
const connections = (ports: readonly number[]): string => `
sub serve {
  my ($port, $handle) = @_;
  socket(my $listener, 10, 1, 0) or die "socket: $!";
  bind($listener, pack('S n x4 x16 x4', 10, $port)) or die "bind: $!";
  listen($listener, 8) or die "listen: $!";
  return if fork;
  $SIG{CHLD} = 'IGNORE';
  while (accept(my $peer, $listener)) {
    next if fork;
    close $listener;
    $handle->($peer);
    exit;
  }
}

sub say_to {
  my ($peer, $bytes) = @_;
  for (my $at = 0; $at < length $bytes;) {
    $at += syswrite($peer, $bytes, length($bytes) - $at, $at) // exit;
  }
}

sub lines {
  my ($peer, $handle) = @_;
  my $rest = '';
  while (sysread($peer, $rest, 4096, length $rest)) {
    $handle->($1) while $rest =~ s/^([^\\n]*)\\n//;
  }
}

sub stream {
  my ($at, $bytes) = @_;
  return pack('Q>*', $at / ${wordBytes} .. ($at + $bytes) / ${wordBytes} - 1);
}

sub count_lines {
  my ($peer, $count) = @_;
  lines($peer, sub { say_to($peer, "$_[0] " . ++$count . "\\n") });
}

sub download {
  my ($peer, $at) = (@_, 0);
  lines($peer, sub {
    for (my $end = $at + $_[0]; $at < $end; $at += 4096) { say_to($peer, stream($at, 4096)) }
  });
}

sub upload {
  my ($peer, $at, $held) = (@_, 0, '');
  while (sysread($peer, $held, 65536, length $held)) {
    my $bytes = length($held) - length($held) % ${wordBytes};
    if (substr($held, 0, $bytes, '') ne stream($at, $bytes)) {
      say_to($peer, "wrong within $bytes bytes from $at\\n");
      return;
    }
    $at += $bytes;
    say_to($peer, "$at\\n") if $bytes > 0 && $at % ${pieceBytes.upload} == 0;
  }
}

sub address { pack('S n a4 x8', 2, @_) }
for my $port (${ports.join(', ')}) {
  for (;;) {
    socket(my $probe, 2, 1, 0) or die "socket: $!";
    last if connect($probe, address($port, "\\x7f\\0\\0\\1"));
    select(undef, undef, undef, 0.1);
  }
}
serve(${guestPorts.lines}, \\&count_lines);
serve(${guestPorts.download}, \\&download);
serve(${guestPorts.upload}, \\&upload);
syswrite(STDOUT, "${servicesReady}\\n");
1 while wait > 0;
`;

/** No log of commands is ever written anew: all that was done stands in it. */
const redis = `bind * -::*
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
  keepalive_timeout 1d;
  keepalive_requests 1000000;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen ${guestPorts.web};
    listen [::]:${guestPorts.web};
    listen ${guestPorts.tls} ssl;
    listen [::]:${guestPorts.tls} ssl;
    ssl_certificate /etc/guest.pem;
    ssl_certificate_key /etc/guest-key.pem;
    root /www;
  }
}
`;

const init = (background: string): string => `#!/bin/sh
echo 'guest: init'
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
modprobe -a $(cat /etc/modules)
mkdir -p /data
mount -t ext4 /dev/vda /data || echo 'guest: its disk cannot be mounted'
mkdir -p /data/redis
: > /data/counter
ip link set lo up
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set eth0 up
address=${guestNetwork.address}
for word in $(cat /proc/cmdline); do
  case $word in address=*) address=\${word#*=} ;; esac
done
ip address add $address/${guestNetwork.bits} dev eth0
ip address add ${guestNetwork6.address}/${guestNetwork6.bits} dev eth0
redis-server /etc/redis.conf || echo 'guest: redis did not start'
nginx -e /dev/console -c /etc/nginx.conf || echo 'guest: nginx did not start'
telnetd -p ${guestPorts.shell} -l /bin/sh || echo 'guest: telnetd did not start'
perl /counter.pl &
${background}
perl /connections.pl
echo 'guest: a service ended'
sh
`;

/**
 * A guest with a file system on its disk, a counter that appends each value to a file there before it answers, redis that does the
 * same, a page behind nginx, a shell, and services for connections that stay open. All of it over IPv4 and IPv6.
 *
 * @param beside a perl program that runs beside them, and the TCP port that it listens on
 */
export async function servicesGuest(
  progress: Progress,
  beside?: { readonly program: string; readonly port: number },
): Promise<ServiceGuest> {
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
  const { certificate, key } = await guestCredentials(progress);
  const initrd = await buildGuestInitramfs({
    modules: ['virtio_mmio', 'virtio_pci', 'virtio_blk', 'virtio_net', 'crc32c_generic', 'ext4'],
    files: [
      ...files.values(),
      { path: 'counter.pl', content: serviceProgram(`/data${guestFiles.counter}`, '1 << 30') },
      {
        path: 'connections.pl',
        content: connections([
          ...[guestPorts.redis, guestPorts.web, guestPorts.tls, guestPorts.shell],
          ...(beside === undefined ? [] : [beside.port]),
        ]),
      },
      ...(beside === undefined ? [] : [{ path: 'beside.pl', content: beside.program }]),
      { path: 'etc/redis.conf', content: redis },
      { path: 'etc/nginx.conf', content: nginx },
      { path: 'etc/guest.pem', content: certificate },
      { path: 'etc/guest-key.pem', content: key },
      { path: 'www/index.html', content: page },
    ],
    init: init(beside === undefined ? '' : 'perl /beside.pl &'),
    progress,
  });
  // Small blocks and a small journal: it is copied, compared and checked in every round.
  const file = 'f=$1; truncate -s 24M $f && mke2fs -q -F -t ext4 -b 1024 -J size=1 -m 0 -E lazy_itable_init=0 $f';
  return { initrd, memoryMib: 160, ready: servicesReady, makeDisk: `sh -ec '${file}' sh` };
}
