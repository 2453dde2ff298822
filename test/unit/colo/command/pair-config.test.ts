import { join } from 'node:path';
import { test } from 'tap';
import { type HostPort, showHostPort } from '../../../../src/colo/command/host-port.ts';
import {
  defaultStateDirectory,
  parsePrimary,
  parseSecondary,
  survivorConfig,
} from '../../../../src/colo/command/pair-config.ts';
import { keysCommand } from '../../../../src/colo/keys/keys-command.ts';
import { ConfigError } from '../../../../src/vmm/config/config.ts';

const primary = { name: 'web', standby: 'b.example:7000', arbiter: 'manual', insecure: true };
const secondary = { name: 'web', listen: '0.0.0.0:7000', arbiter: 'manual', insecure: true };

/** Why options are refused. */
function refusal(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return 'they are accepted';
}

test('what nobody says has its default', async (t) => {
  t.strictSame(parsePrimary(primary, true), {
    pair: 'web',
    settings: {
      heartbeatMs: 50,
      detectMs: 200,
      leaseMs: 150,
      clockRateError: 0.05,
      arbiter: 'manual',
      stepMs: 5000,
      askAgainMs: 250,
      checkpointDelayMs: 20_000,
      guestShare: 0.7,
      livePasses: 2,
      diskLogBytes: 64 * 1024 * 1024,
      compares: true,
      divergenceShare: 0.5,
      buffersForMs: 5000,
    },
    flows: [],
    security: { kind: 'plaintext' },
    arbiter: { kind: 'manual' },
    stateDirectory: defaultStateDirectory('web'),
    standby: { host: 'b.example', port: 7000 },
    insists: true,
  });
  t.match(parseSecondary(secondary), { pair: 'web', listen: { host: '0.0.0.0', port: 7000 } });
});

test('heartbeats and consent follow from how soon silence is to be noticed', async (t) => {
  t.match(parsePrimary({ ...primary, detectionMs: 1000, checkpointDelayMs: 500 }, false), {
    settings: { heartbeatMs: 250, detectMs: 1000, leaseMs: 750, checkpointDelayMs: 500 },
    insists: false,
  });
});

test('where a host may be silent for seconds, answers and handshakes may take longer, too', async (t) => {
  t.match(parsePrimary({ ...primary, detectionMs: 3000 }, false), { settings: { stepMs: 15_000 } });
});

for (const [text, host, port] of [
  ['10.0.0.2:1', '10.0.0.2', 1],
  ['b:65535', 'b', 65_535],
  ['[2001:db8::1]:7000', '2001:db8::1', 7000],
  ['[fe80::1%eth0]:7000', 'fe80::1%eth0', 7000],
] as const) {
  test(`takes ${text}`, async (t) => {
    const { standby } = parsePrimary({ ...primary, standby: text }, true);
    t.strictSame(standby, { host, port });
    t.equal(showHostPort(standby as HostPort), text);
  });
}

for (const [text, reason] of [
  ['', 'give HOST:PORT, such as b.example:7000'],
  ['b.example', 'give HOST:PORT, such as b.example:7000'],
  [':7000', 'give HOST:PORT, such as b.example:7000'],
  ['b example:7000', 'give HOST:PORT, such as b.example:7000'],
  ['b.example:http', 'give HOST:PORT, such as b.example:7000'],
  ['http://b.example:7000', 'an IPv6 address is in brackets, such as [2001:db8::1]:7000'],
  ['2001:db8::1:7000', 'an IPv6 address is in brackets, such as [2001:db8::1]:7000'],
  ['[10.0.0.2]:7000', '"10.0.0.2" is no IPv6 address'],
  ['b.example:0', 'a port is 1 to 65535'],
  ['b.example:65536', 'a port is 1 to 65535'],
] as const) {
  test(`refuses the address "${text}"`, async (t) => {
    t.equal(
      refusal(() => parsePrimary({ ...primary, standby: text }, true)),
      `--standby ${text}: ${reason}`,
    );
  });
}

for (const [change, message] of [
  [{ name: undefined }, /^--name is missing: give the name of the pair, the same on both hosts$/],
  [{ name: 'a/b' }, /^--name a\/b: give up to 64 letters/],
  [{ name: '..' }, /^--name \.\.: a name of dots alone/],
  [{ standby: undefined }, /^--standby is missing: give HOST:PORT of the standby/],
  [{ arbiter: undefined }, /^--arbiter is missing: .*which one goes on.*etcd:URL, file:FOLDER, or manual/],
  [{ arbiter: 'nobody' }, /^--arbiter nobody: give manual, file:FOLDER or etcd:/],
  [
    { insecure: undefined },
    /^--tls is missing: give dir=FOLDER .*colo-vmm keys.*--insecure: then nothing is encrypted/,
  ],
  [{ tls: 'dir=keys' }, /^--insecure: --tls is given too; give one of them$/],
  [{ insecure: false, tls: '/etc/colo' }, /^--tls \/etc\/colo: write it like dir=/],
  [{ insecure: false, tls: 'dir=' }, /^--tls dir=: write it like dir=/],
  [{ insecure: false, tls: 'dir=/nowhere' }, /^--tls dir=\/nowhere: there is no pair.pem/],
  [{ insecure: 'on' }, /^--insecure on: give true or false$/],
  [{ detectionMs: 39 }, /^--detection 39: give 40 to 60000 milliseconds$/],
  [{ detectionMs: '200' }, /^--detection 200: give 40/],
  [{ detectionMs: Number.NaN }, /^--detection .*: give 40/],
  [{ checkpointDelayMs: 9 }, /^--checkpoint-delay 9: give 10 to 86400000 milliseconds$/],
  [{ state: '' }, /^--state : give a directory$/],
  [{ speed: 1 }, /^--speed: no such key$/],
] as const) {
  test(`refuses ${JSON.stringify(change)}`, async (t) => {
    t.match(
      refusal(() => parsePrimary({ ...primary, ...change }, true)),
      message,
    );
  });
}

