import { test } from 'tap';
import type { MachineEvent } from '../../../../src/vmm/machine/machine-events.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import type { Json } from '../../../../src/vmm/monitor/qmp-protocol.ts';
import type { GuestEnd } from '../../../../src/vmm/vcpu/guest-end.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';

/** Events that clients hear, without their time. */
function hearing(machine: FakeMachine): Json[] {
  const events: Json[] = [];
  new Monitor(machine).subscribe(({ timestamp, ...event }) => events.push(event));
  return events;
}

test('stamps events with the time, in whole microseconds', async (t) => {
  const machine = new FakeMachine();
  const events: Json[] = [];
  new Monitor(machine).subscribe((event) => events.push(event));
  const before = Date.now();
  machine.pause();
  const [{ timestamp } = {}] = events;
  const { seconds, microseconds } = timestamp as { seconds: number; microseconds: number };
  t.ok(Number.isInteger(seconds) && Number.isInteger(microseconds) && microseconds < 1e6);
  t.ok(Math.abs(seconds * 1000 + microseconds / 1000 - before) < 60_000, 'the present');
});

const registers = {};
for (const [end, data] of [
  [{ kind: 'power-off' }, { guest: true, reason: 'guest-shutdown' }],
  [{ kind: 'panic' }, { guest: true, reason: 'guest-panic' }],
  [
    { kind: 'triple-fault', vcpu: 0, registers },
    { guest: true, reason: 'guest-panic' },
  ],
  [
    { kind: 'stopped', by: 'SIGTERM', exitCode: 143 },
    { guest: false, reason: 'host-signal' },
  ],
  [
    { kind: 'stopped', by: 'Ctrl-A x', exitCode: 0 },
    { guest: false, reason: 'host-ui' },
  ],
  [
    { kind: 'stopped', by: 'the monitor', exitCode: 0 },
    { guest: false, reason: 'host-qmp-quit' },
  ],
  [
    { kind: 'vmm-failure', what: 'vcpu 0: no' },
    { guest: false, reason: 'host-error' },
  ],
] as const satisfies readonly (readonly [GuestEnd, unknown])[]) {
  test(`tells of an end by ${JSON.stringify(end)}`, async (t) => {
    const machine = new FakeMachine();
    const events = hearing(machine);
    machine.events.tell({ kind: 'ended', end });
    t.strictSame(events, [{ event: 'SHUTDOWN', data }]);
  });
}

test('tells of a reset, and that the machine ends with it', async (t) => {
  for (const [by, data] of [
    [undefined, { guest: true, reason: 'guest-reset' }],
    ['the monitor', { guest: false, reason: 'host-qmp-system-reset' }],
  ] as const) {
    const machine = new FakeMachine();
    const events = hearing(machine);
    machine.events.tell({ kind: 'ended', end: { kind: 'reset', ...(by === undefined ? {} : { by }) } });
    t.strictSame(events, [
      { event: 'RESET', data },
      { event: 'SHUTDOWN', data },
    ]);
  }
});

test('tells of the power button, whoever pressed it', async (t) => {
  const machine = new FakeMachine();
  const events = hearing(machine);
  machine.pressPowerButton();
  t.strictSame(events, [{ event: 'POWERDOWN' }]);
});

function failure(stops: boolean, noSpace = false): MachineEvent {
  const reason = noSpace ? 'ENOSPC' : 'EIO';
  return { kind: 'disk-failure', failure: { disk: 'root', operation: 'write zeroes', stops, noSpace, reason } };
}

test('tells of a disk that failed', async (t) => {
  const machine = new FakeMachine();
  const events = hearing(machine);
  machine.events.tell(failure(true, true));
  const data = {
    device: 'root',
    'node-name': 'root',
    operation: 'write',
    action: 'stop',
    nospace: true,
    reason: 'ENOSPC',
  };
  t.strictSame(events, [{ event: 'BLOCK_IO_ERROR', data }]);
});

test('a disk that stopped the machine is to blame until the machine goes on', async (t) => {
  const machine = new FakeMachine();
  const monitor = new Monitor(machine);
  machine.events.tell(failure(true));
  machine.pause();
  t.equal(monitor.status, 'io-error');
  t.equal(monitor.ioStatusOf('root'), 'failed');
  t.equal(monitor.ioStatusOf('data'), 'ok');
  machine.resume();
  t.equal(monitor.status, 'running');
  t.equal(monitor.ioStatusOf('root'), 'ok');
  machine.events.tell(failure(false));
  machine.pause();
  t.equal(monitor.status, 'paused', 'a failure that the guest was told of stops nothing');
});

for (const [action, name] of [
  ['exit', 'poweroff'],
  ['pause', 'pause'],
  ['run', 'run'],
] as const) {
  test(`tells of a panic whose action is ${action}, in QEMU's word`, async (t) => {
    const machine = new FakeMachine();
    const events = hearing(machine);
    machine.events.tell({ kind: 'panicked', action });
    t.strictSame(events, [{ event: 'GUEST_PANICKED', data: { action: name } }]);
  });
}

test('a machine that was paused for a panic says so until it is resumed', async (t) => {
  const machine = new FakeMachine();
  const monitor = new Monitor(machine);
  machine.events.tell({ kind: 'panicked', action: 'run' });
  machine.pause();
  t.equal(monitor.status, 'paused', 'it was paused for something else');
  machine.resume();
  machine.events.tell({ kind: 'panicked', action: 'pause' });
  machine.pause();
  t.equal(monitor.status, 'guest-panicked');
  machine.resume();
  machine.pause();
  t.equal(monitor.status, 'paused');
});
