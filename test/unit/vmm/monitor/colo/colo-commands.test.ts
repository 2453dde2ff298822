import { test } from 'tap';
import { Monitor } from '../../../../../src/vmm/monitor/monitor.ts';
import type { Json } from '../../../../../src/vmm/monitor/qmp-protocol.ts';
import { QmpSession } from '../../../../../src/vmm/monitor/qmp-session.ts';
import { FakeColo, protectedStatus } from '../../../../support/fake-colo.ts';
import { FakeMachine } from '../../../../support/fake-machine.ts';

/** A negotiated client of a monitor, and the events that it hears. */
class Client {
  readonly events: Json[] = [];
  readonly #session: QmpSession;

  constructor(monitor: Monitor) {
    this.#session = new QmpSession(monitor, ({ event, data }) => this.events.push({ event, data }));
    this.#session.answer({ text: '{"execute":"qmp_capabilities"}' });
  }

  async execute(name: string, given?: object): Promise<Json> {
    const answer = await this.#session.answer({ text: JSON.stringify({ execute: name, arguments: given }) });
    this.#session.answered();
    return answer;
  }

  /** What a command gives back. */
  async returned(name: string, given?: object): Promise<unknown> {
    const answer = await this.execute(name, given);
    if ('error' in answer) throw new Error(JSON.stringify(answer));
    return answer.return;
  }

  /** Why a command is refused. */
  async refusal(name: string, given?: object): Promise<unknown> {
    const { error } = (await this.execute(name, given)) as { error?: { class: string; desc: string } };
    return error?.class === 'GenericError' ? error.desc : error;
  }
}

function paired(machine = new FakeMachine()) {
  const colo = new FakeColo();
  const monitor = new Monitor(machine, { colo });
  return { monitor, machine, colo, client: new Client(monitor) };
}

function alone() {
  const monitor = new Monitor(new FakeMachine());
  return { monitor, client: new Client(monitor) };
}

test('a machine in no pair answers as a QEMU without COLO', async (t) => {
  const { client } = alone();
  t.strictSame(await client.returned('query-colo-status'), { mode: 'none', 'last-mode': 'none', reason: 'none' });
  t.strictSame(await client.returned('query-xen-replication-status'), { error: false });
  t.strictSame(await client.returned('xen-colo-do-checkpoint'), {});
  t.strictSame(await client.returned('query-migrate'), {});
  t.strictSame(await client.returned('x-colo-status'), {});
  t.strictSame(await client.returned('x-colo-events'), []);
  for (const name of ['x-colo-lost-heartbeat', 'x-colo-unprotect', 'x-colo-checkpoint', 'x-colo-switchover']) {
    t.equal(await client.refusal(name), "The feature 'colo' is not enabled", name);
  }
  t.equal(await client.refusal('x-colo-failover'), 'nothing is protected here that could fail over');
  const nothing = { enable: true, primary: true };
  t.strictSame(await client.returned('xen-set-replication', nothing), {});
  t.strictSame(await client.returned('xen-set-replication', { ...nothing, enable: false, failover: true }), {});
});

test('x-colo-backup copies to an absolute path, where there is a standby', async (t) => {
  const { client, colo } = paired();
  t.match(await client.returned('x-colo-backup', { path: '/backup/monday' }), { path: '/backup/monday', epoch: 12 });
  t.equal(await client.refusal('x-colo-backup', { path: 'monday' }), 'monday: give an absolute path');
  t.strictSame(colo.backups, ['/backup/monday']);
  colo.refusal = 'this machine has no disks';
  t.equal(await client.refusal('x-colo-backup', { path: '/backup/monday' }), 'this machine has no disks');
  t.match(await alone().client.refusal('x-colo-backup', { path: '/backup/monday' }), /made on its standby/);
});

