import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'tap';
import { Clients, type ClientsOptions } from '../../../../tools/chaos/clients.ts';
import { type Answer, requestAt } from '../../../../tools/chaos/guest/service.ts';

type Test = { teardown(clean: () => unknown): unknown };

/** What a service says to a request: counters, each in an answer. */
type Service = (request: Omit<Answer, 'counter'>) => readonly (bigint | Answer)[];

async function clientsOf(t: Test, service: Service, options: Partial<ClientsOptions> = {}): Promise<Clients> {
  const server = createSocket('udp4');
  t.teardown(() => server.close());
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  server.on('message', (bytes, { port }) => {
    const request = {
      client: bytes.readBigUInt64LE(requestAt.client),
      number: bytes.readBigUInt64LE(requestAt.number),
    };
    for (const said of service(request)) {
      const answer = typeof said === 'bigint' ? { ...request, counter: said } : said;
      const reply = Buffer.from(bytes);
      reply.writeBigUInt64LE(answer.client, requestAt.client);
      reply.writeBigUInt64LE(answer.number, requestAt.number);
      reply.writeBigUInt64LE(answer.counter, requestAt.counter);
      server.send(reply, port, '127.0.0.1');
    }
  });
  const { port } = server.address();
  // These services count a request that is asked again as another one: on a busy machine nobody is to be impatient.
  const patient = { clients: 1, retransmitMs: 60_000 };
  const clients = await Clients.open({ address: '127.0.0.1', port, ...patient, ...options });
  t.teardown(() => clients.close());
  return clients;
}

async function asked(clients: Clients, answers: number): Promise<void> {
  clients.start();
  while (clients.answers < answers && clients.violations.length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  clients.stop();
}

test('finds nothing wrong with an honest service', async (t) => {
  let counter = 0n;
  const clients = await clientsOf(t, () => [++counter], { clients: 3, thinkMs: 1 });
  await asked(clients, 30);
  t.ok(await clients.settled(10_000));
  t.strictSame(clients.violations, []);
  t.equal(BigInt(clients.told.size), counter);
  t.equal(clients.asked, clients.answers);
});

test('an answer that is said twice is not two', async (t) => {
  let counter = 0n;
  const clients = await clientsOf(t, () => {
    counter++;
    return [counter, counter];
  });
  await asked(clients, 10);
  t.strictSame(clients.violations, []);
  t.equal(clients.answers, clients.told.size);
});

const lies: readonly { readonly name: string; readonly service: () => Service; readonly finds: RegExp }[] = [
  {
    name: 'a number for two requests',
    service: () => {
      let counter = 0n;
      return ({ number }) => [number === 5n ? counter : ++counter];
    },
    finds: /also that of request 4 of client 1/,
  },
  {
    name: 'two numbers for one request',
    service: () => {
      let counter = 0n;
      return ({ number }) => (number === 5n ? [++counter, ++counter] : [++counter]);
    },
    finds: /was told 6 for its request 5, and 5 before/,
  },
  {
    name: 'a number that is smaller than one that was told before',
    service: () => {
      let counter = 100n;
      return () => [--counter];
    },
    finds: /99 had been told before it was asked/,
  },
  {
    name: 'an answer to what nobody asked',
    service: () => {
      let counter = 0n;
      return ({ client, number }) => [{ client, number: number + 1n, counter: ++counter }];
    },
    finds: /what nobody asked/,
  },
];

for (const { name, service, finds } of lies) {
  test(`notices ${name}`, async (t) => {
    const clients = await clientsOf(t, service());
    await asked(clients, 20);
    t.match(clients.violations[0], finds);
  });
}

test('asks again what was not answered, under the same number', async (t) => {
  const seen: bigint[] = [];
  const clients = await clientsOf(
    t,
    ({ number }) => {
      seen.push(number);
      return seen.length < 3 ? [] : [1n];
    },
    { retransmitMs: 10 },
  );
  await asked(clients, 1);
  t.ok(await clients.settled(10_000));
  t.strictSame(seen.slice(0, 3), [1n, 1n, 1n]);
  t.ok(clients.summary.retransmissions >= 2);
  t.ok(clients.summary.longestSilenceMs >= 15, 'they waited meanwhile');
});

test('who waits already does not begin anew to wait when all are told to ask', async (t) => {
  const clients = await clientsOf(t, () => []);
  clients.start();
  await new Promise((resolve) => setTimeout(resolve, 30));
  clients.start();
  t.ok(clients.summary.longestSilenceMs >= 25);
});

test('says that something was never answered', async (t) => {
  const clients = await clientsOf(t, () => []);
  clients.start();
  clients.stop();
  t.notOk(await clients.settled(50));
  t.equal(clients.waiting, 1);
});
