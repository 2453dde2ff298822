import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { End } from './addresses.ts';
import {
  accept,
  content,
  dial,
  extend,
  gone,
  hear,
  heardEnd,
  type IpVersion,
  ipVersions,
  listen,
  say,
} from './talk.ts';
import type { Take, Talk } from './trace-case.ts';

/** What is left to be done once what listens does. */
type Rest = () => Promise<void>;

/** One connection: what the guest does, and what the client does. */
interface Conversation {
  guest(take: Take): Promise<Rest>;
  client(take: Take): Promise<Rest>;
}

/** All of these at a time. */
function together(conversations: readonly Conversation[]): Talk {
  const all = (end: End) => async (take: Take, bothMayBegin: () => Promise<void>) => {
    const rests = await Promise.all(conversations.map((one) => one[end](take)));
    await bothMayBegin();
    await Promise.all(rests.map((rest) => rest()));
  };
  return { guest: all('guest'), client: all('client') };
}

interface Served {
  readonly version: IpVersion;
  readonly port: number;
  readonly guest: (socket: Socket, take: Take) => Promise<void>;
  readonly client: (socket: Socket, take: Take) => Promise<void>;
  /** Nothing is read of what comes before that is asked for. */
  readonly isSlow?: boolean;
}

/** The client connects to a port of the guest. */
function served({ version, port, guest, client, isSlow = false }: Served): Conversation {
  return {
    guest: async (take) => {
      const server = await listen('guest', version, port, isSlow);
      if (version === 6) extend(server, take);
      const accepted = accept(server);
      return async () => {
        const socket = await accepted;
        await guest(socket, take);
        await gone(socket);
      };
    },
    client: async (take) => async () => {
      const socket = await dial('client', version, port, isSlow);
      await client(socket, take);
      await gone(socket);
    },
  };
}

/** The guest connects to a port of the client. */
function opened({ version, port, guest, client }: Served): Conversation {
  return {
    guest: async (take) => async () => {
      const socket = await dial('guest', version, port);
      await guest(socket, take);
      await gone(socket);
    },
    client: async (take) => {
      const accepted = accept(await listen('client', version, port));
      return async () => {
        const socket = await accepted;
        await client(socket, take);
        await gone(socket);
      };
    },
  };
}

/** One end connects to a port of the other where nobody listens. */
function refused(by: End, version: IpVersion, port: number): Conversation {
  const knock = async (): Promise<void> => {
    const isOpen = await dial(by, version, port).then(
      () => true,
      () => false,
    );
    if (isOpen) throw new Error(`port ${port} is open`);
  };
  const nothing = async (): Promise<void> => {};
  return {
    guest: async () => (by === 'guest' ? knock : nothing),
    client: async () => (by === 'client' ? knock : nothing),
  };
}

/** The client writes all that it has. */
const atOnce = {};

const requestBytes = 200;

/** An upload of some bytes, and an answer of as many. */
function exchange(version: IpVersion, port: number, bytes: number, reply = bytes): Conversation {
  return served({
    version,
    port,
    guest: async (socket, take) => {
      await hear(socket, bytes);
      await say(socket, content(reply, 'answer '), take);
      socket.end();
    },
    client: async (socket) => {
      await say(socket, content(bytes, 'request '), atOnce);
      await hear(socket, reply);
      socket.end();
    },
  });
}

/** The guest asks, and the client answers. */
function asked(version: IpVersion, port: number, bytes: number): Conversation {
  return opened({
    version,
    port,
    guest: async (socket, take) => {
      await say(socket, content(requestBytes, 'question '), take);
      await hear(socket, bytes);
      await say(socket, content(bytes, 'thanks '), take);
      socket.end();
    },
    client: async (socket) => {
      await hear(socket, requestBytes);
      await say(socket, content(bytes, 'reply '), atOnce);
      await hear(socket, bytes);
      socket.end();
    },
  });
}

export const transfers: Talk = together(ipVersions.map((version) => exchange(version, 8000, 16_000)));

export const small: Talk = together(
  ipVersions.flatMap((version) => [exchange(version, 8000, 6000), asked(version, 9000, 3000)]),
);

