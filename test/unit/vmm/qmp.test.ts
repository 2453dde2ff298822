import { test } from 'tap';
import { greeting, type MonitoredMachine, QmpSession } from '../../../src/vmm/qmp.ts';
import type { RunState } from '../../../src/vmm/run-state.ts';

/** A machine that notes what it is told. */
function fakeMachine(state: RunState = 'running'): MonitoredMachine & { state: RunState; calls: string[] } {
  const calls: string[] = [];
  const machine = {
    state,
    calls,
    pause: () => {
      calls.push('pause');
      machine.state = 'paused';
    },
    resume: () => {
      calls.push('resume');
      machine.state = 'running';
    },
    pressPowerButton: () => {
      calls.push('power button');
    },
    stop: (by: string, exitCode: number) => {
      calls.push(`stop by ${by} ${exitCode}`);
    },
  };
  return machine;
}

function negotiated(machine = fakeMachine()): QmpSession {
  const session = new QmpSession(machine);
  session.answer('{"execute":"qmp_capabilities"}');
  return session;
}

function execute(session: QmpSession, command: string): unknown {
  return session.answer(JSON.stringify({ execute: command }));
}

test('greets as QEMU does', async (t) => {
  t.match(greeting, { QMP: { version: { qemu: { major: Number }, package: 'colo-vmm' }, capabilities: [] } });
});

test('executes nothing before capabilities are negotiated', async (t) => {
  const machine = fakeMachine();
  const session = new QmpSession(machine);
  t.match(execute(session, 'quit'), { error: { class: 'CommandNotFound', desc: /qmp_capabilities/ } });
  t.strictSame(machine.calls, []);
  t.strictSame(execute(session, 'qmp_capabilities'), { return: {} });
  t.match(execute(session, 'qmp_capabilities'), { error: { class: 'CommandNotFound', desc: /already complete/ } });
});

for (const [state, status, running] of [
  ['created', 'prelaunch', false],
  ['running', 'running', true],
  ['paused', 'paused', false],
  ['ended', 'shutdown', false],
] as const) {
  test(`calls a machine that is ${state} ${status}`, async (t) => {
    t.strictSame(execute(negotiated(fakeMachine(state)), 'query-status'), { return: { running, status } });
  });
}

test('stops and continues, and takes no offence at doing so twice', async (t) => {
  const machine = fakeMachine();
  const session = negotiated(machine);
  for (const command of ['stop', 'stop', 'cont', 'cont']) t.strictSame(execute(session, command), { return: {} });
  t.strictSame(machine.calls, ['pause', 'resume']);
});

test('presses the power button and quits', async (t) => {
  const machine = fakeMachine();
  const session = negotiated(machine);
  t.strictSame(execute(session, 'system_powerdown'), { return: {} });
  t.strictSame(execute(session, 'quit'), { return: {} });
  t.strictSame(machine.calls, ['power button', 'stop by the monitor 0']);
});

test('lists its commands, and answers each of them', async (t) => {
  const { return: commands } = execute(negotiated(), 'query-commands') as { return: { name: string }[] };
  t.ok(commands.some(({ name }) => name === 'query-status'));
  for (const { name } of commands.filter((command) => command.name !== 'qmp_capabilities')) {
    t.match(execute(negotiated(), name), { return: Object });
  }
});

test('gives the id back, with results and with errors', async (t) => {
  const session = negotiated();
  t.strictSame(session.answer('{"execute":"query-status","id":{"n":[1]}}').id, { n: [1] });
  t.match(session.answer('{"execute":"nothing","id":7}'), { error: {}, id: 7 });
  t.equal('id' in session.answer('{"execute":"query-status"}'), false);
});

for (const [what, line, desc] of [
  ['no JSON', '{"execute":', 'JSON parse error'],
  ['words', 'hello', 'JSON parse error'],
  ['an array', '[]', 'QMP input must be a JSON object'],
  ['null', 'null', 'QMP input must be a JSON object'],
  ['a number', '5', 'QMP input must be a JSON object'],
  ['no command', '{}', "QMP input lacks member 'execute'"],
  ['a command that is no text', '{"execute":{}}', "QMP input lacks member 'execute'"],
  ['a command that nobody knows', '{"execute":"fly"}', 'The command fly has not been found'],
  ['a name that every object has', '{"execute":"constructor"}', 'The command constructor has not been found'],
] as const) {
  test(`answers ${what} with an error, and goes on`, async (t) => {
    const session = negotiated();
    t.match(session.answer(line), { error: { class: String, desc } });
    t.match(execute(session, 'query-status'), { return: {} });
  });
}

test('tells why a machine refuses', async (t) => {
  const machine = {
    ...fakeMachine(),
    pause: () => {
      throw new Error('vcpu 0 did not leave the guest');
    },
  };
  t.strictSame(execute(negotiated(machine), 'stop'), {
    error: { class: 'GenericError', desc: 'vcpu 0 did not leave the guest' },
  });
});
