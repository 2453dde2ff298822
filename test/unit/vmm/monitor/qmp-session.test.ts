import { test } from 'tap';
import type { RunState } from '../../../../src/vmm/machine/run-state.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { greeting, type Json } from '../../../../src/vmm/monitor/qmp-protocol.ts';
import { QmpSession } from '../../../../src/vmm/monitor/qmp-session.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';

/** A session, and the events it sent. */
class Client {
  readonly machine: FakeMachine;
  readonly monitor: Monitor;
  readonly session: QmpSession;
  readonly events: Json[] = [];

  constructor(
    machine = new FakeMachine(),
    monitor = new Monitor(machine, { name: 'mine', clock: () => 1_700_000_000_123_456 }),
  ) {
    this.machine = machine;
    this.monitor = monitor;
    this.session = new QmpSession(monitor, (event) => this.events.push(event));
  }

  ask(text: string): Json {
    const answer = this.session.answer({ text });
    if (answer instanceof Promise) throw new Error('the answer comes later');
    return answer;
  }

  execute(name: string, given?: unknown): Json {
    return this.ask(JSON.stringify({ execute: name, arguments: given }));
  }

  negotiate(): this {
    this.execute('qmp_capabilities');
    return this;
  }
}

function negotiated(machine?: FakeMachine): Client {
  return new Client(machine).negotiate();
}

test('greets as QEMU does, with no capability to offer', async (t) => {
  t.match(greeting, { QMP: { version: { qemu: { major: Number }, package: 'colo-vmm' }, capabilities: [] } });
});

test('executes nothing before capabilities are negotiated', async (t) => {
  const client = new Client();
  for (const name of ['quit', 'nothing']) {
    t.match(client.execute(name), { error: { class: 'CommandNotFound', desc: /qmp_capabilities/ } });
  }
  t.strictSame(client.machine.calls, []);
  t.strictSame(client.execute('qmp_capabilities'), { return: {} });
  t.match(client.execute('qmp_capabilities'), { error: { class: 'CommandNotFound', desc: /already complete/ } });
});

for (const [given, desc] of [
  [{ enable: ['oob'] }, 'Capability oob is not available'],
  [{ enable: ['fly'] }, "Parameter 'enable[0]' does not accept value 'fly'"],
  [{ enable: [1] }, "Invalid parameter type for 'enable[0]', expected: string"],
  [{ enable: 'oob' }, "Invalid parameter type for 'enable', expected: array"],
  [{ disable: [] }, "Parameter 'disable' is unexpected"],
] as const) {
  test(`does not negotiate ${JSON.stringify(given)}`, async (t) => {
    const client = new Client();
    t.strictSame(client.execute('qmp_capabilities', given), { error: { class: 'GenericError', desc } });
    t.equal(client.session.negotiated, false);
    t.strictSame(client.execute('qmp_capabilities', { enable: [] }), { return: {} });
  });
}

for (const [state, status, running] of [
  ['created', 'prelaunch', false],
  ['running', 'running', true],
  ['paused', 'paused', false],
  ['ended', 'shutdown', false],
] as const satisfies readonly (readonly [RunState, string, boolean])[]) {
  test(`calls a machine that is ${state} ${status}`, async (t) => {
    const client = negotiated(new FakeMachine(state));
    t.strictSame(client.execute('query-status'), { return: { running, singlestep: false, status } });
  });
}

test('stops and continues, and takes no offence at doing so twice', async (t) => {
  const client = negotiated();
  for (const command of ['stop', 'stop', 'cont', 'cont']) t.strictSame(client.execute(command), { return: {} });
  t.strictSame(client.machine.calls, ['pause', 'resume']);
  client.session.answered();
  client.session.answered();
  t.strictSame(client.machine.calls, ['pause', 'resume', 'wake'], 'the guest runs once the answer is on its way');
});

test('stop settles the disks, also of a machine that is paused already', async (t) => {
  const client = negotiated();
  client.execute('stop');
  t.equal(client.machine.settled, 1);
  client.execute('stop');
  t.equal(client.machine.settled, 2);
  client.machine.onSettle = () => {
    throw new Error('disk root cannot be flushed: EIO');
  };
  t.strictSame(client.execute('stop'), {
    error: { class: 'GenericError', desc: 'the machine is paused, but disk root cannot be flushed: EIO' },
  });
  t.equal(client.machine.state, 'paused');
});