test('says who a side is and was, and why it is not any more', async (t) => {
  const { client, colo } = paired();
  t.strictSame(await client.returned('query-colo-status'), { mode: 'primary', 'last-mode': 'none', reason: 'none' });
  colo.exit('primary', 'request');
  t.strictSame(await client.returned('query-colo-status'), { mode: 'none', 'last-mode': 'primary', reason: 'request' });
  t.strictSame(client.events, [{ event: 'COLO_EXIT', data: { mode: 'primary', reason: 'request' } }]);
});

for (const [name, given, asks] of [
  ['x-colo-lost-heartbeat', undefined, { name: 'lost-heartbeat', sure: false }],
  ['xen-set-replication', { enable: false, primary: true, failover: true }, { name: 'lost-heartbeat', sure: false }],
  ['xen-set-replication', { enable: false, primary: true, failover: false }, { name: 'unprotect' }],
  ['xen-set-replication', { enable: false, primary: true }, { name: 'unprotect' }],
  ['xen-colo-do-checkpoint', undefined, { name: 'checkpoint' }],
  ['migrate-set-parameters', { 'x-checkpoint-delay': 500 }, { name: 'set-checkpoint-delay', delayMs: 500 }],
  ['migrate-set-parameters', { 'x-checkpoint-delay': 0 }, { name: 'set-checkpoint-delay', delayMs: 10 }],
  ['x-colo-unprotect', undefined, { name: 'unprotect' }],
  ['x-colo-checkpoint', undefined, { name: 'checkpoint' }],
  ['x-colo-switchover', undefined, { name: 'switchover' }],
  ['x-colo-failover', undefined, { name: 'failover', sure: false }],
  ['x-colo-failover', { sure: true }, { name: 'failover', sure: true }],
] as const) {
  test(`${name} ${JSON.stringify(given)} asks the pair, and says why it is refused`, async (t) => {
    const { client, colo } = paired();
    t.strictSame(await client.returned(name, given), {});
    t.strictSame(colo.asked, [asks]);
    colo.refusal = 'COLO failover is already activated';
    t.equal(await client.refusal(name, given), 'COLO failover is already activated');
  });
}

for (const [given, desc] of [
  [{ enable: true, primary: true, failover: false }, "Parameter 'failover' is only for stopping replication"],
  [{ enable: true, primary: true }, 'Block replication is running or done'],
  [{ enable: true, primary: false }, "The parameter mode's value is invalid, needs primary"],
  [{ enable: true }, "Parameter 'primary' is missing"],
  [{ enable: 1, primary: true }, "Invalid parameter type for 'enable', expected: boolean"],
] as const) {
  test(`refuses xen-set-replication ${JSON.stringify(given)}`, async (t) => {
    const { client, colo } = paired();
    t.equal(await client.refusal('xen-set-replication', given), desc);
    t.strictSame(colo.asked, []);
  });
}

test('an error of the disks is told by the replication status', async (t) => {
  const { client, colo } = paired();
  colo.current = { ...protectedStatus, disk: { logBytes: 0, error: 'root: EIO' } };
  t.strictSame(await client.returned('query-xen-replication-status'), { error: true, desc: 'root: EIO' });
  const failure = 'the standby ended protection: its disk failed: EIO';
  colo.current = { ...protectedStatus, headline: 'UNPROTECTED', phase: 'unprotected', failure };
  t.strictSame(await client.returned('query-xen-replication-status'), { error: true, desc: failure });
});

