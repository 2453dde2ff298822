import { writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { GiB, MiB } from '../../../../src/memory/address.ts';
import { ConfigError, defaultCommandLine, parseConfig } from '../../../../src/vmm/config/config.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const kernel = { kernel: 'vmlinuz' };

/** Why a configuration is refused. */
function refusal(flags: Record<string, unknown>, file?: string): string {
  try {
    parseConfig(flags, file);
  } catch (error) {
    if (error instanceof ConfigError && error.code === 'CONFIG') return error.message;
    throw error;
  }
  return 'it is accepted';
}

function configFile(t: Parameters<typeof temporaryFolder>[0], contents: unknown): string {
  const path = join(temporaryFolder(t), 'machine.json');
  writeFileSync(path, typeof contents === 'string' ? contents : JSON.stringify(contents));
  return path;
}

test('needs only a kernel', async (t) => {
  t.strictSame(parseConfig(kernel), {
    kernel: 'vmlinuz',
    cmdline: defaultCommandLine,
    cpus: 1,
    memory: { sizeBytes: 256 * MiB, backing: 'private' },
    serial: { kind: 'stdio', eof: 'stop' },
    disk: [],
    net: [],
    rng: { kind: 'none' },
    kaslr: 'off',
    'cpu-mask': [],
    'on-panic': 'exit',
    reboot: 'reset',
  });
});

test('a guest that has a standby does what its kernel wants when it panics; others end; both may say otherwise', async (t) => {
  const actionOf = (more: object): string => parseConfig({ ...kernel, ...more })['on-panic'];
  t.equal(actionOf({}), 'exit');
  t.equal(actionOf({ standby: 'b.example:7000' }), 'run');
  t.equal(actionOf({ standby: 'b.example:7000', 'on-panic': 'pause' }), 'pause');
  t.equal(actionOf({ 'on-panic': 'run' }), 'run');
});

for (const [text, bytes] of [
  ['64', 64 * MiB],
  ['64M', 64 * MiB],
  ['64m', 64 * MiB],
  ['1G', GiB],
  ['4096K', 4 * MiB],
  ['4099K', 4 * MiB],
] as const) {
  test(`takes --memory ${text}, in whole pages`, async (t) => {
    t.equal(parseConfig({ ...kernel, memory: text }).memory.sizeBytes, bytes);
  });
}

test('takes shared memory', async (t) => {
  t.strictSame(parseConfig({ ...kernel, memory: '64M,shared=on' }).memory, {
    sizeBytes: 64 * MiB,
    backing: 'shared',
  });
});

for (const [memory, says] of [
  ['0', 'a machine needs at least 2M'],
  ['1M', 'a machine needs at least 2M'],
  ['2047K', 'a machine needs at least 2M'],
  ['99999T', `this host has only ${Math.floor(totalmem() / MiB)}M`],
  ['9'.repeat(30), `this host has only ${Math.floor(totalmem() / MiB)}M`],
  ['', 'give a size such as 256M'],
  ['M', 'give a size such as 256M'],
  ['12X', 'give a size such as 256M'],
  ['-1', 'give a size such as 256M'],
  ['1.5G', 'give a size such as 256M'],
  ['0x100', 'give a size such as 256M'],
  ['64M,shared=perhaps', 'give a size such as 256M'],
] as const) {
  test(`refuses --memory ${memory.slice(0, 30)}`, async (t) => {
    const message = refusal({ ...kernel, memory });
    t.ok(message.startsWith(`--memory ${memory}: `), message);
    t.ok(message.includes(says), message);
  });
}

test('takes 1 to 8 vCPUs', async (t) => {
  for (let cpus = 1; cpus <= 8; cpus++) t.equal(parseConfig({ ...kernel, cpus: String(cpus) }).cpus, cpus);
  for (const cpus of ['0', '9', '1000', '-1', '1.5', '0x2', '2e0', ' 2', 'two', '']) {
    t.equal(refusal({ ...kernel, cpus }), `--cpus ${cpus}: a machine has 1 to 8 virtual CPUs`);
  }
});

test('knows where a serial port may lead', async (t) => {
  const serial = (text: string) => parseConfig({ ...kernel, serial: text }).serial;
  t.strictSame(serial('stdio'), { kind: 'stdio', eof: 'stop' });
  t.strictSame(serial('stdio,eof=stop'), { kind: 'stdio', eof: 'stop' });
  t.strictSame(serial('stdio,eof=ignore'), { kind: 'stdio', eof: 'ignore' });
  t.strictSame(serial('file=/tmp/a=b,c'), { kind: 'file', path: '/tmp/a=b,c' });
  t.strictSame(serial('none'), { kind: 'none' });
  for (const bad of ['', 'tape', 'file=', 'stdio,eof=maybe', 'stdio,', 'none,eof=stop']) {
    t.match(refusal({ ...kernel, serial: bad }), /^--serial.*: give stdio\[,eof=stop\|ignore\], file=PATH or none$/);
  }
});

test('knows the CPU features that can be hidden', async (t) => {
  t.strictSame(parseConfig({ ...kernel, 'cpu-mask': 'avx,avx2,' })['cpu-mask'], ['avx', 'avx2']);
  for (const bad of ['avx9', 'AVX', 'constructor', '__proto__']) {
    t.match(
      refusal({ ...kernel, 'cpu-mask': `avx,${bad}` }),
      /^--cpu-mask.*: no CPU feature is called .*; known are .*avx2/,
    );
  }
});

test('turns KASLR on and off', async (t) => {
  t.equal(parseConfig({ ...kernel, kaslr: 'on' }).kaslr, 'on');
  t.equal(parseConfig({ ...kernel, kaslr: 'off' }).kaslr, 'off');
  t.match(refusal({ ...kernel, kaslr: 'yes' }), /^--kaslr yes: /);
});

test('takes names that can be file names', async (t) => {
  t.equal(parseConfig({ ...kernel, name: 'web-1.a_b' }).name, 'web-1.a_b');
  for (const name of ['', 'a/b', 'a b', 'x'.repeat(65), 'ä'])
    t.match(refusal({ ...kernel, name }), /^--name.*: give up to 64/);
});

test('says which key is missing', async (t) => {
  t.equal(refusal({}), '--kernel is missing: give a bzImage or an ELF vmlinux');
});

test('says which keys there are when one is unknown', async (t) => {
  const known =
    'kernel, initrd, cmdline, cpus, memory, rng, kaslr, cpu-mask, reboot, on-panic, serial, disk, net, name, control, metrics, dashboard, on-event, ' +
    'arbiter, tls, insecure, state, detection, checkpoint-delay, pcap, standby, listen, mode, flow';
  t.equal(refusal({ ...kernel, turbo: 'on' }), `--turbo: no such key; known are ${known}`);
});

test('an address that is served may be a port, and in a file a number', async (t) => {
  const file = join(t.testdir({ 'vm.json': '{"metrics": 9100, "dashboard": "[::1]:80"}' }), 'vm.json');
  t.match(parseConfig(kernel, file), { metrics: '9100', dashboard: '[::1]:80' });
});

test('takes the same keys from a file, and lets flags win', async (t) => {
  const file = configFile(t, { kernel: 'from-file', cpus: 2, memory: 128, 'cpu-mask': ['avx'] });
  const config = parseConfig({ cpus: '4' }, file);
  t.match(config, { kernel: 'from-file', cpus: 4, 'cpu-mask': ['avx'] });
  t.equal(config.memory.sizeBytes, 128 * MiB);
});

test('what may be given several times is a list in a file, or one of them', async (t) => {
  const pair = { ...kernel, standby: 'b.example:7000' };
  for (const [key, value] of [
    ['disk', 'path=a.img'],
    ['net', 'tap=tap0'],
    ['flow', 'port=443,policy=buffer'],
  ] as const) {
    const [one, list] = [value, [value]].map((given) => parseConfig({}, configFile(t, { ...pair, [key]: given }))[key]);
    t.equal(one?.length, 1, key);
    t.strictSame(one, list);
  }
});

test('names the file and the key when a value in a file is wrong', async (t) => {
  for (const [contents, says] of [
    [{ ...kernel, cpus: 9 }, '"cpus" 9: a machine has 1 to 8 virtual CPUs'],
    [{ ...kernel, cpus: true }, '"cpus": give a number'],
    [{ ...kernel, memory: [1] }, '"memory": give a size such as 256M'],
    [{ ...kernel, serial: 5 }, '"serial" 5: give stdio, file=PATH or none'],
    [{ ...kernel, turbo: 1 }, '"turbo": no such key; known are'],
    [{ kernel: 5 }, '"kernel" 5: give a path'],
    [{ kernel: null }, '"kernel": give a path'],
    [{ ...kernel, cmdline: {} }, '"cmdline": give a string'],
    [{ ...kernel, 'cpu-mask': 5 }, '"cpu-mask" 5: give names of CPU features, such as xsave,avx'],
    [{ ...kernel, flow: [443] }, '"flow": give port=NUMBER,policy=compare|buffer|pass'],
  ] as const) {
    const file = configFile(t, contents);
    const message = refusal({}, file);
    t.ok(message.startsWith(`${file}: ${says}`), message);
  }
});

test('names the file when it is not to be read, is no JSON, or no object', async (t) => {
  t.match(refusal({}, '/no/such/file'), /^--config \/no\/such\/file: .*no such file/);
  for (const contents of ['', '{', 'kernel=x']) {
    const file = configFile(t, contents);
    t.match(refusal({}, file), new RegExp(`^--config ${file}: .*JSON`));
  }
  for (const contents of ['[]', '"text"', 'null', '5']) {
    const file = configFile(t, contents);
    t.equal(refusal({}, file), `--config ${file}: holds no JSON object; give {"kernel": "...", ...}`);
  }
});

test('a guest that is to be protected has no instructions that differ from host to host', async (t) => {
  const pair = { ...kernel, standby: 'b.example:7000' };
  t.strictSame(parseConfig(pair)['cpu-mask'], ['rdrand', 'rdseed']);
  t.strictSame(parseConfig({ ...pair, 'cpu-mask': 'avx,rdseed' })['cpu-mask'], ['avx', 'rdseed', 'rdrand']);
});

for (const key of ['arbiter', 'tls', 'insecure', 'state', 'detection', 'checkpoint-delay', 'listen']) {
  test(`--${key} means nothing without a standby`, async (t) => {
    const value = key === 'insecure' ? true : '500';
    t.equal(refusal({ ...kernel, [key]: value }), `--${key}: it needs --standby HOST:PORT, the host to protect it`);
    t.equal(refusal({ ...kernel, [key]: value, standby: 'b:7000' }), 'it is accepted');
  });
}
