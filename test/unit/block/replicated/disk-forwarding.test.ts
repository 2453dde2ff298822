import { readFileSync, writeFileSync } from 'node:fs';
import { type Test, test } from 'tap';
import { RawFile } from '../../../../src/block/raw-file.ts';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import {
  changeKind,
  changeRecord,
  DiskRingControl,
  diskRingStorage,
  loggedBytes,
  mostChangeBytes,
} from '../../../../src/block/replicated/disk-ring.ts';
import type { ForwardedDisk } from '../../../../src/block/replicated/forwarded-disk.ts';
import { EINVAL, EIO } from '../../../../src/host/errno.ts';
import { RecordConsumer } from '../../../../src/host/threads/record-ring.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';

const MiB = 1 << 20;
const diskBytes = 8 * MiB;
const ringBytes = 4 * MiB;

interface Read {
  readonly kind: number;
  readonly epoch: number;
  readonly disk: number;
  readonly offset: number;
  readonly length: number;
  readonly data: Buffer;
  readonly position: number;
  readonly doneAt: number;
}

/** Forwarding with the other thread's end. */
class Rig extends DiskRig {
  readonly forwarding = new DiskForwarding();
  readonly backend = new FakeBackend(diskBytes);
  readonly disk: ForwardedDisk;
  readonly storage;
  readonly control: DiskRingControl;
  readonly consumer: RecordConsumer;
  readonly epoch = { number: 0 };
  rung = 0;
  roomMade = 0;

  constructor(t: Test, logBytes = 64 * MiB, alignment = 1) {
    super(t);
    this.owner.own(this.forwarding);
    this.disk = this.forwarding.add(this.backend, alignment);
    this.storage = diskRingStorage(ringBytes, logBytes);
    this.control = new DiskRingControl(this.storage.control);
    this.consumer = new RecordConsumer(this.storage.ring, () => this.roomMade++);
  }

  attach(inFlight = () => 0): void {
    this.forwarding.attach({ storage: this.storage, epoch: this.epoch, ring: () => this.rung++ }, inFlight);
  }

  next(): Read | undefined {
    const { consumer } = this;
    if (!consumer.next()) return undefined;
    const { offset: at, length, bytes } = consumer;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, length);
    const size = view.getFloat64(changeRecord.length, true);
    const dataAt = at + view.getUint32(changeRecord.dataAt, true);
    return {
      kind: consumer.kind,
      epoch: consumer.tag,
      disk: view.getUint32(changeRecord.disk, true),
      offset: view.getFloat64(changeRecord.offset, true),
      length: size,
      data: consumer.kind === changeKind.write ? Buffer.from(bytes.subarray(dataAt, dataAt + size)) : Buffer.alloc(0),
      position: consumer.position,
      doneAt: (at + changeRecord.done) >> 2,
    };
  }

  isDone({ doneAt }: Read): boolean {
    const { bytes } = this.consumer;
    return Atomics.load(new Int32Array(bytes.buffer, bytes.byteOffset), doneAt) === 1;
  }

  submit(offset: number, bytes: Buffer, at = 0): TestRequest {
    this.memory.set(bytes, at);
    const request = this.request(offset, [at, bytes.length]);
    this.disk.write(request);
    this.disk.start();
    return request;
  }

  erase(offset: number, length: number, how: 'discard' | 'unmap' | 'zeroes'): TestRequest {
    const request = this.request(offset);
    request.length = length;
    if (how === 'discard') this.disk.discard(request);
    else this.disk.writeZeroes(request, how === 'unmap');
    this.disk.start();
    return request;
  }
}

test('without protection a disk is its own backend', async (t) => {
  const rig = new Rig(t);
  const request = rig.submit(4096, Buffer.alloc(512, 1));
  t.equal(rig.backend.started[0]?.request, request, 'the very request');
  rig.erase(0, 4096, 'discard');
  t.strictSame(
    rig.backend.started.map(({ operation }) => operation),
    ['write', 'discard'],
  );
  t.equal(rig.next(), undefined);
});

test('a change goes into the ring, tagged with its epoch, and is made from there', async (t) => {
  const rig = new Rig(t);
  rig.attach();
  rig.epoch.number = 7;
  const request = rig.submit(4096, Buffer.alloc(1024, 0x51));
  // The guest changes its page while it is written.
  rig.memory.fill(0x99, 0, 1024);
  const record = rig.next() as Read;
  t.match(record, { kind: changeKind.write, epoch: 7, disk: 0, offset: 4096, length: 1024 });
  t.strictSame(record.data, Buffer.alloc(1024, 0x51));
  t.equal(rig.isDone(record), false);
  t.equal(request.result, undefined, 'the guest waits for its own disk');
  rig.backend.settle();
  t.equal(request.result, 0);
  t.ok(rig.isDone(record));
  t.strictSame(Buffer.from(rig.backend.content.subarray(4096, 5120)), Buffer.alloc(1024, 0x51));
});

