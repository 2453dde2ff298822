import { existsSync } from 'node:fs';
import { test } from 'tap';
import { regionBytes } from '../../../../src/block/replicated/region-file.ts';
import { markWarning } from '../../../../src/block/standby-mark.ts';
import { noCheckpoint } from '../../../../src/colo/protocol/numbers.ts';
import { EIO } from '../../../../src/host/errno.ts';
import { randomNumbers } from '../../../support/random.ts';
import { DiskPair, generation } from './disk-pair.ts';

const KiB = 1024;
const diskBytes = 2304 * KiB;

/** Sectors that tell their number. */
function numbered(sizeBytes: number, seed: number): Buffer {
  const content = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 512) content.writeUInt32LE(seed + at, at);
  return content;
}

/** A random guest on a pair of disks that is copied; what went wrong, or an empty string. */
async function copyWhileWriting(pair: DiskPair, content: Buffer, random: (limit: number) => number): Promise<string> {
  const expected = Buffer.from(content);
  pair.primary.synchronise();
  for (let count = 50 + random(300); count > 0; count--) {
    const what = random(12);
    // Few places, so that changes meet each other and what is copied.
    const [offset, length] = [random(40) * 512, (1 + random(100)) * 512];
    if (what < 8 || !pair.mayWrite) await pair.step(what);
    else if (what === 8) {
      pair.erase(0, offset, length, random(2) === 0 ? 'discard' : 'zeroes');
      expected.fill(0, offset, offset + length);
    } else {
      const value = 1 + random(255);
      pair.write(0, offset, Buffer.alloc(length, value));
      expected.fill(value, offset, offset + length);
    }
  }
  await pair.settle();
  const { primary, standby } = pair.content(0);
  if (!pair.has('disks-in-step')) return `not in step: ${JSON.stringify(pair.told)}`;
  if (!pair.requests.every(({ result }) => result === 0)) return 'a request failed';
  if (!primary.equals(expected)) return 'the disk of the primary is not what its guest wrote';
  return standby.equals(expected) ? '' : 'the disks differ';
}

test('whatever the guest writes while its disk is copied, both disks are equal afterwards', async (t) => {
  const content = numbered(diskBytes, 7);
  // Some blocks differ, the first ones most of all.
  const stale = Buffer.from(content)
    .fill(1, 0, 200 * KiB)
    .fill(0, 1024 * KiB, 1100 * KiB);
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomNumbers(seed);
    const pair = new DiskPair(t, [{ primary: content, standby: stale }], random, 256 * KiB);
    pair.room = 1 + random(4);
    const wrong = await copyWhileWriting(pair, content, random);
    t.equal(wrong, '', `seed ${seed}`);
  }
});

test('a guest that writes more than the disk of its standby takes does not keep the copy from its end', async (t) => {
  const random = randomNumbers(3);
  const content = numbered(diskBytes, 7);
  const pair = new DiskPair(t, [{ primary: content, standby: Buffer.alloc(diskBytes) }], random, 512 * KiB);
  pair.primary.synchronise();
  const write = (): void => pair.write(0, random(40) * 512, Buffer.alloc(32 * KiB, 1 + random(255)));
  let steps = 0;
  for (; !pair.has('disks-in-step') && steps < 60_000; steps++) {
    while (pair.mayWrite) write();
    // That disk does one thing for eight of any other.
    if (steps % 8 !== 2 || steps % 64 === 2) await pair.step(steps);
  }
  t.ok(pair.has('disks-in-step'), `after ${steps} steps`);
  const written = pair.requests.filter(({ result }) => result === 0).length * 32 * KiB;
  t.ok(written > 2 * diskBytes, `the guest had more than the copy: ${written} bytes`);
  await pair.settle();
  t.ok(pair.content(0).standby.equals(pair.content(0).primary));
});

test('a standby stands at the last checkpoint, whatever its primary wrote since', async (t) => {
  const random = randomNumbers(5);
  const pair = new DiskPair(
    t,
    [
      { primary: numbered(diskBytes, 1), standby: numbered(diskBytes, 1) },
      { primary: Buffer.alloc(diskBytes), standby: Buffer.alloc(diskBytes), kind: 'overlay' },
    ],
    random,
  );
  pair.primary.synchronise();
  await pair.settle();
  t.ok(pair.has('disks-in-step'));
  // The first checkpoint closes the epoch of the copy.
  pair.capture();
  await pair.settle();
  let atCheckpoint = pair.content(0).primary;
  for (let round = 0; round < 5; round++) {
    for (let count = 0; count < 10; count++) {
      pair.write(0, random(100) * 512, Buffer.alloc(512 * (1 + random(30)), random(256)));
      pair.write(1, random(100) * 512, Buffer.alloc(512 * (1 + random(30)), random(256)));
      await pair.step(random(8));
    }
    await pair.settle();
    t.ok(pair.content(0).standby.equals(atCheckpoint), `round ${round}: nothing of the open epoch`);
    pair.capture();
    await pair.settle();
    t.ok(pair.content(0).standby.equals(pair.content(0).primary), `round ${round}: all of the closed one`);
    atCheckpoint = pair.content(0).standby;
  }
  pair.write(0, 0, Buffer.alloc(4096, 0xee));
  await pair.settle();
  const before = pair.standby.logBytes;
  t.ok(before > 0);
  const stands = pair.told.filter(({ kind }) => kind === 'disk-committed').length - 1;
  pair.standby.discard(stands as never);
  await pair.standby.handOver();
  t.equal(pair.standby.logBytes, 0);
  t.ok(pair.content(0).standby.equals(atCheckpoint));
});

