/**
 * The program that carries frames between emulated hosts, apart from the lab's own process so that a busy test does not
 * slow the network. Bundled into one text; the first argument is the number of ports.
 */
import type { Socket } from 'node:net';
import type { LinkCondition } from './network.ts';
import { Switch } from './switch.ts';

/** From the lab, over Node's IPC; an attach carries the host's socket. Each is answered by its number. */
export type SwitchOrder = { readonly number: number } & (
  | { readonly kind: 'attach'; readonly port: number }
  | { readonly kind: 'condition'; readonly links: readonly [number, number][]; readonly condition: LinkCondition }
  | { readonly kind: 'watch'; readonly mac: string }
);

/** To the lab: an order's number, or the port at which a watched address speaks from now on. */
export type SwitchWord = number | { readonly spoke: number };

const ports = Number(process.argv.at(-1));
const frames = new Switch(ports, Math.random);
const sockets: (Socket | undefined)[] = new Array(ports).fill(undefined);
/** QEMU's stream netdev puts the length before each frame, 4 bytes, big-endian. */
const lengthBytes = 4;
/** What a host does not take in time is lost, as in a real switch, rather than kept for ever. */
const longestBacklogBytes = 4 * 1024 * 1024;

function deliver(port: number, packet: Buffer): void {
  const socket = sockets[port];
  if (socket === undefined || socket.destroyed || socket.writableLength > longestBacklogBytes) return;
  socket.write(packet);
}

function tell(word: SwitchWord): void {
  process.send?.(word);
}

function take(port: number, packet: Buffer): void {
  const now = performance.now();
  const frame = packet.subarray(lengthBytes);
  if (frames.isNewSpeaker(port, frame)) tell({ spoke: port });
  for (const { port: to, atMs } of frames.forward(port, frame, now)) {
    if (atMs <= now) deliver(to, packet);
    else setTimeout(deliver, atMs - now, to, packet);
  }
}

function attach(port: number, socket: Socket): void {
  sockets[port]?.destroy();
  sockets[port] = socket;
  let rest: Buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    while (rest.length >= lengthBytes) {
      const end = lengthBytes + rest.readUInt32BE(0);
      if (rest.length < end) break;
      take(port, rest.subarray(0, end));
      rest = rest.subarray(end);
    }
  });
}

process.on('message', (order: SwitchOrder, socket: Socket | undefined) => {
  if (order.kind === 'attach') {
    if (socket !== undefined) attach(order.port, socket);
  } else if (order.kind === 'watch') {
    frames.watch(order.mac);
  } else {
    for (const [from, to] of order.links) frames.setCondition(from, to, order.condition);
  }
  tell(order.number);
});
process.on('disconnect', () => process.exit(0));
