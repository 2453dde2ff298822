import { execFileSync, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { type Test as TapTest, test } from 'tap';
import { Snapshot } from '../../../src/vmm/snapshot/snapshot-file.ts';
import type { SnapshotTail } from '../../../src/vmm/snapshot/snapshot-tail.ts';
import { crowd, echoing, reciting, recitingPatiently, spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { loopDevice, noLoopDevices } from '../../support/loop-device.ts';
import { forAWhile, until } from '../../support/machines.ts';
import { RawClient } from '../../support/qmp-client.ts';
import { noMount } from '../../support/small-file-system.ts';
import { freeName, hasInterface, noTaps } from '../../support/taps.ts';
import { hammeredPages, hammering } from '../../support/virtio-guests.ts';
import { type Ending, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();
const timeout = 240_000;
/** What ends within this time has not waited for a snapshot. */
const promptMs = 1000;

const alphabet = 'abcdefghijklmnopqrstuvwxyz';

/** Machines, their control sockets and their snapshots in one folder. */
class Place {
  readonly folder: string;
  readonly #test: TapTest;

  constructor(t: TapTest) {
    this.#test = t;
    this.folder = temporaryFolder(t);
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  get env(): NodeJS.ProcessEnv {
    return { COLO_VMM_RUNTIME: this.folder };
  }

  get snapshots(): string[] {
    return readdirSync(this.folder).filter((name) => name.includes('.snap'));
  }

  vmm(...args: readonly string[]): VmmProcess {
    const vmm = new VmmProcess(args, { env: this.env });
    this.#test.teardown(() => vmm.child.kill('SIGKILL'));
    return vmm;
  }

  /** A machine that has printed something. */
  async run(code: Uint8Array, ...args: readonly string[]): Promise<VmmProcess> {
    const memory = args.includes('--memory') ? [] : ['--memory', '16M'];
    const vmm = this.vmm('run', '--kernel', kernelFile(this.folder, code), ...memory, ...args);
    await vmm.printed('');
    await until(() => vmm.stdout.length > 0);
    return vmm;
  }

  say(...args: readonly string[]): Promise<Ending> {
    return runVmm(args, { env: this.env });
  }

  /** Takes a snapshot that is there afterwards. */
  async take(name: string, ...args: readonly string[]): Promise<{ base: string | null }> {
    const { code, stdout, stderr } = await this.say('snapshot', this.at(name), '--json', ...args);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  }

  tail(name: string): SnapshotTail {
    const snapshot = new Snapshot(this.at(name));
    snapshot.close();
    return snapshot.tail;
  }
}

/** One sentence on standard error, and nothing else. */
function complains(t: TapTest, { code, stdout, stderr }: Ending, says: RegExp): void {
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
  t.match(stderr, says);
}

/** Whether `text` is part of what a reciting guest prints, from anywhere in the alphabet. */
function isRecital(text: string): boolean {
  const start = alphabet.indexOf(text[0] ?? 'a');
  return alphabet.repeat(Math.ceil(text.length / 26) + 1).startsWith(text, start);
}

async function prints(vmm: VmmProcess, bytes: number): Promise<void> {
  const wanted = vmm.stdout.length + bytes;
  await until(() => vmm.stdout.length >= wanted);
}

/** A file that makes RAM of that many bytes no zeros: an initial RAM disk that nobody reads. */
function ballast(place: Place, bytes: number): string {
  const path = place.at('ballast');
  writeFileSync(path, randomFillSync(new Uint8Array(bytes)));
  return path;
}

const MiB = 1 << 20;

test('takes a snapshot of a guest that goes on, and another goes on from there', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(reciting(), '--name', 'mine');
  const { code, stdout, stderr } = await place.say('snapshot', place.at('a.snap'));
  t.equal(code, 0, stderr);
  t.match(stdout, /a\.snap holds all of the machine, with \d+ KiB of memory; the guest was paused for \d+\.\d ms\n$/);
  await prints(vmm, 200);
  const copy = place.vmm('restore', place.at('a.snap'), '--name', 'copy');
  await prints(copy, 200);
  await prints(vmm, 200);
  t.ok(isRecital(vmm.stdout), 'the first one');
  t.ok(isRecital(copy.stdout), 'the second one');
  t.equal(copy.stderr, '');
  t.match(JSON.parse((await place.say('status', '--vm', 'copy', '--json')).stdout), {
    state: 'running',
    memoryBytes: 16 * MiB,
  });
});

test('no output is lost or doubled when a machine ends with its snapshot', { skip, timeout }, async (t) => {
  const place = new Place(t);
  let vmm = await place.run(reciting());
  let text = '';
  for (let generation = 0; generation < 3; generation++) {
    await prints(vmm, 100);
    const { stdout } = await place.say('snapshot', '--stop', place.at('a.snap'));
    t.match(stdout, /; the machine has ended\n$/);
    const ending = await vmm.ended;
    t.equal(ending.code, 0);
    t.match(ending.stderr, /stopped by a snapshot/);
    text += ending.stdout;
    t.ok(isRecital(text), `generation ${generation}`);
    vmm = place.vmm('restore', place.at('a.snap'));
  }
  await prints(vmm, 100);
  t.ok(isRecital(text + vmm.stdout));
});

test('nor when nobody reads it', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(recitingPatiently());
  vmm.child.stdout?.pause();
  // Until the pipe is full, and there is output in the serial port behind it.
  await until(async () => {
    await place.take('probe.snap');
    return place.tail('probe.snap').state.serial.sent.length > 0;
  });
  const taken = place.take('a.snap', '--stop');
  await until(() => existsSync(place.at('a.snap')));
  vmm.child.stdout?.resume();
  await taken;
  const { stdout } = await vmm.ended;
  t.ok(place.tail('a.snap').state.serial.sent.length > 0, 'the port had output');
  const copy = place.vmm('restore', place.at('a.snap'));
  await prints(copy, 100_000);
  t.ok(isRecital(stdout + copy.stdout));
});

test('a guest goes on from every snapshot of a chain', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(reciting());
  for (let index = 0; index < 4; index++) {
    const { base } = await place.take(`${index}.snap`, '--incremental');
    t.equal(base, index === 0 ? null : place.at(`${index - 1}.snap`));
    await prints(vmm, 50);
  }
  t.match(
    (await place.say('snapshot', '--incremental', place.at('4.snap'))).stdout,
    /holds what changed since .*3\.snap, with \d+ KiB/,
  );
  await place.take('whole.snap');
  t.equal((await place.take('5.snap', '--incremental')).base, place.at('4.snap'));
  complains(
    t,
    await place.say('snapshot', '--incremental', place.at('5.snap')),
    /5\.snap: the next incremental snapshots of this machine need/,
  );
  for (const name of ['0', '1', '2', '3', '4', 'whole', '5']) {
    const copy = place.vmm('restore', place.at(`${name}.snap`));
    await prints(copy, 60);
    t.ok(isRecital(copy.stdout), name);
    await copy.endedBySignal('SIGTERM');
  }
  t.ok(isRecital(vmm.stdout));
});

/** So much that they are not done before the snapshot. */
const crowdBytes = 60_000;

test('four vCPUs go on where they were', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(crowd(4, crowdBytes), '--cpus', '4');
  await place.take('a.snap', '--stop');
  const { stdout } = await vmm.ended;
  t.ok(stdout.length < 4 * crowdBytes, 'they were not done');
  const copy = await place.vmm('restore', place.at('a.snap')).ended;
  t.equal(copy.code, 0);
  for (const letter of 'abcd') {
    t.equal((stdout + copy.stdout).split(letter).length - 1, crowdBytes, letter);
  }
});

