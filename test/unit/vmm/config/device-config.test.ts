import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { ConfigError, parseConfig, type RunConfig } from '../../../../src/vmm/config/config.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const plainDisk = { readonly: false, direct: false, werror: 'enospc' };

function parsed(devices: Record<string, unknown>, file?: string): RunConfig {
  return parseConfig({ kernel: 'vmlinuz', ...devices }, file);
}

/** Why devices are refused. */
function refusal(devices: Record<string, unknown>, file?: string): string {
  try {
    parsed(devices, file);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return 'it is accepted';
}

function configFile(t: Parameters<typeof temporaryFolder>[0], contents: unknown): string {
  const path = join(temporaryFolder(t), 'machine.json');
  writeFileSync(path, JSON.stringify(contents));
  return path;
}

for (const [text, disk] of [
  ['path=a.img', { path: 'a.img' }],
  ['path=a,,b=c.img', { path: 'a,b=c.img' }],
  ['path=a,id=root-1.x_y', { path: 'a', id: 'root-1.x_y' }],
  ['path=a,readonly=on,direct=on', { path: 'a', readonly: true, direct: true }],
  ['path=a,readonly=off,direct=off', { path: 'a' }],
  ['path=a,overlay=b,,c', { path: 'a', overlay: 'b,c' }],
  ['path=a,werror=report', { path: 'a', werror: 'report' }],
  ['path=a,werror=stop', { path: 'a', werror: 'stop' }],
  ['werror=enospc,path=a', { path: 'a' }],
  ['path=a,sector=4096', { path: 'a', sector: 4096 }],
  ['path=a,sector=512,format=raw', { path: 'a', sector: 512, format: 'raw' }],
] as const) {
  test(`takes --disk ${text}`, async (t) => {
    t.strictSame(parsed({ disk: [text] }).disk, [{ ...plainDisk, ...disk }]);
  });
}

for (const [text, net] of [
  ['tap=tap0', { tap: 'tap0', offload: true }],
  ['tap=fifteen-letters', { tap: 'fifteen-letters', offload: true }],
  ['tap=t,mac=02:00:00:00:aB:0c', { tap: 't', mac: '02:00:00:00:aB:0c', offload: true }],
  ['tap=t,mtu=68', { tap: 't', mtu: 68, offload: true }],
  ['tap=t,mtu=65521', { tap: 't', mtu: 65521, offload: true }],
  ['tap=t,offload=off,bridge=br0', { tap: 't', offload: false, bridge: 'br0' }],
] as const) {
  test(`takes --net ${text}`, async (t) => {
    t.strictSame(parsed({ net: [text] }).net, [net]);
  });
}

for (const [text, rng] of [
  ['none', { kind: 'none' }],
  ['host', { kind: 'host' }],
  ['seed=0', { kind: 'seed', seed: 0 }],
  ['seed=4294967295', { kind: 'seed', seed: 0xffff_ffff }],
] as const) {
  test(`takes --rng ${text}`, async (t) => {
    t.strictSame(parsed({ rng: text }).rng, rng);
  });
}

test('takes several disks and network cards, in their order', async (t) => {
  const { disk, net } = parsed({ disk: ['path=b', 'path=a', 'path=b,id=c'], net: ['tap=y', 'tap=x'] });
  t.strictSame(
    disk.map(({ path }) => path),
    ['b', 'a', 'b'],
  );
  t.strictSame(
    net.map(({ tap }) => tap),
    ['y', 'x'],
  );
});

test('takes devices from a file, as texts and as objects, one or a list', async (t) => {
  const one = configFile(t, { disk: 'path=a', net: { tap: 't', mtu: 1500, offload: false }, rng: 'seed=7' });
  const { disk, net, rng } = parsed({}, one);
  t.strictSame(disk, [{ ...plainDisk, path: 'a' }]);
  t.strictSame(net, [{ tap: 't', mtu: 1500, offload: false }]);
  t.strictSame(rng, { kind: 'seed', seed: 7 });

  const objects = [
    { path: 'b', readonly: true, direct: 'on' },
    { path: 'c,d', readonly: false },
  ];
  t.strictSame(parsed({}, configFile(t, { disk: ['path=a', ...objects] })).disk, [
    { ...plainDisk, path: 'a' },
    { ...plainDisk, path: 'b', readonly: true, direct: true },
    { ...plainDisk, path: 'c,d' },
  ]);
});

test('devices given as flags take the place of those in the file', async (t) => {
  const file = configFile(t, { disk: ['path=a', 'path=b'], net: 'tap=t', rng: 'host' });
  const { disk, net, rng } = parsed({ disk: ['path=c'], rng: 'none' }, file);
  t.strictSame(disk, [{ ...plainDisk, path: 'c' }]);
  t.strictSame(net, [{ tap: 't', offload: true }]);
  t.strictSame(rng, { kind: 'none' });
});

const diskExample = 'write it like path=disk.img,id=root';
const netExample = 'write it like tap=tap0,mac=02:00:00:00:00:01';

for (const [text, says] of [
  ['a.img', `--disk: "a.img" is not one more key=value; ${diskExample}`],
  ['', `--disk: "" is not one more key=value; ${diskExample}`],
  ['path=a,', `--disk: "" is not one more key=value; ${diskExample}`],
  ['path=a,path=b', `--disk: "path=b" is not one more key=value; ${diskExample}`],
  ['path=a,__proto__=b', `--disk: "__proto__=b" is not one more key=value; ${diskExample}`],
  ['id=x', '--disk id=x: path= is missing'],
  ['path=', '--disk path=: path names a file'],
  ['path=a,overlay=', '--disk path=a,overlay=: overlay names a file'],
  ['path=a,size=1G', '--disk path=a,size=1G: it has no key size'],
  ['path=a,readonly=yes', '--disk path=a,readonly=yes: readonly is on or off'],
  ['path=a,direct=', '--disk path=a,direct=: direct is on or off'],
  ['path=a,id=a b', '--disk path=a,id=a b: id is up to 20 letters, digits, dots, dashes'],
  ['path=a,id=', '--disk path=a,id=: id is up to 20 letters, digits, dots, dashes'],
  [
    'path=a,id=123456789012345678901',
    '--disk path=a,id=123456789012345678901: id is up to 20 letters, digits, dots, dashes',
  ],
  ['path=a,sector=1024', '--disk path=a,sector=1024: sector is 512 or 4096'],
  [
    'path=a,format=qcow2',
    '--disk path=a,format=qcow2: format is raw: qemu-img convert -O raw OLD NEW makes that of an image of another format',
  ],
  ['path=a,werror=ignore', '--disk path=a,werror=ignore: werror is enospc, report, stop'],
] as const) {
  test(`refuses --disk ${JSON.stringify(text)}`, async (t) => {
    t.equal(refusal({ disk: [text] }), says);
  });
}

const macForm = 'mac is six pairs of hexadecimal digits, such as 02:00:00:00:00:01';
const nameForm = 'is the name of a network interface: up to 15 characters';

for (const [text, says] of [
  ['tap0', `--net: "tap0" is not one more key=value; ${netExample}`],
  ['mtu=1500', '--net mtu=1500: tap= is missing'],
  ['tap=', `--net tap=: tap ${nameForm}`],
  ['tap=a/b', `--net tap=a/b: tap ${nameForm}`],
  ['tap=a b', `--net tap=a b: tap ${nameForm}`],
  ['tap=sixteen-letters!', `--net tap=sixteen-letters!: tap ${nameForm}`],
  ['tap=t,bridge=', `--net tap=t,bridge=: bridge ${nameForm}`],
  ['tap=t,vhost=on', '--net tap=t,vhost=on: it has no key vhost'],
  ['tap=t,mac=', `--net tap=t,mac=: ${macForm}`],
  ['tap=t,mac=02-00-00-00-00-01', `--net tap=t,mac=02-00-00-00-00-01: ${macForm}`],
  ['tap=t,mac=02:00:00:00:00:0g', `--net tap=t,mac=02:00:00:00:00:0g: ${macForm}`],
  ['tap=t,mac=02:00:00:00:00:00:01', `--net tap=t,mac=02:00:00:00:00:00:01: ${macForm}`],
  [
    'tap=t,mac=03:00:00:00:00:01',
    '--net tap=t,mac=03:00:00:00:00:01: mac is a multicast address; its first byte must be even',
  ],
  ['tap=t,mtu=67', '--net tap=t,mtu=67: mtu is 68 to 65521 bytes'],
  ['tap=t,mtu=65522', '--net tap=t,mtu=65522: mtu is 68 to 65521 bytes'],
  ['tap=t,mtu=1500.5', '--net tap=t,mtu=1500.5: mtu is 68 to 65521 bytes'],
  ['tap=t,mtu=0x100', '--net tap=t,mtu=0x100: mtu is 68 to 65521 bytes'],
  ['tap=t,mtu=', '--net tap=t,mtu=: mtu is 68 to 65521 bytes'],
  ['tap=t,offload=1', '--net tap=t,offload=1: offload is on or off'],
] as const) {
  test(`refuses --net ${JSON.stringify(text)}`, async (t) => {
    t.equal(refusal({ net: [text] }), says);
  });
}

for (const text of ['', 'Host', 'seed', 'seed=', 'seed=x', 'seed=-1', 'seed=0x1', 'seed=4294967296', 'seed=1,host']) {
  test(`refuses --rng ${JSON.stringify(text)}`, async (t) => {
    t.equal(refusal({ rng: text }), `--rng ${text}: give host, seed=NUMBER (below 2^32) or none`);
  });
}

test('points at the one of several that is wrong', async (t) => {
  t.equal(refusal({ disk: ['path=a', 'path=b,direct=maybe'] }), '--disk path=b,direct=maybe: direct is on or off');
  t.equal(refusal({ net: ['tap=a', 'b'] }), `--net: "b" is not one more key=value; ${netExample}`);
});

test('refuses an id or a TAP that another has, given or by default', async (t) => {
  const id = (name: string): string => `--disk: two disks have the id ${name}; give each one of its own`;
  t.equal(refusal({ disk: ['path=a,id=x', 'path=b,id=y', 'path=c,id=x'] }), id('x'));
  t.equal(refusal({ disk: ['path=a,id=disk1', 'path=b'] }), id('disk1'));
  t.equal(refusal({ net: ['tap=t', 'tap=t'] }), '--net: two network cards have the tap t; give each one of its own');
});

for (const [devices, says] of [
  [{ disk: [{ path: 'a', readonly: 1 }] }, '"disk" {"path":"a","readonly":1}: readonly is on or off'],
  [{ disk: [{ path: 5 }] }, '"disk" {"path":5}: path names a file'],
  [{ disk: { path: 'a', overlay: null } }, '"disk" {"path":"a","overlay":null}: overlay names a file'],
  [{ disk: {} }, '"disk" {}: path= is missing'],
  [{ disk: { path: 'a', size: 1 } }, '"disk" {"path":"a","size":1}: it has no key size'],
  [{ disk: { path: 'a', id: 5 } }, '"disk" {"path":"a","id":5}: id is up to 20 letters, digits, dots, dashes'],
  [{ disk: ['path=a', 'path=b,nope=1'] }, '"disk" path=b,nope=1: it has no key nope'],
  [{ disk: 5 }, `"disk" 5: ${diskExample}`],
  [{ disk: null }, `"disk": ${diskExample}`],
  [{ disk: [['path=a']] }, `"disk": ${diskExample}`],
  [{ disk: 'a.img' }, `"disk" a.img: "a.img" is not one more key=value; ${diskExample}`],
  [{ net: { tap: 't', mtu: 1.5 } }, '"net" {"tap":"t","mtu":1.5}: mtu is 68 to 65521 bytes'],
  [{ net: { tap: 't', mtu: true } }, '"net" {"tap":"t","mtu":true}: mtu is 68 to 65521 bytes'],
  [{ net: { tap: 't', mac: 5 } }, `"net" {"tap":"t","mac":5}: ${macForm}`],
  [{ net: [{ tap: 't' }, 'tap=t'] }, '"net": two network cards have the tap t; give each one of its own'],
  [{ rng: 5 }, '"rng" 5: give host, seed=NUMBER (below 2^32) or none'],
  [{ rng: { seed: 7 } }, '"rng": give host, seed=NUMBER (below 2^32) or none'],
] as const) {
  test(`names the file for ${JSON.stringify(devices)}`, async (t) => {
    const file = configFile(t, devices);
    t.equal(refusal({}, file), `${file}: ${says}`);
  });
}
