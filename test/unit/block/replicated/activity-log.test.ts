import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import type { Completion } from '../../../../src/block/disk-engine.ts';
import { isGivenUp, readPairStamp, stampOf } from '../../../../src/block/pair-stamp.ts';
import { ActivityLog } from '../../../../src/block/replicated/activity-log.ts';
import { blockBits } from '../../../../src/block/replicated/changed-blocks.ts';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import { diskRingStorage } from '../../../../src/block/replicated/disk-ring.ts';
import { decodeRegionFile, encodeRegionFile, regionBytes } from '../../../../src/block/replicated/region-file.ts';
import { ActivityControl, type SharedChanges } from '../../../../src/block/replicated/shared-changes.ts';
import { ECANCELED, EIO, ETIMEDOUT } from '../../../../src/host/errno.ts';
import type { Fd } from '../../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../../src/host/mappings/io-vector.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';
import { ShuffledEngine } from '../../../support/shuffled-engine.ts';

const sizes = [4 * regionBytes];
const id = new Uint8Array(16).fill(9);

/** Says which calls were made, and has an fdatasync fail, or anything hang. */
class WatchedCalls extends ShuffledEngine {
  readonly calls: string[] = [];
  fails = false;
  hangs = false;
  readonly #hanging: (() => void)[] = [];

  constructor() {
    super(() => 0);
  }

  override write(fd: Fd, data: IoVector, completion: Completion): void {
    this.calls.push('write');
    if (this.hangs) this.#hanging.push(() => this.write(fd, data, completion));
    else super.write(fd, data, completion);
  }

  override sync(fd: Fd, completion: Completion): void {
    this.calls.push('sync');
    super.sync(fd, this.fails ? { finished: () => completion.finished(-EIO) } : completion);
  }

  /** What hung goes on. */
  wake(): void {
    this.hangs = false;
    for (const call of this.#hanging.splice(0)) call();
  }
}

class Rig extends DiskRig {
  readonly backend = new FakeBackend(sizes[0] as number);
  /** Of the log's file. */
  readonly calls = new WatchedCalls();
  /** Of the disk's stamp, and of another disk's. */
  readonly stamps = [new WatchedCalls(), new WatchedCalls()] as const;
  readonly forwarding = new DiskForwarding();
  readonly disk = this.forwarding.add(this.backend, 1);
  readonly shared: SharedChanges;
  readonly control: ActivityControl;
  nowMs = 1000;
  #slot = 0;

  constructor(t: Test, marked = 0) {
    super(t);
    for (const calls of [this.calls, ...this.stamps]) this.owner.own(calls);
    this.owner.own(this.forwarding);
    this.shared = {
      path: this.path('activity.log'),
      id,
      sizes,
      control: ActivityControl.storage(),
      blocks: blockBits(sizes),
      stamps: ['root', 'data'].map((name) => stampOf(this.path(name))),
    };
    this.control = new ActivityControl(this.shared.control);
    writeFileSync(this.shared.path, encodeRegionFile(id, Uint8Array.of(marked), 4));
    for (const path of this.shared.stamps) writeFileSync(path, `{"pair":"web","log":"${'09'.repeat(16)}"}\n`);
    this.forwarding.keepLog(this.openLog());
  }

  openLog(other: Partial<SharedChanges> = {}): ActivityLog {
    const calls = [this.calls, ...this.stamps];
    const paths = [this.shared.path, ...this.shared.stamps];
    const engines = { engineFor: (path: string) => calls[paths.indexOf(path)] as WatchedCalls };
    const { forwarding } = this;
    return new ActivityLog({ ...this.shared, ...other }, forwarding.ownDisks, engines, forwarding, () => this.nowMs);
  }

  /** Whether what the stamps say is this log, with a word for each. */
  get stamped(): string[] {
    return ['root', 'data'].map((name) => {
      const stamp = readPairStamp(this.path(name));
      return isGivenUp(stamp) ? 'given up' : stamp?.log === '09'.repeat(16) ? 'kept' : 'spoilt';
    });
  }

