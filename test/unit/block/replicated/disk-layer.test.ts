import { type Test, test } from 'tap';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import type { ForwardedDisk } from '../../../../src/block/replicated/forwarded-disk.ts';
import { EINVAL, EIO } from '../../../../src/host/errno.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';

const MiB = 1 << 20;
const sector = 512;

/** A replica's disk, which has letters on it. */
class Rig extends DiskRig {
  readonly forwarding = new DiskForwarding();
  readonly backend: FakeBackend;
  readonly disk: ForwardedDisk;
  /** How often half of the room was said to be taken. */
  halves = 0;

  constructor(t: Test, sizeBytes = MiB) {
    super(t);
    this.owner.own(this.forwarding);
    this.backend = new FakeBackend(sizeBytes);
    this.backend.content.fill(0x64);
    this.disk = this.forwarding.add(this.backend, 1);
    this.forwarding.keepApart(() => this.halves++);
  }

  /** Does it, with all that the disk itself is asked for. */
  override run(_: unknown, request: TestRequest, submit: (request: TestRequest) => void): number {
    submit(request);
    this.disk.start();
    this.backend.settle();
    if (request.result === undefined) throw new Error('it waits');
    return request.result;
  }

  put(offset: number, letter: string, length: number): number {
    return this.write(this.disk, offset, Buffer.alloc(length, letter));
  }

  /** Letters of so many sectors. */
  letters(sectorNumber: number, count: number): string {
    const bytes = this.read(this.disk, sectorNumber * sector, count * sector);
    if (typeof bytes === 'number') throw new Error(`a read failed: ${bytes}`);
    return Array.from({ length: count }, (_, index) => {
      const part = bytes.subarray(index * sector, (index + 1) * sector);
      const letter = part[0] as number;
      if (!part.every((byte) => byte === letter)) throw new Error(`sector ${index} is of several writes`);
      return letter === 0 ? '0' : String.fromCharCode(letter);
    }).join('');
  }

  layDown(): void {
    this.forwarding.layDown(() => this.backend.settle());
  }
}

test("a replica's guest reads what it wrote, and else the disk, which nothing reaches", async (t) => {
  const rig = new Rig(t);
  t.equal(rig.letters(0, 12), 'dddddddddddd');
  t.equal(rig.put(7 * sector, 'a', 3 * sector), 0);
  t.equal(rig.put(8 * sector, 'b', sector), 0);
  t.equal(rig.letters(4, 8), 'dddabadd');
  t.equal(rig.writeZeroes(rig.disk, 10 * sector, sector), 0);
  t.equal(rig.discard(rig.disk, 0, MiB), 0);
  t.equal(rig.flush(rig.disk), 0);
  t.equal(rig.letters(4, 8), 'dddaba0d');
  t.ok(rig.backend.content.every((byte) => byte === 0x64));
  t.ok(rig.backend.log.every((call) => call.startsWith('read')));
});

test('a write of several ranges is as if it was of one', async (t) => {
  const rig = new Rig(t);
  rig.memory.fill(0x78, 0, 4096);
  rig.memory.fill(0x79, 4096, 8192);
  const request = rig.request(7 * sector, [0, sector], [4096, 2 * sector]);
  t.equal(
    rig.run(rig.disk, request, (asked) => rig.disk.write(asked)),
    0,
  );
  t.equal(rig.letters(6, 5), 'dxyyd');
});

test('a roll-back forgets all of it', async (t) => {
  const rig = new Rig(t);
  rig.put(0, 'a', 64 * sector);
  rig.forwarding.forgetApart();
  t.equal(rig.letters(0, 8), 'dddddddd');
  rig.put(0, 'b', sector);
  t.equal(rig.letters(0, 8), 'bddddddd', 'and nothing of before comes back with a page that is used again');
});

test('a guest that speaks for itself has what it wrote on its disk, and writes there', async (t) => {
  const rig = new Rig(t);
  rig.put(7 * sector, 'a', 2 * sector);
  rig.layDown();
  t.equal(rig.backend.content[7 * sector], 'a'.charCodeAt(0));
  t.equal(rig.letters(6, 4), 'daad');
  rig.put(6 * sector, 'c', sector);
  t.equal(rig.backend.content[6 * sector], 'c'.charCodeAt(0));
});