for (const [command, call] of [
  ['system_powerdown', 'power button'],
  ['system_reset', 'reset by the monitor'],
  ['quit', 'stop by the monitor 0'],
] as const) {
  test(`does what ${command} says`, async (t) => {
    const client = negotiated();
    t.strictSame(client.execute(command), { return: {} });
    t.strictSame(client.machine.calls, [], 'not before it is answered');
    client.session.answered();
    client.session.answered();
    t.strictSame(client.machine.calls, [call]);
  });
}

test('tells what the machine is made of', async (t) => {
  const client = negotiated();
  t.strictSame(client.execute('query-name'), { return: { name: 'mine' } });
  t.match(client.execute('query-cpus-fast'), {
    return: [
      { 'cpu-index': 0, 'thread-id': 101, target: 'x86_64', props: { 'core-id': 0 } },
      { 'cpu-index': 1, 'thread-id': 102 },
    ],
  });
  t.match(client.execute('query-block'), {
    return: [
      { device: 'root', 'io-status': 'ok', inserted: { file: 'root.img', drv: 'raw', backing_file_depth: 0 } },
      {
        device: 'data',
        inserted: {
          file: 'mine.img',
          backing_file: 'base.img',
          image: { 'virtual-size': 1 << 30 },
          cache: { direct: true },
        },
      },
    ],
  });
  t.match(client.execute('x-query-machine'), {
    return: { name: 'mine', pid: process.pid, cpus: 2, 'memory-bytes': 256 << 20, cards: [{ tap: 'tap0' }] },
  });
});

test('has no name for a machine that was given none', async (t) => {
  const machine = new FakeMachine();
  const client = new Client(machine, new Monitor(machine)).negotiate();
  t.strictSame(client.execute('query-name'), { return: {} });
});

/** Those that need a machine with a state, arguments or a pair. */
const needy = [
  ...['x-reload', 'x-snapshot', 'xen-set-replication', 'migrate-set-capabilities', 'x-colo-protect'],
  ...['x-colo-backup'],
  ...['x-colo-lost-heartbeat', 'x-colo-unprotect', 'x-colo-checkpoint', 'x-colo-switchover', 'x-colo-failover'],
];

test('lists its commands, answers each of them, and takes no argument that it does not know', async (t) => {
  const { return: list } = negotiated().execute('query-commands') as { return: { name: string }[] };
  t.ok(list.some(({ name }) => name === 'query-status'));
  t.strictSame(
    needy.filter((name) => !list.some((command) => command.name === name)),
    [],
  );
  for (const { name } of list.filter((command) => !['qmp_capabilities', ...needy].includes(command.name))) {
    const { session, machine } = negotiated();
    const ask = (given: object) => session.answer({ text: JSON.stringify({ execute: name, arguments: given }) });
    t.strictSame(await ask({ x: 1 }), {
      error: { class: 'GenericError', desc: "Parameter 'x' is unexpected" },
    });
    t.strictSame(machine.calls, []);
    t.match(await ask({}), { return: Object }, name);
  }
});

for (const id of [0, -1.5, 'text', '', true, null, [1, { a: null }], {}, { n: [1] }]) {
  test(`gives the id ${JSON.stringify(id)} back, with results and with errors`, async (t) => {
    const client = negotiated();
    for (const execute of ['query-status', 'nothing']) {
      t.strictSame(client.ask(JSON.stringify({ execute, id })).id, id);
    }
    t.strictSame(client.ask(JSON.stringify({ id, other: 1 })).id, id);
  });
}

test('gives no id back where there was none', async (t) => {
  t.equal('id' in negotiated().execute('query-status'), false);
});

