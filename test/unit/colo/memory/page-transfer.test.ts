import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test } from 'tap';
import { decodeState } from '../../../../src/colo/machine/checkpoint-state.ts';
import { GuestFirst, guestTime } from '../../../../src/colo/memory/guest-first.ts';
import { PageReceiver } from '../../../../src/colo/memory/page-receiver.ts';
import { PageSender } from '../../../../src/colo/memory/page-sender.ts';
import { isWorthAnother } from '../../../../src/colo/memory/worth-another.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { epoch, noCheckpoint, term } from '../../../../src/colo/protocol/numbers.ts';
import { GiB, gpa, MiB, pageSize } from '../../../../src/memory/address.ts';
import { maxEncodedBytes, PageEncoder } from '../../../../src/memory/page-codec.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { checkpointRig, type PageItem } from '../../../support/checkpoint-rig.ts';
import { randomNumbers } from '../../../support/random.ts';
import { bytesOf } from '../../../support/snapshot-machine.ts';

const residentBytes = (): number =>
  Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

/** What the test itself has thrown away does not count. */
const collectGarbage = ((): (() => void) => {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
})();

function residentWithoutGarbage(): number {
  collectGarbage();
  return residentBytes();
}

function pagesItem(at: number, numbers: readonly number[], fill: number): PageItem {
  const data = new Uint8Array(maxEncodedBytes(numbers.length));
  const bytes = new Uint8Array(numbers.length * pageSize).fill(fill);
  const length = new PageEncoder().encode({ numbers: Uint32Array.from(numbers), bytes }, data);
  return { kind: 'pages', epoch: epoch(at), data: data.subarray(0, length) };
}

/** Pages that were all `before`, and have `fill` in some of their lines. */
function deltaItem(
  at: number,
  numbers: readonly number[],
  before: number,
  lines: readonly number[],
  fill: number,
): PageItem {
  const data = new Uint8Array(maxEncodedBytes(numbers.length));
  const bytes = new Uint8Array(numbers.length * pageSize).fill(before);
  for (let page = 0; page < bytes.length; page += pageSize)
    for (const line of lines) bytes.fill(fill, page + line * 64, page + (line + 1) * 64);
  const words = new Int32Array(new Uint8Array(pageSize).fill(before).buffer);
  const length = new PageEncoder().encode({ numbers: Uint32Array.from(numbers), bytes }, data, {
    words,
    wordOf: () => 0,
  });
  return { kind: 'pages', epoch: epoch(at), data: data.subarray(0, length) };
}

for (const seed of [1, 2, 3]) {
  test(`after each checkpoint S has P's RAM as it was at the stop, live passes or not (seed ${seed})`, async (t) => {
    const random = randomNumbers(seed);
    const { ram, target, source, sender, receiver, sent } = checkpointRig(t, 8 * MiB);
    const pages = (8 * MiB) / pageSize;
    const write = (): void => {
      const page = random(pages);
      if (random(3) === 0) ram.memory.write(gpa(page * pageSize), new Uint8Array(pageSize));
      else ram.memory.writeU8(gpa(page * pageSize + random(pageSize)), 1 + random(255));
    };
    for (let n = 0; n < 12; n++) {
      for (let writes = random(400); writes > 0; writes--) write();
      for (let passes = n === 0 ? 1 : random(3); passes > 0; passes--) {
        const pass = sender.livePass(epoch(n));
        // In the middle of it, too.
        for (let turn = 0; turn < 5; turn++) {
          write();
          await new Promise(setImmediate);
        }
        t.equal((await pass)?.epoch, n);
      }
      for (let writes = random(100); writes > 0; writes--) write();
      const captured = source.capture(epoch(n));
      const atTheStop = Buffer.from(bytesOf(ram.memory));
      write();
      t.equal(await sender.transmit(epoch(n), captured), true);
      t.equal(await receiver.load(epoch(n)), true);
      t.ok(bytesOf(target.memory).equals(atTheStop), `checkpoint ${n}`);
      const { own } = decodeState(receiver.stateOf(epoch(n)));
      t.equal(own.pciAddress, 7);
    }
    for (let n = 0; n < 12; n++) {
      const items = sent.filter((item) => item.epoch === n);
      const end = items.find((item) => item.kind === 'pages-end');
      t.equal(end?.items, items.filter((item) => item.kind === 'pages').length, 'live passes count');
    }
  });
}

