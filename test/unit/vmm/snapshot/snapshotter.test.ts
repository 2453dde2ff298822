import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { longestChain } from '../../../../src/vmm/snapshot/snapshot-format.ts';
import { type SnapshotOptions, type SnapshotReport, Snapshotter } from '../../../../src/vmm/snapshot/snapshotter.ts';
import { noMount } from '../../../support/small-file-system.ts';
import { bytesOf, emptyConfig, fill, pagesOfRam, ramIn, SnapshotRig } from '../../../support/snapshot-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

/** A machine, its snapshots, and a folder for them. */
class Place {
  readonly folder: string;
  readonly machine: SnapshotRig;
  readonly snapshotter: Snapshotter;

  constructor(t: Test, pages = 40) {
    this.folder = temporaryFolder(t);
    this.machine = new SnapshotRig(pagesOfRam(pages));
    this.snapshotter = new Snapshotter(this.machine, emptyConfig);
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  take(name: string, options?: SnapshotOptions): Promise<SnapshotReport> {
    return this.snapshotter.take(this.at(name), options);
  }

  fill(page: number, seed: number): void {
    fill(this.machine.ram.memory, page, 1, seed);
  }

  get ram(): Buffer {
    return bytesOf(this.machine.ram.memory);
  }

  ramIn(name: string): Buffer {
    return ramIn(this.at(name));
  }

  get files(): string[] {
    return readdirSync(this.folder).sort();
  }
}

test('takes a snapshot of a machine that runs, and lets it go on', async (t) => {
  const place = new Place(t);
  place.fill(3, 1);
  const report = await place.take('a.snap');
  t.match(report, { path: place.at('a.snap'), base: null, ramBytes: pageSize });
  t.ok(report.pauseMs >= 0);
  t.strictSame(place.machine.calls, ['still']);
  t.ok(place.ramIn('a.snap').equals(place.ram));
  t.strictSame(place.files, ['a.snap']);
  t.equal(place.machine.trackers, 0, 'nobody keeps track of changes any more');
});

test('what changes while it is written is as it was when the machine stood still', async (t) => {
  const place = new Place(t, 6000);
  for (let page = 0; page < 6000; page++) place.fill(page, 1);
  place.machine.beforeStill = () => place.fill(17, 77);
  const taken = place.take('a.snap');
  for (let turn = 0; turn < 4; turn++) {
    await setImmediate();
    for (const page of [turn, 3000 + turn, 5999]) place.fill(page, 2 + turn);
  }
  place.fill(100, 0);
  await taken;
  t.ok(place.ramIn('a.snap').equals(place.ram));
});

test('does not wait for a guest that changes more than can be written', { timeout: 60_000 }, async (t) => {
  const place = new Place(t, 3000);
  const taken = place.take('a.snap');
  let done = false;
  void taken.then(() => {
    done = true;
  });
  for (let seed = 1; !done; seed = (seed + 1) & 0xff) {
    place.machine.ram.memory.write(gpa(0), new Uint8Array(3000 * pageSize).fill(seed));
    const before = place.ram;
    await setImmediate();
    if (done) t.ok(place.ramIn('a.snap').length === before.length);
  }
  await taken;
});

test('takes one snapshot at a time', async (t) => {
  const place = new Place(t);
  const first = place.take('a.snap');
  await t.rejects(place.take('b.snap'), {
    code: 'SNAPSHOT',
    message: /b\.snap: another snapshot of this machine is being taken/,
  });
  await first;
  await place.take('b.snap');
  t.strictSame(place.files, ['a.snap', 'b.snap']);
});

test('a machine that stands still goes on standing still', async (t) => {
  const place = new Place(t);
  place.machine.state = 'paused';
  await place.take('a.snap');
  t.equal(place.machine.state, 'paused');
  t.ok(place.ramIn('a.snap').equals(place.ram));
});

test('ends the machine when it is to, standing still from the beginning', async (t) => {
  const place = new Place(t);
  await place.take('a.snap', { stop: true });
  t.strictSame(place.machine.calls, ['pause', 'still', 'stop by a snapshot 0']);
});

test('a machine that was to end goes on when its snapshot fails', async (t) => {
  const place = new Place(t);
  await t.rejects(place.take('no/a.snap', { stop: true }), { message: /there is no such folder; make it/ });
  t.strictSame(place.machine.calls, ['pause', 'resume']);
  const standing = new Place(t);
  standing.machine.state = 'paused';
  await t.rejects(standing.take('no/a.snap', { stop: true }));
  t.strictSame(standing.machine.calls, [], 'unless it stood still before');
});

test('settles the disks of a machine that is paused or to end, and fails if they are not', async (t) => {
  const place = new Place(t);
  await place.take('a.snap');
  t.equal(place.machine.settled, 0, 'of one that runs on nobody copies them');
  place.machine.state = 'paused';
  await place.take('b.snap');
  t.equal(place.machine.settled, 1);
  place.machine.state = 'running';
  place.machine.onSettle = () => {
    throw new Error('disk root cannot be flushed: EIO');
  };
  await t.rejects(place.take('c.snap', { stop: true }), { code: 'SNAPSHOT', message: /c\.snap: disk root cannot be/ });
  t.equal(place.machine.state, 'running');
  t.strictSame(place.files, ['a.snap', 'b.snap']);
});

test('a machine that somebody lets go on while it is to end does not end', async (t) => {
  const place = new Place(t, 3000);
  for (let page = 0; page < 3000; page++) place.fill(page, 1);
  const taken = place.take('a.snap', { stop: true });
  place.machine.resume();
  await t.rejects(taken, { message: /a\.snap: the machine was resumed while its snapshot was taken/ });
  t.equal(place.machine.state, 'running');
  t.strictSame(place.files, []);
});

test('a machine that ran on after its state was saved does not end, though it is paused again', async (t) => {
  const place = new Place(t);
  place.machine.onSave = () =>
    queueMicrotask(() => {
      place.machine.resume();
      place.machine.pause();
    });
  await t.rejects(place.take('a.snap', { stop: true }), {
    message: /a\.snap: the machine was resumed while its snapshot was taken/,
  });
  t.strictSame(place.files, []);
});

test('what a machine did before its state was saved is in the snapshot, and it ends', async (t) => {
  const place = new Place(t, 3000);
  for (let page = 0; page < 3000; page++) place.fill(page, 1);
  const taken = place.take('a.snap', { stop: true });
  place.machine.resume();
  place.fill(5, 99);
  place.machine.pause();
  await taken;
  t.ok(place.ramIn('a.snap').equals(place.ram));
  t.equal(place.machine.state, 'ended');
});

for (const [what, end] of [
  ['the machine ends', async ({ machine }) => machine.stop('the test', 0)],
  ['the VMM ends', ({ snapshotter }) => snapshotter.close()],
] as const satisfies readonly (readonly [string, (place: Place) => Promise<void>])[]) {
  test(`gives up when ${what}, and leaves its memory alone from then on`, async (t) => {
    const place = new Place(t, 6000);
    for (let page = 0; page < 6000; page++) place.fill(page, 1);
    const taken = place.take('a.snap', { incremental: true });
    await setImmediate();
    const { memory } = place.machine.ram;
    const ended = end(place);
    memory.slice = () => {
      throw new Error('the memory was touched');
    };
    await t.rejects(taken, { message: /a\.snap: the machine has ended$/ });
    await ended;
    t.strictSame(place.files, []);
    t.equal(place.machine.trackers, 0);
    await t.rejects(place.take('a.snap'), { message: /a\.snap: the machine has ended$/ });
  });
}

test('after a failure there is no file, and the next one may come', async (t) => {
  const place = new Place(t);
  place.machine.onSave = () => {
    throw new Error('no state today');
  };
  await t.rejects(place.take('a.snap'), { code: 'SNAPSHOT', message: /a\.snap: no state today$/ });
  place.machine.trackDirtyPages = () => {
    throw new Error('no tracker today');
  };
  await t.rejects(place.take('a.snap'), { message: /a\.snap: no tracker today$/ });
  t.strictSame(place.files, []);
  const { machine } = new Place(t);
  place.machine.onSave = machine.onSave;
  place.machine.trackDirtyPages = SnapshotRig.prototype.trackDirtyPages;
  await place.take('a.snap');
});

test('replaces a snapshot, and nothing else', async (t) => {
  const place = new Place(t);
  await place.take('a.snap');
  place.fill(1, 5);
  await place.take('a.snap');
  t.ok(place.ramIn('a.snap').equals(place.ram));

  writeFileSync(place.at('disk.img'), 'mine');
  await t.rejects(place.take('disk.img'), {
    message: /disk\.img: there is a file that is no snapshot; give another path/,
  });
  t.equal(readFileSync(place.at('disk.img'), 'utf8'), 'mine');
  writeFileSync(place.at('empty'), '');
  await t.rejects(place.take('empty'), { message: /no snapshot/ });
  mkdirSync(place.at('folder'));
  await t.rejects(place.take('folder'), { message: /folder: is a folder; give the path of a file/ });
  await t.rejects(place.snapshotter.take('/dev/null'), {
    message: /\/dev\/null: is a device; give the path of a file/,
  });
  await t.rejects(place.take(`${'x'.repeat(250)}`), { message: /the name is too long; give a shorter one/ });
  await t.rejects(place.take('disk.img/a.snap'), { message: /there is no such folder/ });
  t.strictSame(place.files, ['a.snap', 'disk.img', 'empty', 'folder']);
});

test('says so when it may not write there', {
  skip: process.getuid?.() !== 0 && 'only root can become another user',
}, async (t) => {
  const place = new Place(t);
  chmodSync(place.folder, 0o755);
  process.seteuid?.(65_534);
  try {
    await t.rejects(place.take('a.snap'), { message: /a\.snap: no permission to write there; give another path$/ });
  } finally {
    process.seteuid?.(0);
  }
});

test('removes what VMMs left behind that died, and nothing else', async (t) => {
  const place = new Place(t);
  const dead = spawnSync('true').pid;
  const kept = [`b.snap.${dead}.part`, `a.snap.${dead}`, `a.snap.${process.ppid}.part`, 'a.snap.x.part'].sort();
  for (const name of [...kept, `a.snap.${dead}.part`, `a.snap.${process.pid}.part`]) writeFileSync(place.at(name), '');
  await place.take('a.snap');
  t.strictSame(place.files, ['a.snap', ...kept].sort());
});

const incremental = { incremental: true };

test('an incremental snapshot holds what changed since the last one, and the first one all', async (t) => {
  const place = new Place(t);
  for (let page = 0; page < 40; page++) place.fill(page, 1);
  t.match(await place.take('0.snap', incremental), { base: null, ramBytes: 40 * pageSize });
  place.fill(4, 2);
  t.match(await place.take('1.snap', incremental), { base: place.at('0.snap'), ramBytes: pageSize });
  place.fill(5, 2);
  place.fill(6, 0);
  t.match(
    await place.take('2.snap', incremental),
    { base: place.at('1.snap'), ramBytes: pageSize },
    'zeros are a hole',
  );
  t.ok(place.ramIn('2.snap').equals(place.ram));
  t.equal(place.machine.trackers, 1);
  await place.snapshotter.close();
  t.equal(place.machine.trackers, 0);
});

test('a whole snapshot in between does not disturb a chain', async (t) => {
  const place = new Place(t);
  place.fill(1, 1);
  await place.take('0.snap', incremental);
  place.fill(2, 1);
  t.match(await place.take('whole.snap'), { base: null, ramBytes: 2 * pageSize });
  place.fill(3, 1);
  t.match(await place.take('1.snap', incremental), { base: place.at('0.snap'), ramBytes: 2 * pageSize });
  t.ok(place.ramIn('1.snap').equals(place.ram));
});

test('a snapshot that fails takes nothing from its chain', async (t) => {
  const place = new Place(t);
  place.fill(1, 1);
  await place.take('0.snap', incremental);
  place.fill(2, 1);
  place.machine.onSave = () => {
    throw new Error('no state today');
  };
  place.machine.beforeStill = () => place.fill(3, 1);
  await t.rejects(place.take('1.snap', incremental));
  place.machine.onSave = () => {};
  place.machine.beforeStill = () => {};
  t.match(await place.take('1.snap', incremental), { base: place.at('0.snap'), ramBytes: 2 * pageSize });
  t.ok(place.ramIn('1.snap').equals(place.ram));
});

test('what changes after the machine goes on, and before the file is there, is in the next one', async (t) => {
  const place = new Place(t);
  let goneOn = false;
  place.machine.onSave = () => {
    // The state is the last that is read.
    if (!goneOn) queueMicrotask(() => place.fill(8, 3));
    goneOn = true;
  };
  await place.take('0.snap', incremental);
  await place.take('1.snap', incremental);
  t.equal(place.ramIn('0.snap')[8 * pageSize + 1], 0);
  t.ok(place.ramIn('1.snap').equals(place.ram));
});

test('an incremental snapshot does not take the place of one that it needs', async (t) => {
  const place = new Place(t);
  await place.take('0.snap', incremental);
  await place.take('1.snap', incremental);
  for (const name of ['0.snap', '1.snap']) {
    await t.rejects(place.take(name, incremental), {
      message: /need the one that is there; give another path/,
    });
  }
  t.match(await place.take('2.snap', incremental), { base: place.at('1.snap') });
});

test('a full snapshot does not take the place of one that its chain needs, whatever leads there', async (t) => {
  const place = new Place(t);
  await place.take('0.snap', incremental);
  await place.take('1.snap', incremental);
  linkSync(place.at('0.snap'), place.at('also 0.snap'));
  for (const name of ['0.snap', '1.snap', 'also 0.snap']) {
    await t.rejects(place.take(name), { message: /need the one that is there; give another path/ }, name);
  }
  rmSync(place.at('1.snap'));
  await place.take('1.snap');
  t.match(await place.take('2.snap', incremental), { base: null }, 'once it is gone there is nothing to lose');
});

for (const [what, spoil] of [
  ['removed', (path) => rmSync(path)],
  ['moved', (path) => renameSync(path, `${path}.old`)],
  [
    'replaced',
    (path) => {
      copyFileSync(path, `${path}.copy`);
      renameSync(`${path}.copy`, path);
    },
  ],
] as const satisfies readonly (readonly [string, (path: string) => void])[]) {
  test(`a new chain begins when a snapshot of the last one was ${what}`, async (t) => {
    const place = new Place(t);
    place.fill(1, 1);
    await place.take('0.snap', incremental);
    await place.take('1.snap', incremental);
    spoil(place.at('0.snap'));
    t.match(await place.take('2.snap', incremental), { base: null, ramBytes: pageSize });
    place.fill(2, 1);
    t.match(await place.take('3.snap', incremental), { base: place.at('2.snap'), ramBytes: pageSize });
    t.ok(place.ramIn('3.snap').equals(place.ram));
  });
}

test('a new chain begins before one is too long to be restored', { timeout: 120_000 }, async (t) => {
  const place = new Place(t);
  place.fill(39, 1);
  for (let index = 0; index < longestChain; index++) {
    place.fill(index % 39, index + 1);
    await place.take(`${index}.snap`, incremental);
  }
  t.ok(place.ramIn(`${longestChain - 1}.snap`).equals(place.ram), 'the longest one can');
  t.match(await place.take('new.snap', incremental), { base: null });
});

test('a link to a folder is followed, one that is the name is replaced', async (t) => {
  const place = new Place(t);
  mkdirSync(place.at('real'));
  symlinkSync('real', place.at('link'));
  t.match(await place.take('link/a.snap'), { path: place.at('real/a.snap') });
  symlinkSync('nowhere', place.at('b.snap'));
  await place.take('b.snap');
  t.ok(place.ramIn('b.snap').equals(place.ram));
  t.notOk(existsSync(place.at('nowhere')));
});

test('nobody else can read it: it has all that the guest has', async (t) => {
  const place = new Place(t);
  await place.take('a.snap');
  const { mode } = statSync(place.at('a.snap'));
  t.equal(mode & 0o777, 0o600);
});

test('a full disk leaves no file, and the machine goes on', { skip: noMount() }, async (t) => {
  const place = new Place(t, (2 * MiB) / pageSize);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place.folder]);
  t.teardown(() => spawnSync('umount', ['-l', place.folder]));
  await place.take('0.snap', incremental);
  place.machine.ram.memory.write(gpa(0), new Uint8Array(2 * MiB).fill(1));
  await t.rejects(place.take('1.snap', incremental), {
    message: /1\.snap: there is no room for a snapshot; make room, or give another path$/,
  });
  t.strictSame(place.files, ['0.snap']);
  t.equal(place.machine.state, 'running');
  place.machine.ram.memory.write(gpa(0x1000), new Uint8Array(2 * MiB - pageSize));
  t.match(await place.take('1.snap', incremental), { base: place.at('0.snap') });
  t.throws(() => place.ramIn('1.snap'), {
    message: /0\.snap: is on a tmpfs that is too full: .* make room for \d MiB/,
  });
  const elsewhere = temporaryFolder(t);
  for (const name of place.files) copyFileSync(place.at(name), join(elsewhere, name));
  t.ok(ramIn(join(elsewhere, '1.snap')).equals(place.ram));
});
