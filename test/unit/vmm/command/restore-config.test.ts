import { test } from 'tap';
import { mergeDevices, parseRestoreConfig } from '../../../../src/vmm/command/restore-config.ts';
import type { SnapshotConfig } from '../../../../src/vmm/snapshot/snapshot-tail.ts';

const saved: Pick<SnapshotConfig, 'disk' | 'net'> = {
  disk: [
    { path: '/root.img', id: 'root', readonly: false, direct: false, werror: 'enospc' },
    { path: '/base.img', id: 'disk1', readonly: false, direct: true, overlay: '/mine.img', werror: 'stop' },
  ],
  net: [
    { tap: 'tap0', mac: '02:00:00:00:00:01', offload: true },
    { tap: 'tap1', mac: '02:00:00:00:00:02', offload: true, bridge: 'br0' },
  ],
};

test('without flags a machine is as it was, and goes on at once', async (t) => {
  const config = parseRestoreConfig({});
  t.strictSame(config, {
    serial: { kind: 'stdio', eof: 'stop' },
    paused: false,
    disk: [],
    net: [],
    'on-panic': 'exit',
    reboot: 'reset',
  });
  t.strictSame(mergeDevices(saved, config), saved);
});

test('takes every flag', async (t) => {
  const devices = { disk: ['path=a'], net: ['tap=b'] };
  const flags = {
    serial: 'none',
    name: 'web',
    control: '/x.sock',
    clock: 'jump',
    metrics: '9100',
    dashboard: '[::1]:9101',
    'on-panic': 'run',
    reboot: 'exit',
    ...devices,
  };
  t.strictSame(parseRestoreConfig(flags), { ...flags, serial: { kind: 'none' }, paused: false });
});

for (const [flags, message] of [
  [{ clock: 'now' }, '--clock now: give keep or jump'],
  [{ clock: 'jump', paused: true }, /^--clock jump: .* give it to colo-vmm resume$/],
  [{ name: 'a/b' }, '--name a/b: give up to 64 letters, digits, dots, dashes'],
  [{ serial: 'com1' }, /^--serial com1: give stdio/],
  [{ control: '' }, '--control : give a path'],
] as const) {
  test(`refuses ${JSON.stringify(flags)}`, async (t) => {
    t.throws(() => parseRestoreConfig(flags), { code: 'CONFIG', message });
  });
}

function merge(disk: readonly string[], net: readonly string[] = []): Pick<SnapshotConfig, 'disk' | 'net'> {
  return mergeDevices(saved, { disk: [...disk], net: [...net] });
}

test('a disk is found by its id, whatever the order', async (t) => {
  const { disk } = merge(['id=disk1,overlay=/copy.img,readonly=on', 'id=root,path=/other.img']);
  t.strictSame(disk, [
    { ...saved.disk[0], path: '/other.img' },
    { ...saved.disk[1], overlay: '/copy.img', readonly: true },
  ]);
});

test('without an id it is the first one that nothing was given for', async (t) => {
  t.strictSame(
    merge(['id=root,path=/a.img', 'path=/b.img']).disk.map(({ path }) => path),
    ['/a.img', '/b.img'],
  );
  t.strictSame(
    merge(['path=/a.img', 'path=/b.img']).disk.map(({ path }) => path),
    ['/a.img', '/b.img'],
  );
});

test('network cards are in their order', async (t) => {
  const { net } = merge([], ['tap=new0', 'tap=new1,bridge=br9']);
  t.strictSame(net, [
    { ...saved.net[0], tap: 'new0' },
    { ...saved.net[1], tap: 'new1', bridge: 'br9' },
  ]);
});

test('two cards may exchange their TAPs', async (t) => {
  t.strictSame(
    merge([], ['tap=tap1', 'tap=tap0']).net.map(({ tap }) => tap),
    ['tap1', 'tap0'],
  );
});

for (const [disk, net, message] of [
  [['id=home,path=x'], [], '--disk id=home,path=x: the snapshot has no disk home; it has root, disk1'],
  [['path=a', 'path=b', 'path=c'], [], '--disk path=c: the snapshot has no more disks; it has root, disk1'],
  [['id=root,path=a', 'id=root,direct=on'], [], /another --disk for root; give all its keys in one$/],
  [['other.img'], [], '--disk other.img: "other.img" is not one more key=value'],
  [['path=a,path=b'], [], '--disk path=a,path=b: "path=b" is not one more key=value'],
  [['id=root,path='], [], '--disk id=root,path=: path names a file'],
  [['id=root,size=5'], [], '--disk id=root,size=5: it has no key size'],
  [['id=root,readonly=maybe'], [], '--disk id=root,readonly=maybe: readonly is on or off'],
  [[], ['tap=a', 'tap=b', 'tap=c'], '--net tap=c: the snapshot has no more network cards; it has 2'],
  [[], ['tap=tap1'], '--net: two network cards have the tap tap1; give each one of its own'],
  [[], ['mac=03:00:00:00:00:00'], /--net mac=03.*: mac is a multicast address/],
  [[], ['id=a'], '--net id=a: it has no key id'],
] as const) {
  test(`refuses ${[...disk, ...net].join(' ')}`, async (t) => {
    t.throws(() => merge(disk, net), { code: 'CONFIG', message });
  });
}

test('says so of a snapshot that has no devices', async (t) => {
  const none = { disk: [], net: [] };
  t.throws(() => mergeDevices(none, { disk: ['path=a'], net: [] }), { message: /no more disks; it has none$/ });
  t.throws(() => mergeDevices(none, { disk: [], net: ['tap=a'] }), { message: /no more network cards; it has none$/ });
});

test('a card keeps the address that its guest has: another one is refused, and the same may be given', async (t) => {
  const other = {
    code: 'CONFIG',
    message: /^--net .*: mac cannot be changed: .*; leave mac out, or start the guest anew$/,
  };
  t.throws(() => merge([], ['mac=02:00:00:00:00:09']), other);
  t.strictSame(merge([], ['tap=tap0,mac=02:00:00:00:00:01']), saved);
  const random = { disk: [], net: [{ tap: 'tap0', offload: true }] };
  t.throws(() => mergeDevices(random, { disk: [], net: ['tap=tap9,mac=02:00:00:00:00:09'] }), other);
  t.equal(mergeDevices(random, { disk: [], net: ['tap=tap9'] }).net[0]?.tap, 'tap9');
});
