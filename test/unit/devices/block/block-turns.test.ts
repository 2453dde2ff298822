import { type Test, test } from 'tap';
import { MiB } from '../../../../src/memory/address.ts';
import { savedState } from '../../../support/go-on-elsewhere.ts';
import type { PlacedBuffer } from '../../../support/mock-queue.ts';
import { BlockRig, type BlockRigOptions, header, segment } from './block-rig.ts';

const [IN, OUT, DISCARD, WRITE_ZEROES] = [0, 1, 11, 13] as const;
const OK = 0;
const bufferBytes = 256 * 1024;

function rigFor(t: Test, options: BlockRigOptions = { sizeBytes: 64 * MiB }): BlockRig {
  const rig = new BlockRig(options);
  t.teardown(() => rig.close());
  return rig;
}

/** Adds requests that name one buffer many times over, as no honest driver does. The buffer. */
function addHuge(
  rig: BlockRig,
  type: typeof IN | typeof OUT,
  { requests = 1, times = 40, sector = 0n } = {},
): PlacedBuffer {
  const { queue } = rig;
  const placedHeader = queue.place({ read: header(type, sector) });
  const data = queue.place(type === IN ? { write: bufferBytes } : { read: new Uint8Array(bufferBytes).fill(0x5a) });
  const placedStatus = queue.place({ write: 1 });
  const chain = [placedHeader, ...Array.from({ length: times }, () => data), placedStatus];
  for (let count = 0; count < requests; count++) queue.addPlaced(chain, 'indirect');
  return data;
}

function bytesOf(log: readonly string[]): number {
  return log.reduce((sum, line) => sum + Number(/\+(\d+)$/.exec(line)?.[1] ?? 0), 0);
}

test('a long request goes to the file in pieces, each its own part of the buffers', async (t) => {
  const rig = rigFor(t);
  addHuge(rig, OUT, { sector: 8n });
  rig.kick();
  rig.settle();
  t.strictSame(rig.backend.log, [
    `write 4096+${4 * MiB - 4096}`,
    `write ${4 * MiB}+${4 * MiB}`,
    `write ${8 * MiB}+${2 * MiB + 4096}`,
  ]);
  t.ok(rig.backend.content.subarray(4096, 10 * MiB + 4096).every((byte) => byte === 0x5a));
  t.equal(rig.queue.collectOne().bytes[0], OK);

  for (let block = 0; block < 40; block++)
    rig.backend.content.fill(block, block * bufferBytes, (block + 1) * bufferBytes);
  const data = addHuge(rig, IN);
  rig.kick();
  rig.settle();
  const { length } = rig.queue.collectOne();
  t.equal(length, 10 * MiB + 1);
  t.equal(rig.virtio.memory.readU8(data.address as never), 39, 'what lies last on the disk is read last');
});

test('a request that Linux makes goes in one piece', async (t) => {
  const rig = rigFor(t);
  addHuge(rig, OUT, { times: 16, sector: 1n });
  rig.kick();
  t.strictSame(rig.backend.log, [`write 512+${4 * MiB}`]);
});

test('a piece that fails is the end of its request, and one that is kept begins again', async (t) => {
  for (const werror of ['report', 'stop'] as const) {
    const rig = rigFor(t, { sizeBytes: 64 * MiB, werror });
    rig.backend.resultOf = ({ offset }) => (offset === 4 * MiB ? -5 : undefined);
    addHuge(rig, OUT);
    rig.kick();
    rig.settle();
    t.strictSame(rig.backend.log, [`write 0+${4 * MiB}`, `write ${4 * MiB}+${4 * MiB}`]);
    if (werror === 'report') {
      t.equal(rig.queue.collectOne().bytes[0], 1);
      continue;
    }
    rig.backend.resultOf = () => undefined;
    rig.virtio.transport.pause();
    rig.virtio.transport.resume();
    rig.settle();
    t.equal(bytesOf(rig.backend.log.slice(2)), 10 * MiB);
    t.equal(rig.queue.collectOne().bytes[0], OK);
  }
});

