import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';
import type { Place, ServiceClient } from '../../../../../tools/chaos/lab/service-clients.ts';

/** A service on this machine, until the test ends. */
export async function service(t: Test, handle: (socket: Socket) => void): Promise<Place> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    handle(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

export async function so(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Asks until there are so many answers. */
export async function answered(client: ServiceClient, count: number): Promise<void> {
  while (client.answers < count) {
    client.ask();
    await so(() => !client.isWaiting);
  }
}
