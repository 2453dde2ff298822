import { openSync, read as readCallback, write as writeCallback } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';

const read = promisify(readCallback);
const write = promisify(writeCallback);

/** The agent's end of the byte stream to the lab. */
export interface AgentChannel {
  /** Resolves when the bytes left; writes keep their order. `bytes` may be used again after that. */
  write(bytes: Uint8Array): Promise<void>;
  /** What comes in; ends when the lab goes away. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** Opens `place`: `fd:N` is a socket inherited as descriptor N, anything else the path of a character device. */
export function openChannel(place: string): AgentChannel {
  const descriptor = /^fd:(\d+)$/.exec(place)?.[1];
  return descriptor === undefined ? deviceChannel(place) : socketChannel(Number(descriptor));
}

function socketChannel(fd: number): AgentChannel {
  const socket = new Socket({ fd, readable: true, writable: true });
  return {
    write: (bytes) => new Promise((resolve) => socket.write(bytes, () => resolve())),
    chunks: () => socket,
  };
}

/** libuv cannot wait for a virtio port, so a thread of its pool reads and another writes. */
function deviceChannel(path: string): AgentChannel {
  const fd = openSync(path, 'r+');
  let last: Promise<void> = Promise.resolve();
  const writeWhole = async (bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length; ) {
      done += (await write(fd, bytes, done, bytes.length - done, null)).bytesWritten;
    }
  };
  return {
    write: (bytes) => {
      last = last.then(() => writeWhole(bytes));
      return last;
    },
    async *chunks() {
      const buffer = Buffer.allocUnsafe(64 * 1024);
      for (;;) {
        const { bytesRead } = await read(fd, buffer, 0, buffer.length, null);
        // The port reads as ended while nobody has it open on the other side.
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    },
  };
}