test('RAM with a hole arrives on both sides of it', async (t) => {
  const { ram, target, source, sender, receiver } = checkpointRig(t, 3 * GiB + 4 * MiB);
  for (const address of [0x5000, 3 * GiB - pageSize, 4 * GiB, 4 * GiB + 4 * MiB - 8])
    ram.memory.writeU32(gpa(address), address / 8);
  // All of RAM is mostly zeros, which takes its time: only what was written.
  source.shared.live.forEach((storage) => {
    new Int32Array(storage).fill(0);
  });
  ram.memory.markPages(5, 1);
  ram.memory.markPages((3 * GiB) / pageSize - 1, 2);
  ram.memory.markPages((3 * GiB + 4 * MiB) / pageSize - 1, 1);
  t.equal((await sender.livePass(epoch(0)))?.sent, 4);
  await sender.transmit(epoch(0), source.capture(epoch(0)));
  await receiver.load(epoch(0));
  for (const address of [0x5000, 3 * GiB - pageSize, 4 * GiB, 4 * GiB + 4 * MiB - 8])
    t.equal(target.memory.readU32(gpa(address)), address / 8);
});

test('an epoch is closed once, inside its capture', async (t) => {
  const { source, machine, epoch: open } = checkpointRig(t, MiB);
  const { stoppedMs, parts } = source.capture(epoch(0));
  t.equal(open.number, 1);
  t.equal(parts.copy, 0.25);
  t.equal(stoppedMs, 9 * 0.25);
  t.throws(() => source.capture(epoch(0)), /epoch 0 cannot be closed: the guest runs in epoch 1/);
  machine.state = 'paused';
  t.equal(source.capture(epoch(1)).stoppedMs, 0, 'it stood still anyway');
  machine.state = 'ended';
  t.throws(() => source.capture(epoch(2)));
  t.equal(open.number, 2);
});

test('every frame has less than 128 KiB, and zeros hardly anything', async (t) => {
  const { ram, sender, sent } = checkpointRig(t, 8 * MiB);
  ram.memory.write(gpa(4 * MiB), new Uint8Array(4 * MiB).fill(7));
  await sender.livePass(epoch(0));
  const frames = sent.map((message) => encodeFrame({ role: 'primary', term: term(1), message }).length);
  t.ok(Math.max(...frames) < MiB / 8, `${Math.max(...frames)}`);
  const bytes = frames.reduce((sum, length) => sum + length, 0);
  t.ok(bytes < 4 * MiB + 5000, `${bytes}`);
});

test('a sender waits for room, and turns', async (t) => {
  const { ram, source } = checkpointRig(t, MiB);
  ram.memory.write(gpa(0), new Uint8Array(MiB).fill(7));
  let sent = 0;
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: () => {
      sent++;
      return sent % 2 === 0;
    },
  });
  let done = false;
  const pass = sender.livePass(epoch(0)).then(() => {
    done = true;
  });
  for (let expected = 1; expected <= 9; expected += 2) {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    t.equal(sent, expected, 'no further');
    sender.drained();
  }
  await pass;
  t.equal(sent, 9);
  t.ok(done);
});

test('a checkpoint that takes long to send is said to be under way, also where the link has room all along', async (t) => {
  const { ram, source } = checkpointRig(t, 4 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(4 * MiB).fill(7));
  let now = 0;
  let toldAt = 0;
  let longestMs = 0;
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: (what) => {
      t.equal(what, undefined);
      longestMs = Math.max(longestMs, now - toldAt);
      toldAt = now;
    },
    now: () => now,
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: () => {
      now += 300;
      return true;
    },
  });
  t.ok(await sender.transmit(epoch(0), source.capture(epoch(0))));
  t.ok(now > 9000, `it took ${now} ms`);
  t.ok(longestMs <= 600 && now - toldAt <= 1200, `nothing was said for ${longestMs} ms`);
});

test('a link that is gone ends what is under way, and the next pairing begins anew', async (t) => {
  const { source } = checkpointRig(t, 8 * MiB);
  let sent = 0;
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: () => {
      sent++;
      return false;
    },
  });
  const pass = sender.livePass(epoch(0));
  await new Promise(setImmediate);
  sender.close();
  t.equal(await pass, undefined);
  t.equal(await sender.transmit(epoch(0), source.capture(epoch(0))), false);
  t.equal(await sender.livePass(epoch(0)), undefined);
  t.equal(sent, 1);
});

