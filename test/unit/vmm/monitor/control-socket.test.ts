import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { runningMachines } from '../../../../src/vmm/client/running-machines.ts';
import { controlDirectory, controlPath } from '../../../../src/vmm/monitor/control-directory.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { RawClient } from '../../../support/qmp-client.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

interface Cleanup {
  teardown(clean: () => void): void;
}

async function serving(t: Cleanup, machine = new FakeMachine()): Promise<ControlSocket> {
  const socket = await ControlSocket.claim(join(temporaryFolder(t), 'control'));
  t.teardown(() => socket.close());
  socket.serve(new Monitor(machine));
  return socket;
}

/** True if the socket still serves a client of good will. */
async function answers(t: Cleanup, path: string): Promise<boolean> {
  const client = new RawClient(t, path);
  await client.begin();
  const answer = (await client.ask('{"execute":"query-status"}')) as { return?: { status?: string } };
  client.socket.destroy();
  return answer.return?.status === 'running';
}

test('greets a client and answers it', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const client = new RawClient(t, path);
  t.match(await client.next(), { QMP: {} });
  t.strictSame(await client.ask('{"execute":"qmp_capabilities"}'), { return: {} });
  t.strictSame(await client.ask('{"execute":"query-status"}'), {
    return: { running: true, singlestep: false, status: 'running' },
  });
});

test('serves a client that came before the machine was there', { timeout: 20_000 }, async (t) => {
  const socket = await ControlSocket.claim(join(temporaryFolder(t), 'control'));
  t.teardown(() => socket.close());
  const client = new RawClient(t, socket.path);
  await once(client.socket, 'connect');
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.serve(new Monitor(new FakeMachine()));
  t.match(await client.next(), { QMP: {} });
});

test('keeps clients apart: each negotiates for itself', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const [first, second] = [new RawClient(t, path), new RawClient(t, path)];
  await first.begin();
  await second.next();
  t.match(await second.ask('{"execute":"query-status"}'), { error: {} });
  t.match(await first.ask('{"execute":"query-status"}'), { return: {} });
});

test('puts together lines that come in pieces, and takes several at once', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const client = new RawClient(t, path);
  await client.begin();
  const line = '{"execute":"query-status","id":"ä"}';
  for (const byte of Buffer.from(`${line}\r\n`)) {
    client.socket.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  t.match(await client.next(), { return: {}, id: 'ä' });
  client.socket.write(`${line}\n\n  \n${line}\n`);
  t.match(await client.next(), { id: 'ä' });
  t.match(await client.next(), { id: 'ä' });
});

test('is not harmed by garbage', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const client = new RawClient(t, path);
  await client.begin();
  client.socket.write(Buffer.from([0xff, 0x00, 0xfe, 0x0a]));
  t.match(await client.next(), { error: { desc: /^JSON parse error/ } });
  t.equal(await answers(t, path), true);
});

test('lets a client go that sends a line without end', { timeout: 60_000 }, async (t) => {
  const { path } = await serving(t);
  const client = new RawClient(t, path);
  await client.begin();
  const closed = new Promise((resolve) => client.socket.on('close', resolve));
  client.socket.write('x'.repeat(3 * 1024 * 1024));
  await closed;
  t.equal(await answers(t, path), true);
});

test('lets a client go that asks and asks, and never reads', { timeout: 60_000 }, async (t) => {
  const { path } = await serving(t);
  const socket = connect(path);
  t.teardown(() => socket.destroy());
  const gone = new Promise<void>((resolve) => socket.on('error', () => resolve()).on('close', () => resolve()));
  socket.pause();
  const question = '{"execute":"query-commands"}\n'.repeat(1000);
  const timer = setInterval(() => socket.write(question), 1);
  t.teardown(() => clearInterval(timer));
  await gone;
  t.equal(await answers(t, path), true);
});

/** Resolves when the other side has let a client go. */
function letGo(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on('error', () => resolve()).on('close', () => resolve()));
}

test('lets a client go that listens for events, and never reads them', { timeout: 60_000 }, async (t) => {
  const machine = new FakeMachine();
  const { path } = await serving(t, machine);
  const deaf = connect(path);
  t.teardown(() => deaf.destroy());
  const gone = letGo(deaf);
  deaf.write('{"execute":"qmp_capabilities"}\n');
  deaf.pause();
  const listener = new RawClient(t, path);
  await listener.begin();
  let heard = 0;
  listener.socket.on('data', () => heard++);
  const timer = setInterval(() => {
    for (let count = 0; count < 100; count++) machine.pressPowerButton();
    deaf.write('\n'); // who does not read finds out by writing
  }, 1);
  t.teardown(() => clearInterval(timer));
  await gone;
  clearInterval(timer);
  t.ok(heard > 0, 'the others hear');
  t.equal(await answers(t, path), true);
});

