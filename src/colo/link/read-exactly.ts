import type { Socket } from 'node:net';

/** Hands on the first `count` bytes of a connection, and leaves what follows unread; never, if it closes before. */
export function readExactly(socket: Socket, count: number, take: (bytes: Uint8Array) => void): void {
  const readable = (): void => {
    const bytes: Buffer | null = socket.read(count);
    // A connection that ended gives what is left of it, however little.
    if (bytes === null || bytes.length < count) return;
    socket.off('readable', readable);
    take(bytes);
  };
  socket.on('readable', readable);
}
