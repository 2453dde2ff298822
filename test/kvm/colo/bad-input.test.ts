import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
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
import { RawClient } from '../../support/qmp-client.ts';
import { noMount } from '../../support/small-file-system.ts';
import { SmallPair } from '../../support/small-pair.ts';
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

test('a standby whose disk is mended as it asked protects the guest at the next attempt', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  const ours = hosts.disk('a.img');
  const [path, theirs] = [hosts.file('a.img'), hosts.file('b.img')];
  // Where the standby's disk is not yet.
  writeFileSync(path, Buffer.alloc(MiB).fill(7, MiB / 2));
  await hosts.guest('--disk', ours);
  await hosts.standby('--insecure', '--disk', hosts.disk('b.img', MiB / 2));
  complains(t, await hosts.protect('--insecure'), new RegExp(`truncate -s ${MiB} ${theirs}`));
  truncateSync(theirs, MiB);
  const made = await hosts.protect('--insecure');
  t.equal(made.code, 0, made.stderr);
  await hosts.headline('b', 'PROTECTING');
  t.ok(readFileSync(theirs).equals(readFileSync(path)), 'all of it is used');
});

test('a primary of an earlier term than its standby reads what to do, and that helps', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const hosts = await Hosts.make(t);
  mkdirSync(hosts.file('b.state'));
  writeFileSync(hosts.file('b.state/term.json'), '{"term":5}\n');
  await hosts.standby('--insecure');
  await hosts.guest();
  const says =
    /term 5 already, the primary in term 1: the newer disks are the standby's\. .* set "term" to 5 in term\.json/;
  complains(t, await hosts.protect('--insecure'), says);
  writeFileSync(hosts.file('a.state/term.json'), '{"term":5}\n');
  const made = await hosts.protect('--insecure');
  t.equal(made.code, 0, made.stderr);
  t.match(await hosts.headline('b', 'PROTECTING'), { term: 6 });
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

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: a standby whose disk has no room any more is given up, and the guest goes on without it`, {
    skip: skip || noEtcd() || noMount() || noTaps(),
    timeout: 120_000,
  }, async (t) => {
    const standbyFolder = smallFolder(t);
    const small = await SmallPair.make(t, { mode, standbyFolder, primary: ['--checkpoint-delay', '500'] });
    const { pair } = small;
    // Whichever it writes first: the disk, or the mark beside it.
    const says =
      /its disk failed: (disk disk cannot be written|a disk cannot be marked as [^"]*disk-b\.img\.standby): ENOSPC/;
    // All the room that is left.
    spawnSync('sh', ['-c', 'exec cat /dev/zero >fill'], { cwd: standbyFolder });
    // The primary tries again: a try that fails otherwise says less, for a moment.
    const { why } = await small.servesDuring(() =>
      pair.status('a', ({ headline, why }) => headline === 'UNPROTECTED' && says.test(why)),
    );
    t.match(why, says);
    t.match((await small.say('events')).stdout, new RegExp(`"text":"[^"]*${says.source}[^"]*","event":"unprotected"`));
    const monitor = await new RawClient(t, pair.control('a')).begin();
    t.match(await monitor.ask('{"execute":"query-xen-replication-status"}'), {
      return: { error: true, desc: says },
    });
    t.match((await pair.status('b', ({ headline }) => headline === 'ENDED')).why, says);
    await small.serves();
    small.diskIsRight('a');
  });
}

test('strangers with keys and without harm no pair', { skip: skip || noEtcd(), timeout: 120_000 }, async (t) => {
  const pair = await Pair.make(t);
  // A busy machine is no lost one.
  const patient = ['--detection', '5000'];
  const standby = pair.standby('--serial', 'stdio,eof=ignore', ...patient);
  // LISTENING it is before its port is open.
  await until(() => standby.stderr.includes('waiting for a primary'));
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
