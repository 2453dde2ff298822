import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { MachineConnection } from '../../../../src/vmm/client/machine-connection.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

type Test = Parameters<typeof temporaryFolder>[0];

/** The path of a socket where every client is treated like this. */
async function serving(t: Test, treat: (client: Socket) => void): Promise<string> {
  const path = join(temporaryFolder(t), 'control');
  const clients: Socket[] = [];
  const server = createServer((client) => {
    clients.push(client);
    client.on('error', () => {});
    treat(client);
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => {
    for (const client of clients) client.destroy();
    server.close();
  });
  return path;
}

test('asks a machine, hears of its events, and notices its end', { timeout: 20_000 }, async (t) => {
  const control = await ControlSocket.claim(join(temporaryFolder(t), 'control'));
  t.teardown(() => control.close());
  control.serve(new Monitor(new FakeMachine()));
  const events: string[] = [];
  const machine = await MachineConnection.open(control.path, (name) => events.push(name));
  t.teardown(() => machine.close());
  t.match(await machine.ask('query-status'), { status: 'running' });
  await machine.ask('stop');
  t.strictSame(events, ['STOP']);
  await t.rejects(machine.ask('fly'), {
    code: 'MONITOR',
    message: `${control.path}: QMP: CommandNotFound: The command fly has not been found`,
  });
  control.close();
  t.equal(await machine.ended(), true);
});

const greeting = '{"QMP":{"version":{},"capabilities":[]}}\n';
for (const [what, treat, says] of [
  ['says nothing', () => {}, /: no answer within 0\.2 s; its VMM hangs/],
  ['greets and says no more', (client: Socket) => client.write(greeting), /: no answer within 0\.2 s; its VMM hangs/],
  ['closes at once', (client: Socket) => client.end(), /: the QMP connection ended$/],
  [
    'speaks another language',
    (client: Socket) => client.write('HTTP/1.1 400\r\n'),
    /: the other side does not speak QMP$/,
  ],
] as const satisfies readonly (readonly [string, (client: Socket) => unknown, RegExp])[]) {
  test(`gives up on one that ${what}`, { timeout: 20_000 }, async (t) => {
    const path = await serving(t, treat);
    await t.rejects(MachineConnection.open(path, undefined, 200), { code: 'MONITOR', message: says });
  });
}

test('whoever has a second for everything waits for all answers together no longer', { timeout: 20_000 }, async (t) => {
  let answers = 0;
  const path = await serving(t, (client) => {
    client.write(greeting);
    // Each answer comes in time, and there is always one more to wait for.
    client.on('data', () => setTimeout(() => client.write(`{"return":{},"id":${++answers}}\n`), 50));
  });
  const machine = await MachineConnection.open(path, undefined, { totalMs: 400 });
  t.teardown(() => machine.close());
  await t.rejects(
    (async () => {
      for (;;) await machine.ask('query-status');
    })(),
    { code: 'MONITOR', message: /: no answer within 0\.4 s; its VMM hangs/ },
  );
});

test('notices that a machine does not let go', { timeout: 20_000 }, async (t) => {
  const path = await serving(t, (client) => {
    client.write(greeting);
    client.on('data', () => client.write('{"return":{},"id":1}\n'));
  });
  const machine = await MachineConnection.open(path, undefined, 100);
  t.teardown(() => machine.close());
  t.equal(await machine.ended(50), false);
});

test('says why nobody can be reached', { timeout: 20_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  for (const [path, says] of [
    [join(folder, 'nothing'), /nothing: there is no such socket/],
    [file, /file: (this is no socket|nobody serves this socket)/],
  ] as const) {
    await t.rejects(MachineConnection.open(path), { code: 'MONITOR', message: says });
  }
});