for (const [what, text, desc] of [
  ['no JSON', '{"execute":}', 'JSON parse error'],
  ['words', 'hello', 'JSON parse error'],
  ['an array', '[]', 'QMP input must be a JSON object'],
  ['null', 'null', 'QMP input must be a JSON object'],
  ['a number', '5', 'QMP input must be a JSON object'],
  ['no command', '{}', "QMP input lacks member 'execute'"],
  ['a command that is no text', '{"execute":{}}', "QMP input member 'execute' must be a string"],
  ['a command that nobody knows', '{"execute":"fly"}', 'The command fly has not been found'],
  ['a name that every object has', '{"execute":"constructor"}', 'The command constructor has not been found'],
  ['a member that nobody knows', '{"execute":"stop","extra":1}', "QMP input member 'extra' is unexpected"],
  ['a command out of band', '{"exec-oob":"stop"}', "QMP input member 'exec-oob' is unexpected"],
  ['arguments in an array', '{"execute":"stop","arguments":[]}', "QMP input member 'arguments' must be an object"],
  ['arguments that are null', '{"execute":"stop","arguments":null}', "QMP input member 'arguments' must be an object"],
] as const) {
  test(`answers ${what} with an error, and goes on`, async (t) => {
    const client = negotiated();
    t.match(client.ask(text), { error: { class: String, desc } });
    t.strictSame(client.machine.calls, []);
    t.match(client.execute('query-status'), { return: {} });
  });
}

test('passes on what was wrong with the bytes', async (t) => {
  t.strictSame(negotiated().session.answer({ error: 'JSON nesting depth limit exceeded' }), {
    error: { class: 'GenericError', desc: 'JSON nesting depth limit exceeded' },
  });
});

test('tells why a machine refuses', async (t) => {
  const client = negotiated();
  client.machine.pause = () => {
    throw new Error('vcpu 0 did not leave the guest');
  };
  t.strictSame(client.execute('stop'), { error: { class: 'GenericError', desc: 'vcpu 0 did not leave the guest' } });
});

test('tells of events once it has negotiated, before the answer to what caused them', async (t) => {
  const client = new Client();
  client.machine.pause();
  client.machine.resume();
  t.strictSame(client.events, []);
  client.negotiate();
  const order: Json[] = client.events;
  order.push(client.execute('stop'));
  t.strictSame(order, [
    { timestamp: { seconds: 1_700_000_000, microseconds: 123_456 }, event: 'STOP' },
    { return: {} },
  ]);
});

for (const command of ['quit', 'system_reset', 'system_powerdown']) {
  test(`tells of the events of ${command} after its answer`, async (t) => {
    const client = negotiated();
    t.match(client.execute(command, { x: 1 }), { error: { class: 'GenericError' } });
    client.session.answered();
    client.execute(command);
    t.strictSame(client.events, []);
    client.session.answered();
    t.ok(client.events.length > 0);
  });
}

test('every client hears of what another one does', async (t) => {
  const first = negotiated();
  const second = new Client(first.machine, first.monitor).negotiate();
  const silent = new Client(first.machine, first.monitor);
  first.execute('stop');
  t.match(second.events, [{ event: 'STOP' }]);
  t.strictSame(silent.events, []);
  second.session.close();
  first.execute('cont');
  t.equal(second.events.length, 1, 'and nothing any more after it has left');
});

test('takes a snapshot as it is told, and tells what came of it', async (t) => {
  const machine = new FakeMachine();
  const asked: unknown[] = [];
  const snapshots = {
    take: async (path: string, options?: object) => {
      asked.push([path, options]);
      return { path, base: null, ramBytes: 4096, pauseMs: 1.5 };
    },
  };
  const session = new QmpSession(new Monitor(machine, { snapshots }), () => {});
  session.answer({ text: '{"execute":"qmp_capabilities"}' });
  const answer = await session.answer({
    text: '{"execute":"x-snapshot","arguments":{"path":"/a","incremental":true},"id":7}',
  });
  t.strictSame(answer, { return: { path: '/a', base: null, 'ram-bytes': 4096, 'pause-ms': 1.5 }, id: 7 });
  t.strictSame(asked, [['/a', { incremental: true, stop: false }]]);
});

test('says so where there are no snapshots, and reloads only what runs', async (t) => {
  const client = negotiated(new FakeMachine('paused'));
  const refused = { class: 'GenericError' };
  const snapshot = await client.session.answer({ text: '{"execute":"x-snapshot","arguments":{"path":"/a"}}' });
  t.match(snapshot, { error: { ...refused, desc: /takes no snapshots/ } });
  const reload = await client.session.answer({ text: '{"execute":"x-reload"}' });
  t.match(reload, { error: { ...refused, desc: /does not run/ } });
});
