import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../../src/block/disk-file.ts';
import { EventLoopEngine } from '../../../../../src/block/event-loop-engine.ts';
import { specification } from '../../../../../src/colo/core/rules.ts';
import { type BackupReport, makeBackup } from '../../../../../src/colo/disk/backup/backup.ts';
import type { CheckpointCopy } from '../../../../../src/colo/disk/backup/checkpoint-copy.ts';
import { backupBlockBytes } from '../../../../../src/colo/disk/backup/point-in-time.ts';
import { StandbyDisks } from '../../../../../src/colo/disk/standby/standby-disks.ts';
import { epoch, noCheckpoint, term } from '../../../../../src/colo/protocol/numbers.ts';
import type { Fd } from '../../../../../src/host/libc/descriptors.ts';
import { DiskRig } from '../../../../support/disk-rig.ts';
import { noMount } from '../../../../support/small-file-system.ts';

const diskBytes = 9 * backupBlockBytes + 1024;

/** Calls that wait until a test lets them go. */
class HeldEngine extends EventLoopEngine {
  holdsReads = false;
  holdsWrites = false;
  #held: (() => void)[] = [];

  get held(): number {
    return this.#held.length;
  }

  override read(...given: Parameters<EventLoopEngine['read']>): void {
    if (this.holdsReads) this.#held.push(() => this.#go(() => super.read(...given)));
    else super.read(...given);
  }

  override write(...given: Parameters<EventLoopEngine['write']>): void {
    if (this.holdsWrites) this.#held.push(() => this.#go(() => super.write(...given)));
    else super.write(...given);
  }

  release(): void {
    this.holdsReads = false;
    this.holdsWrites = false;
    for (const go of this.#held.splice(0)) go();
  }

  #go(call: () => void): void {
    call();
    this.start();
  }
}

class Rig extends DiskRig {
  readonly standby: StandbyDisks;
  readonly calls = new HeldEngine();
  /** What the checkpoint that is to be copied has. */
  readonly first = Buffer.alloc(diskBytes);
  now = 0;
  copy: CheckpointCopy | undefined;

  constructor(t: Test) {
    super(t, undefined, process.cwd());
    // Empty in the middle.
    this.first.fill(1, 0, 2 * backupBlockBytes).fill(2, 7 * backupBlockBytes);
    writeFileSync(this.path('disk'), this.first);
    writeFileSync(this.path('data'), Buffer.alloc(4096, 7));
    const disks = ['disk', 'data'].map((id) => ({ id, file: openDiskFile(this.path(id), {}) }));
    for (const { file } of disks) this.owner.defer(() => closeSync(file.fd));
    this.standby = new StandbyDisks({
      disks,
      settings: { diskLogBytes: 1 << 26 },
      rules: specification,
      pair: 'web',
      term: term(3),
      post: () => {},
      send: () => true,
      past: { history: undefined, renew: async () => {} },
      engines: this.calls,
    });
    this.owner.defer(() => this.standby.close());
    this.standby.commit(epoch(0));
  }

  get target(): string {
    return this.path('monday');
  }

  backup(path = this.target): Promise<BackupReport> {
    const made = makeBackup({
      source: this.standby,
      begin: () => {
        this.copy = this.standby.beginCopy(() => this.now);
        return this.copy;
      },
      path,
      pair: 'web',
      term: 3,
      now: () => this.now,
      patienceMs: 1000,
    });
    // It may fail before a test looks.
    made.catch(() => {});
    return made;
  }