test('discards and zeroes are changes too, and leave zeros', async (t) => {
  const rig = new Rig(t);
  rig.backend.content.fill(1);
  rig.attach();
  rig.erase(4096, 4096, 'discard');
  rig.erase(16384, 512, 'unmap');
  rig.erase(32768, 512, 'zeroes');
  rig.backend.settle();
  t.strictSame(
    [rig.next(), rig.next(), rig.next()].map((read) => [read?.kind, read?.offset, read?.length]),
    [
      [changeKind.erase, 4096, 4096],
      [changeKind.erase, 16384, 512],
      [changeKind.zeroes, 32768, 512],
    ],
  );
  t.ok(rig.backend.content.subarray(4096, 8192).every((byte) => byte === 0));
});

test('a large write goes in pieces that end with a block, and is one request', async (t) => {
  const rig = new Rig(t);
  rig.attach();
  const bytes = Buffer.alloc(1.5 * MiB);
  for (let at = 0; at < bytes.length; at += 512) bytes.writeUInt32LE(at, at);
  const request = rig.submit(512, bytes);
  const pieces: Read[] = [];
  for (let read = rig.next(); read !== undefined; read = rig.next()) pieces.push(read);
  t.equal(pieces.length, 4);
  t.ok(pieces.slice(0, -1).every(({ offset, length }) => (offset + length) % 4096 === 0 && length <= mostChangeBytes));
  t.strictSame(Buffer.concat(pieces.map(({ data }) => data)), bytes);
  rig.backend.settle();
  t.equal(request.result, 0);
  t.strictSame(Buffer.from(rig.backend.content.subarray(512, 512 + bytes.length)), bytes);
});

test('changes of the same bytes are made in the order in which they are forwarded', async (t) => {
  const rig = new Rig(t);
  rig.attach();
  const first = rig.submit(0, Buffer.alloc(4096, 1), 0);
  const second = rig.submit(2048, Buffer.alloc(4096, 2), 8192);
  const apart = rig.submit(65536, Buffer.alloc(512, 3), 16384);
  t.equal(rig.backend.started.length, 2, 'the second waits for the first');
  rig.backend.settle(true);
  rig.disk.start();
  rig.backend.settle();
  t.strictSame([first.result, second.result, apart.result], [0, 0, 0]);
  t.equal(rig.backend.content[3000], 2);
  t.equal(rig.backend.content[0], 1);
});

test('what finds no room in the ring waits in order, and goes on when the thread is woken', async (t) => {
  const rig = new Rig(t);
  rig.attach();
  const requests = Array.from({ length: 6 }, (_, index) => {
    const request = rig.request(index * MiB, [0, MiB]);
    rig.memory.fill(index + 1, 0, MiB);
    rig.disk.write(request);
    rig.disk.start();
    return request;
  });
  t.ok(rig.forwarding.waiting > 0);
  const small = rig.submit(7 * MiB, Buffer.alloc(512, 9), 2 * MiB);
  const order: number[] = [];
  for (let turn = 0; turn < 20; turn++) {
    rig.backend.settle();
    for (let read = rig.next(); read !== undefined; read = rig.next()) {
      order.push(read.offset);
      rig.consumer.giveBack();
    }
    rig.forwarding.woken();
  }
  t.equal(rig.forwarding.waiting, 0);
  t.ok(rig.roomMade > 0, 'it asked to be woken');
  t.strictSame(
    order,
    [...order].sort((one, other) => one - other),
  );
  t.strictSame(
    [...requests, small].map(({ result }) => result),
    new Array(7).fill(0),
  );
});

test("a write waits while the standby's log is full", async (t) => {
  const rig = new Rig(t, loggedBytes(4096) + 1);
  rig.attach();
  rig.submit(0, Buffer.alloc(4096, 1));
  rig.submit(4096, Buffer.alloc(4096, 1));
  const third = rig.submit(8192, Buffer.alloc(4096, 3));
  rig.backend.settle();
  t.equal(rig.forwarding.waiting, 1);
  t.equal(third.result, undefined);
  t.equal(rig.control.settle(loggedBytes(4096)), true, 'io waits for it');
  t.equal(rig.control.settle(loggedBytes(4096)), false, 'once');
  rig.forwarding.woken();
  t.equal(rig.forwarding.waiting, 0);
  rig.backend.settle();
  t.equal(third.result, 0);
});

test('without protection again, what waited goes to the disk alone', async (t) => {
  const rig = new Rig(t, 1);
  rig.attach();
  const first = rig.submit(0, Buffer.alloc(512, 1));
  const second = rig.submit(512, Buffer.alloc(512, 2), 4096);
  t.equal(rig.forwarding.waiting, 1);
  rig.forwarding.detach();
  const third = rig.submit(1024, Buffer.alloc(512, 3), 8192);
  rig.backend.settle();
  t.strictSame([first.result, second.result, third.result], [0, 0, 0]);
  t.strictSame([rig.backend.content[0], rig.backend.content[512], rig.backend.content[1024]], [1, 2, 3]);
  t.equal(rig.next()?.offset, 0);
  t.equal(rig.next(), undefined);
});