for (const [what, begin, rest] of [
  ['one line', '{"execute":"', 'x'],
  ['nothing but brackets', '', '['],
  ['nothing but garbage', '', '@'],
] as const) {
  test(`goes on serving others while a client sends 100 MB of ${what}`, { timeout: 60_000 }, async (t) => {
    const { path } = await serving(t);
    const socket = connect(path);
    t.teardown(() => socket.destroy());
    let isGone = false;
    void letGo(socket).then(() => {
      isGone = true;
    });
    socket.resume();
    const before = process.memoryUsage().arrayBuffers;
    socket.write(begin);
    const block = Buffer.alloc(1 << 20, rest);
    for (let sent = 0; sent < 100 && !isGone; sent++) {
      if (!socket.write(block)) await Promise.race([once(socket, 'drain').catch(() => {}), letGo(socket)]);
      if (sent % 10 === 0) t.equal(await answers(t, path), true);
    }
    t.ok(process.memoryUsage().arrayBuffers - before < 32 << 20, 'and holds little of it');
  });
}

test('hears others while a client has thousands of questions in hand', { timeout: 20_000 }, async (t) => {
  const machine = new FakeMachine();
  const { path } = await serving(t, machine);
  const [busy, other] = [await new RawClient(t, path).begin(), await new RawClient(t, path).begin()];
  busy.socket.write('{"execute":"system_powerdown"}'.repeat(2000));
  other.socket.write('{"execute":"stop"}');
  while (machine.calls.length < 2001) await new Promise(setImmediate);
  t.ok(machine.calls.indexOf('pause') < 1000, `${machine.calls.indexOf('pause')} came before`);
});

test('answers all that a client asked before it closed its side', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const socket = connect({ path, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.end('{"execute":"qmp_capabilities"}'.repeat(300));
  let text = '';
  for await (const chunk of socket) text += chunk;
  t.equal(text.trim().split('\n').length, 301, 'a greeting and 300 answers, then the end');
});

test('tells of the end before it closes', { timeout: 20_000 }, async (t) => {
  const machine = new FakeMachine();
  const socket = await serving(t, machine);
  const [quitter, witness] = [new RawClient(t, socket.path), new RawClient(t, socket.path)];
  await quitter.begin();
  await witness.begin();
  quitter.socket.write('{"execute":"quit","id":1}{"execute":"query-status","id":2}');
  t.strictSame(await quitter.next(), { return: {}, id: 1 });
  t.match(await quitter.next(), { event: 'SHUTDOWN', data: { guest: false, reason: 'host-qmp-quit' } });
  socket.close();
  t.equal(await quitter.next(), undefined, 'nobody answers for a machine that has ended');
  t.match(await witness.next(), { event: 'SHUTDOWN' });
  t.equal(await witness.next(), undefined);
});

test('has room for a client of good will beside any number that are silent', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  const listener = new RawClient(t, path);
  await listener.begin();
  for (let count = 0; count < 300; count++) {
    const socket = connect(path);
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
  }
  t.equal(await answers(t, path), true);
  t.match(await listener.ask('{"execute":"query-status"}'), { return: {} }, 'and keeps those who negotiated');
});

test('takes thousands of clients one after the other', { timeout: 60_000 }, async (t) => {
  const { path } = await serving(t);
  for (let count = 0; count < 3000; count++) {
    const socket = connect(path);
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.destroy();
  }
  t.equal(await answers(t, path), true);
});

test('is not harmed by clients that leave in the middle', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  for (let count = 0; count < 50; count++) {
    const socket = connect(path);
    socket.on('error', () => {});
    socket.write('{"execute":"qmp_capabilities"}\n{"exec');
    await once(socket, 'connect');
    socket.destroy(); // the greeting is unread: the other side sees an error, not an end
  }
  t.equal(await answers(t, path), true);
});

test('refuses a second one at the same place, which goes on to serve', { timeout: 20_000 }, async (t) => {
  const { path } = await serving(t);
  await t.rejects(ControlSocket.claim(path), { code: 'CONFIG', message: /another VMM serves this socket/ });
  t.equal(await answers(t, path), true);
});

