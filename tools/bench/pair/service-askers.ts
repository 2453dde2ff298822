import type { Asker } from './asker.ts';
import { type BulkDirection, bulkPort, openBulk } from './bulk.ts';
import { Conversation, httpEnd, redisEnd } from './conversation.ts';

/** What is asked of a guest's services, in this order: a pair that agrees on nothing buffers for a while, whatever is asked then. */
export const serviceNames = [
  'page, keep-alive',
  'page, a connection each',
  'key-value',
  'write of 4 KiB, fsync',
  'download',
  'upload',
  'differing',
] as const;
export type ServiceName = (typeof serviceNames)[number];

/** A transfer without end, over one connection: an answer is a piece of it (bulk.ts). */
export function isBulk(service: ServiceName): service is BulkDirection {
  return service === 'download' || service === 'upload';
}

/** Where they are, and what the page is. */
export interface ServicePlaces {
  readonly address: string;
  readonly ports: { readonly web: number; readonly redis: number };
  readonly page: string;
}

/** @param index of the asker among others */
export async function openAsker(service: ServiceName, places: ServicePlaces, index: number): Promise<Asker> {
  const { address, ports } = places;
  switch (service) {
    case 'page, keep-alive':
      return pageAsker(await Conversation.open(address, ports.web), places.page);
    case 'page, a connection each':
      return {
        ask: async () => {
          const asker = pageAsker(await Conversation.open(address, ports.web), places.page);
          await asker.ask().finally(() => asker.close());
        },
        close: () => {},
      };
    case 'key-value':
      return redisAsker(places, 'no', setAndGet(`key-${index}`));
    case 'write of 4 KiB, fsync':
      // Redis answers when its log is durable.
      return redisAsker(places, 'always', () => [['SET', `write-${index}`, 'v'.repeat(4096)], isOk]);
    case 'differing':
      // The clock in microseconds: of two guests that run, no two say the same.
      return redisAsker(places, 'no', () => [['TIME'], (reply) => reply.startsWith('*2\r\n')]);
    case 'download':
    case 'upload':
      return openBulk(service, address, bulkPort);
    default:
      return service satisfies never;
  }
}

function pageAsker(talk: Conversation, page: string): Asker {
  return {
    ask: async () => {
      const reply = await talk.ask('GET / HTTP/1.1\r\nHost: guest\r\n\r\n', httpEnd);
      if (!reply.startsWith('HTTP/1.1 200 ') || !reply.endsWith(`\r\n\r\n${page}`)) throw wrong('GET /', reply);
    },
    close: () => talk.close(),
  };
}

type Request = readonly [command: readonly string[], isRight: (reply: string) => boolean];

const isOk = (reply: string): boolean => reply === '+OK\r\n';

/** A key is set and read in turn. */
function setAndGet(key: string): () => Request {
  let number = 0;
  return () => {
    const value = `${key}-${number >> 1}`;
    if (number++ % 2 === 0) return [['SET', key, value], isOk];
    return [['GET', key], (reply) => reply === `$${value.length}\r\n${value}\r\n`];
  };
}

/** @param fsync when redis makes its log durable */
async function redisAsker(
  { address, ports }: ServicePlaces,
  fsync: 'no' | 'always',
  next: () => Request,
): Promise<Asker> {
  const talk = await Conversation.open(address, ports.redis);
  const ask = async ([command, isRight]: Request): Promise<void> => {
    const words = command.map((word) => `$${word.length}\r\n${word}\r\n`);
    const reply = await talk.ask(`*${command.length}\r\n${words.join('')}`, redisEnd);
    if (!isRight(reply)) throw wrong(command[0] ?? '', reply);
  };
  await ask([['CONFIG', 'SET', 'appendfsync', fsync], isOk]);
  return { ask: () => ask(next()), close: () => talk.close() };
}

function wrong(request: string, reply: string): Error {
  return new Error(`${request} was answered by ${JSON.stringify(reply.slice(0, 80))}`);
}
