import { closeSync, fdatasyncSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { type DiskFile, openDiskFile } from '../../../../../src/block/disk-file.ts';
import { EventLoopEngine } from '../../../../../src/block/event-loop-engine.ts';
import { markWarning } from '../../../../../src/block/standby-mark.ts';
import type { SecondaryEvent } from '../../../../../src/colo/core/events.ts';
import { specification } from '../../../../../src/colo/core/rules.ts';
import { hashesOf } from '../../../../../src/colo/disk/block-hashes.ts';
import type { History } from '../../../../../src/colo/disk/history/history.ts';
import { StandbyDisks } from '../../../../../src/colo/disk/standby/standby-disks.ts';
import type { DiskRecord, Message } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, noCheckpoint, term } from '../../../../../src/colo/protocol/numbers.ts';
import { ENOSPC } from '../../../../../src/host/errno.ts';
import type { Fd } from '../../../../../src/host/libc/descriptors.ts';
import { DiskRig } from '../../../../support/disk-rig.ts';
import { losingDevice, noLosingDevice } from '../../../../support/loop-device.ts';

const KiB = 1024;
const diskBytes = 256 * KiB;

/** An engine whose disk may be full, or hang. */
class FillingEngine extends EventLoopEngine {
  isFull = false;
  hangs = false;
  /** Of the disks that it was to flush. */
  readonly flushed: Fd[] = [];
  readonly #hung: (() => void)[] = [];

  override sync(fd: Fd, ...rest: Parameters<EventLoopEngine['sync']> extends [Fd, ...infer R] ? R : never): void {
    this.flushed.push(fd);
    super.sync(fd, ...rest);
  }

  goesOn(): void {
    this.hangs = false;
    for (const write of this.#hung.splice(0)) write();
  }

  override write(fd: Fd, ...rest: Parameters<EventLoopEngine['write']> extends [Fd, ...infer R] ? R : never): void {
    const [data, completion] = rest;
    if (this.hangs) this.#hung.push(() => super.write(fd, data, completion));
    else if (this.isFull) setImmediate(() => completion.finished(-ENOSPC));
    else super.write(fd, data, completion);
  }
}

class Rig extends DiskRig {
  readonly standby: StandbyDisks;
  readonly file: DiskFile;
  readonly told: SecondaryEvent[] = [];
  readonly sent: Message[] = [];
  readonly diskEngine = new FillingEngine();
  mayWrite = true;

  renew: (generation: string) => Promise<void> = async () => {};

  constructor(
    t: Test,
    {
      direct = false,
      logBytes = 1 << 20,
      history,
      device,
    }: { direct?: boolean; logBytes?: number; history?: History; device?: string } = {},
  ) {
    super(t, undefined, process.cwd());
    writeFileSync(this.path('disk'), Buffer.alloc(diskBytes, 1));
    writeFileSync(this.path('fixed'), Buffer.alloc(diskBytes, 2));
    this.file = openDiskFile(device ?? this.path('disk'), { direct });
    const disks = [
      { id: 'root', file: this.file },
      { id: 'fixed', file: openDiskFile(this.path('fixed'), { readOnly: true }) },
    ];
    for (const { file } of disks) this.owner.defer(() => closeSync(file.fd));
    this.standby = new StandbyDisks({
      disks,
      settings: { diskLogBytes: logBytes },
      rules: specification,
      pair: 'web',
      term: term(1),
      post: (event) => this.told.push(event),
      send: (message) => {
        this.sent.push(message);
        return this.mayWrite;
      },
      past: { history, renew: (generation) => this.renew(generation) },
      engines: this.diskEngine,
    });
    this.owner.defer(() => this.standby.close());
  }

  get content(): Buffer {
    return readFileSync(this.path('disk'));
  }

