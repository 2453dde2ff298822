import { readFileSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import type { Completion } from '../../../../src/block/disk-engine.ts';
import { ActivityControl, ActivityLog, type SharedChanges } from '../../../../src/block/replicated/activity-log.ts';
import { blockBits } from '../../../../src/block/replicated/changed-blocks.ts';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import { diskRingStorage } from '../../../../src/block/replicated/disk-ring.ts';
import { decodeRegionFile, encodeRegionFile, regionBytes } from '../../../../src/block/replicated/region-file.ts';
import { EIO } from '../../../../src/host/errno.ts';
import type { Fd } from '../../../../src/host/libc/descriptors.ts';
import type { IoVector } from '../../../../src/host/mappings/io-vector.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';
import { ShuffledEngine } from '../../../support/shuffled-engine.ts';

const sizes = [4 * regionBytes];
const id = new Uint8Array(16).fill(9);

/** Says which calls were made, and whose fdatasync fails. */
class WatchedCalls extends ShuffledEngine {
  readonly calls: string[] = [];
  fails = false;

  constructor() {
    super(() => 0);
  }

  override write(fd: Fd, data: IoVector, completion: Completion): void {
    this.calls.push('write');
    super.write(fd, data, completion);
  }

  override sync(fd: Fd, completion: Completion): void {
    this.calls.push('sync');
    super.sync(fd, this.fails ? { finished: () => completion.finished(-EIO) } : completion);
  }
}

class Rig extends DiskRig {
  readonly backend = new FakeBackend(sizes[0] as number);
  readonly calls = new WatchedCalls();
  readonly forwarding = new DiskForwarding();
  readonly disk = this.forwarding.add(this.backend, 1);
  readonly shared: SharedChanges;
  readonly control: ActivityControl;
  #slot = 0;

  constructor(t: Test, marked = 0) {
    super(t);
    this.owner.own(this.calls);
    this.owner.own(this.forwarding);
    this.shared = {
      path: this.path('activity.log'),
      id,
      sizes,
      control: ActivityControl.storage(),
      blocks: blockBits(sizes),
    };
    this.control = new ActivityControl(this.shared.control);
    writeFileSync(this.shared.path, encodeRegionFile(id, Uint8Array.of(marked), 4));
    this.forwarding.keepLog(
      new ActivityLog(this.shared, this.forwarding.ownDisks, { engineFor: () => this.calls }, this.forwarding),
    );
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
    for (let count = 0; count < 20; count++) this.calls.reap();
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

test('a write whose region cannot be marked fails', async (t) => {
  const rig = new Rig(t);
  rig.calls.fails = true;
  const request = rig.change(0);
  rig.reap();
  t.equal(request.result, -EIO);
  t.equal(rig.backend.started.length, 0, 'and reaches no disk');
  rig.calls.fails = false;
  rig.change(0);
  rig.reap();
  t.equal(rig.backend.started.length, 1, 'another one has its own attempt');
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
  rig.forwarding.markApart(() => {
    t.equal(rig.backend.started.length, 0);
    turns++;
    rig.calls.reap();
    return true;
  });
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

test('where marks cannot be written it is said so, no log is kept, and all is laid down', async (t) => {
  const rig = replicaRig(t);
  rig.calls.fails = true;
  const reap = (): boolean => {
    rig.calls.reap();
    return true;
  };
  t.throws(() => rig.forwarding.markApart(reap), { code: 'DISK', message: 'the activity log cannot be written: EIO' });
  t.equal(rig.forwarding.log, undefined);
  rig.forwarding.layDown(() => rig.backend.settle());
  t.ok(rig.backend.log.some((call) => call.startsWith('write')));
  t.equal(rig.change(0).result, undefined);
  rig.backend.settle();
  t.equal(rig.calls.calls.length, 2, 'and nothing is asked of that file any more');
});

test('what is marked in the last turn is marked', async (t) => {
  const rig = replicaRig(t);
  rig.forwarding.markApart(() => {
    rig.reap();
    return false;
  });
  t.equal(rig.marked, 0b1010);
});

test('a log that is not written in time is given up, and all is laid down', async (t) => {
  const rig = replicaRig(t);
  let turns = 0;
  t.throws(() => rig.forwarding.markApart(() => ++turns < 3), {
    code: 'DISK',
    message: 'the activity log is not written in time',
  });
  t.equal(turns, 3);
  rig.forwarding.layDown(() => rig.backend.settle());
  t.ok(rig.backend.log.some((call) => call.startsWith('write')));
  rig.reap();
  rig.change(0);
  rig.backend.settle();
  t.equal(rig.forwarding.log, undefined, 'what it still did is of no matter');
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
  const { forwarding, shared, calls } = rig;
  const open = (other: Partial<SharedChanges>) => () =>
    new ActivityLog({ ...shared, ...other }, forwarding.ownDisks, { engineFor: () => calls }, forwarding);
  t.throws(open({ id: new Uint8Array(16) }), /is not the activity log that was made for these disks/);
  t.throws(open({ path: rig.path('none') }), /cannot be opened: ENOENT/);
});