test('a pass that stops on its way leaves the rest to the capture', async (t) => {
  const { ram, source, target, receiver, sender } = checkpointRig(t, 8 * MiB);
  ram.memory.write(gpa(0), new Uint8Array(8 * MiB).fill(7));
  const first = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (message) => {
      receiver.stage(message);
      return false;
    },
  });
  void first.livePass(epoch(0));
  await new Promise(setImmediate);
  first.close();
  const captured = source.capture(epoch(0));
  t.equal(captured.pages, 2048 - 31);
  await sender.transmit(epoch(0), captured);
  await receiver.load(epoch(0));
  t.ok(bytesOf(target.memory).equals(bytesOf(ram.memory)));
});

test('another pass is worth it while much is left, and less than before', async (t) => {
  t.equal(isWorthAnother(100_000, 20_000), true);
  t.equal(isWorthAnother(100_000, 90_000), false, 'the guest writes as fast as we send');
  t.equal(isWorthAnother(100_000, 900), false, 'few enough for a stop');
  t.equal(isWorthAnother(1500, 1400), false);
});

// S

function standby(t: { teardown(clean: () => void): void }, sizeBytes = 4 * MiB, check?: (state: Uint8Array) => void) {
  const ram = new Ram(sizeBytes);
  t.teardown(() => ram.close());
  const receiver = new PageReceiver(ram.shared, check);
  t.teardown(() => receiver.close());
  const firstOf = (page: number): number => ram.memory.readU8(gpa(page * pageSize));
  return { ram, receiver, firstOf };
}

test('before the first checkpoint pages go into RAM at once, later when theirs is loaded', async (t) => {
  const { receiver, firstOf } = standby(t);
  receiver.stage(pagesItem(0, [1, 2], 5));
  t.equal(firstOf(1), 5);
  await receiver.load(epoch(0));
  receiver.stage(pagesItem(1, [1], 6));
  t.equal(firstOf(1), 5, 'it stands at checkpoint 0');
  await receiver.load(epoch(1));
  t.equal(firstOf(1), 6);
  t.equal(firstOf(2), 5);
});

test('of a page that comes several times the last one counts, zeros or not', async (t) => {
  const { receiver, firstOf } = standby(t);
  receiver.stage(pagesItem(0, [1, 2, 3], 9));
  await receiver.load(epoch(0));
  for (const [numbers, value] of [
    [[1, 2, 3, 4], 1],
    [[2, 3], 0],
    [[3, 4, 5], 7],
    [[4], 0],
    [[4], 8],
    [[4], 0],
  ] as const)
    receiver.stage(pagesItem(1, numbers, value));
  await receiver.load(epoch(1));
  t.strictSame([1, 2, 3, 4, 5].map(firstOf), [1, 0, 7, 0, 7]);
  receiver.stage(pagesItem(2, [4], 3));
  await receiver.load(epoch(2));
  t.strictSame([1, 2, 3, 4, 5].map(firstOf), [1, 0, 7, 3, 7], 'nothing is left of the epoch before');
});

test('a difference is to the checkpoint before, whatever of its page came since, and the last one counts', async (t) => {
  const { ram, receiver } = standby(t);
  const at = (page: number, line: number): number => ram.memory.readU8(gpa(page * pageSize + line * 64));
  receiver.stage(pagesItem(0, [1, 2, 3, 4, 5], 9));
  await receiver.load(epoch(0));
  receiver.stage(pagesItem(1, [1], 4));
  receiver.stage(pagesItem(1, [2], 0));
  receiver.stage(deltaItem(1, [1, 2, 3, 4, 5, 6], 9, [0, 31, 32, 63], 7));
  receiver.stage(pagesItem(1, [4], 5));
  receiver.stage(pagesItem(1, [5], 0));
  receiver.stage(deltaItem(1, [3], 9, [1], 8));
  t.equal(at(1, 0), 9, 'it stands at checkpoint 0');
  await receiver.load(epoch(1));
  const lines = [0, 1, 31, 32, 62, 63];
  for (const page of [1, 2])
    t.strictSame(
      lines.map((line) => at(page, line)),
      [7, 9, 7, 7, 9, 7],
      `page ${page}`,
    );
  t.strictSame(
    lines.map((line) => at(3, line)),
    [9, 8, 9, 9, 9, 9],
    'the last difference alone',
  );
  t.strictSame(
    lines.map((line) => at(4, line)),
    [5, 5, 5, 5, 5, 5],
    'all of it came later',
  );
  t.strictSame(
    lines.map((line) => at(5, line)),
    [0, 0, 0, 0, 0, 0],
    'zeros came later',
  );
  t.strictSame(
    lines.map((line) => at(6, line)),
    [7, 0, 7, 7, 0, 7],
    'a page that was zeros',
  );
  receiver.stage(pagesItem(2, [3], 2));
  await receiver.load(epoch(2));
  t.strictSame([at(3, 0), at(3, 1), at(1, 0)], [2, 2, 7], 'nothing is left of the epoch before');
});

