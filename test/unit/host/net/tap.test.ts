import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { EAGAIN, EINVAL } from '../../../../src/host/errno.ts';
import { EPOLLIN } from '../../../../src/host/events/epoll.ts';
import { EventLoop } from '../../../../src/host/events/event-loop.ts';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { IoVectors } from '../../../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../../../src/host/mappings/mapping.ts';
import { Tap, type TapOptions, TapPort } from '../../../../src/host/net/tap.ts';
import { TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6 } from '../../../../src/host/net/tap-abi.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { openFiles } from '../../../support/open-files.ts';
import { freeName, hasInterface, ip, makeInterface, noTaps } from '../../../support/taps.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const skip = noTaps();
const headerBytes = 12;

function openTap(t: { teardown(clean: () => unknown): unknown }, options: TapOptions): Tap {
  const tap = new Tap(options);
  t.teardown(() => tap.close());
  return tap;
}

function fileOf(name: string, file: string): string {
  return readFileSync(`/sys/class/net/${name}/${file}`, 'latin1').trim();
}

test('makes a TAP that does not exist, brings it up, and leaves nothing behind', { skip }, async (t) => {
  const name = freeName();
  const before = openFiles();
  const tap = openTap(t, { name, mtu: 1400 });
  t.equal(tap.made, true);
  t.strictSame(openFiles(), [...before, '/dev/net/tun'].sort());
  t.equal(Number(fileOf(name, 'flags')) & 1, 1, 'up');
  t.equal(fileOf(name, 'mtu'), '1400');
  t.equal(Number(fileOf(name, 'tun_flags')) & 0xf003, 0x5002, 'a TAP, without packet information, with the header');
  tap.close();
  t.equal(hasInterface(name), false);
  t.strictSame(openFiles(), before);
  tap.close();
});

test('leaves a TAP that was there where it is', { skip }, async (t) => {
  const name = makeInterface(t, 'tap');
  const tap = openTap(t, { name });
  t.equal(tap.made, false);
  t.equal(fileOf(name, 'mtu'), '1500');
  tap.close();
  t.equal(hasInterface(name), true);
});

test('has the address that it was given, which a bridge does not take for its own, if it was made', {
  skip,
}, async (t) => {
  const address = Uint8Array.from([0xfe, 0, 0, 1, 2, 3]);
  const bridge = makeInterface(t, 'bridge');
  const port = makeInterface(t, 'tap');
  ip('link', 'set', port, 'address', '02:00:00:00:00:99', 'master', bridge);
  const before = fileOf(bridge, 'address');
  const { name } = openTap(t, { name: freeName(), address, bridge });
  t.equal(fileOf(name, 'address'), 'fe:00:00:01:02:03');
  t.equal(fileOf(bridge, 'address'), before);

  const kept = makeInterface(t, 'tap');
  const own = fileOf(kept, 'address');
  openTap(t, { name: kept, address });
  t.equal(fileOf(kept, 'address'), own);
});

test('becomes a port of a bridge, also of the one it is in already', { skip }, async (t) => {
  const bridge = makeInterface(t, 'bridge');
  const name = freeName();
  openTap(t, { name, bridge });
  t.ok(readdirSync(`/sys/class/net/${bridge}/brif`).includes(name));

  const kept = makeInterface(t, 'tap');
  ip('link', 'set', kept, 'master', bridge);
  openTap(t, { name: kept, bridge });
});

/** Ports of two TAPs on one bridge, and memory that they can be given the address of. */
function linkedPorts(t: Parameters<typeof openTap>[0]) {
  const bridge = makeInterface(t, 'bridge');
  ip('link', 'set', bridge, 'up');
  const port = (): TapPort => new TapPort(openTap(t, { name: freeName(), bridge }).fd);
  // Before the owner, which is closed first: it may watch them.
  const [sender, receiver] = [port(), port()];
  const owner = new Owner();
  t.teardown(() => owner.close());
  const memory = owner.own(new AnonymousMapping('test', 8192));
  const bytes = new Uint8Array(viewMemory(memory.address, memory.sizeBytes));
  return { sender, receiver, owner, memory, bytes };
}