test('capabilities that are ours can be set, all others are off', async (t) => {
  const { client, colo } = paired();
  const set = (capability: string, state: unknown): object => ({ capabilities: [{ capability, state }] });
  const inPair = "There's a migration process in progress";
  for (const phase of ['connecting', 'synchronising', 'seeding']) {
    colo.current = { ...protectedStatus, phase };
    t.equal(await client.refusal('migrate-set-capabilities', set('x-colo', true)), inPair, phase);
  }
  colo.current = { ...protectedStatus, phase: 'protected' };
  t.strictSame(await client.returned('migrate-set-capabilities', set('x-colo', true)), {});
  t.strictSame(await client.returned('migrate-set-capabilities', set('xbzrle', false)), {});
  const both = {
    capabilities: [
      { capability: 'x-colo', state: false },
      { capability: 'multifd', state: true },
    ],
  };
  t.equal(await client.refusal('migrate-set-capabilities', both), "Capability 'multifd' is not supported");
  const found = (await client.returned('query-migrate-capabilities')) as { capability: string; state: boolean }[];
  t.equal(found.length, 21);
  t.strictSame(
    found.filter(({ state }) => state),
    [{ capability: 'x-colo', state: true }],
    'all of a list, or none of it',
  );
  t.equal(
    await client.refusal('migrate-set-capabilities', set('x-colo', 1)),
    "Invalid parameter type for 'capabilities[0].state', expected: boolean",
  );
});

for (const [given, desc] of [
  [{ 'x-checkpoint-delay': -1 }, "Parameter 'x-checkpoint-delay' expects uint32_t"],
  [{ 'x-checkpoint-delay': 2 ** 32 }, "Parameter 'x-checkpoint-delay' expects uint32_t"],
  [{ 'x-checkpoint-delay': 1.5 }, "Parameter 'x-checkpoint-delay' expects uint64"],
  [{ 'x-checkpoint-delay': '500' }, "Parameter 'x-checkpoint-delay' expects uint64"],
  [{ 'downtime-limit': 2_000_001 }, /expects an integer in the range of 0 to/],
  [{ 'compress-wait-thread': 1 }, "Invalid parameter type for 'compress-wait-thread', expected: boolean"],
  [{ 'tls-creds': 1 }, "Invalid parameter type for 'tls-creds', expected: string"],
  [{ nothing: 1 }, "Parameter 'nothing' is unexpected"],
  [{ constructor: 1 }, "Parameter 'constructor' is unexpected"],
  [{ 'max-bandwidth': 5, nothing: 1 }, "Parameter 'nothing' is unexpected"],
] as const) {
  test(`refuses the parameters ${JSON.stringify(given)}`, async (t) => {
    const { client, colo } = paired();
    const before = await client.returned('query-migrate-parameters');
    t.match(await client.refusal('migrate-set-parameters', given), desc);
    t.strictSame(await client.returned('query-migrate-parameters'), before, 'and nothing has changed');
    t.strictSame(colo.asked, []);
  });
}

test('parameters are kept, and the delay is the one of the pair', async (t) => {
  const { client } = paired();
  await client.returned('migrate-set-parameters', { 'max-bandwidth': 2 ** 30, 'tls-creds': null });
  t.match(await client.returned('query-migrate-parameters'), {
    'max-bandwidth': 2 ** 30,
    'tls-creds': '',
    'x-checkpoint-delay': 500,
  });
});

test('a delay reaches a side that has no peer yet, or none any more', async (t) => {
  const { client, colo } = paired();
  for (const lastMode of ['none', 'primary'] as const) {
    colo.modes = { mode: 'none', lastMode, reason: 'none' };
    await client.returned('migrate-set-parameters', { 'x-checkpoint-delay': 700 });
    t.strictSame(colo.asked.splice(0), [{ name: 'set-checkpoint-delay', delayMs: 700 }]);
  }
});

test('a delay that the pair refuses is not kept, nor what came with it; where there is no pair yet it is', async (t) => {
  const { client, colo } = paired();
  const { checkpoint: _, ...unprotected } = protectedStatus;
  colo.current = unprotected;
  const wanted = { 'x-checkpoint-delay': 700, 'max-bandwidth': 5 };
  const before = await client.returned('query-migrate-parameters');
  t.match(before, { 'x-checkpoint-delay': 500 }, 'the one that holds once it is protected');
  colo.refusal = 'this machine is not protected';
  t.equal(await client.refusal('migrate-set-parameters', wanted), colo.refusal);
  t.strictSame(await client.returned('query-migrate-parameters'), before);
  colo.refusal = "The feature 'colo' is not enabled";
  colo.current = undefined;
  t.strictSame(await client.returned('migrate-set-parameters', wanted), {});
  t.match(await client.returned('query-migrate-parameters'), wanted);
});