test('a queue full of long requests is taken in turns, and never more than a little is on its way', async (t) => {
  for (const type of [IN, OUT] as const) {
    const rig = rigFor(t);
    rig.backend.resultOf = () => 0;
    addHuge(rig, type, { requests: 200 });
    rig.kick();
    t.ok(bytesOf(rig.backend.log) <= 12 * MiB, 'a turn');
    t.equal(rig.device.hasMore, true);
    let turns = 1;
    while (rig.device.hasMore && turns < 100) {
      const before = bytesOf(rig.backend.log);
      rig.device.turn();
      t.ok(bytesOf(rig.backend.log) - before <= 12 * MiB, 'another turn');
      turns++;
    }
    t.ok(bytesOf(rig.backend.log) <= 36 * MiB, 'all that the disk has to finish before a pause');
    rig.settle();
    t.equal(rig.queue.collect().length, 200, 'and in the end all of it is done');
    t.equal(bytesOf(rig.backend.log), 200 * 10 * MiB);
  }
});

test('requests of very many buffers and next to no bytes are taken in turns', async (t) => {
  const rig = rigFor(t, {});
  const { queue } = rig;
  const placedHeader = queue.place({ read: header(IN) });
  const data = queue.place({ write: 4 });
  const chain = [placedHeader, ...Array.from({ length: 128 }, () => data), queue.place({ write: 1 })];
  for (let count = 0; count < 256; count++) queue.addPlaced(chain, 'indirect');
  rig.kick();
  t.ok(rig.device.inFlight < 100, `${rig.device.inFlight} at once`);
  rig.settle();
  t.equal(queue.collect().length, 256);
});

test('a disk on which every call takes its time is taken in turns', async (t) => {
  let now = 0;
  const rig = rigFor(t, { now: () => now });
  const { read } = rig.backend;
  rig.backend.read = (request) => {
    now += 10;
    read.call(rig.backend, request);
  };
  for (let count = 0; count < 128; count++) rig.queue.add([{ read: header(IN) }, { write: 513 }]);
  rig.kick();
  t.equal(rig.device.inFlight, 32);
  t.equal(rig.device.hasMore, true);
  rig.settle();
  t.equal(rig.queue.collect().length, 128);
});

test('a pause waits for the pieces that are on their way and for no more; then the request goes on where it was', async (t) => {
  const rig = rigFor(t);
  const data = addHuge(rig, IN, { times: 80 });
  const { memory } = rig.virtio;
  rig.kick();
  rig.virtio.transport.pause();
  t.equal(rig.virtio.transport.isQuiet, false);
  memory.tracking = true;
  rig.settle();
  t.equal(rig.virtio.transport.isQuiet, true);
  t.strictSame(rig.backend.log, [`read 0+${4 * MiB}`]);
  t.equal(memory.regions[0]?.written.has(Math.floor(data.address / 4096)), true, 'what was read so far is marked');
  t.strictSame(rig.queue.collect(), []);
  t.match(savedState(rig.virtio).device, { kept: [0] }, 'it has no answer, and is saved to be done again');

  rig.virtio.transport.resume();
  rig.settle();
  t.strictSame(
    rig.backend.log,
    [0, 4, 8, 12, 16].map((at) => `read ${at * MiB}+${4 * MiB}`),
  );
  t.equal(rig.queue.collectOne().length, 20 * MiB + 1);
});

test('zeros and discards go in pieces that end where ranges of space do', async (t) => {
  const rig = rigFor(t, { sizeBytes: 160 * MiB });
  rig.backend.resultOf = () => 0;
  for (const [type, flags, most] of [
    [WRITE_ZEROES, 0, 16 * MiB],
    [WRITE_ZEROES, 1, 64 * MiB],
    [DISCARD, 0, 64 * MiB],
  ] as const) {
    rig.backend.log.length = 0;
    const sectors = (150 * MiB) / 512;
    t.equal(rig.ask([{ read: header(type) }, { read: segment(9n, sectors, flags) }, { write: 1 }]).status, OK);
    const pieces = rig.backend.log.map((line) => /(\d+)\+(\d+)$/.exec(line)?.slice(1).map(Number) ?? []);
    t.equal(bytesOf(rig.backend.log), 150 * MiB);
    t.ok(pieces.every(([, length = 0]) => length <= most));
    t.ok(pieces.slice(1).every(([offset = 0]) => offset % most === 0));
    t.equal(pieces[0]?.[0], 9 * 512);
  }
});