test('replaces a socket that a dead process left', { timeout: 20_000 }, async (t) => {
  const path = join(temporaryFolder(t), 'control');
  const listen = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', listen]);
  t.equal(statSync(path).isSocket(), true, 'it is there');

  const socket = await ControlSocket.claim(path);
  t.teardown(() => socket.close());
  socket.serve(new Monitor(new FakeMachine()));

  t.equal(await answers(t, path), true);
});

test('does not replace a file that is no socket', async (t) => {
  const path = join(temporaryFolder(t), 'disk.img');
  writeFileSync(path, 'precious');
  await t.rejects(ControlSocket.claim(path), { code: 'CONFIG', message: /no socket is in the way/ });
  t.equal(readFileSync(path, 'utf8'), 'precious');
});

test('makes no directories where it is told to be', async (t) => {
  const folder = temporaryFolder(t);
  await t.rejects(ControlSocket.claim(join(folder, 'new', 'control')), { message: /there is no directory .*new$/ });
  t.equal(existsSync(join(folder, 'new')), false);
});

test('takes a path of 107 bytes, and none longer', async (t) => {
  const folder = `${temporaryFolder(t)}/`;
  const longest = folder + 'x'.repeat(107 - folder.length);
  const socket = await ControlSocket.claim(longest);
  t.equal(existsSync(longest), true);
  socket.close();
  await t.rejects(ControlSocket.claim(`${longest}x`), { code: 'CONFIG', message: /at most 107 bytes/ });
});

test('is gone when it is closed, and its clients are let go', { timeout: 20_000 }, async (t) => {
  const socket = await serving(t);
  const client = new RawClient(t, socket.path);
  await client.begin();
  const closed = once(client.socket, 'close');
  socket.close();
  await closed;
  t.equal(existsSync(socket.path), false);
});

test("finds root's directory wherever root is logged in, and a user's by the XDG rules", async (t) => {
  t.equal(controlDirectory({}, 0), '/run/colo-vmm');
  t.equal(controlDirectory({ XDG_RUNTIME_DIR: '/run/user/0' }, 0), '/run/colo-vmm', 'systemd has none for a service');
  t.equal(controlDirectory({ XDG_RUNTIME_DIR: '/run/user/1000' }, 1000), '/run/user/1000/colo-vmm');
  t.equal(controlDirectory({}, 1000), '/tmp/colo-vmm-1000');
  t.equal(controlDirectory({ COLO_VMM_RUNTIME: '/a', XDG_RUNTIME_DIR: '/b' }, 0), '/a/colo-vmm');
  t.equal(controlDirectory({ COLO_VMM_RUNTIME: '/a', XDG_RUNTIME_DIR: '/b' }, 1000), '/a/colo-vmm');
});

for (const [what, spoil, reason] of [
  ['that others can write', (path) => chmodSync(path, 0o770), /is open to others; .*chmod 700/],
  ['that others can look into', (path) => chmodSync(path, 0o705), /is open to others; .*chmod 700/],
  [
    'that is a link',
    (path) => {
      mkdirSync(`${path}.theirs`, { mode: 0o700 });
      symlinkSync(`${path}.theirs`, path);
    },
    /is no directory; remove it/,
  ],
  ['of another user', (path) => chownSync(path, 4711, 4711), /belongs to user 4711; remove it/],
] as const satisfies readonly (readonly [string, (path: string) => void, RegExp])[]) {
  const skip = what.includes('user') && process.getuid?.() !== 0 ? 'only root can give a directory away' : false;
  test(`takes no directory of its own ${what}, and looks for no machine there`, { skip }, async (t) => {
    const before = process.env.COLO_VMM_RUNTIME;
    t.teardown(() => {
      if (before === undefined) delete process.env.COLO_VMM_RUNTIME;
      else process.env.COLO_VMM_RUNTIME = before;
    });
    process.env.COLO_VMM_RUNTIME = temporaryFolder(t);
    const directory = controlDirectory();
    if (what !== 'that is a link') mkdirSync(directory, { mode: 0o700 });
    spoil(directory);
    await t.rejects(ControlSocket.claim(controlPath('mine')), { message: reason });
    await t.rejects(runningMachines(), { message: reason });
    t.equal(existsSync(controlPath('mine')), false);
  });
}