test('what lies together is laid down together, and much of it at a time', async (t) => {
  const rig = new Rig(t, 8 * MiB);
  rig.put(MiB, 'b', MiB);
  rig.put(3 * sector, 'a', sector);
  for (let at = 2; at < 8; at++) rig.put(at * MiB + sector, 'c', 2 * sector);
  rig.put(MiB - sector, 'b', sector);
  rig.backend.log.length = 0;
  let most = 0;
  rig.forwarding.layDown(() => {
    most = Math.max(most, rig.backend.started.length);
    rig.backend.settle(true);
  });
  t.strictSame(rig.backend.log.slice(0, 3), ['write 1536+512', 'write 1048064+258560', 'write 1306624+262144']);
  t.ok(rig.backend.log.length < 16, `${rig.backend.log.length} writes`);
  t.ok(most > 8, `${most} at a time`);
  t.equal(rig.letters(2, 3), 'dad');
  t.equal(rig.letters(2046, 4), 'dbbb');
  t.ok(rig.backend.content.subarray(MiB - sector, 2 * MiB).every((byte) => byte === 0x62));
  t.equal(rig.letters(4096, 4), 'dccd');
});

test('what was laid down becomes durable, though the guest flushes nothing', async (t) => {
  const rig = new Rig(t);
  t.equal(rig.forwarding.waitMs, undefined);
  rig.put(0, 'a', sector);
  t.equal(rig.flush(rig.disk), 0);
  rig.layDown();
  rig.forwarding.look();
  t.notOk(rig.backend.log.includes('flush'), 'the guest answers its clients first');
  const { waitMs = 0 } = rig.forwarding;
  t.ok(waitMs > 0 && waitMs <= 1000, `${waitMs} ms`);
  await new Promise((resolve) => setTimeout(resolve, waitMs + 5));
  rig.forwarding.look();
  t.equal(rig.backend.log.filter((call) => call === 'flush').length, 1);
  rig.backend.settle();
  t.equal(rig.forwarding.waitMs, undefined, 'once');
});

test('a disk that does not take it is named', async (t) => {
  const rig = new Rig(t);
  rig.put(0, 'a', sector);
  rig.backend.resultOf = ({ operation }) => (operation === 'write' ? -EIO : undefined);
  t.throws(() => rig.layDown(), /disk 0 does not take what its guest wrote: EIO/);
  const many = new Rig(t, 8 * MiB);
  for (let at = 0; at < 100; at++) many.put(at * 2 * sector, 'a', sector);
  many.backend.resultOf = ({ offset }) => (offset === 40 * sector ? -EIO : undefined);
  t.throws(() => many.layDown(), /EIO/);
  t.equal(many.backend.started.length, 0, 'and waits for all that it asked for');
});

test('what has no room waits until the guest is rolled back, or speaks for itself', async (t) => {
  const rig = new Rig(t, 128 * MiB);
  const most = 64 * MiB;
  for (let at = 0; at < most; at += 4 * MiB) rig.put(at, 'a', 4 * MiB);
  const waits = rig.request(most, [0, sector]);
  rig.disk.write(waits);
  const other = rig.request(0, [0, sector]);
  rig.disk.write(other);
  t.equal(waits.result, undefined);
  t.equal(other.result, undefined, 'in order, though it would find room');
  rig.forwarding.forgetApart();
  t.strictSame([waits.result, other.result], [0, 0]);
  t.equal(rig.put(most, 'b', sector), 0);
});

test('once half of the room is taken that is said, once until it is forgotten', async (t) => {
  const rig = new Rig(t, 128 * MiB);
  const fillHalf = (): void => {
    for (let at = 0; at < 32 * MiB; at += 4 * MiB) rig.put(at, 'a', 4 * MiB);
  };
  fillHalf();
  t.equal(rig.halves, 0);
  fillHalf();
  t.equal(rig.halves, 0, 'what is written again takes no more');
  rig.put(32 * MiB, 'a', sector);
  rig.put(33 * MiB, 'a', sector);
  t.equal(rig.halves, 1);
  rig.forwarding.forgetApart();
  fillHalf();
  t.equal(rig.halves, 1);
  rig.forwarding.forgetApart();
  const most = rig.request(0);
  most.length = 65 * MiB;
  rig.disk.writeZeroes(most, false);
  t.equal(most.result, undefined);
  t.equal(rig.halves, 2, 'a request that no room is enough for asks as well');
});

test('a write outside of the disk is refused', async (t) => {
  const rig = new Rig(t);
  t.equal(rig.put(MiB - sector, 'a', 2 * sector), -EINVAL);
});

test('a read that fails is a failure', async (t) => {
  const rig = new Rig(t);
  rig.put(0, 'a', sector);
  rig.backend.resultOf = () => -EIO;
  t.equal(rig.read(rig.disk, 0, 4096), -EIO);
});
