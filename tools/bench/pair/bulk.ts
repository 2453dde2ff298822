import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Asker } from './asker.ts';

/** Where the guest serves it. */
export const bulkPort = 7080;

/** A stream is made of such pieces, each with its number in front. */
export const pieceBytes = 16_384;
const numberBytes = 4;
/** Each bit of a number of the next byte: no two places of a piece that are near each other look the same. */
const [factor, addend, mask] = [1_103_515_245, 12_345, 0x7fff_ffff];
/** Who has more of it lets the other side wait. */
const mostWaiting = 64;

export type BulkDirection = 'download' | 'upload';

/**
 * A program of a guest: who says `d` gets pieces without end; whose first letter is `u`, sends such pieces, and is told a dot for each
 * that is as it must be. One that is not ends the connection.
 */
export const bulkProgram = `
$SIG{CHLD} = 'IGNORE';
my ($x, $piece) = (1, '');
for (1 .. ${pieceBytes - numberBytes}) {
  $x = ($x * ${factor} + ${addend}) & ${mask};
  $piece .= chr($x >> 16 & 255);
}
socket(my $listener, 2, 1, 0) or die "socket: $!";
setsockopt($listener, 1, 2, 1);
bind($listener, pack('S n a4 x8', 2, ${bulkPort}, "\\0" x 4)) or die "bind: $!";
listen($listener, 8) or die "listen: $!";
while (accept(my $peer, $listener)) {
  next if fork;
  sysread($peer, my $way, 1) or exit;
  for (my $number = 0; ; $number++) {
    my $whole = pack('N', $number) . $piece;
    if ($way eq 'd') {
      for (my $at = 0; $at < length $whole; ) {
        $at += syswrite($peer, $whole, length($whole) - $at, $at) || exit;
      }
    } else {
      my $heard = '';
      while (length $heard < length $whole) {
        sysread($peer, $heard, length($whole) - length $heard, length $heard) or exit;
      }
      exit if $heard ne $whole;
      syswrite($peer, '.') or exit;
    }
  }
}
`;

/** Piece `number` of a stream. */
export function pieceOf(number: number): Buffer {
  const bytes = Buffer.from(pattern());
  bytes.writeUInt32BE(number >>> 0);
  return bytes;
}

let made: Buffer | undefined;

function pattern(): Buffer {
  if (made !== undefined) return made;
  made = Buffer.alloc(pieceBytes);
  for (let at = numberBytes, x = 1; at < pieceBytes; at++) {
    x = (Math.imul(x, factor) + addend) & mask;
    made[at] = x >> 16;
  }
  return made;
}

/** One whose every answer is the next piece: received and looked at, or confirmed by the guest. */
export async function openBulk(direction: BulkDirection, address: string, port: number): Promise<Asker> {
  const socket = connect({ host: address, port });
  await once(socket, 'connect');
  socket.setNoDelay(true).on('error', () => {});
  socket.write(direction === 'download' ? 'd' : 'u');
  return direction === 'download' ? downloading(socket) : uploading(socket);
}

function downloading(socket: Socket): Asker {
  const heard: Buffer[] = [];
  let bytes = 0;
  let number = 0;
  const news = new News(socket);
  socket.on('data', (part: Buffer) => {
    heard.push(part);
    bytes += part.length;
    if (bytes >= mostWaiting * pieceBytes) socket.pause();
    news.come();
  });
  return {
    ask: async () => {
      await news.until(() => bytes >= pieceBytes);
      const all = Buffer.concat(heard);
      heard.length = 0;
      heard.push(all.subarray(pieceBytes));
      bytes -= pieceBytes;
      if (bytes < mostWaiting * pieceBytes) socket.resume();
      if (!all.subarray(0, pieceBytes).equals(pieceOf(number)))
        throw new Error(`piece ${number} of a download is not what it must be`);
      number++;
    },
    close: () => socket.destroy(),
  };
}

function uploading(socket: Socket): Asker {
  let confirmed = 0;
  let asked = 0;
  let sent = 0;
  const news = new News(socket);
  const send = (): void => {
    while (!socket.destroyed && sent - asked < mostWaiting && socket.write(pieceOf(sent++)));
  };
  socket.on('drain', send);
  socket.on('data', (part: Buffer) => {
    confirmed += part.length;
    news.come();
  });
  return {
    ask: async () => {
      asked++;
      if (!socket.writableNeedDrain) send();
      await news.until(() => confirmed >= asked);
    },
    close: () => socket.destroy(),
  };
}

/** Lets one wait for something that happens to a connection. */
class News {
  #isOver = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    socket.on('close', () => {
      this.#isOver = true;
      this.come();
    });
  }

  come(): void {
    this.#wake();
  }

  /** @throws Error if the connection ends first */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) {
      if (this.#isOver) throw new Error('a transfer ended early: the guest ended it, or was sent what it was not');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
