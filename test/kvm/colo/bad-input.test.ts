import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { type Test, test } from 'tap';
import { loadKeySet } from '../../../src/colo/keys/key-set.ts';
import { dial } from '../../../src/colo/link/dial.ts';
import { tlsOptions } from '../../../src/colo/link/peer-security.ts';
import { encodePreamble } from '../../../src/colo/link/stream-preamble.ts';
import { noEtcd } from '../../support/etcd.ts';
import { recitingPatiently, spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { noMount } from '../../support/small-file-system.ts';
import { freeName, hasInterface, makeInterface, noTaps } from '../../support/taps.ts';
import { complains, Hosts } from '../../support/two-hosts.ts';
import { writingDiskAfter } from '../../support/virtio-guests.ts';
import { kernelFile, runVmm, temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm();
const MiB = 1 << 20;

/** The guest runs, and nobody protects it or tries to. */
async function isUnharmed(t: Test, hosts: Hosts): Promise<void> {
  t.match((await hosts.say('a', 'status')).stdout, /^state +running$/m, 'the guest runs');
  t.match(await hosts.modes('a'), { mode: 'none' });
}

test("a disk of the standby that is not like the guest's is named, with the remedy", {
  skip,
  timeout: 180_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.guest('--disk', hosts.disk('a.img'));
  for (const [disk, says] of [
    [
      hosts.disk('small.img', MiB / 2),
      /its disk .*small\.img has 524288 bytes, this one 1048576\. .*truncate -s 1048576/,
    ],
    [`${hosts.disk('locked.img')},readonly=on`, /its disk .*locked\.img is read-only\. Start it without readonly=on/],
    [hosts.disk('b.img').replace('id=root', 'id=other'), /it has no disk root\. Start it with --disk id=root,path=/],
  ] as const) {
    const standby = await hosts.standby('--insecure', '--disk', disk);
    complains(t, await hosts.protect('--insecure'), says);
    t.match((await hosts.say('b', 'status')).stdout, /^web {3}LISTENING/, 'and it waits for another one');
    await isUnharmed(t, hosts);
    await hosts.say('b', 'stop', '--force');
    await standby.ended;
  }
});

test('a disk that is only read, and is another one there, cannot be made equal', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.guest('--disk', `${hosts.disk('a.img')},readonly=on`);
  const theirs = hosts.disk('b.img');
  writeFileSync(hosts.file('b.img'), Buffer.alloc(MiB, 7));
  await hosts.standby('--insecure', '--disk', `${theirs},readonly=on`);
  complains(t, await hosts.protect('--insecure'), /disk root is only read and has other bytes there: copy .*a\.img/);
  await hosts.headline('b', 'LISTENING');
  await isUnharmed(t, hosts);
  t.match(await hosts.modes('b'), { mode: 'none' }, 'the pair never was one');
});

test('a standby that cannot have the RAM says so, and waits for a smaller guest', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  await hosts.guestOf(spinning('ready'), '1G');
  const standby = await hosts.standby('--insecure');
  const { pid } = standby.child;
  // As much as it has, and a little.
  const [, has = ''] = /VmSize:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  execFileSync('prlimit', ['--pid', String(pid), `--as=${Number(has) * 1024 + 512 * MiB}`]);
  complains(t, await hosts.protect('--insecure'), /its machine cannot be made there: .*(ENOMEM|memory)/i);
  t.match((await hosts.say('b', 'status')).stdout, /^web {3}LISTENING/);
  await isUnharmed(t, hosts);
});

test('a standby whose guest would speak into nothing does not begin', { skip: skip || noTaps() }, async (t) => {
  const hosts = await Hosts.make(t);
  const [tap, bridge] = [freeName(), freeName()];
  complains(
    t,
    await hosts.failingStandby('--net', `tap=${tap}`),
    new RegExp(`--net tap=${tap}: this host has no ${tap}`),
  );
  complains(
    t,
    await hosts.failingStandby('--net', `tap=${tap},bridge=${bridge}`),
    new RegExp(`this host has no bridge ${bridge}\\. Make it first`),
  );
  t.notOk(hasInterface(tap), 'and nothing is left behind');
  const there = makeInterface(t, 'tap');
  await hosts.standby('--insecure', '--net', `tap=${there}`);
});

test('a standby whose disk is full ends the attempt, and both say so', {
  skip: skip || noMount(),
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  const ours = hosts.disk('a.img', 4 * MiB);
  const disk = openSync(hosts.file('a.img'), 'r+');
  writeSync(disk, Buffer.alloc(3 * MiB, 5));
  closeSync(disk);
  await hosts.guest('--disk', ours);
  const path = join(smallFolder(t), 'b.img');
  const sparse = openSync(path, 'w');
  ftruncateSync(sparse, 4 * MiB);
  closeSync(sparse);
  t.ok(statSync(path).blocks === 0);
  await hosts.standby('--insecure', '--disk', `path=${path},id=root`);
  complains(t, await hosts.protect('--insecure'), /its disk failed: disk root cannot be written: ENOSPC/);
  const { why } = await hosts.headline('b', 'ENDED');
  t.match(why, /its disk failed: disk root cannot be written: ENOSPC/);
  await isUnharmed(t, hosts);
});