test('there is no difference to a checkpoint that there is not', async (t) => {
  const { receiver } = standby(t);
  t.throws(() => receiver.stage(deltaItem(0, [1], 0, [0], 7)), { code: 'COLO_PROTOCOL', fault: 'invalid-message' });
});

test('what the guest writes to again and again costs what it changes, also after a live pass', async (t) => {
  const { ram, target, source, sender, receiver, sent } = checkpointRig(t, 8 * MiB);
  const everywhere = (value: number): void => {
    for (let page = 0; page < 1000; page++) ram.memory.writeU8(gpa(page * pageSize + value), value);
  };
  const checkpoint = async (n: number): Promise<number> => {
    sent.length = 0;
    const captured = source.capture(epoch(n));
    const atTheStop = Buffer.from(bytesOf(ram.memory));
    await sender.transmit(epoch(n), captured);
    await receiver.load(epoch(n));
    t.ok(bytesOf(target.memory).equals(atTheStop), `checkpoint ${n}`);
    return sent.reduce((sum, item) => sum + (item.kind === 'pages' ? item.data.length : 0), 0);
  };
  everywhere(1);
  // Of 2048 pages a quarter is kept.
  t.ok((await checkpoint(0)) > 1000 * pageSize);
  for (let page = 0; page < 400; page++) ram.memory.writeU8(gpa(page * pageSize), 5);
  t.ok((await checkpoint(1)) > 400 * pageSize, 'these made room for others');
  for (let page = 0; page < 400; page++) ram.memory.writeU8(gpa(page * pageSize + 100), 6);
  const bytes = await checkpoint(2);
  t.ok(bytes < 400 * 100, `${bytes} bytes`);
  for (let page = 0; page < 200; page++) ram.memory.writeU8(gpa(page * pageSize + 200), 7);
  await sender.livePass(epoch(3));
  for (let page = 100; page < 300; page++) ram.memory.writeU8(gpa(page * pageSize + 300), 8);
  await checkpoint(3);
  for (let page = 0; page < 400; page++) ram.memory.writeU8(gpa(page * pageSize + 400), 9);
  await checkpoint(4);
});

test('what is thrown away leaves the checkpoint before it as it was', async (t) => {
  const { receiver, firstOf } = standby(t);
  receiver.stage(pagesItem(0, [1], 5));
  receiver.stage({ kind: 'vmstate', epoch: epoch(0), data: Uint8Array.of(1, 2) });
  receiver.stage({ kind: 'vmstate', epoch: epoch(0), data: Uint8Array.of(3) });
  await receiver.load(epoch(0));
  receiver.stage(pagesItem(1, [1], 6));
  receiver.stage({ kind: 'vmstate', epoch: epoch(1), data: Uint8Array.of(9) });
  receiver.discard(epoch(0));
  t.strictSame([...receiver.stateOf(epoch(0))], [1, 2, 3]);
  t.throws(() => receiver.stateOf(epoch(1)));
  t.equal(firstOf(1), 5);
  receiver.stage(pagesItem(1, [2], 7));
  await receiver.load(epoch(1));
  t.equal(firstOf(1), 5);
  t.strictSame([...receiver.stateOf(epoch(1))], []);
});

test('a load goes in turns, is finished when it has begun, and ends when all is thrown away', async (t) => {
  const { receiver, firstOf } = standby(t, 64 * MiB);
  await receiver.load(epoch(0));
  const every = Array.from({ length: 8192 }, (_, index) => index * 2);
  for (let at = 0; at < every.length; at += 256) receiver.stage(pagesItem(1, every.slice(at, at + 256), 5));
  let turns = 0;
  const count = (): void => {
    turns++;
    if (!loaded) setImmediate(count);
  };
  let loaded = false;
  const load = receiver.load(epoch(1));
  setImmediate(count);
  receiver.discard(epoch(1));
  t.throws(() => receiver.stage(pagesItem(2, [1], 5)), { code: 'COLO_PROTOCOL', message: /sent pages of epoch/ });
  t.equal(await load, true);
  loaded = true;
  t.ok(turns >= 1);
  t.equal(firstOf(16382), 5);
  for (let at = 0; at < every.length; at += 256) receiver.stage(pagesItem(2, every.slice(at, at + 256), 6));
  const other = receiver.load(epoch(2));
  receiver.discard(noCheckpoint);
  t.equal(await other, false);
  t.throws(() => receiver.stateOf(epoch(2)));
});

