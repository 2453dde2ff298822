import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { Assembler, port } from '../../../support/assembler.ts';
import { halted, spinning } from '../../../support/guests.ts';
import { noKvm } from '../../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until } from '../../../support/machines.ts';
import { RawClient } from '../../../support/qmp-client.ts';
import { kernelFile, temporaryFolder, VmmProcess } from '../../../support/vmm-process.ts';

const skip = noKvm();

type Test = Parameters<typeof temporaryFolder>[0];

async function start(t: Test, code: Uint8Array, ...flags: string[]) {
  const folder = temporaryFolder(t);
  const control = join(folder, 'control');
  const args = [
    'run',
    '--kernel',
    kernelFile(folder, code),
    '--memory',
    '16M',
    '--cpus',
    '2',
    '--control',
    control,
    ...flags,
  ];
  const vmm = new VmmProcess(args);
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('ready');
  return { vmm, control };
}

/** A guest that says that it is there, waits for a key, and then does what is added. */
function waiting(): Assembler {
  return new Assembler().print('ready').readSerial();
}

test('a machine tells of what happens to it, whoever caused it', { skip }, async (t) => {
  const machine = bootMachine(t, spinning());
  const events: string[] = [];
  machine.events.listen(({ kind }) => events.push(kind));
  machine.pause();
  t.throws(() => machine.pause());
  machine.resume();
  machine.pressPowerButton();
  machine.reset('the test');
  machine.reset('a late caller');
  machine.pressPowerButton();
  t.strictSame(await machine.ended, { kind: 'reset', by: 'the test' });
  t.strictSame(events, ['paused', 'resumed', 'power-button', 'ended']);
});

test('a machine is paused for a panic if that is wanted, and goes on where it was', { skip }, async (t) => {
  const code = new Assembler().outByte(port.pvpanic, 1).print('after').powerOff().assemble();
  const machine = bootMachine(t, code, { onPanic: 'pause' });
  const events: string[] = [];
  machine.events.listen(({ kind }) => events.push(kind));
  await until(() => machine.state === 'paused');
  t.equal(takeOutput(machine), '', 'not one instruction more');
  machine.resume();
  t.strictSame(await machine.ended, { kind: 'power-off' });
  t.equal(takeOutput(machine), 'after');
  t.strictSame(events, ['panicked', 'paused', 'resumed', 'ended']);
});

test('a machine knows the threads of its vCPUs', { skip }, async (t) => {
  const machine = bootMachine(t, spinning(), { cpus: 2 });
  await until(() => machine.facts.cpuThreads.every((thread) => thread !== 0));
  t.equal(new Set([process.pid, ...machine.facts.cpuThreads]).size, 3);
});

test('two clients see the same machine', { skip }, async (t) => {
  const { control } = await start(t, spinning('ready'));
  const first = await new RawClient(t, control).begin();
  const second = await new RawClient(t, control).begin();
  first.socket.write('{"execute":"stop","id":1}');
  t.match(await first.next(), { event: 'STOP' });
  t.match(await first.next(), { return: {}, id: 1 });
  t.match(await second.next(), { event: 'STOP' });
  t.match(await second.ask('{"execute":"query-status"}'), { return: { running: false, status: 'paused' } });
});

const reboot = { guest: true, reason: 'guest-reset' };
for (const [how, guest, events, exitCode] of [
  [
    'powers off',
    waiting().powerOff().assemble(),
    [{ event: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } }],
    0,
  ],
  [
    'crashes',
    waiting().bytes(0x0f, 0x0b).assemble(),
    [{ event: 'SHUTDOWN', data: { guest: true, reason: 'guest-panic' } }],
    2,
  ],
  [
    'asks for a reboot',
    waiting().outByte(0x64, 0xfe).halt().assemble(),
    [
      { event: 'RESET', data: reboot },
      { event: 'SHUTDOWN', data: reboot },
    ],
    3,
  ],
] as const) {
  test(`tells its clients that the guest ${how}`, { skip }, async (t) => {
    const { vmm, control } = await start(t, guest, '--reboot', 'exit');
    const client = await new RawClient(t, control).begin();
    vmm.write('x');
    for (const event of events) t.match(await client.next(), event);
    t.equal(await client.next(), undefined);
    t.equal((await vmm.ended).code, exitCode);
  });
}

test('system_reset ends the machine as a reboot does, if that is wanted, and says so', { skip }, async (t) => {
  const { vmm, control } = await start(t, halted('ready'), '--reboot', 'exit');
  const client = await new RawClient(t, control).begin();
  client.socket.write('{"execute":"system_reset","id":1}');
  const data = { guest: false, reason: 'host-qmp-system-reset' };
  t.match(await client.next(), { return: {}, id: 1 });
  t.match(await client.next(), { event: 'RESET', data });
  t.match(await client.next(), { event: 'SHUTDOWN', data });
  t.equal(await client.next(), undefined);
  t.equal((await vmm.ended).code, 3);
});

test('tells its clients that it was ended by a signal', { skip }, async (t) => {
  const { vmm, control } = await start(t, spinning('ready'));
  const client = await new RawClient(t, control).begin();
  vmm.child.kill('SIGTERM');
  t.match(await client.next(), { event: 'SHUTDOWN', data: { guest: false, reason: 'host-signal' } });
  t.equal(await client.next(), undefined);
  t.equal((await vmm.ended).code, 143);
});

test('a machine runs on, and serves others, whatever hostile clients do', { skip }, async (t) => {
  const { vmm, control } = await start(t, spinning('ready'));
  const good = await new RawClient(t, control).begin();
  const attack = (act: (socket: ReturnType<typeof connect>) => void): void => {
    const socket = connect(control);
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
    act(socket);
  };
  for (let count = 0; count < 200; count++) attack((socket) => socket.write('{"execute":"qmp_capabilities"}{"exec'));
  const garbage = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 131 + (index >> 8)) & 0xff);
  for (let count = 0; count < 5; count++) attack((socket) => socket.write(garbage));
  attack((socket) => socket.write('x'.repeat(100 << 20)));
  attack((socket) => socket.write(`{"execute":"qmp_capabilities"}${'{"execute":"query-commands"}'.repeat(100_000)}`));
  for (let round = 0; round < 20; round++) {
    t.match(await good.ask('{"execute":"query-status"}'), { return: { status: 'running' } });
    await forAWhile(20);
  }
  t.equal(vmm.child.exitCode, null);
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});