test('the rest of a large write goes to the disk alone', async (t) => {
  const rig = new Rig(t, mostChangeBytes);
  rig.attach();
  const bytes = Buffer.alloc(MiB);
  for (let at = 0; at < bytes.length; at += 512) bytes.writeUInt32LE(at + 1, at);
  const request = rig.submit(0, bytes);
  t.equal(rig.forwarding.waiting, 1);
  rig.forwarding.detach();
  rig.backend.settle();
  t.equal(request.result, 0);
  t.strictSame(Buffer.from(rig.backend.content.subarray(0, MiB)), bytes);
});

test('nothing is forwarded before all that was asked for earlier is done', async (t) => {
  const rig = new Rig(t);
  const earlier = rig.submit(0, Buffer.alloc(512, 1));
  const requests: TestRequest[] = [earlier];
  rig.attach(() => requests.filter(({ result }) => result === undefined).length);
  t.equal(rig.control.isComplete, false);
  const later = rig.submit(0, Buffer.alloc(512, 2), 4096);
  requests.push(later);
  const flush = rig.request(0);
  requests.push(flush);
  rig.disk.flush(flush);
  rig.disk.start();
  t.equal(rig.next(), undefined);
  rig.backend.settle();
  rig.forwarding.woken();
  t.equal(rig.control.isComplete, true);
  t.ok(rig.rung > 0);
  t.equal(rig.next()?.data[0], 2);
  rig.backend.settle();
  t.equal(later.result, 0);
  t.equal(rig.backend.content[0], 2);
});

test('a disk that fails is told of, and its guest too', async (t) => {
  for (const operation of ['write', 'flush'] as const) {
    const rig = new Rig(t);
    rig.attach();
    rig.backend.resultOf = (call) => (call.operation === operation ? -EIO : undefined);
    const rung = rig.rung;
    const request = rig.request(0, [0, 512]);
    if (operation === 'write') rig.disk.write(request);
    else rig.disk.flush(request);
    rig.disk.start();
    rig.backend.settle();
    t.equal(request.result, -EIO);
    t.strictSame(rig.control.failure, { disk: 0, errno: EIO });
    t.ok(rig.rung > rung);
  }
});

test('a machine is given away once its standby is counted on and has heard of a failure', async (t) => {
  for (const fails of ['before', 'then'] as const) {
    const rig = new Rig(t);
    rig.attach();
    rig.backend.resultOf = () => -EIO;
    if (fails === 'before') {
      rig.submit(0, Buffer.alloc(512));
      rig.backend.settle();
    }
    t.notOk(rig.forwarding.isGivenAway);
    rig.control.countOnStandby();
    t.equal(rig.forwarding.isGivenAway, fails === 'before');
    const request = rig.request(0);
    let isGivenAway = false;
    request.finished = () => {
      isGivenAway = rig.forwarding.isGivenAway;
    };
    rig.disk.flush(request);
    rig.disk.start();
    rig.backend.settle();
    t.ok(isGivenAway, 'whoever made the request finds it so');
    rig.forwarding.detach();
    t.notOk(rig.forwarding.isGivenAway);
  }
});

test('of a disk that is only read no standby hears: its machine stays where it is, and its guest is told', async (t) => {
  const rig = new Rig(t);
  const backend = new FakeBackend(diskBytes, true);
  const disk = rig.forwarding.add(backend, 1);
  rig.attach();
  rig.control.countOnStandby();
  backend.resultOf = () => -EIO;
  const request = rig.request(0);
  disk.flush(request);
  disk.start();
  backend.settle();
  t.equal(request.result, -EIO);
  t.notOk(rig.forwarding.isGivenAway);
});

test('a request beyond the end is refused and not forwarded', async (t) => {
  const rig = new Rig(t);
  rig.attach();
  t.equal(rig.submit(diskBytes, Buffer.alloc(512)).result, -EINVAL);
  t.equal(rig.next(), undefined);
});

test('data lies in the ring as direct I/O wants it', async (t) => {
  const rig = new Rig(t, 64 * MiB, 4096);
  rig.attach();
  for (let index = 0; index < 5; index++) {
    rig.submit(index * 4096, Buffer.alloc(512 * (index + 1), index));
    const { data } = rig.backend.started.at(-1)?.request ?? {};
    t.equal((data?.addressOf(0) ?? 1) % 4096, 0);
  }
});

test('a file gets what was forwarded', async (t) => {
  const rig = new Rig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(65536));
  const raw = rig.owner.own(RawFile.open(rig.path('disk'), {}, rig.engines));
  const disk = rig.forwarding.add(raw, 1);
  rig.attach();
  t.equal(rig.write(disk, 512, Buffer.alloc(1024, 7)), 0);
  t.equal(rig.writeZeroes(disk, 1024, 512), 0);
  const expected = Buffer.alloc(65536).fill(7, 512, 1024);
  t.strictSame(readFileSync(rig.path('disk')), expected);
  t.match(rig.next(), { disk: 1, offset: 512, length: 1024 });
});