test('a standby has to say where it waits, and names no other one', async (t) => {
  t.match(
    refusal(() => parseSecondary({ ...secondary, listen: undefined })),
    /^--listen is missing: give ADDRESS:PORT/,
  );
  t.match(
    refusal(() => parseSecondary({ ...secondary, standby: 'b:7000' })),
    /^--standby: no such key$/,
  );
});

test('keys are those of the pair', async (t) => {
  const [folder = ''] = await keysCommand(join(t.testdir(), 'keys'), { pair: 'web', hosts: 'a,b', days: '10' });
  const options = { ...primary, insecure: false, tls: `dir=${folder}` };
  t.match(parsePrimary(options, true).security, { kind: 'tls', keys: { pair: 'web', host: 'a' } });
  t.equal(
    refusal(() => parsePrimary({ ...options, name: 'db' }, true)),
    `--name db: the keys in ${folder} are of the pair "web"; give --name web, or another --tls dir=`,
  );
});

test('state is kept where it outlives the machine, for root and for others', async (t) => {
  const { geteuid } = process;
  const { XDG_STATE_HOME: home } = process.env;
  t.teardown(() => {
    process.geteuid = geteuid as () => number;
    if (home === undefined) delete process.env.XDG_STATE_HOME;
    else process.env.XDG_STATE_HOME = home;
  });
  process.geteuid = () => 0;
  t.equal(defaultStateDirectory('web'), '/var/lib/colo-vmm/web');
  process.geteuid = () => 1000;
  process.env.XDG_STATE_HOME = '/home/me/state';
  t.equal(defaultStateDirectory('web'), '/home/me/state/colo-vmm/web');
  delete process.env.XDG_STATE_HOME;
  t.match(defaultStateDirectory('web'), /\/\.local\/state\/colo-vmm\/web$/);
  t.equal(parsePrimary({ ...primary, state: 'here' }, true).stateDirectory, join(process.cwd(), 'here'));
});

test('both sides know the arbiter by the same name, however they reach it', async (t) => {
  const named = (arbiter: string): string => parsePrimary({ ...primary, arbiter }, true).settings.arbiter;
  t.equal(named('etcd:http://c1:2379,http://c2:2379'), named('etcd:http://c2:2379'));
  t.not(named('etcd:http://c1:2379,prefix=/other/'), named('etcd:http://c1:2379'));
});

test('how output leaves is said to the primary alone', async (t) => {
  const { settings, flows } = parsePrimary(
    { ...primary, mode: 'comparing', flow: ['port=123,policy=buffer', 'port=514,policy=pass'] },
    true,
  );
  t.equal(settings.compares, true);
  t.strictSame(flows, [
    { port: 123, policy: 'buffer' },
    { port: 514, policy: 'pass' },
  ]);
  t.equal(parsePrimary(primary, true).settings.compares, true, 'answers are compared where nothing else is said');
  t.equal(parsePrimary({ ...primary, mode: 'buffered' }, true).settings.compares, false);
  const refused = (options: object): string => refusal(() => parsePrimary({ ...primary, ...options }, true));
  t.match(refused({ mode: 'colo' }), '--mode colo: give buffered or comparing');
  t.match(refused({ mode: 'comparing', flow: ['port=0,policy=pass'] }), /port is a number from 1 to 65535/);
  t.match(
    refused({ mode: 'comparing', flow: ['port=1,policy=pass', 'port=0,policy=pass'] }),
    /^--flow port=0,policy=pass: port is/,
  );
  t.match(refused({ mode: 'comparing', flow: ['port=1,policy=drop'] }), /policy is compare, buffer, pass/);
  t.match(refused({ mode: 'buffered', flow: ['port=1,policy=pass'] }), /--flow: .*--mode buffered/);
  const many = Array.from({ length: 257 }, (_, port) => `port=${port + 1},policy=buffer`);
  t.match(refused({ mode: 'comparing', flow: many }), '--flow: give it 256 times at most');
});

test('a primary that is told where to listen has its door there, beside the standby that it dials', async (t) => {
  t.equal(parsePrimary(primary, true).listen, undefined, 'no port is opened that nobody asked for');
  const made = parsePrimary({ ...primary, listen: '[::]:7001' }, true);
  t.match(made, { standby: { port: 7000 }, listen: { host: '::', port: 7001 } });
  t.match(
    refusal(() => parsePrimary({ ...primary, listen: 'here' }, true)),
    '--listen here: give HOST:PORT, such as 0.0.0.0:7000',
  );
});

test('a standby may be told of several hosts', async (t) => {
  t.same(parseSecondary(secondary).peers, []);
  t.same(parseSecondary({ ...secondary, peer: 'a:7000,[::1]:7001' }).peers, [
    { host: 'a', port: 7000 },
    { host: '::1', port: 7001 },
  ]);
  t.match(
    refusal(() => parseSecondary({ ...secondary, peer: 'a:7000,b' })),
    '--peer a:7000,b: give HOST:PORT, such as a.example:7000',
  );
});

test('a survivor compares what its primary did', async (t) => {
  const flows = [{ port: 443, policy: 'buffer' }] as const;
  const made = survivorConfig(parseSecondary(secondary), { compares: true, flows });
  t.match(made, { settings: { compares: true }, flows, listen: { port: 7000 } });
  t.equal(made.standby, undefined, 'it knows no standby to dial');
  t.match(survivorConfig(parseSecondary(secondary), {}), { settings: { compares: false }, flows: [] });
});
