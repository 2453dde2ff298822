import { guestNetwork } from '../../demo/guest.ts';
import type { Host } from '../../lab/host.ts';

const port = 7778;
/** That much memory is written to again and again, a byte of each page, and disk beside it. */
export const loadMib = 16;

/**
 * A program of the guest beside its service: on order it writes to memory and disk without end, as fast as it can but for
 * a few milliseconds of rest a turn.
 */
export const loadProgram = `
my $fdatasync = 75;
my $worker;
socket(my $socket, 2, 2, 17) or die "socket: $!";
bind($socket, pack('S n a4 x8', 2, ${port}, "\\0" x 4)) or die "bind: $!";
while (defined(my $from = recv($socket, my $order, 64, 0))) {
  if ($worker) { kill 9, $worker; waitpid $worker, 0; $worker = 0; }
  if ($order eq 'on' && !($worker = fork)) {
    my ($ram, $page, $turn) = ('x' x ${loadMib << 20}, 0, 0);
    open(my $disk, '+<', '/dev/vda') or die "disk: $!";
    for (;;) {
      $turn++;
      substr($ram, $page++ % ${loadMib << 8} * 4096, 1) = chr($turn & 255) for 1 .. 64;
      if ($turn % 16 == 0) {
        sysseek($disk, (512 + $turn / 16 % 512) * 4096, 0) or die "seek: $!";
        syswrite($disk, chr($turn & 255) x 4096) == 4096 or die "write: $!";
        syscall($fdatasync, fileno($disk));
      }
      select(undef, undef, undef, 0.005);
    }
  }
  send($socket, $order, 0, $from);
}
`;

/** Asks until the guest says that it has heard. */
const orderProgram = (order: string): string => `
const socket = require('dgram').createSocket('udp4');
const ask = () => socket.send('${order}', ${port}, '${guestNetwork.address}');
socket.on('message', () => process.exit());
setInterval(ask, 3000);
ask();
`;

/** Has the guest begin to work, or end it. Returns when it has answered. */
export async function load(outside: Host, isOn: boolean): Promise<void> {
  const { status, stderr } = await outside.run(['node', '-e', orderProgram(isOn ? 'on' : 'off')], {
    timeoutMs: 90_000,
  });
  if (status !== 0) throw new Error(`the guest could not be given an order: ${stderr}`);
}