test('what the peer spoils is its mistake, and touches nothing', async (t) => {
  const { receiver, firstOf } = standby(t);
  await receiver.load(epoch(0));
  const good = pagesItem(1, [1, 2, 9], 5);
  if (good.kind !== 'pages') throw new Error('no pages');
  const random = randomNumbers(5);
  const refused = (data: Uint8Array): boolean => {
    try {
      receiver.stage({ kind: 'pages', epoch: epoch(1), data });
      return false;
    } catch (error) {
      t.match(error, { code: 'COLO_PROTOCOL', fault: 'invalid-message' });
      return true;
    }
  };
  t.ok(refused(new Uint8Array(0)));
  t.ok(refused(good.data.subarray(0, good.data.length - 1)));
  t.ok(refused(Uint8Array.from([...good.data, 0])));
  for (let round = 0; round < 500; round++) {
    const bad = Uint8Array.from(good.data);
    const at = random(24);
    bad[at] = (bad[at] as number) ^ (1 << random(8));
    refused(bad);
  }
  const outside = pagesItem(1, [1023, 1024], 5);
  t.ok(outside.kind === 'pages' && refused(outside.data), 'a page that RAM does not have');
  t.equal(firstOf(1), 0);
  for (const wrong of [0, 2, 2 ** 40])
    t.throws(() => receiver.stage(pagesItem(wrong, [1], 5)), { code: 'COLO_PROTOCOL', message: /sent pages of epoch/ });
});

test('a state that is none is refused before RAM is touched', async (t) => {
  const { receiver, firstOf } = standby(t, 4 * MiB, decodeState);
  receiver.stage({ kind: 'vmstate', epoch: epoch(0), data: Uint8Array.of(255, 255, 255, 255, 1) });
  await t.rejects(receiver.load(epoch(0)), { code: 'VM_STATE' });
  t.equal(firstOf(1), 0);
});

test('device state takes what it has bytes, in however many pieces it comes', async (t) => {
  const { receiver } = standby(t, 4 * MiB);
  const before = residentBytes();
  const nothing: PageItem = { kind: 'vmstate', epoch: epoch(0), data: new Uint8Array(0) };
  for (let count = 0; count < 2_000_000; count++) receiver.stage(nothing);
  receiver.stage({ ...nothing, data: Uint8Array.of(1, 2) });
  receiver.stage({ ...nothing, data: Uint8Array.of(3) });
  const staged = residentBytes() - before;
  t.ok(staged < 32 * MiB, `${staged} bytes for pieces of nothing`);
  await receiver.load(epoch(0));
  t.strictSame([...receiver.stateOf(epoch(0))], [1, 2, 3]);
});

test('staging never has more than RAM has, and gives memory back after a large checkpoint', async (t) => {
  const { receiver } = standby(t, 64 * MiB);
  await receiver.load(epoch(0));
  // One of each for all: what an allocator keeps of thousands would be taken for staging.
  const encoder = new PageEncoder();
  const bytes = new Uint8Array(256 * pageSize);
  const numbers = new Uint32Array(256);
  const data = new Uint8Array(maxEncodedBytes(256));
  const stage = (first: number, fill: number): void => {
    bytes.fill(fill);
    for (let index = 0; index < 256; index++) numbers[index] = first + index;
    receiver.stage({
      kind: 'pages',
      epoch: epoch(1),
      data: data.subarray(0, encoder.encode({ numbers, bytes }, data)),
    });
  };
  stage(0, 1);
  const before = residentWithoutGarbage();
  for (let round = 0; round < 4; round++)
    for (let at = 0; at < 16384; at += 256) {
      stage(at, 1 + round);
      if (round < 3) stage(at, 0);
    }
  const staged = residentWithoutGarbage() - before;
  t.ok(staged < 100 * MiB, `${staged} bytes of 64 MiB staged`);
  await receiver.load(epoch(1));
  const after = residentWithoutGarbage() - before;
  t.ok(after < 90 * MiB, `${after} bytes: RAM, a part of staging, and what the test itself left`);
});