  change(offset: number): TestRequest {
    const request = this.request(offset, [this.#slot++ * 4096, 512]);
    this.disk.write(request);
    this.disk.start();
    return request;
  }

  /** What the file says. */
  get marked(): number | undefined {
    return decodeRegionFile(readFileSync(this.shared.path), id, 4)?.[0];
  }

  /** Whatever was begun in files is done. */
  reap(): void {
    for (let count = 0; count < 20; count++) for (const calls of [this.calls, ...this.stamps]) calls.reap();
  }

  /** So much time passes on the thread. */
  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs += Math.min(end - this.nowMs, this.forwarding.waitMs ?? ms);
      this.forwarding.look();
    }
  }
}

test('a write reaches the disk once its region is marked, durably; others of that region cost nothing', async (t) => {
  const rig = new Rig(t);
  const first = rig.change(regionBytes);
  t.equal(rig.backend.started.length, 0);
  rig.calls.reap();
  t.equal(rig.marked, 0b0010);
  t.equal(rig.backend.started.length, 0, 'it is not durable');
  rig.reap();
  t.equal(rig.backend.started.length, 1);
  rig.backend.settle();
  t.equal(first.result, 0);
  t.strictSame(rig.calls.calls, ['write', 'sync']);
  rig.change(regionBytes + 4096);
  t.equal(rig.backend.started.length, 1);
  t.equal(rig.calls.calls.length, 2);
  t.equal(rig.control.marked, 1);
});

test('marks that are wanted meanwhile are made together', async (t) => {
  const rig = new Rig(t);
  for (const region of [0, 1, 3]) rig.change(region * regionBytes);
  rig.reap();
  t.equal(rig.marked, 0b1011);
  t.equal(rig.backend.started.length, 3);
  t.strictSame(rig.calls.calls, ['write', 'sync', 'write', 'sync'], 'the first one alone, then all others');
});

test('without a standby it is noted which blocks change; with one it is not', async (t) => {
  const rig = new Rig(t, 0b1111);
  const blocks = new Int32Array(rig.shared.blocks);
  rig.change(5 * 4096);
  t.equal(blocks[0], 1 << 5);
  rig.forwarding.attach({ storage: diskRingStorage(1 << 23, 1 << 20), epoch: { number: 0 }, ring: () => {} }, () => 0);
  rig.change(6 * 4096);
  t.equal(blocks[0], 1 << 5, 'that one is in the ring');
  rig.forwarding.detach();
  rig.change(7 * 4096);
  t.equal(blocks[0], (1 << 5) | (1 << 7));
});

test('where marks cannot be written the log is given up, durably, before anything unmarked reaches the disk', async (t) => {
  const rig = new Rig(t);
  rig.calls.fails = true;
  const request = rig.change(0);
  for (let count = 0; count < 2; count++) rig.calls.reap();
  t.strictSame(rig.calls.calls, ['write', 'sync']);
  const meanwhile = rig.change(regionBytes);
  for (const stamp of rig.stamps) {
    t.strictSame([rig.backend.started.length, rig.control.lost], [0, undefined]);
    stamp.reap();
    t.strictSame(stamp.calls, ['write', 'sync']);
  }
  t.strictSame(rig.stamped, ['given up', 'given up']);
  t.strictSame([rig.backend.started.length, rig.control.lost], [0, undefined], 'that is not durable');
  rig.reap();
  t.equal(rig.control.lost, EIO);
  t.equal(rig.backend.started.length, 2);
  rig.backend.settle();
  t.strictSame([request.result, meanwhile.result], [0, 0], 'the guest has heard of nothing');
  rig.calls.fails = false;
  const later = rig.change(2 * regionBytes);
  rig.backend.settle();
  t.equal(later.result, 0);
  t.equal(rig.calls.calls.length, 2, 'the file is not asked for anything any more');
  const blocks = new Int32Array(rig.shared.blocks);
  const perRegion = regionBytes / 4096 / 32;
  t.strictSame(
    [0, 1, 2, 3].map((region) => blocks[region * perRegion]),
    [1, 1, 1, 0],
    'which blocks changed is known',
  );
});

test('a mark that hangs is waited for, and then the log is given up', async (t) => {
  const rig = new Rig(t);
  t.equal(rig.forwarding.waitMs, undefined);
  rig.calls.hangs = true;
  const request = rig.change(0);
  t.equal(rig.forwarding.waitMs, 1000);
  rig.pass(4000);
  rig.change(regionBytes);
  rig.pass(900);
  t.equal(rig.forwarding.waitMs, 100, 'who comes later waits no longer');
  rig.reap();
  t.strictSame(rig.stamped, ['kept', 'kept']);
  rig.pass(100);
  t.equal(rig.forwarding.waitMs, undefined);
  rig.reap();
  t.equal(rig.control.lost, ETIMEDOUT);
  rig.backend.settle();
  t.equal(request.result, 0);
  rig.calls.wake();
  rig.reap();
  t.strictSame(rig.calls.calls, ['write', 'write', 'sync'], 'what comes of it then is of no matter');
  t.equal(rig.control.marked, 0);
});

test('a mark that is only slow is waited for', async (t) => {
  const rig = new Rig(t);
  for (let region = 0; region < 4; region++) {
    rig.change(region * regionBytes);
    rig.pass(4000);
    rig.reap();
  }
  t.equal(rig.forwarding.waitMs, undefined);
  t.equal(rig.marked, 0b1111);
  t.strictSame(rig.stamped, ['kept', 'kept']);
});

test('a process that was frozen has the disk have its time as well', async (t) => {
  const rig = new Rig(t);
  rig.change(0);
  rig.nowMs += 3_600_000;
  rig.forwarding.look();
  t.equal(rig.forwarding.waitMs, 1000);
  rig.reap();
  t.strictSame([rig.marked, ...rig.stamped], [1, 'kept', 'kept']);
});

test('one stamp of several disks is enough', async (t) => {
  const rig = new Rig(t);
  rig.calls.fails = true;
  rig.stamps[0].hangs = true;
  rig.change(0);
  rig.reap();
  t.strictSame(rig.stamped, ['kept', 'given up']);
  t.equal(rig.backend.started.length, 1);
  const failing = new Rig(t);
  failing.calls.fails = true;
  failing.stamps[0].fails = true;
  failing.change(0);
  failing.reap();
  t.equal(failing.control.lost, EIO);
});

test('a disk without a stamp, as a device is, has nobody rely on the log in any case', async (t) => {
  const rig = new Rig(t);
  rmSync(rig.shared.stamps[1] as string);
  rig.forwarding.keepLog(rig.openLog());
  rig.calls.fails = true;
  rig.change(0);
  rig.reap();
  t.equal(rig.control.lost, EIO);
  t.equal(rig.backend.started.length, 1);
});

test('where nothing can be written beside the disks either, a write fails, and another one has its own attempt', async (t) => {
  const rig = new Rig(t);
  for (const calls of [rig.calls, ...rig.stamps]) calls.fails = true;
  const request = rig.change(0);
  rig.reap();
  t.equal(request.result, -EIO);
  t.equal(rig.backend.started.length, 0, 'and reaches no disk');
  t.strictSame([rig.control.lost, rig.control.keptAgainst], [undefined, EIO]);
  rig.stamps[0].fails = false;
  rig.change(0);
  rig.reap();
  t.equal(rig.backend.started.length, 1);
  t.strictSame([rig.control.lost, rig.control.keptAgainst], [EIO, undefined]);
});

test('a log that the colo thread has no use for is given up; disks are flushed for it all the same', async (t) => {
  const rig = new Rig(t, 0b0111);
  rig.control.askToGiveUp();
  rig.forwarding.woken();
  rig.reap();
  t.equal(rig.control.lost, ECANCELED);
  t.equal(rig.control.marked, 0);
  rig.control.through = 1;
  rig.control.sweep();
  rig.control.askFlush();
  rig.forwarding.woken();
  rig.backend.settle();
  t.equal(rig.control.flushed, 0);
  t.strictSame(rig.calls.calls, []);
  t.equal(rig.marked, 0b0111);
});

test('a log that was given up before it began has no file', async (t) => {
  const rig = new Rig(t);
  rig.control.lost = EIO;
  rig.forwarding.keepLog(rig.openLog({ path: rig.path('none') }));
  rig.change(0);
  t.equal(rig.backend.started.length, 1);
  t.equal(new Int32Array(rig.shared.blocks)[0], 1);
});

test('a log of another id takes over from one that was given up', async (t) => {
  const rig = new Rig(t);
  rig.calls.fails = true;
  rig.change(0);
  rig.reap();
  rig.calls.fails = false;
  const other = new Uint8Array(16).fill(8);
  writeFileSync(rig.path('new.log'), encodeRegionFile(other, Uint8Array.of(0b1111), 4));
  const shared = { path: rig.path('new.log'), id: other, control: ActivityControl.storage() };
  const calls = { engineFor: () => rig.calls };
  const { forwarding } = rig;
  forwarding.keepLog(new ActivityLog({ ...rig.shared, ...shared }, forwarding.ownDisks, calls, forwarding));
  rig.backend.settle();
  const control = new ActivityControl(shared.control);
  t.strictSame([control.lost, control.marked], [undefined, 4]);
  rig.change(regionBytes);
  t.equal(rig.backend.started.length, 1, 'all is marked there');
});

/** The guest of a replica has written to regions 1 and 3: nothing of that is on the disk. */
function replicaRig(t: Test): Rig {
  const rig = new Rig(t);
  rig.forwarding.keepApart();
  for (const offset of [regionBytes, regionBytes + 4096, 3 * regionBytes]) t.equal(rig.change(offset).result, 0);
  t.strictSame(rig.calls.calls, []);
  t.equal(rig.backend.started.length, 0);
  return rig;
}

test("what a replica's guest wrote is marked, durably, before it is laid down", async (t) => {
  const rig = replicaRig(t);
  let turns = 0;
  rig.forwarding.markApart(
    turning(() => {
      t.equal(rig.backend.started.length, 0);
      turns++;
      rig.calls.reap();
    }),
  );
  t.ok(turns > 0, 'it waited for the file');
  t.equal(rig.marked, 0b1010);
  t.strictSame(rig.calls.calls, ['write', 'sync']);
  const blocks = new Int32Array(rig.shared.blocks);
  const perRegion = regionBytes / 4096;
  t.equal(blocks[perRegion / 32], 0b11, 'and by blocks');
  t.equal(blocks[(3 * perRegion) / 32], 1);
  rig.forwarding.layDown(() => rig.backend.settle());
  t.ok(rig.backend.log.some((call) => call.startsWith('write')));
  rig.change(0);
  rig.reap();
  t.equal(rig.marked, 0b1011, 'what it writes next is marked as ever');
});

/** Turns once for each question, until there was enough of that. */
const turning =
  (turn: () => void, most = 50) =>
  (isDone: () => boolean): boolean => {
    for (let turns = 0; turns < most && !isDone(); turns++) turn();
    return isDone();
  };

test('where marks cannot be written a takeover gives the log up, and all is laid down', async (t) => {
  const rig = replicaRig(t);
  rig.calls.fails = true;
  rig.forwarding.markApart(turning(() => rig.reap()));
  t.strictSame([rig.stamped, rig.control.lost], [['given up', 'given up'], EIO]);
  rig.forwarding.layDown(() => rig.backend.settle());
  t.ok(rig.backend.log.some((call) => call.startsWith('write')));
  rig.change(0);
  rig.backend.settle();
  t.equal(rig.calls.calls.length, 2, 'nothing is asked of that file any more');
  const blocks = new Int32Array(rig.shared.blocks);
  t.strictSame([blocks[0], blocks[regionBytes / 4096 / 32]], [1, 0b11], 'what changed is known all the same');
});

test('so does one where they are not written in time', async (t) => {
  const rig = replicaRig(t);
  rig.calls.hangs = true;
  rig.forwarding.markApart(turning(() => rig.reap()));
  t.strictSame([rig.stamped, rig.control.lost], [['given up', 'given up'], ETIMEDOUT]);
});

test('where nothing can be written beside the disks either it is said so, no log is kept, and all is laid down', async (t) => {
  for (const [how, message] of [
    ['fails', 'the activity log cannot be written: EIO'],
    ['hangs', 'the activity log is not written in time'],
  ] as const) {
    const rig = replicaRig(t);
    for (const calls of [rig.calls, ...rig.stamps]) calls[how] = true;
    t.throws(() => rig.forwarding.markApart(turning(() => rig.reap())), { code: 'DISK', message });
    t.equal(rig.forwarding.log, undefined);
    rig.forwarding.layDown(() => rig.backend.settle());
    t.ok(rig.backend.log.some((call) => call.startsWith('write')));
    for (const calls of [rig.calls, ...rig.stamps]) calls.wake();
    rig.reap();
    rig.change(0);
    rig.backend.settle();
    t.equal(rig.forwarding.log, undefined, 'what it still did is of no matter');
  }
});

test('marks go once the standby has all of it and the disk is flushed', async (t) => {
  const rig = new Rig(t, 0b0111);
  const sweep = (): void => {
    rig.control.sweep();
    rig.forwarding.woken();
    rig.backend.settle();
    rig.reap();
  };
  rig.control.through = -1;
  sweep();
  t.equal(rig.marked, 0b0111, 'nothing is known of the standby');
  rig.control.through = 0;
  sweep();
  t.equal(rig.marked, 0);
  t.equal(rig.control.marked, 0);
  t.strictSame(rig.calls.calls, ['write'], 'that they go need not last');
});

test('without a standby no mark goes, also by a sweep that was asked for while there was one', async (t) => {
  const rig = new Rig(t);
  rig.change(0);
  rig.reap();
  rig.backend.settle();
  rig.reap();
  t.equal(rig.marked, 1);
  rig.control.through = 57;
  for (let sweeps = 0; sweeps < 3; sweeps++) {
    rig.control.sweep();
    rig.forwarding.woken();
    rig.backend.settle();
    rig.reap();
  }
  t.equal(rig.marked, 1);
});

test('all disks are flushed when that is asked for', async (t) => {
  const rig = new Rig(t);
  rig.control.askFlush();
  t.equal(rig.control.flushed, undefined);
  rig.forwarding.woken();
  t.equal(rig.control.flushed, undefined);
  rig.backend.resultOf = () => -EIO;
  rig.backend.settle();
  t.equal(rig.control.flushed, -EIO);
  rig.control.askFlush();
  rig.forwarding.woken();
  rig.backend.resultOf = () => 0;
  rig.backend.settle();
  t.equal(rig.control.flushed, 0);
});

test('a file that is not the log is refused', async (t) => {
  const rig = new Rig(t);
  t.throws(() => rig.openLog({ id: new Uint8Array(16) }), /is not the activity log that was made for these disks/);
  t.throws(() => rig.openLog({ path: rig.path('none') }), /cannot be opened: ENOENT/);
});
