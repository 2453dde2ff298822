import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fd, setSocketOption } from '../../src/host/libc/descriptors.ts';
import { addresses, type End } from './addresses.ts';
import type { Take } from './trace-case.ts';

export type IpVersion = 4 | 6;
export const ipVersions: readonly IpVersion[] = [4, 6];

/** So many bytes that say where they stand, and compress well. */
export function content(bytes: number, name = 'x'): Buffer {
  const rows = Array.from({ length: Math.ceil(bytes / rowBytes) }, (_, row) =>
    `${row.toString(16).padStart(8, '0')} ${name.repeat(rowBytes)}`.slice(0, rowBytes),
  );
  return Buffer.from(rows.join('').slice(0, bytes));
}

const rowBytes = 64;

// struct ipv6 sockopts: <linux/in6.h>
const IPPROTO_IPV6 = 41;
const IPV6_HOPOPTS = 54;
const IPV6_DSTOPTS = 59;

/** Gives a socket, and those that it accepts, the extension headers that a take wants. */
export function extend(socket: Server | Socket | UdpSocket, { hopByHop, destination }: Take): void {
  // Node has no other way to a socket's descriptor.
  const { fd } = (socket as unknown as { _handle: { fd: Fd } })._handle;
  if (hopByHop) setSocketOption(fd, IPPROTO_IPV6, IPV6_HOPOPTS, extension(hopByHop), 'hop-by-hop options');
  if (destination) setSocketOption(fd, IPPROTO_IPV6, IPV6_DSTOPTS, extension(destination), 'destination options');
}

/** RFC 8200, 4.2: what follows it and its length in units of 8 bytes, the first not counted, stand before the options. */
function extension(options: readonly number[]): Uint8Array {
  return Uint8Array.from([0, (options.length + 2) / 8 - 1, ...options]);
}

/** Listens at one end. */
export async function listen(end: End, version: IpVersion, port: number, pauseOnConnect = false): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect });
  server.listen(port, addresses[end][version]);
  await once(server, 'listening');
  return server;
}

/** The connection that comes; there is only one. */
export async function accept(server: Server): Promise<Socket> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return quietly(socket);
}

/** Connects to the other end, from a port that is the same in each recording. */
export async function dial(end: End, version: IpVersion, port: number, isPaused = false): Promise<Socket> {
  const host = addresses[end === 'guest' ? 'client' : 'guest'][version];
  const local = { localAddress: addresses[end][version], localPort: port + 30_000 };
  const socket = connect({ host, port, ...local, allowHalfOpen: true });
  if (isPaused) socket.pause();
  await once(socket, 'connect');
  return quietly(socket);
}

/** That a connection is reset is what some of them are for. */
function quietly(socket: Socket): Socket {
  return socket.on('error', () => {});
}

/** Reads so many bytes, and then no more for now. */
export function hear(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let heard = 0;
    const closed = (): void => reject(new Error(`it ended after ${heard} of ${bytes} bytes`));
    const take = (chunk: Buffer): void => {
      heard += chunk.length;
      if (heard < bytes) return;
      socket.pause().off('data', take).off('close', closed);
      resolve();
    };
    socket.on('data', take).on('close', closed).resume();
  });
}

/** Waits until the other end has ended. */
export function heardEnd(socket: Socket): Promise<void> {
  if (socket.readableEnded || socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    socket
      .once('end', () => resolve())
      .once('close', () => resolve())
      .resume();
  });
}

/** Waits until nothing is left of it. */
export function gone(socket: Socket): Promise<void> {
  if (socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    socket.once('close', () => resolve()).resume();
  });
}

/** Between pieces. */
const pauseMs = 2;

/** Says all of it, in pieces if the take wants it. */
export async function say(
  socket: Socket,
  bytes: Buffer,
  { pieceBytes = bytes.length }: Pick<Take, 'pieceBytes'>,
): Promise<void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (at > 0) await sleep(pauseMs);
    socket.write(bytes.subarray(at, at + pieceBytes));
  }
}

/** A UDP socket of one end. */
export async function bind(end: End, version: IpVersion, port: number): Promise<UdpSocket> {
  const socket = createSocket(version === 4 ? 'udp4' : 'udp6');
  socket.bind(port, addresses[end][version]);
  await once(socket, 'listening');
  return socket;
}
