import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Duplex } from 'node:stream';
import { test } from 'tap';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { type CommandTable, command } from '../../../../src/vmm/monitor/qmp-command.ts';
import { QmpConnection } from '../../../../src/vmm/monitor/qmp-connection.ts';
import { QmpError } from '../../../../src/vmm/monitor/qmp-protocol.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

/** A client of a connection with such commands, negotiated, and the lines it gets from there on. */
async function connected(t: Parameters<typeof temporaryFolder>[0], machine: FakeMachine, table: CommandTable) {
  const server = createServer({ allowHalfOpen: true });
  const path = join(temporaryFolder(t), 'socket');
  server.listen(path);
  await once(server, 'listening');
  const client = connect({ path, allowHalfOpen: true });
  const [socket] = (await once(server, 'connection')) as [Socket];
  socket.on('error', () => socket.destroy());
  new QmpConnection(socket, new Monitor(machine), table);
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  const lines = createInterface({ input: client })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
  };
  client.write('{"execute":"qmp_capabilities"}');
  await next();
  await next();
  return { client, next };
}

test('a command that takes a while holds up the next one, and no event', { timeout: 20_000 }, async (t) => {
  const machine = new FakeMachine();
  const order: string[] = [];
  let finish = (): void => {};
  const { client, next } = await connected(t, machine, {
    slow: command({}, async () => {
      order.push('slow begins');
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      order.push('slow ends');
      return { slow: true };
    }),
    quick: command({}, () => {
      order.push('quick');
      return {};
    }),
  });
  client.end('{"execute":"slow","id":1}{"execute":"quick","id":2}\n{"execute":"quick","id":3}');
  while (order.length === 0) await new Promise(setImmediate);
  machine.pressPowerButton();
  t.match(await next(), { event: 'POWERDOWN' });
  t.strictSame(order, ['slow begins']);
  finish();
  t.strictSame(await next(), { return: { slow: true }, id: 1 });
  t.strictSame(await next(), { return: {}, id: 2 });
  t.strictSame(await next(), { return: {}, id: 3 });
  t.equal(await next(), undefined, 'and it ends when all is said');
  t.strictSame(order, ['slow begins', 'slow ends', 'quick', 'quick']);
});

test('an event that a question causes leaves with its answer', async (t) => {
  const machine = new FakeMachine();
  const written: string[][] = [];
  const socket = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      written.push([String(chunk)]);
      done();
    },
    writev(chunks, done) {
      written.push(chunks.map(({ chunk }) => String(chunk)));
      done();
    },
  });
  new QmpConnection(socket as Socket, new Monitor(machine), {
    press: command({}, () => {
      machine.pressPowerButton();
      return {};
    }),
  });
  socket.push('{"execute":"qmp_capabilities"}');
  socket.push('{"execute":"press","id":1}{"execute":"press","id":2}');
  while (written.length < 4) await new Promise(setImmediate);
  t.match(written.slice(2), [
    [/POWERDOWN/, /"id":1/],
    [/POWERDOWN/, /"id":2/],
  ]);
});

test('a command that fails later is answered like one that fails at once', { timeout: 20_000 }, async (t) => {
  const { client, next } = await connected(t, new FakeMachine(), {
    late: command({}, async () => {
      throw new QmpError('GenericError', 'no room for the snapshot');
    }),
  });
  client.write('{"execute":"late","id":"x"}');
  t.strictSame(await next(), { error: { class: 'GenericError', desc: 'no room for the snapshot' }, id: 'x' });
});

test('reads nothing while a command takes its time', { timeout: 20_000 }, async (t) => {
  let began = false;
  const { client } = await connected(t, new FakeMachine(), {
    slow: command({}, () => {
      began = true;
      return new Promise<never>(() => {});
    }),
  });
  client.write('{"execute":"slow"}');
  while (!began) await new Promise(setImmediate);
  let taken = false;
  client.write(Buffer.alloc(4 << 20, ' '), () => {
    taken = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.equal(taken, false, 'it waits at the client');
});

test('a client that leaves while its command runs is not missed', { timeout: 20_000 }, async (t) => {
  let finish = (): void => {};
  let began = false;
  const { client } = await connected(t, new FakeMachine(), {
    slow: command({}, async () => {
      began = true;
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return {};
    }),
  });
  client.write('{"execute":"slow"}');
  while (!began) await new Promise(setImmediate);
  client.destroy();
  await once(client, 'close');
  finish();
  await new Promise(setImmediate);
  t.pass('nothing was thrown');
});
