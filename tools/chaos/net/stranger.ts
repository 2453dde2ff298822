import { createSocket } from 'node:dgram';

/**
 * Somebody else on a link, who fills it with datagrams for nobody: `ADDRESS BYTES_PER_SECOND`, until it is killed. It says a line when it
 * has begun.
 */
const [address = '', bytesPerSecond = '0'] = process.argv.slice(1);
/** Port "discard". */
const port = 9;
const datagram = Buffer.alloc(1200);
const tickMs = 2;

const socket = createSocket('udp4');
socket.on('error', () => {}); // a queue that is full
const begun = performance.now();
let sent = 0;
setInterval(() => {
  const due = ((performance.now() - begun) / 1000) * Number(bytesPerSecond);
  // Whoever did not run for a while does not make up for it all at once.
  if (due - sent > 100 * datagram.length) sent = due - datagram.length;
  while (sent < due) {
    socket.send(datagram, port, address, () => {});
    sent += datagram.length;
  }
}, tickMs);
process.stdout.write('begun\n');
