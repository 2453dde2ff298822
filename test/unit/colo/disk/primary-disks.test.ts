import { closeSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../src/block/disk-file.ts';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import { loggedBytes } from '../../../../src/block/replicated/disk-ring.ts';
import type { ForwardedDisk } from '../../../../src/block/replicated/forwarded-disk.ts';
import { ActivityControl } from '../../../../src/block/replicated/shared-changes.ts';
import { DiskWindow } from '../../../../src/colo/core/epochs/disk-window.ts';
import type { PrimaryEvent } from '../../../../src/colo/core/events.ts';
import { specification } from '../../../../src/colo/core/rules.ts';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { historyDisk } from '../../../../src/colo/disk/disk-view.ts';
import { HistoryStore } from '../../../../src/colo/disk/history/history-store.ts';
import { PrimaryChanges } from '../../../../src/colo/disk/history/primary-changes.ts';
import { PrimaryDisks } from '../../../../src/colo/disk/primary-disks.ts';
import { newSharedDisks } from '../../../../src/colo/disk/shared-disks.ts';
import { GuestFirst, guestTime } from '../../../../src/colo/memory/guest-first.ts';
import type { DiskGeneration, Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch } from '../../../../src/colo/protocol/numbers.ts';
import { EIO } from '../../../../src/host/errno.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';
import { generation, loggedChanges } from './disk-pair.ts';

const diskBytes = 1 << 20;

class Rig extends DiskRig {
  readonly backend = new FakeBackend(diskBytes);
  readonly window: DiskWindow;
  readonly forwarding = new DiskForwarding();
  readonly disk: ForwardedDisk;
  readonly changes: PrimaryChanges;
  readonly primary: PrimaryDisks;
  readonly sent: Message[] = [];
  readonly told: PrimaryEvent[] = [];
  readonly epoch = { number: 0 };
  mayWrite = true;
  /** By which P's clock is ahead. */
  skipMs = 0;
  earlier = 0;
  woken = 0;
  rung = 0;
  /** Called while something is sent: the io thread does not wait for that. */
  sending: () => void = () => {};

  constructor(t: Test, { logBytes = 1 << 20, earlier = 0 } = {}) {
    super(t);
    this.earlier = earlier;
    writeFileSync(this.path('disk'), Buffer.alloc(diskBytes));
    const file = openDiskFile(this.path('disk'));
    this.owner.defer(() => closeSync(file.fd));
    this.owner.own(this.forwarding);
    this.disk = this.forwarding.add(this.backend, 1);
    const shared = newSharedDisks(logBytes);
    const store = new HistoryStore(this.folder, 'web');
    this.owner.defer(() => store.rest());
    const disks = [historyDisk({ id: 'root', file })];
    const changes = loggedChanges(store.logPath, disks);
    this.changes = PrimaryChanges.inherited(store, disks, { shared: changes, generation });
    this.window = new DiskWindow(logBytes, specification);
    this.primary = new PrimaryDisks({
      shared,
      disks: [{ id: 'root', file }],
      window: this.window,
      settings: defaultSettings,
      changes: this.changes,
      found: () => {},
      send: (message) => {
        this.sent.push('data' in message ? { ...message, data: message.data.slice() } : message);
        this.sending();
        return this.mayWrite;
      },
      post: (event) => this.told.push(event),
      now: () => performance.now() + this.skipMs,
      wakeIo: () => {
        this.woken++;
        this.forwarding.woken();
      },
      guestFirst: new GuestFirst(guestTime(() => 0)),
    });
    this.owner.defer(() => this.primary.close());
    const parts = { storage: shared, epoch: this.epoch, ring: () => this.ring() };
    this.forwarding.attach(
      parts,
      () => this.earlier + this.requests.filter(({ result }) => result === undefined).length,
    );
    // Without a log nothing would be flushed; with one, changes would wait for their marks.
    this.changes.flush = () => {
      new ActivityControl(changes.control).flushed = 0;
    };
  }

  readonly requests: TestRequest[] = [];

  change(offset: number, length: number, value: number): TestRequest {
    const at = (this.requests.length % 16) * 65536;
    this.memory.fill(value, at, at + length);
    const request = this.request(offset, [at, length]);
    this.requests.push(request);
    this.disk.write(request);
    this.disk.start();
    return request;
  }

  ring(): void {
    this.rung++;
    this.primary.work();
  }

  kinds(): string[] {
    return this.sent.map((message) => ('epoch' in message ? `${message.kind} ${message.epoch}` : message.kind));
  }

  /** Both sides say what their disks were. */
  async meet(history = new Uint8Array(0)): Promise<void> {
    this.primary.answered({ kind: 'disk-history', epoch: epoch(0), data: history });
    const generation = (): Message | undefined => this.sent.find(({ kind }) => kind === 'disk-generation');
    while (generation() === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    this.primary.answered(generation() as DiskGeneration);
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** The standby's disks are as these are. */
  async equal(): Promise<void> {
    this.primary.synchronise();
    await this.meet(Uint8Array.of(...Buffer.from(generation, 'hex'), 0));
    while (!this.told.some(({ kind }) => kind === 'disks-in-step')) {
      this.primary.laid(0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.primary.work();
    this.sent.length = 0;
    this.rung = 0;
  }
}

test('changes are sent with their epoch, and its end after the last of them', async (t) => {
  const rig = new Rig(t);
  rig.change(0, 512, 1);
  rig.change(512, 512, 2);
  // The stop: what is tagged later must not come before the epoch's end.
  rig.epoch.number = 1;
  rig.change(1024, 512, 3);
  rig.primary.work();
  t.strictSame(rig.kinds(), ['disk-write 0', 'disk-write 0']);
  rig.primary.epochCaptured(epoch(0));
  t.strictSame(rig.kinds(), ['disk-write 0', 'disk-write 0', 'disk-end 0', 'disk-write 1']);
  t.match(rig.sent[2], { kind: 'disk-end', items: 2 });
  t.match(rig.sent[3], { disk: 0, offset: 1024, data: new Uint8Array(512).fill(3) });
  rig.epoch.number = 2;
  rig.primary.epochCaptured(epoch(1));
  t.match(rig.sent.at(-1), { kind: 'disk-end', items: 1 });
});

test('nothing is sent while there is no room, and all of it then', async (t) => {
  const rig = new Rig(t);
  rig.mayWrite = false;
  rig.change(0, 512, 1);
  rig.change(512, 512, 2);
  rig.primary.epochCaptured(epoch(0));
  t.strictSame(rig.kinds(), ['disk-write 0']);
  rig.mayWrite = true;
  rig.primary.drained();
  t.strictSame(rig.kinds(), ['disk-write 0', 'disk-write 0', 'disk-end 0']);
});

test("the guest waits while the standby's log is full, and goes on as it is laid down", async (t) => {
  const rig = new Rig(t, { logBytes: 2 * loggedBytes(4096) });
  for (let index = 0; index < 4; index++) rig.change(index * 4096, 4096, index);
  t.equal(rig.sent.length, 2);
  t.equal(rig.primary.outstandingBytes, 2 * loggedBytes(4096));
  t.match(rig.told, [{ kind: 'disk-log-half' }]);
  t.equal(rig.forwarding.waiting, 2);
  t.equal(rig.primary.guestWaits, true);
  rig.window.laid(loggedBytes(4096));
  rig.primary.laid(loggedBytes(4096));
  t.equal(rig.woken > 0, true);
  t.equal(rig.forwarding.waiting, 1);
  rig.window.laid(3 * loggedBytes(4096));
  rig.primary.laid(4 * loggedBytes(4096));
  t.equal(rig.forwarding.waiting, 0);
  t.equal(rig.primary.guestWaits, false, 'and status says so no more');
});

test('a standby that takes nothing is told of, though the io thread lets nothing come that finds no room', async (t) => {
  const rig = new Rig(t, { logBytes: 2 * loggedBytes(4096) });
  for (let index = 0; index < 4; index++) rig.change(index * 4096, 4096, index);
  rig.told.length = 0;
  rig.primary.laid(0);
  rig.primary.laid(0);
  t.strictSame(rig.told, [{ kind: 'disk-log-full', isFull: true }], 'once');
  rig.window.laid(loggedBytes(4096));
  rig.primary.laid(loggedBytes(4096));
  t.match(
    rig.told.slice(1),
    [{ isFull: true }, { isFull: false }],
    'what it takes begins its time anew, and there is room',
  );
});

test('a disk of the primary that fails is told of once', async (t) => {
  const rig = new Rig(t);
  rig.backend.resultOf = () => -EIO;
  rig.change(0, 512, 1);
  rig.change(512, 512, 1);
  rig.backend.settle();
  const failed = rig.told.filter(({ kind }) => kind === 'disk-failed');
  t.strictSame(failed, [{ kind: 'disk-failed', error: 'disk root cannot be written: EIO' }]);
  t.equal(rig.primary.error, 'disk root cannot be written: EIO');
});

test('room in the ring is given back only for what is on the disk', async (t) => {
  const rig = new Rig(t, { logBytes: 1 << 30 });
  // More than the ring holds.
  const requests = Array.from({ length: 20 * 16 }, (_, index) => rig.change((index % 16) * 65536, 65536, index % 250));
  t.ok(rig.forwarding.waiting > 0);
  while (requests.some(({ result }) => result === undefined)) {
    rig.backend.settle();
    rig.disk.start();
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(rig.forwarding.waiting, 0);
  t.equal(rig.kinds().filter((kind) => kind === 'disk-write 0').length, requests.length);
});

for (const areEqual of [true, false]) {
  const whose = areEqual ? 'equal disks' : 'disks that are made equal';
  test(`changes of ${whose} gather until their epoch ends, and nobody is woken for them`, async (t) => {
    const rig = new Rig(t);
    if (areEqual) await rig.equal();
    rig.rung = 0;
    for (let index = 0; index < 4; index++) {
      rig.change(index * 4096, 4096, index);
      rig.backend.settle();
    }
    t.strictSame(rig.kinds(), []);
    t.equal(rig.rung, 0);
    rig.epoch.number = 1;
    rig.change(65536, 4096, 9);
    rig.primary.epochCaptured(epoch(0));
    t.strictSame(rig.kinds(), [...Array(4).fill('disk-write 0'), 'disk-end 0', 'disk-write 1']);
    t.match(rig.sent[3], { offset: 3 * 4096, data: new Uint8Array(4096).fill(3) });
  });
}

test('or until there are 64 KiB, or what makes the log half full', async (t) => {
  const much = new Rig(t);
  await much.equal();
  for (let index = 0; index < 17; index++) much.change(index * 4096, 4096, index);
  t.equal(much.rung, 1);
  t.ok(much.kinds().length >= 15);

  const little = new Rig(t, { logBytes: 4 * loggedBytes(4096) });
  await little.equal();
  little.told.length = 0;
  little.change(0, 4096, 1);
  little.change(4096, 4096, 2);
  t.match(little.told, [{ kind: 'disk-log-half' }]);
});

for (const whileSending of [false, true]) {
  const when = whileSending ? 'while changes are sent' : 'when all were sent';
  test(`a guest that finds no room in the ring ${when} goes on, though nobody was woken for its changes`, async (t) => {
    const rig = new Rig(t, { logBytes: 1 << 30 });
    await rig.equal();
    const requests: TestRequest[] = [];
    const writeAll = (): void => {
      rig.sending = () => {};
      for (let index = 0; index < 320; index++) requests.push(rig.change((index % 16) * 65536, 65536, index % 250));
    };
    if (whileSending) {
      rig.sending = writeAll;
      for (let index = 0; index < 2; index++) requests.push(rig.change(index * 65536, 65536, index));
    } else writeAll();
    t.ok(rig.forwarding.waiting > 0);
    // Nothing happens any more but that the disk does its work.
    for (let turns = 0; turns < 10_000 && requests.some(({ result }) => result === undefined); turns++) {
      rig.backend.settle();
      rig.disk.start();
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.ok(requests.every(({ result }) => result === 0));
    rig.primary.epochCaptured(epoch(0));
    // A turn sends some of them.
    for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
    t.equal(rig.kinds().filter((kind) => kind === 'disk-write 0').length, requests.length);
  });
}

test('the first copy begins once all that was under way before is done, and durable', async (t) => {
  const rig = new Rig(t, { earlier: 1 });
  let flushes = 0;
  rig.changes.flush = () => {
    flushes++;
  };
  const said = async (): Promise<string[]> => {
    rig.primary.laid(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return rig.kinds();
  };
  rig.primary.synchronise();
  await said();
  rig.primary.answered({ kind: 'disk-history', epoch: epoch(0), data: new Uint8Array(0) });
  t.strictSame(
    await said(),
    ['disk-origin 0'],
    'the standby waits until the generation is told, and not for what is here',
  );
  t.equal(flushes, 0);
  rig.earlier = 0;
  t.strictSame(await said(), ['disk-origin 0']);
  t.equal(flushes, 1);
  new ActivityControl(rig.changes.shared.control).flushed = 0;
  t.strictSame(await said(), ['disk-origin 0', 'disk-generation 0']);
  rig.primary.answered(rig.sent[1] as DiskGeneration);
  await new Promise((resolve) => setImmediate(resolve));
  t.strictSame(rig.kinds(), ['disk-origin 0', 'disk-generation 0', 'disk-compare 0']);
  t.match(rig.primary.progress, { totalBytes: diskBytes, comparedBytes: 0 });
});

test('answers that nobody asked for are refused', async (t) => {
  const rig = new Rig(t);
  const { primary } = rig;
  primary.synchronise();
  const nothing = new Uint8Array(16);
  t.throws(() => primary.answered({ kind: 'disk-generation', epoch: epoch(0), data: nothing }), {
    code: 'COLO_PROTOCOL',
  });
  t.throws(() => primary.answered({ kind: 'disk-durable', epoch: epoch(0) }), { code: 'COLO_PROTOCOL' });
  await rig.meet();
  t.throws(() => primary.answered({ kind: 'disk-history', epoch: epoch(0), data: nothing }), { code: 'COLO_PROTOCOL' });
  const hashes = { kind: 'disk-hashes', epoch: epoch(0), disk: 0, offset: 512, data: new Uint8Array(32) } as const;
  t.throws(() => primary.answered(hashes), { code: 'COLO_PROTOCOL' });
});

test('nothing is sent or told once it is over', async (t) => {
  const rig = new Rig(t);
  rig.primary.synchronise();
  rig.told.length = 0;
  rig.primary.abort();
  rig.change(0, 512, 1);
  rig.primary.epochCaptured(epoch(0));
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(rig.kinds().includes('disk-write 0'));
  t.strictSame(rig.told, []);
});

test('marks go though the guest writes nothing any more', async (t) => {
  const rig = new Rig(t);
  const control = new ActivityControl(rig.changes.shared.control);
  control.through = -1;
  control.marked = 1;
  await rig.equal();
  t.notOk(
    rig.kinds().some((kind) => kind.startsWith('disk-sync')),
    'the epoch of the copy is open',
  );
  rig.epoch.number = 1;
  rig.primary.epochCaptured(epoch(0));
  rig.skipMs = 10_000;
  rig.primary.laid(0);
  t.ok(rig.kinds().includes('disk-sync 1'));
  rig.primary.answered({ kind: 'disk-durable', epoch: epoch(1) });
  t.equal(control.through, 0);
  t.equal(control.sweeps, 1);
});