  kinds(): string[] {
    return this.told.map(({ kind }) => kind);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async rest(): Promise<void> {
    await this.until(() => this.standby.isIdle);
  }
}

function write(offset: number, length: number, value: number, n = 0): DiskRecord {
  return { kind: 'disk-write', epoch: epoch(n), disk: 0, offset, data: new Uint8Array(length).fill(value) };
}

for (const direct of [false, true]) {
  test(`what is committed is laid down in order${direct ? ', on a direct file too' : ''}`, async (t) => {
    const rig = new Rig(t, { direct });
    const { standby } = rig;
    standby.stage(write(512, 1024, 2));
    await rig.until(() => rig.content[512] === 2);
    standby.commit(epoch(0));
    t.ok(rig.kinds().includes('disk-committed'));
    await rig.rest();
    standby.stage(write(0, 4096, 3, 1));
    standby.stage({ kind: 'disk-discard', epoch: epoch(1), disk: 0, offset: 1024, lengthBytes: 1024 });
    standby.stage(write(1024, 512, 4, 1));
    await rig.rest();
    t.equal(rig.content[0], 1, 'nothing of the open epoch');
    t.ok(standby.logBytes > 4096);
    standby.commit(epoch(1));
    await standby.handOver();
    const expected = Buffer.alloc(diskBytes, 1).fill(3, 0, 4096).fill(0, 1024, 2048).fill(4, 1024, 1536);
    t.ok(rig.content.equals(expected));
    t.equal(standby.logBytes, 0);
  });
}

test('a write is kept as it came, whatever becomes of its buffer', async (t) => {
  const rig = new Rig(t);
  const record = write(0, 512, 9) as DiskRecord & { kind: 'disk-write' };
  rig.standby.stage(record);
  record.data.fill(0);
  await rig.until(() => rig.content[0] !== 1);
  await rig.rest();
  t.equal(rig.content[0], 9);
});

test('what no primary sends is refused', async (t) => {
  const { standby } = new Rig(t);
  const refused = (record: Partial<DiskRecord>, message: RegExp): void => {
    t.throws(() => standby.stage({ ...write(0, 512, 1), ...record } as DiskRecord), { code: 'COLO_PROTOCOL', message });
  };
  refused({ disk: 7 }, /disk 7: there is none/);
  refused({ disk: 1 }, /disk 1, which is only read/);
  refused({ offset: diskBytes }, /which has 262144/);
  refused({ offset: 2 ** 52 }, /which has 262144/);
  refused({ offset: 100 }, /512 bytes at 100/);
  refused({ data: new Uint8Array(0) }, /of 0 bytes/);
  const erase = { kind: 'disk-zeroes', epoch: epoch(0), disk: 0, offset: 0, lengthBytes: diskBytes + 512 } as const;
  t.throws(() => standby.stage(erase), /which has 262144/);
  const ask = { kind: 'disk-compare', epoch: epoch(0), disk: 0, offset: 0, lengthBytes: 512 } as const;
  t.throws(() => standby.asked({ ...ask, offset: 512 }), /from 512 on/);
  t.throws(() => standby.asked({ ...ask, disk: 2 }), /there is none/);
  t.throws(() => standby.asked({ ...ask, epoch: epoch(1) }), /after its first checkpoint/);
});

test('more than the log holds is refused, and half of it told of', async (t) => {
  const rig = new Rig(t, { logBytes: 8 * KiB });
  rig.standby.commit(epoch(0));
  rig.standby.stage(write(0, 4096, 1, 1));
  t.ok(rig.kinds().includes('disk-log-half'));
  rig.standby.stage(write(0, 4096, 1, 1));
  t.throws(() => rig.standby.stage(write(0, 512, 1, 1)), /more than the 8192 bytes/);
});

test('questions are answered after what came before them, and not while there is no room', async (t) => {
  const rig = new Rig(t);
  rig.mayWrite = false;
  rig.standby.stage(write(0, 65536, 5));
  rig.standby.asked({ kind: 'disk-compare', epoch: epoch(0), disk: 0, offset: 0, lengthBytes: 131072 });
  rig.standby.asked({ kind: 'disk-compare', epoch: epoch(0), disk: 0, offset: 131072, lengthBytes: 4096 });
  rig.standby.asked({ kind: 'disk-compare', epoch: epoch(0), disk: 1, offset: 0, lengthBytes: 65536 });
  await rig.until(() => rig.sent.length > 0);
  await rig.rest();
  const before = rig.sent.length;
  t.ok(before <= 2, 'those that were read already');
  rig.standby.drained();
  await rig.until(() => rig.sent.length === 3);
  t.ok(rig.sent.length === 3);
  // Two are read at a time, and whichever is read first is answered first.
  const first = rig.sent.find((answer) => answer.kind === 'disk-hashes' && answer.disk === 0 && answer.offset === 0);
  const expected = hashesOf(Buffer.alloc(131072, 1).fill(5, 0, 65536));
  t.strictSame(Buffer.from((first as { data: Uint8Array }).data), Buffer.from(expected));
});

test('a peer that asks without end is refused', async (t) => {
  const { standby } = new Rig(t);
  const ask = { kind: 'disk-compare', epoch: epoch(0), disk: 0, offset: 0, lengthBytes: 512 } as const;
  t.throws(() => {
    for (let count = 0; count < 200; count++) standby.asked(ask);
  }, /more than 64 questions/);
});

test('a full disk ends it: it is told once, nothing is committed after it, and no takeover has it', async (t) => {
  const rig = new Rig(t);
  rig.diskEngine.isFull = true;
  rig.standby.stage(write(0, 512, 2));
  rig.standby.stage(write(512, 512, 2));
  await rig.until(() => rig.standby.error !== undefined);
  await rig.rest();
  t.equal(rig.standby.error, 'disk root cannot be written: ENOSPC');
  t.equal(rig.kinds().filter((kind) => kind === 'disk-failed').length, 1);
  rig.standby.commit(epoch(0));
  t.notOk(rig.kinds().includes('disk-committed'));
  await t.rejects(rig.standby.handOver(), /ENOSPC/);
});

test('a takeover drops what is not committed, and waits for what is', async (t) => {
  const rig = new Rig(t);
  rig.standby.stage(write(0, 65536, 2));
  rig.standby.commit(epoch(0));
  for (let count = 0; count < 20; count++) rig.standby.stage(write(count * 4096, 4096, 3 + count, 1));
  rig.standby.stage(write(0, 512, 0xee, 2));
  rig.standby.commit(epoch(1));
  rig.standby.discard(epoch(1));
  await rig.standby.handOver();
  const { content } = rig;
  t.strictSame(
    Array.from({ length: 20 }, (_, index) => content[index * 4096]),
    Array.from({ length: 20 }, (_, index) => 3 + index),
  );
});

test('a disk whose pair ends stands at its last checkpoint, or says that it stands at none', async (t) => {
  for (const isLaid of [true, false]) {
    const rig = new Rig(t);
    rig.standby.stage(write(0, 65536, 2));
    rig.standby.commit(epoch(0));
    const says = (what: RegExp): Promise<void> => rig.until(() => what.test(markWarning(rig.path('disk')) ?? ''));
    await says(/is a standby's disk/);
    for (let count = 0; count < 20; count++) rig.standby.stage(write(count * 4096, 4096, 3, 1));
    rig.standby.commit(epoch(1));
    if (isLaid) await rig.standby.laid();
    rig.standby.discard(noCheckpoint);
    await rig.rest();
    t.match(markWarning(rig.path('disk')), isLaid ? /is a standby's disk/ : /is not whole/);
  }
});

const lostToo = 'of data that is lost the guest hears too, though a flush of the standby heard of it first';
test(lostToo, { skip: noLosingDevice() }, async (t) => {
  const rig = new Rig(t, { device: losingDevice(t), logBytes: 8 << 20 });
  rig.standby.commit(epoch(0));
  for (let at = 0; at < 4 << 20; at += 65536) rig.standby.stage(write(at, 65536, 7));
  rig.standby.asked({ kind: 'disk-sync', epoch: epoch(0) });
  await rig.until(() => rig.kinds().includes('disk-failed'));
  t.throws(() => fdatasyncSync(rig.file.fd), { code: 'EIO' });
});

for (const direct of [false, true]) {
  test(`its flushes are of an open file of its own${direct ? ', a direct one too' : ''}, and that is closed`, async (t) => {
    const rig = new Rig(t, { direct });
    const { fd } = rig.file;
    rig.standby.commit(epoch(0));
    rig.standby.asked({ kind: 'disk-sync', epoch: epoch(0) });
    await rig.until(() => rig.sent.length > 0);
    const [own] = rig.diskEngine.flushed;
    t.not(own, fd);
    t.equal(readlinkSync(`/proc/self/fd/${own}`), rig.path('disk'));
    const flags = (of: number | undefined) =>
      /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${of}`, 'utf8'))?.[1];
    t.equal(flags(own), flags(fd), 'which passes the page cache by if that one does');
    rig.standby.close();
    await rig.rest();
    t.throws(() => readlinkSync(`/proc/self/fd/${own}`), { code: 'ENOENT' });
    t.equal(readlinkSync(`/proc/self/fd/${fd}`), rig.path('disk'));
  });
}

test('who leaves waits for what is committed, but not for a disk that takes nothing', async (t) => {
  const rig = new Rig(t);
  rig.standby.commit(epoch(0));
  for (let count = 0; count < 20; count++) rig.standby.stage(write(count * 4096, 4096, 3 + count, 1));
  rig.diskEngine.hangs = true;
  rig.standby.commit(epoch(1));
  await rig.standby.laidWhileItMoves(10);
  t.equal(rig.content[0], 1, 'nothing is there yet');
  const laid = rig.standby.laidWhileItMoves(60_000);
  rig.diskEngine.goesOn();
  await laid;
  const { content } = rig;
  t.strictSame(
    Array.from({ length: 20 }, (_, index) => content[index * 4096]),
    Array.from({ length: 20 }, (_, index) => 3 + index),
  );
});

test('a pairing that is over lays down nothing more, and may be closed at any time', async (t) => {
  const rig = new Rig(t);
  for (let count = 0; count < 50; count++) rig.standby.stage(write(count * 4096, 4096, 2));
  rig.standby.discard(noCheckpoint);
  rig.standby.close();
  await rig.rest();
  t.equal(rig.content[49 * 4096], 1);
});

test('it tells what its disks were once, and what they are once that is written down', async (t) => {
  const history = { generation: '0f'.repeat(16), regions: Uint8Array.of(5) };
  const rig = new Rig(t, { history });
  const generation = { kind: 'disk-generation', epoch: epoch(0), data: new Uint8Array(16).fill(3) } as const;
  t.throws(() => rig.standby.asked(generation), /not now/);
  rig.standby.asked({ kind: 'disk-origin', epoch: epoch(0) });
  t.match(rig.sent, [{ kind: 'disk-history', data: Uint8Array.of(...new Array(16).fill(0x0f), 5) }]);
  t.throws(() => rig.standby.asked({ kind: 'disk-origin', epoch: epoch(0) }), /twice/);
  const turns = (): unknown[] => rig.told.filter(({ kind }) => kind === 'peer-prepares');
  t.strictSame(
    turns(),
    [{ kind: 'peer-prepares', isOver: false }],
    "from now on it is the turn of the primary's disks",
  );
  t.throws(() => rig.standby.asked({ ...generation, data: new Uint8Array(15) }), /none/);
  let written = (): void => {};
  let renewed: string | undefined;
  rig.renew = (name) => {
    renewed = name;
    return new Promise((resolve) => {
      written = resolve;
    });
  };
  rig.told.length = 0;
  rig.standby.asked(generation);
  t.strictSame(turns(), [{ kind: 'peer-prepares', isOver: true }]);
  await rig.until(() => renewed !== undefined);
  t.equal(renewed, '03'.repeat(16));
  t.equal(rig.sent.length, 1, 'not before it is durable');
  written();
  await rig.until(() => rig.sent.length === 2);
  t.match(rig.sent[1], generation);
});

test('what was sent before is durable once it says so, and it was on the disk before that', async (t) => {
  const rig = new Rig(t);
  const { standby } = rig;
  standby.commit(epoch(0));
  standby.stage(write(512, 1024, 2, 1));
  standby.asked({ kind: 'disk-sync', epoch: epoch(1) });
  t.throws(() => standby.asked({ kind: 'disk-sync', epoch: epoch(1) }), /twice/);
  await rig.rest();
  t.strictSame(rig.sent, [], 'its epoch is not committed');
  standby.commit(epoch(1));
  await rig.until(() => rig.sent.length === 1);
  t.strictSame(rig.sent, [{ kind: 'disk-durable', epoch: epoch(1) }]);
  t.equal(rig.content[512], 2);
});

test('it counts the blocks that were replaced where it may have written itself', async (t) => {
  const rig = new Rig(t, { history: { generation: '0f'.repeat(16), regions: Uint8Array.of(1) } });
  rig.standby.stage(write(0, 512, 2));
  rig.standby.stage(write(512, 512, 2));
  rig.standby.stage(write(65536, 8192, 2));
  t.equal(rig.standby.takeReplacedBlocks(), 3);
  t.equal(new Rig(t).standby.takeReplacedBlocks(), undefined, 'nothing is known');
});
