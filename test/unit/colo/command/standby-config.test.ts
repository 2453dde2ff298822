import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { pairOptions, parsePrimary } from '../../../../src/colo/command/pair-config.ts';
import { parseStandbyConfig } from '../../../../src/colo/command/standby-config.ts';
import { ConfigError, parseConfig } from '../../../../src/vmm/config/config.ts';

const standby = { name: 'web', listen: '[::]:7000', arbiter: 'manual', insecure: true };

test('a standby has the devices of its host, and the pair of its name', async (t) => {
  const config = parseStandbyConfig({ ...standby, disk: ['path=web.img'], net: ['tap=tap0'], serial: 'none' });
  t.match(config, {
    name: 'web',
    serial: { kind: 'none' },
    disk: [{ path: 'web.img' }],
    net: [{ tap: 'tap0' }],
    pair: { pair: 'web', listen: { host: '::', port: 7000 } },
  });
});

test('a standby does not mind that its standard input closed, unless it is told to', async (t) => {
  t.strictSame(parseStandbyConfig(standby).serial, { kind: 'stdio', eof: 'ignore' });
  t.strictSame(parseStandbyConfig({ ...standby, serial: 'stdio' }).serial, { kind: 'stdio', eof: 'stop' });
});

for (const key of ['memory', 'cpus', 'kernel', 'on-panic', 'standby']) {
  test(`a standby takes no ${key}: that is the primary's`, async (t) => {
    t.throws(
      () => parseStandbyConfig({ ...standby, [key]: '2' }),
      new ConfigError(
        `--${key}: no such key; known are serial, disk, net, name, control, metrics, dashboard, on-event, arbiter, tls, insecure, state, detection, checkpoint-delay, pcap, listen, peer`,
      ),
    );
  });
}

for (const [change, message] of [
  [{ name: undefined }, /^--name is missing/],
  [{ listen: undefined }, /^--listen is missing/],
  [{ detection: 'soon' }, /^--detection soon: give a number of milliseconds$/],
  [{ detection: '1e3' }, /^--detection 1e3: give a number of milliseconds$/],
  [{ detection: '10' }, /^--detection 10: give 40 to 60000 milliseconds$/],
  [{ disk: ['paht=web.img'] }, /^--disk paht=web.img: /],
] as const) {
  test(`refuses ${JSON.stringify(change)}`, async (t) => {
    t.throws(() => parseStandbyConfig({ ...standby, ...change }), { code: 'CONFIG', message });
  });
}

test('a file may hold all of it, and flags win', async (t) => {
  const file = join(t.testdir(), 'web.json');
  writeFileSync(file, JSON.stringify({ ...standby, detection: 400 }));
  const { pair } = parseStandbyConfig({ listen: '10.0.0.2:7001' }, file);
  t.match(pair, { listen: { host: '10.0.0.2', port: 7001 }, settings: { detectMs: 400 } });
});

test('what run is told of its pair is what a primary wants to know', async (t) => {
  const config = parseConfig({
    kernel: 'vmlinuz',
    name: 'web',
    standby: 'b.example:7000',
    arbiter: 'manual',
    insecure: true,
    detection: '1000',
    'checkpoint-delay': '500',
    state: '/var/lib/web',
  });
  t.match(parsePrimary({ ...pairOptions(config), standby: config.standby }, true), {
    pair: 'web',
    standby: { host: 'b.example', port: 7000 },
    settings: { detectMs: 1000, checkpointDelayMs: 500 },
    stateDirectory: '/var/lib/web',
    insists: true,
  });
});