test('a machine that stands still is written as it stands, and goes on when it is told', {
  skip,
  timeout,
}, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(reciting(), '--name', 'first');
  await place.say('pause');
  await place.take('a.snap');
  t.match((await place.say('status', '--json')).stdout, /"state": "paused"/);
  await place.say('resume');
  await prints(vmm, 50);

  const copy = place.vmm('restore', place.at('a.snap'), '--paused', '--name', 'copy');
  await until(() => existsSync(place.at('colo-vmm/copy.sock')));
  t.match((await place.say('status', '--vm', 'copy', '--json')).stdout, /"state": "paused"/);
  t.equal(copy.stdout, '');
  t.equal((await place.say('resume', '--vm', 'copy')).stdout, 'machine copy is running\n');
  await prints(copy, 50);
  t.ok(isRecital(copy.stdout));
});

for (const mode of ['keep', 'jump'] as const) {
  for (const how of ['restore', 'resume'] as const) {
    test(`${how} --clock=${mode} does with the time in between what it says`, { skip, timeout }, async (t) => {
      const place = new Place(t);
      await place.run(reciting());
      await place.take('a.snap', '--stop');
      const awayMs = 1500;
      await forAWhile(awayMs);
      const started = performance.now();
      const flags = how === 'restore' ? ['--clock', mode] : ['--paused'];
      const vmm = place.vmm('restore', place.at('a.snap'), ...flags, '--name', 'copy');
      await until(() => existsSync(place.at('colo-vmm/copy.sock')));
      if (how === 'resume') await place.say('resume', '--clock', mode);
      await prints(vmm, 1);
      // A guest that is busy gets there in steps.
      while (!/"clockBehindMs": 0\b/.test((await place.say('status', '--json')).stdout));
      await place.take('b.snap');
      const passedMs = performance.now() - started;
      const [before, after] = ['a.snap', 'b.snap'].map((name) => place.tail(name).state.clock);
      const guestMs = Number((after?.kvmclockNs ?? 0n) - (before?.kvmclockNs ?? 0n)) / 1e6;
      const tscMs = Number((after?.tsc[0] ?? 0n) - (before?.tsc[0] ?? 0n)) / (before?.tscKhz ?? 1);
      t.ok(guestMs >= 0 && tscMs >= 0, 'no clock goes back');
      if (mode === 'jump') for (const ms of [guestMs, tscMs]) t.ok(ms >= awayMs, `${ms} ms`);
      // Not the TSC: there are hosts where a guest has the host's, whatever it is set to.
      else t.ok(guestMs <= passedMs, `${guestMs} ms of ${passedMs}`);
    });
  }
}

