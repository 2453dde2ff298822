import { join } from 'node:path';
import { test } from 'tap';
import { MachineConnection } from '../../../../src/vmm/client/machine-connection.ts';
import { type MachineStatus, renderStatus, statusOf } from '../../../../src/vmm/client/machine-status.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { FakeColo } from '../../../support/fake-colo.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const machine: MachineStatus = {
  name: 'mine',
  state: 'io-error',
  pid: 77,
  uptimeSeconds: 90_061,
  cpus: 2,
  memoryBytes: 256 << 20,
  clockBehindMs: 0,
  disks: [
    { id: 'root', path: 'root.img', sizeBytes: 1.5 * 2 ** 30, readOnly: true, ioStatus: 'ok' },
    { id: 'data', path: 'base.img', overlay: 'mine.img', sizeBytes: 512, readOnly: false, ioStatus: 'nospace' },
  ],
  cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01', gone: false }],
  control: '/run/mine.sock',
};

test('shows a machine to a person, a fact a line', async (t) => {
  t.strictSame(renderStatus(machine), [
    'name       mine',
    'state      io-error',
    'pid        77',
    'uptime     1 d 1 h 1 min 1 s',
    'vCPUs      2',
    'memory     256 MiB',
    'disk root  root.img, 1.5 GiB, read only',
    "disk data  mine.img over base.img, 512 B, the host's disk is full",
    'card tap0  02:00:00:00:00:01',
    'control    /run/mine.sock',
  ]);
});

test('shows a card whose TAP is gone', async (t) => {
  const lines = renderStatus({ ...machine, cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01', gone: true }] });
  t.ok(lines.includes('card tap0  02:00:00:00:00:01, its TAP was removed'));
});

test('shows that the clock of the guest catches up, as long as it does', async (t) => {
  const lines = renderStatus({ ...machine, clockBehindMs: 90_200 });
  t.ok(lines.includes('clock      catches up, 1 min 31 s behind'));
});

for (const [uptimeSeconds, shown] of [
  [0, '0 s'],
  [59.9, '59 s'],
  [3600, '1 h 0 min 0 s'],
] as const) {
  test(`shows ${uptimeSeconds} seconds as ${shown}`, async (t) => {
    const { name, ...nameless } = machine;
    const lines = renderStatus({ ...nameless, uptimeSeconds, disks: [], cards: [] });
    t.strictSame(lines.slice(0, 4), ['name     (none)', 'state    io-error', 'pid      77', `uptime   ${shown}`]);
  });
}

test('a machine whose colo thread hangs tells the rest, and that', { timeout: 20_000 }, async (t) => {
  const colo = new FakeColo();
  colo.status = () => new Promise(() => {});
  const control = await ControlSocket.claim(join(temporaryFolder(t), 'control'));
  t.teardown(() => control.close());
  control.serve(new Monitor(new FakeMachine(), { name: 'mine', colo }));
  const connection = await MachineConnection.open(control.path);
  t.teardown(() => connection.close());
  const status = await statusOf(connection);
  t.match(status, { name: 'mine', state: 'running', coloUnknown: /the colo thread gives no answer/ });
  t.notOk('colo' in status);
  t.match(renderStatus(status).join('\n'), /^pair +UNKNOWN: the colo thread gives no answer .*ask the other side$/m);
});
