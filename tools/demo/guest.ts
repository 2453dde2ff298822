import {
  recordAt,
  recordMagic,
  requestAt,
  requestBytes,
  requestMagic,
  sectorBytes,
  servicePort,
} from '../chaos/guest/service.ts';
import { buildGuestInitramfs } from '../images/initramfs.ts';
import { programFiles } from '../images/program-files.ts';
import type { Progress } from '../packages/progress.ts';

/** The guest on the network of the lab's hosts. */
export const guestNetwork = { address: '10.77.0.100', bits: 24, mac: '02:00:00:00:00:01' } as const;

/** On the same network, for who asks over IPv6. */
export const guestNetwork6 = { address: 'fd10:77::100', outside: 'fd10:77::1', bits: 64 } as const;

/** Another one, which is not protected either, on the other host: `address=` on its kernel's command line says where it is. */
export const otherGuest = { address: '10.77.0.101', mac: '02:00:00:00:00:02' } as const;

/** What the guest says on its serial port when it can be asked. */
export const serviceReady = 'service: ready';

/**
 * The service of the chaos guest (tools/chaos/guest/service.ts), as a Perl program of a Linux guest: counts a request, writes it
 * down, makes it durable, answers. A request for pages finds the guest's clock in their place: of two guests that run, no two
 * give the same answer. IPv4 and IPv6 are one socket.
 *
 * @param file a disk, or a file that is there, with the record of each answer in the sector with its number
 * @param sectors Perl for how many it may have; then it begins anew
 */
export const serviceProgram = (file: string, sectors: string): string => `
my ($fsync, $clock_gettime) = (74, 228);
my ($counter, $time, %last) = (0, "\\0" x 16);
open(my $disk, '+<', '${file}') or die "disk: $!";
my $sectors = ${sectors};
socket(my $socket, 10, 2, 17) or die "socket: $!";
bind($socket, pack('S n x4 x16 x4', 10, ${servicePort})) or die "bind: $!";
syswrite(STDOUT, "${serviceReady}\\n");
for (;;) {
  my $from = recv($socket, my $request, 2048, 0);
  next if !defined $from || length $request != ${requestBytes};
  my ($magic, $client, $number) = unpack('L< x4 Q< Q<', $request);
  next if $magic != ${requestMagic};
  my $known = $last{$client} // [0, 0];
  next if $number < $known->[0];
  if ($number > $known->[0]) {
    $counter++;
    my $record = pack('L< x4 Q< Q< Q< x${recordAt.counterAgain - recordAt.counter - 8} Q<', ${recordMagic}, $client, $number, $counter, $counter);
    sysseek($disk, $counter % $sectors * ${sectorBytes}, 0) or die "seek: $!";
    syswrite($disk, $record) == ${sectorBytes} or die "write: $!";
    syscall($fsync, fileno($disk)) == 0 or die "fsync: $!";
    $last{$client} = $known = [$number, $counter];
  }
  if (unpack('x4 L<', $request)) {
    syscall($clock_gettime, 1, $time);
    substr($request, ${requestAt.pages}, 4) = substr($time, 8, 4);
  }
  send($socket, substr($request, 0, ${requestAt.counter}) . pack('Q<', $known->[1]), 0, $from);
}
`;

const service = serviceProgram('/dev/vda', `sysseek($disk, 0, 2) / ${sectorBytes}`);

const init = (background: string): string => `#!/bin/sh
echo 'guest: init'
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a $(cat /etc/modules)
ip link set lo up
ip link set eth0 up
ip address add ${guestNetwork.address}/${guestNetwork.bits} dev eth0
${background}
perl /service.pl
echo 'guest: the service ended'
sh
`;

/** A guest of a pair of lab hosts that is a service. */
export interface ServiceGuest {
  /** The path, on this machine, of what it boots from. */
  readonly initrd: string;
  readonly memoryMib: number;
  /** What it says on its serial port when it can be asked. */
  readonly ready: string;
  /** Makes its disk at the path that comes behind this line of the shell, in a host. */
  readonly makeDisk: string;
}

/**
 * A guest with the service, and a disk that the service has for itself: Debian's modules, busybox, perl.
 *
 * @param beside a perl program that runs beside the service
 */
export async function serviceGuest(progress: Progress, memoryMib = 96, beside?: string): Promise<ServiceGuest> {
  const initrd = await serviceGuestInitrd(progress, beside);
  return { initrd, memoryMib, ready: serviceReady, makeDisk: 'truncate -s 16M' };
}

async function serviceGuestInitrd(progress: Progress, beside: string | undefined): Promise<string> {
  const perl = await programFiles({ package: 'perl-base', path: 'usr/bin/perl', progress });
  return buildGuestInitramfs({
    modules: ['virtio_mmio', 'virtio_pci', 'virtio_blk', 'virtio_net'],
    files: [
      ...perl,
      { path: 'service.pl', content: service },
      ...(beside === undefined ? [] : [{ path: 'beside.pl', content: beside }]),
    ],
    init: init(beside === undefined ? '' : 'perl /beside.pl &'),
    progress,
  });
}