/** Whether the guest's writes are on the disk in their order, the latest of them at least number `least`. */
function checkHammered(t: TapTest, disk: string, least: number): number {
  const bytes = readFileSync(disk);
  const numbers = Array.from({ length: hammeredPages }, (_, page) => bytes.readUInt32LE(page * 4096));
  const latest = Math.max(...numbers);
  const expected = Array.from({ length: hammeredPages }, (_, page) => latest - ((latest - page) % hammeredPages));
  t.strictSame(numbers, expected, 'the writes are there');
  t.ok(latest >= least, `${latest} writes, before ${least}`);
  return latest;
}

test('a machine goes on with a copy of its disk and another TAP', { skip: skip || noTaps(), timeout }, async (t) => {
  const place = new Place(t);
  const disk = place.at('root.img');
  writeFileSync(disk, '');
  truncateSync(disk, hammeredPages * 4096);
  const [tap, otherTap] = [freeName(), freeName()];
  // A path that says nothing elsewhere.
  const flags = ['--disk', `path=${relative(process.cwd(), disk)},id=root`, '--net', `tap=${tap}`];
  const vmm = await place.run(hammering('ready'), ...flags);
  t.ok(hasInterface(tap));
  await place.take('a.snap', '--stop');
  await vmm.ended;
  const latest = checkHammered(t, disk, 0);
  t.equal(place.tail('a.snap').config.disk[0]?.path, disk);
  const copy = place.at('copy.img');
  copyFileSync(disk, copy);
  const before = readFileSync(disk);

  const other = place.vmm(
    'restore',
    place.at('a.snap'),
    '--disk',
    `id=root,path=${copy}`,
    '--net',
    `tap=${otherTap}`,
    '--name',
    'other',
  );
  await until(() => existsSync(place.at('colo-vmm/other.sock')));
  t.match(JSON.parse((await place.say('status', '--json')).stdout), {
    disks: [{ id: 'root', path: copy }],
    cards: [{ tap: otherTap }],
  });
  t.ok(hasInterface(otherTap));
  await until(() => readFileSync(copy).readUInt32LE(0) > latest + hammeredPages);
  t.equal(other.stdout, '');
  t.equal(other.stderr, '', 'of a disk given anew nobody knows when it was written');
  await other.endedBySignal('SIGTERM');
  checkHammered(t, copy, latest);
  t.ok(readFileSync(disk).equals(before), 'its old disk is left alone');

  const again = place.vmm('restore', place.at('a.snap'), '--name', 'again');
  await until(() => readFileSync(disk).readUInt32LE(0) > latest + hammeredPages);
  t.equal(again.stderr, '', 'no warning, for nobody wrote the disk since');
  await again.endedBySignal('SIGTERM');
  const third = place.vmm('restore', place.at('a.snap'), '--paused');
  await until(() => third.stderr.endsWith('\n'));
  t.match(third.stderr, /warning: disk root: .*root\.img has been written since the snapshot was taken\. .*--disk\n$/);
});