test('carries frames with a header of 12 bytes, in pieces of memory, and never blocks', { skip }, async (t) => {
  const { sender, receiver, owner, memory, bytes } = linkedPorts(t);
  const [out, into] = owner.own(new IoVectors(2, 4)).vectors;
  if (!out || !into) throw new Error('not reached');

  const frame = Uint8Array.from({ length: 100 }, (_, index) => index);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]); // to all, of an experimental type
  bytes.set(frame, headerBytes);
  out.add(memory.address, 30);
  out.add(memory.address + 30, headerBytes + frame.length - 30);
  t.equal(sender.writev(out.address, out.count), headerBytes + frame.length);

  into.add(memory.address + 4096, 5);
  into.add(memory.address + 4200, 3000);
  for (;;) {
    const count = receiver.readv(into.address, into.count);
    if (count === -EAGAIN) continue;
    const got = [...bytes.subarray(4096, 4101), ...bytes.subarray(4200, 4200 + count - 5)];
    // The host's own frames, for IPv6, come here too.
    if (got[headerBytes + 12] !== 0x88) continue;
    t.strictSame(got.slice(headerBytes), [...frame]);
    break;
  }
  for (let count = 1; count !== -EAGAIN; count = receiver.readv(into.address, into.count)) t.ok(count > 0);
  bytes.fill(0xff, 0, headerBytes);
  t.equal(sender.writev(out.address, out.count), -EINVAL, 'the kernel refuses a header that makes no sense');
});

test('is told of packets while it listens', { skip }, async (t) => {
  const { sender, receiver, owner, memory, bytes } = linkedPorts(t);
  const [out] = owner.own(new IoVectors(1, 4)).vectors;
  if (!out) throw new Error('not reached');
  bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5], headerBytes);
  out.add(memory.address, headerBytes + 60);

  const loop = owner.own(new EventLoop());
  let told = 0;
  owner.own(
    receiver.watch(loop, {
      ready: (events) => {
        told |= events;
      },
    }),
  );
  const tells = (timeoutMs: number): boolean => {
    told = 0;
    loop.turn(timeoutMs);
    return (told & EPOLLIN) !== 0;
  };
  receiver.listen(false);
  loop.turn(0);
  t.ok(sender.writev(out.address, out.count) > 0);
  t.equal(tells(0), false);
  receiver.listen(true);
  t.equal(tells(1000), true, 'of what is there already');
  t.ok(sender.writev(out.address, out.count) > 0);
  t.equal(tells(1000), true, 'and of each that comes');
});

test('is told what its reader copes with', { skip }, async (t) => {
  const port = new TapPort(openTap(t, { name: freeName() }).fd);
  t.equal(port.setOffload(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN), 0);
  t.equal(port.setOffload(0), 0);
  t.equal(port.setOffload(0x8000_0000), -EINVAL);
});

test('says in a sentence why a name will not do', async (t) => {
  const failure = { name: 'TapError', code: 'TAP', failure: 'bad-name' };
  t.throws(() => new Tap({ name: 'a234567890123456' }), {
    ...failure,
    message: 'the TAP name a234567890123456 is too long: an interface has 15 bytes at most',
  });
  t.throws(() => new Tap({ name: 'tap0', bridge: 'a234567890123456' }), {
    ...failure,
    message: 'the bridge name a234567890123456 is too long: an interface has 15 bytes at most',
  });
  for (const name of ['', '.', '..', 'a b', 'a/b', 'tap%d', 'eth0:1', 'a\0b']) {
    t.throws(() => new Tap({ name }), {
      ...failure,
      message: `${JSON.stringify(name)} is no name for a TAP: use letters and digits, as in tap0`,
    });
  }
});

test('says what to do when the driver is missing', async (t) => {
  const device = join(temporaryFolder(t), 'tun');
  t.throws(() => new Tap({ name: 'tap0' }, device), {
    failure: 'no-driver',
    message: `${device} does not exist, so there can be no TAP: modprobe tun`,
    cause: { code: 'ENOENT' },
  });
});