test('a disk is marked as a copy until its standby has taken over', async (t) => {
  const pair = new DiskPair(
    t,
    [{ primary: numbered(diskBytes, 1), standby: Buffer.alloc(diskBytes) }],
    randomNumbers(1),
  );
  const { standby: path } = pair.path(0);
  t.equal(markWarning(path), undefined);
  pair.primary.synchronise();
  await pair.settle();
  t.match(markWarning(path), /being copied .* pair web and is not whole/);
  pair.capture();
  await pair.settle();
  t.match(markWarning(path), /standby's disk of the pair web/);
  await pair.standby.handOver();
  t.equal(existsSync(`${path}.standby`), false);
});

test('a pairing that is over leaves its mark', async (t) => {
  const pair = new DiskPair(
    t,
    [{ primary: numbered(diskBytes, 1), standby: Buffer.alloc(diskBytes) }],
    randomNumbers(1),
  );
  pair.primary.synchronise();
  await pair.settle();
  pair.standby.discard(noCheckpoint);
  await pair.standby.handOver();
  t.match(markWarning(pair.path(0).standby), /is not whole/);
});

test('a disk that is only read must be equal, and is compared', async (t) => {
  const content = numbered(diskBytes, 1);
  const equal = new DiskPair(t, [{ primary: content, standby: content, kind: 'read-only' }], randomNumbers(1));
  equal.primary.synchronise();
  await equal.settle();
  t.ok(equal.has('disks-in-step'));
  const small = numbered(64 * KiB + 8 * KiB, 1);
  const rest = new DiskPair(t, [{ primary: small, standby: small, kind: 'read-only' }], randomNumbers(1));
  rest.primary.synchronise();
  await rest.settle();
  t.ok(rest.has('disks-in-step'), 'also the little that is behind the last whole piece');
  const other = Buffer.from(content).fill(9, 70 * KiB, 71 * KiB);
  const pair = new DiskPair(t, [{ primary: content, standby: other, kind: 'read-only' }], randomNumbers(1));
  pair.primary.synchronise();
  await pair.settle();
  const ends = pair.told.filter(({ kind }) => kind === 'disks-not-in-step');
  t.match(ends, [{ reason: /disk0 is only read .* copy .*primary-0 to the standby/ }]);
});

test('what cannot be made equal is said before the other disks are copied', async (t) => {
  const content = numbered(diskBytes, 1);
  const seed = { primary: content, standby: Buffer.from(content).fill(9, 0, KiB), kind: 'read-only' } as const;
  const data = { primary: numbered(64 * diskBytes, 2), standby: numbered(64 * diskBytes, 2) };
  const pair = new DiskPair(t, [seed, data], randomNumbers(1));
  pair.primary.synchronise();
  await pair.settle();
  t.ok(pair.has('disks-not-in-step'));
  t.ok(pair.answers < 50, `${pair.answers} ranges were asked about`);
});

test('an overlay is copied as its guest sees it', async (t) => {
  const pair = new DiskPair(
    t,
    [{ primary: numbered(diskBytes, 1), standby: numbered(diskBytes, 1), kind: 'overlay' }],
    randomNumbers(3),
  );
  pair.write(0, 66 * KiB, Buffer.alloc(5 * KiB, 7));
  pair.primary.synchronise();
  for (let count = 0; count < 40; count++) await pair.step(count);
  pair.write(0, 300 * KiB, Buffer.alloc(512, 8));
  await pair.settle();
  t.ok(pair.has('disks-in-step'));
  pair.capture();
  await pair.settle();
  await pair.standby.handOver();
  const { overlay } = pair.view(0).standby;
  t.ok(overlay);
  const bits = new Uint8Array(overlay?.map ?? new SharedArrayBuffer(0));
  t.ok(
    bits.some((byte) => byte !== 0),
    'the machine sees which blocks are there',
  );
});

test('of a host that comes back only what may differ is compared or sent', async (t) => {
  const size = 3 * regionBytes;
  const content = numbered(size, 3);
  const [ours, theirs, elsewhere] = [5 * 4096, regionBytes + 9 * 4096, 2 * regionBytes];
  const survivors = Buffer.from(content).fill(1, ours, ours + 4096);
  const stale = Buffer.from(content)
    .fill(2, theirs, theirs + 512)
    .fill(3, elsewhere, elsewhere + 512);
  const history = { generation, regions: Uint8Array.of(0b010) };
  const pair = new DiskPair(t, [{ primary: survivors, standby: stale }], randomNumbers(2), 1 << 20, history);
  // As the survivor's io thread has it.
  pair.changes.difference.wrote(0, ours, 4096);
  pair.changes.beginPairing();
  pair.primary.synchronise();
  await pair.settle();
  t.ok(pair.has('disks-in-step'));
  t.match(pair.found, [{ kind: 'known' }]);
  const asked = pair.asked.filter((question) => question.kind === 'disk-compare');
  t.ok(asked.every(({ offset }) => Math.floor(offset / regionBytes) === 1));
  t.same(pair.primary.outcome?.totalBytes, regionBytes + 4096);
  t.same(pair.primary.outcome?.sentBytes, 64 * KiB + 4096, 'a block, and a part of one that nobody was asked for');
  const { standby } = pair.content(0);
  t.ok(
    standby.equals(Buffer.from(survivors).fill(3, elsewhere, elsewhere + 512)),
    'what nobody suspects stays as it is',
  );
  t.match(pair.renewed, /^[0-9a-f]{32}$/);
  t.not(pair.renewed, generation);
});

test('a log that is given up amid a copy keeps neither the guest nor the copy waiting', async (t) => {
  const content = numbered(2 * regionBytes, 3);
  const pair = new DiskPair(t, [{ primary: content, standby: Buffer.alloc(content.length) }], randomNumbers(6));
  pair.primary.synchronise();
  for (let count = 0; pair.found.length === 0 && count < 100_000; count++) await pair.step(count);
  pair.write(0, regionBytes, numbered(4096, 9));
  pair.forwarding.log?.giveUp(EIO);
  t.ok(pair.changes.lost !== undefined);
  pair.write(0, 8192, numbered(4096, 10));
  await pair.settle();
  t.ok(pair.has('disks-in-step'));
  t.ok(pair.requests.every(({ result }) => result === 0));
  const { primary, standby } = pair.content(0);
  t.ok(primary.equals(standby));
});

test('a copy that was cut off goes on where it was', async (t) => {
  const size = 4 * regionBytes;
  const content = numbered(size, 3);
  const history = { generation, regions: Uint8Array.of(0xf) };
  const pair = new DiskPair(t, [{ primary: content, standby: Buffer.alloc(size) }], randomNumbers(4), 1 << 22, history);
  pair.primary.synchronise();
  // What is settled is to be made durable all the time.
  pair.haste = 1e6;
  const { difference } = pair.changes;
  const isBegun = (): boolean => pair.found.length > 0 && difference.blocks * 4096 <= size - 512 * KiB;
  for (let count = 0; !isBegun() && count < 100_000; count++) await pair.step(count);
  t.notOk(pair.has('disks-in-step'), 'it is under way');
  pair.primary.abort();
  pair.changes.beginPairing();
  t.ok(difference.unsettledBytes <= size - 512 * KiB, 'what is durable on the standby is not asked for again');
  t.ok(difference.unsettledBytes > 0);
});

test('a copy that is cut off while it reads a block settles nothing for the next pairing', async (t) => {
  const size = 64 * KiB;
  const pair = new DiskPair(t, [{ primary: numbered(size, 3), standby: Buffer.alloc(size) }], randomNumbers(4));
  const { difference } = pair.changes;
  const until = async (isSo: () => boolean, happens: readonly number[]): Promise<void> => {
    for (let count = 0; !isSo() && count < 10_000; count++) {
      await pair.step(happens[count % happens.length] as number);
    }
    t.ok(isSo());
  };
  // Where it writes is marked: what it writes there next is sent at once.
  pair.write(0, 0, numbered(4096, 9));
  await pair.settle();
  pair.primary.synchronise();
  await until(() => pair.found.length > 0, [0, 1, 2, 3, 4, 5, 6, 7]);
  pair.write(0, 0, numbered(4096, 10));
  // The block is read before that is on the disk, and so once more, while the guest is held.
  await until(() => pair.reads === 1, [2, 3, 4, 5, 6, 7]);
  await pair.step(1);
  t.equal(pair.reads, 0);
  await until(() => pair.reads === 1, [0, 2, 3, 4, 5, 6, 7]);

  pair.primary.abort();
  pair.changes.beginPairing();
  pair.changes.meet(undefined);
  await pair.step(1);
  for (let count = 0; count < 20; count++) await pair.step(5);
  t.equal(difference.unsettledBytes, size);
  t.notOk(pair.has('disks-in-step'), 'nor is it told that the disks are equal');
});