for (const [phase, lastMode, info] of [
  ['connecting', 'none', { status: 'setup' }],
  ['synchronising', 'none', { status: 'active' }],
  ['protected', 'none', { status: 'colo' }],
  ['waiting', 'none', { status: 'colo' }],
  ['unprotected', 'none', { status: 'failed', 'error-desc': 'its standby has all of it' }],
  ['unprotected', 'primary', { status: 'completed' }],
  ['listening', 'none', {}],
  ['protecting', 'none', { status: 'colo' }],
  ['live', 'secondary', { status: 'completed' }],
] as const) {
  test(`calls the migration of a side that is ${phase} after ${lastMode} ${JSON.stringify(info)}`, async (t) => {
    const { client, colo } = paired();
    colo.current = { ...protectedStatus, phase };
    colo.modes = { mode: 'none', lastMode, reason: 'none' };
    t.strictSame(await client.returned('query-migrate'), info);
  });
}

for (const [address, told] of [
  ['0.0.0.0:7000', { type: 'inet', host: '0.0.0.0', port: '7000', ipv4: true }],
  ['[::]:7000', { type: 'inet', host: '::', port: '7000', ipv6: true }],
] as const) {
  test(`a standby that waits on ${address} says so to who asks for its migration`, async (t) => {
    const { client, colo } = paired();
    colo.current = { ...protectedStatus, role: 'secondary', address, phase: 'protecting' };
    t.strictSame(await client.returned('query-migrate'), { 'socket-address': [told], status: 'colo' });
    colo.current = { ...colo.current, phase: 'listening' };
    t.strictSame(await client.returned('query-migrate'), { 'socket-address': [told] });
  });
}

test('events of the pair are told, and MIGRATION to who wants it, when it changes', async (t) => {
  const { client, colo, monitor } = paired();
  const event = { at: 1_700_000_000_000, monotonicMs: 5, topic: 'protection', text: 'PROTECTED' } as const;
  const told = { event: 'X_COLO_EVENT', data: event };
  colo.happen(event);
  await client.returned('query-status');
  t.strictSame(client.events.splice(0), [told]);
  monitor.migration.setCapabilities([{ capability: 'events', state: true }]);
  colo.happen(event);
  colo.happen(event);
  await client.returned('x-colo-status');
  t.strictSame(client.events, [told, told, { event: 'MIGRATION', data: { status: 'colo' } }]);
});

test('MIGRATION tells of the end of a pair, also while the side that took over becomes another one', async (t) => {
  const { client, colo, monitor } = paired();
  monitor.migration.setCapabilities([{ capability: 'events', state: true }]);
  colo.current = undefined;
  colo.exit('secondary', 'request');
  t.strictSame(await client.returned('query-migrate'), { status: 'completed' });
  t.strictSame(client.events, [
    { event: 'COLO_EXIT', data: { mode: 'secondary', reason: 'request' } },
    { event: 'MIGRATION', data: { status: 'completed' } },
  ]);
});

test('status and events are told as they are', async (t) => {
  const { client, colo } = paired();
  colo.happen({ at: 1, monotonicMs: 1, topic: 'peer', text: 'silent for 200 ms' });
  colo.happen({ at: 2, monotonicMs: 2, topic: 'message', text: 'checkpoint-request 7 sent' });
  t.strictSame(await client.returned('x-colo-status'), protectedStatus);
  t.strictSame(await client.returned('x-colo-events'), colo.log.slice(0, 1));
  t.strictSame(await client.returned('x-colo-events', { all: true }), colo.log);
});