  /** A write of P's, to all of the disk. */
  overwrite(n: number, value: number): void {
    for (let offset = 0; offset < diskBytes; offset += 64 * 1024) {
      const data = new Uint8Array(Math.min(64 * 1024, diskBytes - offset)).fill(value);
      this.standby.stage({ kind: 'disk-write', epoch: epoch(n), disk: 0, offset, data });
    }
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Nothing is beside the backup, or in its place if there is none. */
  leftovers(): string[] {
    return readdirSync(dirname(this.target)).filter((name) => name.startsWith('monday.'));
  }
}

test('a backup is a folder with a sparse raw file for each disk, and says what it is of', async (t) => {
  const rig = new Rig(t);
  const report = await rig.backup();
  t.match(report, { path: rig.target, epoch: 0, totalBytes: diskBytes + 4096 });
  t.strictSame(readdirSync(rig.target).sort(), ['backup.json', 'data.img', 'disk.img']);
  t.ok(readFileSync(`${rig.target}/disk.img`).equals(rig.first));
  t.ok(readFileSync(`${rig.target}/data.img`).equals(Buffer.alloc(4096, 7)));
  t.ok(statSync(`${rig.target}/disk.img`).blocks * 512 < diskBytes - 4 * backupBlockBytes, 'empty blocks take no room');
  t.equal(report.writtenBytes, 4 * backupBlockBytes + 1024 + 4096);
  t.match(JSON.parse(readFileSync(`${rig.target}/backup.json`, 'utf8')), {
    pair: 'web',
    term: 3,
    epoch: 0,
    disks: [
      { id: 'disk', file: 'disk.img', sizeBytes: diskBytes },
      { id: 'data', file: 'data.img', sizeBytes: 4096 },
    ],
  });
  t.strictSame(rig.leftovers(), []);
});

test('checkpoints that are committed while it is made do not change what it shows', async (t) => {
  const rig = new Rig(t);
  rig.calls.holdsReads = true;
  const made = rig.backup();
  await rig.until(() => rig.calls.held > 0);
  rig.overwrite(1, 0xee);
  rig.standby.commit(epoch(1));
  rig.overwrite(2, 0xdd);
  rig.standby.commit(epoch(2));
  t.ok(readFileSync(rig.path('disk')).equals(rig.first), 'nothing is laid down over what is not copied');
  rig.calls.release();
  t.equal((await made).epoch, 0);
  t.ok(readFileSync(`${rig.target}/disk.img`).equals(rig.first));
  await rig.standby.handOver();
  t.ok(readFileSync(rig.path('disk')).equals(Buffer.alloc(diskBytes, 0xdd)), 'and all of it is, in the end');
});

test('what the last checkpoint has is laid down first, and nothing of a later one', async (t) => {
  const rig = new Rig(t);
  rig.calls.holdsWrites = true;
  rig.overwrite(1, 0xee);
  rig.standby.commit(epoch(1));
  await rig.until(() => rig.calls.held > 0);
  const made = rig.backup();
  await rig.until(() => rig.copy !== undefined);
  rig.overwrite(2, 0xdd);
  rig.standby.commit(epoch(2));
  rig.calls.release();
  t.equal((await made).epoch, 1);
  t.ok(readFileSync(`${rig.target}/disk.img`).equals(Buffer.alloc(diskBytes, 0xee)));
  await rig.standby.handOver();
  t.ok(readFileSync(rig.path('disk')).equals(Buffer.alloc(diskBytes, 0xdd)));
});

test('a takeover waits for nothing of it, and ends it', async (t) => {
  const rig = new Rig(t);
  rig.calls.holdsReads = true;
  const made = rig.backup();
  await rig.until(() => rig.calls.held > 0);
  rig.overwrite(1, 0xee);
  rig.standby.commit(epoch(1));
  // The reads of the backup are still held.
  await rig.standby.handOver();
  t.ok(readFileSync(rig.path('disk')).equals(Buffer.alloc(diskBytes, 0xee)));
  rig.calls.release();
  await t.rejects(made, { message: 'this side has taken over' });
  t.notOk(existsSync(rig.target));
  t.strictSame(rig.leftovers(), []);
});

test('a pairing that is over ends it, and a standby that closes', async (t) => {
  for (const [end, message] of [
    [(rig: Rig) => rig.standby.discard(noCheckpoint), 'nobody is protected here any more'],
    [(rig: Rig) => rig.standby.close(), 'this standby ends'],
  ] as const) {
    const rig = new Rig(t);
    rig.calls.holdsReads = true;
    const made = rig.backup();
    await rig.until(() => rig.calls.held > 0);
    end(rig);
    rig.calls.release();
    await t.rejects(made, { message });
    t.strictSame([existsSync(rig.target), rig.leftovers()], [false, []]);
  }
});

test('a change that waits too long for it ends it', async (t) => {
  const rig = new Rig(t);
  rig.calls.holdsReads = true;
  const made = rig.backup();
  await rig.until(() => rig.calls.held > 0);
  rig.overwrite(1, 0xee);
  rig.standby.commit(epoch(1));
  await rig.until(() => rig.copy?.point.waitsSince !== undefined);
  rig.now = 1000;
  await rig.until(() => rig.copy?.isOver === true);
  rig.calls.release();
  await t.rejects(made, { message: /protection comes first/ });
  await rig.standby.handOver();
  t.ok(readFileSync(rig.path('disk')).equals(Buffer.alloc(diskBytes, 0xee)));
});

test('nothing that is there is written over, and a folder that cannot be made is told of', async (t) => {
  const rig = new Rig(t);
  mkdirSync(rig.target);
  await t.rejects(rig.backup(), { message: /monday is there already: nothing is written over/ });
  t.equal(rig.copy, undefined, 'no copy was begun');
  t.strictSame(readdirSync(rig.target), []);
  await t.rejects(rig.backup(rig.path('disk')), { message: /is there already/ });
  await t.rejects(rig.backup(`${rig.path('none')}/here`), { message: /Make it first$/ });
  await t.rejects(rig.backup(`${rig.path('disk')}/here`), { message: /is no folder|is there already/ });
});

test('a file system that is full ends it, and nothing is left there', { skip: noMount() }, async (t) => {
  const rig = new Rig(t);
  const full = rig.path('full');
  mkdirSync(full);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', full]);
  rig.owner.defer(() => spawnSync('umount', ['-l', full]));
  const { message } = (await rig.backup(`${full}/monday`).catch((error: Error) => error)) as Error;
  t.match(message, /monday: there is no room left on that file system\. Make room/);
  t.strictSame(readdirSync(full), []);
});

test('a backup that a dead process left behind is removed, one that is being made is not', async (t) => {
  const rig = new Rig(t);
  const dead = `${rig.target}.2147483646.part`;
  const alive = `${rig.target}.${process.ppid}.part`;
  for (const path of [dead, alive]) mkdirSync(path);
  await rig.backup();
  t.strictSame([existsSync(dead), existsSync(alive)], [false, true]);
});

test('a disk that cannot be read ends it, and one that failed has none', async (t) => {
  const rig = new Rig(t);
  rig.calls.read = (...given: Parameters<EventLoopEngine['read']>) => setImmediate(() => given[2].finished(-5));
  await t.rejects(rig.backup(), { message: /^disk (disk|data) cannot be read: EIO/ });
  t.strictSame([existsSync(rig.target), rig.leftovers()], [false, []]);
  rig.calls.write = (_fd: Fd, ...given) => setImmediate(() => given[1].finished(-5));
  rig.overwrite(1, 0xee);
  rig.standby.commit(epoch(1));
  await rig.until(() => rig.standby.error !== undefined);
  await t.rejects(rig.backup(), { message: /cannot be written/ });
});
