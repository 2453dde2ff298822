import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { noMount } from '../../support/small-file-system.ts';
import { freeName, hasInterface, makeInterface, noTaps } from '../../support/taps.ts';
import { complains, Hosts } from '../../support/two-hosts.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

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

/** A folder with room for 1 MiB. */
function smallFolder(t: Test): string {
  const folder = temporaryFolder(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
  t.teardown(() => spawnSync('umount', ['-l', folder]));
  return folder;
}