export const big: Talk = together(ipVersions.map((version) => exchange(version, 8000, requestBytes, 130_000)));

/** An answer for a client that is slow, and an upload to a guest that is. */
export const slowReaders: Talk = together(
  ipVersions.flatMap((version) => [
    served({
      version,
      port: 8001,
      isSlow: true,
      guest: async (socket, take) => {
        await say(socket, content(slowBytes, 'answer '), take);
        socket.end();
      },
      client: async (socket, { idleMs }) => {
        await sleep(idleMs);
        await hear(socket, slowBytes);
        socket.end();
      },
    }),
    served({
      version,
      port: 8002,
      isSlow: true,
      guest: async (socket, take) => {
        await sleep(take.idleMs);
        await hear(socket, slowBytes);
        await say(socket, content(requestBytes), take);
        socket.end();
      },
      client: async (socket) => {
        await say(socket, content(slowBytes, 'upload '), atOnce);
        await hear(socket, requestBytes);
        socket.end();
      },
    }),
  ]),
);

const slowBytes = 16_000;
const answerBytes = 3000;

/** Where the client's FIN comes when the guest has sent its own. */
export const crossedPort = 8007;

/** How connections end, whoever began them. */
export const ends: Talk = together([
  served({
    // The client ends with its question.
    version: 4,
    port: 8001,
    guest: async (socket, take) => {
      await heardEnd(socket);
      await say(socket, content(answerBytes), take);
      socket.end();
    },
    client: async (socket) => {
      socket.end(content(requestBytes));
      await hear(socket, answerBytes);
    },
  }),
  served({
    // The guest ends with its greeting.
    version: 6,
    port: 8002,
    guest: async (socket) => {
      socket.end(content(requestBytes));
      await hear(socket, answerBytes);
    },
    client: async (socket) => {
      await heardEnd(socket);
      await say(socket, content(answerBytes), atOnce);
      socket.end();
    },
  }),
  served({
    // The guest breaks off.
    version: 4,
    port: 8003,
    guest: async (socket, take) => {
      await hear(socket, requestBytes);
      await say(socket, content(answerBytes), take);
      await sleep(150);
      socket.resetAndDestroy();
    },
    client: async (socket) => {
      socket.write(content(requestBytes));
      await hear(socket, answerBytes);
    },
  }),
  served({
    // The client does.
    version: 6,
    port: 8004,
    guest: async (socket, take) => {
      await hear(socket, requestBytes);
      await say(socket, content(answerBytes), take);
    },
    client: async (socket) => {
      socket.write(content(requestBytes));
      await hear(socket, answerBytes);
      await sleep(150);
      socket.resetAndDestroy();
    },
  }),
  refused('client', 4, 8005),
  refused('client', 6, 8005),
  served({
    // Both ask whether the other one is still there.
    version: 4,
    port: 8006,
    guest: async (socket) => {
      socket.setKeepAlive(true, 1000);
      await hear(socket, requestBytes);
      socket.write(content(requestBytes));
      await heardEnd(socket);
      socket.end();
    },
    client: async (socket, { idleMs }) => {
      socket.setKeepAlive(true, 1000);
      socket.write(content(requestBytes));
      await hear(socket, requestBytes);
      await sleep(idleMs);
      socket.end();
    },
  }),
  served({
    // Both end at a time: the wire has each FIN under way when the other one is sent.
    version: 4,
    port: crossedPort,
    guest: async (socket) => {
      await hear(socket, requestBytes);
      await sleep(300);
      socket.end();
    },
    client: async (socket) => {
      socket.write(content(requestBytes));
      await sleep(50);
      socket.end();
    },
  }),
  asked(4, 9001, answerBytes),
  refused('guest', 4, 9002),
  refused('guest', 6, 9002),
  opened({
    // The guest asks, and its server breaks off.
    version: 6,
    port: 9003,
    guest: async (socket) => {
      socket.write(content(requestBytes));
      await hear(socket, answerBytes);
    },
    client: async (socket) => {
      await hear(socket, requestBytes);
      await say(socket, content(answerBytes), atOnce);
      await sleep(150);
      socket.resetAndDestroy();
    },
  }),
]);