test('a machine goes on with its overlay, and not without it', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const [base, overlay] = [place.at('base.img'), place.at('mine.img')];
  writeFileSync(base, new Uint8Array(hammeredPages * 4096));
  const vmm = await place.run(hammering('ready'), '--disk', `path=${base},overlay=${overlay}`);
  await place.take('a.snap', '--stop');
  await vmm.ended;
  const copy = place.vmm('restore', place.at('a.snap'), '--name', 'copy');
  const { mtimeMs } = statSync(overlay);
  await until(() => statSync(overlay).mtimeMs > mtimeMs);
  t.equal(copy.stderr, '', 'no warning, for nobody wrote it since');
  await copy.endedBySignal('SIGTERM');
  execFileSync('rm', [overlay]);
  complains(
    t,
    await place.say('restore', place.at('a.snap')),
    /disk disk0: its overlay .*mine\.img is gone, .* give a copy by --disk id=disk0,overlay=FILE/,
  );
  t.notOk(existsSync(overlay), 'none is made');
});

test('a machine whose disk had no overlay goes on over one that is made, twice over', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const disk = place.at('root.img');
  writeFileSync(disk, new Uint8Array(hammeredPages * 4096));
  const vmm = await place.run(hammering('ready'), '--disk', `path=${disk},id=root`);
  await place.take('a.snap', '--stop');
  await vmm.ended;
  const before = readFileSync(disk);
  for (const name of ['one', 'two']) {
    const overlay = place.at(name);
    const clone = place.vmm('restore', place.at('a.snap'), '--name', name, '--disk', `id=root,overlay=${overlay}`);
    await until(() => existsSync(overlay) && statSync(overlay).blocks > 64);
    t.equal(clone.stderr, '');
    await clone.endedBySignal('SIGTERM');
  }
  t.ok(readFileSync(disk).equals(before), 'its disk is as it was');
  appendFileSync(disk, new Uint8Array(4096));
  const late = place.vmm('restore', place.at('a.snap'), '--paused', '--disk', `id=root,overlay=${place.at('three')}`);
  await until(() => late.stderr.endsWith('\n'));
  t.match(late.stderr, /warning: disk root: .*root\.img has been written since the snapshot was taken/);
});

test('a machine goes on over a device whose blocks are others than those of its disk', {
  skip: skip || noLoopDevices(),
  timeout,
}, async (t) => {
  const place = new Place(t);
  const disk = place.at('root.img');
  writeFileSync(disk, new Uint8Array(hammeredPages * 4096));
  const vmm = await place.run(hammering('ready'), '--disk', `path=${disk},id=root`);
  await place.take('a.snap', '--stop');
  await vmm.ended;
  const latest = checkHammered(t, disk, 0);
  for (const [sectorBytes, direct] of [
    [512, 'off'],
    [4096, 'off'],
    [4096, 'on'],
  ] as const) {
    const copy = place.at(`copy-${sectorBytes}-${direct}.img`);
    copyFileSync(disk, copy);
    const device = loopDevice(t, copy, sectorBytes);
    const given = ['--disk', `id=root,path=${device},direct=${direct}`, '--name', 'other'];
    const other = place.vmm('restore', place.at('a.snap'), ...given);
    await until(() => readFileSync(device).readUInt32LE(0) > latest + hammeredPages || other.stderr !== '');
    t.equal(other.stderr, '');
    await other.endedBySignal('SIGTERM');
    checkHammered(t, device, latest);
  }
});

