import { setTimeout as sleep } from 'node:timers/promises';
import { addresses } from './addresses.ts';
import { bind, content, ipVersions } from './talk.ts';
import type { Talk } from './trace-case.ts';

const guestPort = 5300;
const clientPort = 35_300;

/** Of questions, and of the answers to them: some are more than any MTU here. */
const sizes = [
  [40, 120],
  [60, 600],
  [50, 3200],
  [2900, 80],
  [70, 4000],
] as const;

/** Questions of one datagram each, and answers. */
export const questions: Talk = {
  guest: async ({ backwards = false }, bothMayBegin) => {
    const sockets = await Promise.all(ipVersions.map((version) => bind('guest', version, guestPort)));
    const answered = sockets.map(async (socket) => {
      const asked = new Set<number>();
      const done = new Promise<void>((resolve) => {
        socket.on('message', (message) => {
          asked.add(message.length);
          if (asked.size === sizes.length) resolve();
        });
      });
      await done;
      for (const [bytes, reply] of backwards ? sizes.toReversed() : sizes) {
        socket.send(
          content(reply, `answer to ${bytes} `),
          clientPort,
          addresses.client[socket.address().family === 'IPv4' ? 4 : 6],
        );
        await sleep(2);
      }
      await sleep(100);
      socket.close();
    });
    await bothMayBegin();
    await Promise.all(answered);
  },
  client: async (_take, bothMayBegin) => {
    await bothMayBegin();
    await Promise.all(
      ipVersions.map(async (version) => {
        const socket = await bind('client', version, clientPort);
        const heard = new Set<number>();
        const done = new Promise<void>((resolve) => {
          socket.on('message', (message) => {
            heard.add(message.length);
            if (heard.size === sizes.length) resolve();
          });
        });
        for (const [bytes] of sizes) socket.send(content(bytes, 'question '), guestPort, addresses.guest[version]);
        await done;
        socket.close();
      }),
    );
  },
};
