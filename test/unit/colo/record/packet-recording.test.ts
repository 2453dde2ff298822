import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { PacketRecording, type PacketRecordingParts } from '../../../../src/colo/record/packet-recording.ts';
import { beginRecordingFile } from '../../../../src/colo/record/recording-file.ts';
import { readPcapng } from '../../../support/pcapng.ts';
import { packet, packetBytes } from '../gate/fake-taps.ts';

const frameOf = (seed: number): Uint8Array => packet(seed).subarray(12);

function recording(t: Test, more: Partial<PacketRecordingParts> = {}) {
  const path = more.path ?? join(t.testdir(), 'web.pcapng');
  const failures: string[] = [];
  let now = 1_795_000_000_000_000;
  const record = new PacketRecording({ path, nowUs: () => now++, failed: (why) => failures.push(why), ...more });
  t.teardown(() => record.close());
  const held = (seed: number, card = 0): void =>
    record.packet('held', 'primary', 'out', card, 7, 'a reason', packet(seed));
  return { path, record, failures, held };
}

/** A file that says so of itself and takes what `write` takes. */
function fakeFile(
  write: (bytes: Uint8Array) => Promise<number>,
  { size = 0, truncate = async (_length?: number) => {} } = {},
): NonNullable<PacketRecordingParts['openFile']> {
  return async () => ({
    write: (async (bytes: Uint8Array, at: number, length: number) => ({
      bytesWritten: await write(bytes.subarray(at, at + length)),
      buffer: bytes,
    })) as never,
    stat: (async () => ({ size })) as never,
    truncate,
    close: async () => {},
  });
}

test('each packet has its frame, its card and side, and what became of it and why', async (t) => {
  const { path, record, failures, held } = recording(t);
  held(1);
  held(2, 1);
  record.packet('mirrored', 'primary', 'in', 0, 8, 'sent', packet(3));
  const around = new Uint8Array(200).fill(0xee);
  around.set(packet(4), 50);
  record.packet('dropped', 'secondary', 'out', 0, Number.NaN, 'gone', around, 50, packetBytes);
  await record.close();
  const { packets, statistics, sections } = readPcapng(path);
  t.equal(sections, 1);
  t.strictSame(
    packets.map(({ on, comment, direction }) => [on, direction, comment]),
    [
      ['card 0 of the primary', 'out', 'held; epoch 7; primary; a reason'],
      ['card 1 of the primary', 'out', 'held; epoch 7; primary; a reason'],
      ['card 0 of the primary', 'in', 'mirrored; epoch 8; primary; sent'],
      ['card 0 of the secondary', 'out', 'dropped; no epoch; secondary; gone'],
    ],
  );
  t.strictSame(
    packets.map(({ frame }) => frame),
    [frameOf(1), frameOf(2), frameOf(3), frameOf(4)],
  );
  t.strictSame(
    statistics.map(({ on, received, dropped }) => [on, received, dropped]),
    [
      ['card 0 of the primary', 2, 0],
      ['card 1 of the primary', 1, 0],
      ['card 0 of the secondary', 1, 0],
    ],
  );
  t.match(statistics[0]?.comment, /none is missing/);
  t.strictSame(failures, []);
});

test('who comes after it in the same process appends a section', async (t) => {
  const first = recording(t);
  first.held(1);
  await first.record.close();
  first.held(2);
  await first.record.close();
  const second = recording(t, { path: first.path });
  second.record.packet('held', 'secondary', 'out', 0, 7, 'a reason', packet(3));
  await second.record.close();
  const { sections, packets } = readPcapng(first.path);
  t.equal(sections, 2);
  t.strictSame(
    packets.map(({ on, frame }) => [on, frame]),
    [
      ['card 0 of the primary', frameOf(1)],
      ['card 0 of the secondary', frameOf(3)],
    ],
  );
});

test('a recording of nothing is a file that can be read', async (t) => {
  const { path, record } = recording(t);
  await record.close();
  t.strictSame(readPcapng(path), { sections: 1, packets: [], statistics: [] });
});

test('nobody waits for a disk that is slow: what comes meanwhile is counted, and said', async (t) => {
  const written: Uint8Array[] = [];
  let release: () => void = () => {};
  const slow = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { record, held, failures } = recording(t, {
    queueBytes: 4096,
    openFile: fakeFile(async (bytes) => {
      await slow;
      // It takes less than it is given.
      const taken = Math.min(bytes.length, 1000);
      written.push(Uint8Array.from(bytes.subarray(0, taken)));
      return taken;
    }),
  });
  const count = 500;
  for (let seed = 0; seed < count; seed++) held(seed);
  release();
  await record.close();
  const { packets, statistics } = readPcapng(Buffer.concat(written));
  const [{ received = 0, dropped = 0, comment = '' } = {}] = statistics;
  t.ok(packets.length > 0 && packets.length < count);
  t.strictSame([received, packets.length + dropped], [count, count]);
  t.match(comment, `${packets.length} packets of card 0 of the primary are recorded, ${dropped} are MISSING`);
  t.strictSame(packets[0]?.frame, frameOf(0));
  t.strictSame(failures, []);
});

test('a full disk ends the recording with a whole block and one line, and nothing else', async (t) => {
  const { path, record, failures, held } = recording(t);
  held(1);
  await record.close();
  const { length: size } = readFileSync(path);
  let room = 100;
  const ends: (number | undefined)[] = [];
  const next = recording(t, {
    path,
    openFile: fakeFile(
      async (bytes) => {
        if (room === 0) throw new Error('ENOSPC: no space left on device');
        const taken = Math.min(bytes.length, room);
        room -= taken;
        writeFileSync(path, bytes.subarray(0, taken), { flag: 'a' });
        return taken;
      },
      {
        size,
        truncate: async (length) => {
          ends.push(length);
        },
      },
    ),
  });
  for (let seed = 0; seed < 10; seed++) next.held(seed);
  await next.record.close();
  next.held(11);
  await next.record.close();
  t.strictSame(ends, [size]);
  t.equal(next.failures.length, 1);
  t.match(next.failures[0], /web\.pcapng takes no more, and packets are not recorded any more: ENOSPC/);
  t.strictSame(failures, []);
});

test('a device that is full from the beginning', async (t) => {
  const { record, failures, held } = recording(t, { path: '/dev/full' });
  held(1);
  await record.close();
  t.equal(failures.length, 1);
  t.match(failures[0], /ENOSPC/);
});

test('the file of a recording is made, or an older recording goes; anything else is left alone', async (t) => {
  const folder = t.testdir({ 'disk.img': 'a disk', empty: '' });
  const path = join(folder, 'web.pcapng');
  beginRecordingFile(path);
  t.equal(readFileSync(path).length, 0);
  const { record, held } = recording(t, { path });
  held(1);
  await record.close();
  beginRecordingFile(path);
  t.equal(readFileSync(path).length, 0);
  beginRecordingFile(join(folder, 'empty'));
  const refused = (name: string): string => {
    try {
      beginRecordingFile(name);
    } catch (error) {
      return (error as Error).message;
    }
    return 'it is taken';
  };
  t.match(
    refused(join(folder, 'disk.img')),
    /--pcap .*disk\.img: it is there already, and no pcapng file; give another/,
  );
  t.equal(readFileSync(join(folder, 'disk.img'), 'latin1'), 'a disk');
  t.match(refused(folder), /--pcap .*: it cannot be written: EISDIR/);
  t.match(refused(join(folder, 'no', 'file')), /it cannot be written: ENOENT/);
  t.match(refused('/dev/null'), /it is no file/);
});