test('a guest whose disk has no room any more goes on where there is room', {
  skip: skip || noEtcd() || noMount(),
  timeout: 120_000,
}, async (t) => {
  const pair = await Pair.make(t);
  const [sector, bytes, page] = [1000, 2 * MiB, new Uint8Array(4096).fill(7)];
  const full = smallFolder(t);
  const [ours, theirs] = [join(full, 'a.img'), join(pair.folder, 'b.img')];
  for (const path of [ours, theirs]) {
    writeFileSync(path, '');
    truncateSync(path, bytes);
  }
  const code = writingDiskAfter((guest) => guest.print('ready').readSerial(), sector, [page]);
  const standby = pair.standby('--disk', `path=${theirs},id=root`, '--serial', 'stdio,eof=ignore');
  const disk = `path=${ours},id=root`;
  const flags = ['--disk', disk, '--checkpoint-delay', '50', ...pair.telling('a')];
  const primary = pair.primary(kernelFile(pair.folder, code), ...flags);
  await primary.printed('ready');
  await pair.protected();
  // All the room that is left.
  spawnSync('sh', ['-c', 'exec cat /dev/zero >fill'], { cwd: full });
  primary.write('x');
  t.match((await pair.status('a', ({ headline }) => headline === 'FENCED')).why, /its disk failed: .*ENOSPC/);
  const told = await pair.told('a', 'fenced');
  t.match(told.map(({ event }) => event).join(' '), 'protected disk-error fenced', 'its operator is told');
  t.match(
    told.find(({ event }) => event === 'disk-error'),
    { text: /ENOSPC/ },
  );
  // Where the last checkpoint was made before the guest had read it, it is to be typed again, once the guest runs there.
  const typing = setInterval(() => standby.write('x'), 100);
  t.teardown(() => clearInterval(typing));
  const { code: exitCode } = await standby.ended;
  clearInterval(typing);
  t.equal(exitCode, 0, standby.stderr);
  t.equal(standby.stdout, 'OK', 'it was written there');
  const { stdout } = await runVmm(['events', '--control', pair.control('a'), '--json']);
  t.equal(stdout.split('"disk-error"').length - 1, 1, `it is told once: ${stdout}`);
  t.ok(
    readFileSync(theirs)
      .subarray(sector * 512)
      .subarray(0, page.length)
      .equals(page),
  );
});

test('strangers with keys and without harm no pair', { skip: skip || noEtcd(), timeout: 120_000 }, async (t) => {
  const pair = await Pair.make(t);
  // A busy machine is no lost one.
  const patient = ['--detection', '5000'];
  const standby = pair.standby('--serial', 'stdio,eof=ignore', ...patient);
  await pair.status('b', ({ headline }) => headline === 'LISTENING');
  const port = { host: '127.0.0.1', port: pair.port };
  const security = { kind: 'tls', keys: loadKeySet(pair.keys('a')) } as const;
  const link = randomBytes(16).toString('hex');
  // Who has the keys, is greeted, and talks nonsense, a frame that never ends on one stream.
  for (const [stream, bytes] of [
    ['pages', Buffer.of(0x40, 0, 0, 0, 0)],
    ['disk', Buffer.alloc(0)],
    ['packets', Buffer.alloc(0)],
    ['control', Buffer.alloc(64, 0xee)],
  ] as const) {
    const socket = connectTls({ ...port, ...tlsOptions(security.keys), checkServerIdentity: () => undefined });
    socket.on('error', () => {}).resume();
    t.teardown(() => socket.destroy());
    await once(socket, 'secureConnect');
    socket.write(Buffer.concat([encodePreamble({ link, stream, role: 'primary' }), bytes]));
  }
  await until(() => /the connection failed: .*on the control stream/.test(standby.stderr));
  const primary = pair.primary(kernelFile(pair.folder, recitingPatiently()), ...patient);
  await pair.protected();
  const { term } = await pair.status('b', () => true);
  // Who says nothing, and who says a TLS hello that has no end.
  const strangers = Array.from({ length: 300 }, async (_, count) => {
    const socket = connectTcp(port).on('error', () => {});
    socket.write(Buffer.of(0x16, 3, 1, 2, 0, 1).subarray(0, count % 7));
    t.teardown(() => socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  });
  // Who comes in the midst of them may have to make room as well.
  await Promise.all(strangers);
  await until(() => standby.stderr.includes('made room for others'));
  // Who has the keys, and comes second.
  const second = await dial({ ...port, security, role: 'primary', patienceMs: 20_000 });
  const reason = await new Promise((resolve) => {
    second.listen({ received: ({ message }) => resolve(message), drained: () => {}, ended: resolve });
  });
  second.destroy();
  t.match(reason, { kind: 'refusal', reason: /it stands by for a already/ });
  await pair.status('a', (status) => status.headline === 'PROTECTED' && status.term === term);
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
});

/** Resolves when it is so; a test that waits in vain is ended by its own timeout. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A folder with room for 1 MiB. */
function smallFolder(t: Test): string {
  const folder = temporaryFolder(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
  t.teardown(() => spawnSync('umount', ['-l', folder]));
  return folder;
}