test('a machine is protected with what is given, and with the delay that was set before', async (t) => {
  const { client, colo } = paired();
  colo.modes = { ...colo.modes, mode: 'none' };
  await client.returned('migrate-set-parameters', { 'x-checkpoint-delay': 700 });
  const options = { standby: 'b:7000', arbiter: 'manual', insecure: true };
  await client.returned('x-colo-protect', options);
  await client.returned('x-colo-protect', { ...options, 'detection-ms': 400, 'checkpoint-delay-ms': 900 });
  t.strictSame(colo.asked, [
    { name: 'set-checkpoint-delay', delayMs: 700 },
    { ...options, checkpointDelayMs: 700 },
    { ...options, detectionMs: 400, checkpointDelayMs: 900 },
  ]);
  const how = { mode: 'comparing', flow: ['port=514,policy=pass'] };
  await client.returned('x-colo-protect', { ...options, ...how });
  t.strictSame(colo.asked.at(-1), { ...options, ...how, checkpointDelayMs: 700 });
  t.match(await client.refusal('x-colo-protect', { ...options, flow: 'port=514' }), /flow/);
  colo.refusal = 'this machine is protected already';
  t.equal(await client.refusal('x-colo-protect', options), 'this machine is protected already');
  t.equal(await client.refusal('x-colo-protect', {}), "Parameter 'standby' is missing");
});

test('a machine that nobody can protect says so', async (t) => {
  const { client } = alone();
  t.equal(
    await client.refusal('x-colo-protect', { standby: 'b:7000', arbiter: 'manual' }),
    'this machine cannot be protected',
  );
});

for (const [mode, says] of [
  ['secondary', 'this machine is the standby of its pair: its guest runs on the primary'],
  ['primary', 'this machine is about to end, in order: its guest has ended, or goes on on the standby'],
  ['none', 'this machine was fenced: its pair went on elsewhere, and this guest stays stopped'],
] as const) {
  test(`a machine held by fault tolerance as ${mode} is nobody's to stop, resume or reset`, async (t) => {
    const { client, machine, colo } = paired(new FakeMachine('colo'));
    colo.modes = { ...colo.modes, mode };
    t.match(await client.returned('query-status'), { status: 'colo', running: false });
    for (const name of ['stop', 'cont', 'system_reset', 'system_powerdown']) t.equal(await client.refusal(name), says);
    t.equal(await client.refusal('x-snapshot', { path: 'web.snap' }), says);
    t.strictSame(machine.calls, []);
    await client.returned('quit');
    t.strictSame(machine.calls, ['stop by the monitor 0'], 'but anybody may end it');
  });
}

test('a standby that waits has no guest', async (t) => {
  const { client, machine, colo } = paired(new FakeMachine('created'));
  colo.modes = { ...colo.modes, mode: 'none' };
  t.strictSame(await client.returned('query-status'), { running: false, singlestep: false, status: 'inmigrate' });
  for (const name of ['stop', 'cont', 'system_reset']) {
    t.equal(await client.refusal(name), 'this standby waits for its primary: there is no guest yet');
  }
  colo.modes = { ...colo.modes, mode: 'secondary' };
  t.match(await client.returned('query-status'), { status: 'colo' });
  t.equal(await client.refusal('cont'), 'this machine is the standby of its pair: its guest runs on the primary');
  machine.state = 'running';
  await client.returned('stop');
  t.strictSame(machine.calls, ['pause'], 'which it is no more when it has taken over');
});

test('a machine in a pair is not reloaded in place', async (t) => {
  const { client } = paired();
  t.equal(await client.refusal('x-reload'), 'the machine is in a pair');
});

test('who has no time is told that the colo thread gives no answer', { timeout: 20_000 }, async (t) => {
  const { client, colo } = paired();
  t.match(await client.returned('x-colo-status', { 'within-ms': 60_000 }), { headline: 'PROTECTED' });
  colo.status = () => new Promise(() => {});
  t.strictSame(await client.returned('x-colo-status', { 'within-ms': 20 }), {
    unknown: 'the colo thread gives no answer within 20 ms',
  });
});