test('refuses devices that are not those of the snapshot', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const disk = place.at('root.img');
  writeFileSync(disk, new Uint8Array(65_536));
  await place.run(spinning('ready'), '--disk', `path=${disk},id=root`);
  await place.take('a.snap', '--stop');
  const smaller = place.at('smaller.img');
  writeFileSync(smaller, new Uint8Array(32_768));
  const restore = (...flags: readonly string[]): Promise<Ending> => place.say('restore', place.at('a.snap'), ...flags);
  complains(
    t,
    await restore('--disk', `id=root,path=${smaller}`),
    /a\.snap: the machine cannot be restored here: disk root: the file has 32768 bytes, and the guest was told of 65536: give /,
  );
  complains(
    t,
    await restore('--disk', 'id=root,readonly=on'),
    /disk root: readonly was off when the guest started, and is on here, .*: leave it off, or start the guest anew/,
  );
  complains(
    t,
    await restore('--disk', 'id=root,sector=4096'),
    /disk root: sector=4096 cannot be: the guest was told of sectors of 512 bytes: leave the key out/,
  );
  complains(
    t,
    await restore('--disk', `id=home,path=${disk}`),
    /--disk id=home,path=.*: the snapshot has no disk home; it has root/,
  );
  complains(
    t,
    await restore('--net', 'tap=tap0'),
    /--net tap=tap0: the snapshot has no more network cards; it has none/,
  );
  complains(t, await restore('--disk', `id=root,path=${place.at('no.img')}`), /no\.img/);
  complains(t, await restore('--clock', 'now'), /--clock now: give keep or jump/);
  complains(t, await restore('--paused', '--clock', 'jump'), /--clock jump: .*give it to colo-vmm resume/);
  complains(t, await restore('--cpus', '2'), /unknown option '--cpus'/);
  complains(t, await place.say('restore'), /missing required argument 'snapshot'/);
  complains(t, await place.say('restore', place.at('none.snap')), /none\.snap: no such file/);
  complains(t, await place.say('restore', disk), /root\.img: is no snapshot of colo-vmm/);
  appendFileSync(place.at('a.snap'), 'x');
  complains(t, await restore(), /a\.snap: is damaged: it has \d+ bytes instead of \d+/);
});

test('refuses a path where no snapshot can be', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const vmm = await place.run(echoing('ready'));
  writeFileSync(place.at('mine'), 'mine');
  complains(
    t,
    await place.say('snapshot', place.at('no/a.snap')),
    /no\/a\.snap: there is no such folder; make it, or give another path/,
  );
  complains(t, await place.say('snapshot', place.folder), /: is a folder; give the path of a file/);
  complains(
    t,
    await place.say('snapshot', place.at('mine')),
    /mine: there is a file that is no snapshot; give another path, or remove it/,
  );
  complains(t, await place.say('snapshot', '--stop', place.at('no/a.snap')), /there is no such folder/);
  complains(t, await place.say('snapshot'), /missing required argument 'path'/);
  complains(
    t,
    await place.say('snapshot', '--vm', 'other', place.at('a.snap')),
    /--vm other: no machine of that name runs/,
  );
  vmm.write('x');
  await vmm.printed('readyx');
});

test('a full disk leaves the guest running and no file', { skip: skip || noMount(), timeout }, async (t) => {
  const place = new Place(t);
  const small = temporaryFolder(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
  t.teardown(() => spawnSync('umount', ['-l', small]));
  const memory = ['--memory', '64M', '--initrd', ballast(place, 8 * MiB)];
  const vmm = await place.run(reciting(), ...memory);
  for (const flags of [[], ['--incremental'], ['--stop']]) {
    complains(
      t,
      await place.say('snapshot', ...flags, join(small, 'a.snap')),
      /a\.snap: there is no room for a snapshot; make room, or give another path/,
    );
    await prints(vmm, 50);
  }
  t.strictSame(readdirSync(small), []);
  await place.take('a.snap', '--incremental');
  t.ok(isRecital(vmm.stdout));
});

test('the snapshot that a machine runs from may be replaced by a newer one of it', { skip, timeout }, async (t) => {
  const place = new Place(t);
  let vmm = await place.run(reciting());
  await place.take('a.snap', '--stop');
  for (let generation = 0; generation < 3; generation++) {
    vmm = place.vmm('restore', place.at('a.snap'));
    await prints(vmm, 50);
    await place.take('a.snap');
    await prints(vmm, 50);
    t.ok(isRecital(vmm.stdout));
    await vmm.endedBySignal('SIGTERM');
  }
});

/** A machine whose snapshot takes a while, and a client of it. */
async function slowMachine(t: TapTest, place: Place): Promise<{ vmm: VmmProcess; client: () => Promise<RawClient> }> {
  const memory = ['--memory', '512M', '--initrd', ballast(place, 256 * MiB)];
  const vmm = await place.run(reciting(), '--name', 'slow', ...memory);
  return { vmm, client: () => new RawClient(t, place.at('colo-vmm/slow.sock')).begin() };
}

const order = (path: string): string => JSON.stringify({ execute: 'x-snapshot', arguments: { path } });

test('a second snapshot is refused while one is taken, and the guest runs on meanwhile', {
  skip,
  timeout,
}, async (t) => {
  const place = new Place(t);
  const { vmm, client } = await slowMachine(t, place);
  const [first, second] = [await client(), await client()];
  const taken = first.ask(order(place.at('a.snap')));
  // Two clients' orders come in any order.
  await until(() => place.snapshots.length > 0);
  t.match(await second.ask(order(place.at('b.snap'))), {
    error: { desc: /b\.snap: another snapshot of this machine is being taken; wait/ },
  });
  t.strictSame(place.snapshots, [`a.snap.${vmm.pid}.part`]);
  await prints(vmm, 50);
  t.match(await taken, { return: { path: place.at('a.snap'), base: null } });
  t.strictSame(place.snapshots, ['a.snap']);
  t.ok(isRecital(vmm.stdout));
});

test('a snapshot is taken to its end when the client dies that asked for it', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const { vmm } = await slowMachine(t, place);
  const client = place.vmm('snapshot', place.at('a.snap'));
  await until(() => place.snapshots.length > 0);
  await client.endedBySignal('SIGKILL');
  t.strictSame(place.snapshots, [`a.snap.${vmm.pid}.part`]);
  await until(() => existsSync(place.at('a.snap')));
  place.tail('a.snap');
  await prints(vmm, 50);
  t.ok(isRecital(vmm.stdout));
});

