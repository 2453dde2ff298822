import { PassThrough } from 'node:stream';
import { test } from 'tap';
import { QmpClient } from '../../../../src/vmm/client/qmp-client.ts';

/** A client, and the other side's ends of its streams. */
function conversation() {
  const [output, input] = [new PassThrough(), new PassThrough()];
  const events: unknown[] = [];
  const client = new QmpClient(output, input, (name, data, atMs) => events.push([name, data, atMs]));
  return {
    client,
    events,
    says: (text: string | Uint8Array) => output.write(text),
    output,
    asked: () => String(input.read()),
  };
}

test('matches answers with questions by their ids, in whatever order they come', async (t) => {
  const { client, says, asked } = conversation();
  const [first, second] = [client.execute('query-status'), client.execute('query-name', { x: 1 })];
  t.equal(asked(), '{"execute":"query-status","id":1}\n{"execute":"query-name","id":2,"arguments":{"x":1}}\n');
  says('{"return":{"b":2},"id":2}{"ret');
  says('urn":{"a":1},"id":1}\r\n');
  t.strictSame(await first, { a: 1 });
  t.strictSame(await second, { b: 2 });
});

test('gives the greeting and events to those who want them', async (t) => {
  const { client, events, says } = conversation();
  says(
    '{"QMP":{"version":{}}}\n{"event":"STOP","timestamp":{"seconds":2,"microseconds":5500}}\n{"event":"SHUTDOWN","data":{"guest":true},"timestamp":{}}\n',
  );
  t.match(await client.greeting, { QMP: { version: {} } });
  await new Promise(setImmediate);
  t.strictSame(events, [
    ['STOP', undefined, 2005.5],
    ['SHUTDOWN', { guest: true }, Number.NaN],
  ]);
});

test("fails a command with the other side's reason", async (t) => {
  const { client, says } = conversation();
  const answer = client.execute('fly');
  says('{"error":{"class":"CommandNotFound","desc":"no wings"},"id":1}\n');
  await t.rejects(answer, { code: 'MONITOR', message: 'QMP: CommandNotFound: no wings' });
});

test('fails all that waits, and all that is asked later, when the connection ends', async (t) => {
  const { client, output } = conversation();
  const answer = client.execute('query-status');
  output.end();
  await t.rejects(answer, { message: 'the QMP connection ended' });
  await t.rejects(client.greeting, { message: 'the QMP connection ended' });
  await t.rejects(client.execute('query-status'), { message: 'the QMP connection ended' });
  await client.ended;
});

for (const [what, bytes] of [
  ['words', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['a number', '5\n'],
  ['an object of another kind', '{"jsonrpc":"2.0"}'],
  ['bytes', Uint8Array.of(0xff, 0, 1)],
] as const) {
  test(`takes ${what} for something else than QMP`, async (t) => {
    const { client, says } = conversation();
    const answer = client.execute('query-status');
    says(bytes);
    await t.rejects(answer, { message: 'the other side does not speak QMP' });
    says('{"return":{},"id":1}');
    await t.rejects(client.greeting, { message: 'the other side does not speak QMP' });
  });
}
