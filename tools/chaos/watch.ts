import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { hostNames, watchNumber, watchPort } from './net/network.ts';
import { Speakers } from './speakers.ts';

/** Bytes before the copied frame (RFC 7348). */
const vxlanHeaderBytes = 8;

/** Hears all that the guest says, from either host, in the order in which it is said. */
export class Watch {
  readonly speakers = new Speakers();
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (bytes) => {
      const number = bytes.readUIntBE(4, 3);
      const host = hostNames.find((name) => watchNumber[name] === number);
      if (host !== undefined) this.speakers.spoke(host, bytes.subarray(vxlanHeaderBytes));
    });
  }

  static async open(): Promise<Watch> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
    socket.bind(watchPort);
    await once(socket, 'listening');
    return new Watch(socket);
  }

  close(): void {
    this.#socket.close();
  }
}