test('a VMM that is told to end gives up its snapshot at once, and leaves nothing', { skip, timeout }, async (t) => {
  const place = new Place(t);
  for (const args of [[], ['--stop']]) {
    const { vmm } = await slowMachine(t, place);
    const client = place.say('snapshot', ...args, place.at('a.snap'));
    await until(() => place.snapshots.length > 0);
    await forAWhile(20);
    const ending = await vmm.endedBySignal('SIGTERM');
    t.equal(ending.code, 143);
    t.ok(ending.tookMs < promptMs, `took ${ending.tookMs} ms`);
    t.match(ending.stderr, /^colo-vmm: stopped by SIGTERM\ncolo-vmm: .*\n$/);
    t.strictSame(place.snapshots, []);
    complains(t, await client, /a\.snap: the machine has ended/);
  }
});

test('a VMM that is killed leaves no snapshot, and the next one sweeps up', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const { vmm } = await slowMachine(t, place);
  const client = place.say('snapshot', place.at('a.snap'));
  await until(() => place.snapshots.length > 0);
  await vmm.endedBySignal('SIGKILL');
  t.strictSame(place.snapshots, [`a.snap.${vmm.pid}.part`]);
  complains(t, await client, /slow\.sock: .*(ended|closed|gone|went)/);
  complains(t, await place.say('restore', place.at(`a.snap.${vmm.pid}.part`)), /is no snapshot of colo-vmm/);
  await place.run(reciting(), '--name', 'next');
  await place.take('a.snap', '--vm', 'next');
  t.strictSame(place.snapshots, ['a.snap']);
});

test('memory is not read before the guest needs it', { skip, timeout }, async (t) => {
  const place = new Place(t);
  const { vmm } = await slowMachine(t, place);
  await place.take('a.snap', '--stop');
  await vmm.ended;
  const copy = place.vmm('restore', place.at('a.snap'));
  await prints(copy, 50);
  const kilobytes = { Rss: 0, Private_Dirty: 0 };
  let isRam = false;
  for (const line of readFileSync(`/proc/${copy.pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isRam = line.endsWith('/a.snap');
    const match = isRam ? /^(Rss|Private_Dirty): +(\d+) kB/.exec(line) : null;
    if (match !== null) kilobytes[match[1] as keyof typeof kilobytes] += Number(match[2]);
  }
  t.ok(kilobytes.Rss > 0, 'the guest has read some of it');
  t.ok(kilobytes.Private_Dirty < 4096, `${kilobytes.Private_Dirty} KiB of 512 MiB`);
  t.ok(kilobytes.Rss < 16_384, `${kilobytes.Rss} KiB of 512 MiB`);
});