test('says what to do about an interface it cannot have, and closes what it opened', { skip }, async (t) => {
  const before = openFiles();
  const bridge = makeInterface(t, 'bridge');
  const tun = makeInterface(t, 'tun');
  const many = makeInterface(t, 'tap', 'multi_queue');
  const used = makeInterface(t, 'tap');
  const user = new Tap({ name: used });
  const remedy = (name: string) => `choose another name, or remove it: ip link delete ${name}`;
  const cases = [
    [bridge, 'not-a-tap', `the interface ${bridge} exists and is no TAP: ${remedy(bridge)}`],
    [tun, 'not-a-tap', `the interface ${tun} is a TUN, not a TAP: ${remedy(tun)}`],
    [many, 'not-a-tap', `the TAP ${many} was made with multi_queue, which this program does not use: ${remedy(many)}`],
    [used, 'busy', `the TAP ${used} is in use by another process: end that one, or choose another TAP`],
  ] as const;
  for (const [name, failure, message] of cases) t.throws(() => new Tap({ name }), { failure, message });
  user.close();
  t.strictSame(openFiles(), before);
});

test('says what is wrong with a bridge or an MTU, and makes no TAP then', { skip }, async (t) => {
  const before = openFiles();
  const name = freeName();
  const missing = freeName();
  const noBridge = makeInterface(t, 'tap');
  t.throws(() => new Tap({ name, bridge: missing }), {
    failure: 'bad-bridge',
    message: `there is no bridge ${missing}: ip link add ${missing} type bridge`,
  });
  t.throws(() => new Tap({ name, bridge: noBridge }), {
    failure: 'bad-bridge',
    message: `the interface ${noBridge} is no bridge: name one that is`,
  });
  t.throws(() => new Tap({ name, mtu: 70_000 }), {
    failure: 'bad-mtu',
    message: `the TAP ${name} cannot have an MTU of 70000: a TAP has 68 to 65521`,
  });
  t.equal(hasInterface(name), false);
  t.strictSame(openFiles(), before);

  const [first, second] = [makeInterface(t, 'bridge'), makeInterface(t, 'bridge')];
  const taken = makeInterface(t, 'tap');
  ip('link', 'set', taken, 'master', first);
  t.throws(() => new Tap({ name: taken, bridge: second }), {
    failure: 'bad-bridge',
    message: `the TAP ${taken} is a port of ${first} already: take it out: ip link set ${taken} nomaster`,
  });
});

/** Makes a device node of our own, whose mode can be changed; false if that is not permitted. */
function makeNode(path: string): boolean {
  return spawnSync('mknod', ['-m', '600', path, 'c', '10', '200']).status === 0;
}

function noNodes(): string | false {
  const folder = mkdtempSync(join(tmpdir(), 'colo-test-'));
  try {
    return makeNode(join(folder, 'tun')) ? false : 'no permission to make device nodes';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('says what to do about permissions, and needs none for a TAP that is ready', {
  skip: skip || noNodes(),
}, async (t) => {
  const nobody = 65_534;
  const device = join(temporaryFolder(t), 'tun');
  makeNode(device);
  const name = freeName();
  const foreign = makeInterface(t, 'tap', 'user', '1');
  const own = makeInterface(t, 'tap', 'user', String(nobody));
  const bridge = makeInterface(t, 'bridge');
  const asNobody = (options: TapOptions): void => {
    process.seteuid?.(nobody);
    try {
      new Tap(options, device).close();
    } finally {
      process.seteuid?.(0);
    }
  };
  const failure = 'no-permission';

  chmodSync(join(device, '..'), 0o755);
  t.throws(() => asNobody({ name }), {
    failure,
    message: `no permission to open ${device}: run as root, or chmod 0666 ${device}`,
  });
  chmodSync(device, 0o666);
  t.throws(() => asNobody({ name }), {
    failure,
    message: `no permission to make the TAP ${name}: run as root, or have it made: ip tuntap add ${name} mode tap user $USER`,
  });
  t.throws(() => asNobody({ name: foreign }), {
    failure,
    message: `no permission to use the TAP ${foreign}: run as root or as the user it was made for`,
  });
  t.throws(() => asNobody({ name: own }), {
    failure,
    message: `no permission to bring ${own} up: run as root, or have it done: ip link set ${own} up`,
  });
  t.throws(() => asNobody({ name: own, mtu: 1400 }), {
    failure,
    message: `no permission to set the MTU of ${own}: run as root, or have it set: ip link set ${own} mtu 1400`,
  });
  t.throws(() => asNobody({ name: own, bridge }), {
    failure,
    message: `no permission to put ${own} into ${bridge}: run as root, or have it done: ip link set ${own} master ${bridge}`,
  });
  ip('link', 'set', own, 'up');
  t.doesNotThrow(() => asNobody({ name: own, mtu: 1500 }));
});
