import { type Test, test } from 'tap';
import { BlockDevice } from '../../../../src/devices/block/block-device.ts';
import { blockFeature, blockShape, virtio_blk_config } from '../../../../src/devices/block/block-shape.ts';
import type { BlockState } from '../../../../src/devices/block/block-state.ts';
import { checkBlockState } from '../../../../src/devices/block/block-state-schema.ts';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { EIO, ENOSPC } from '../../../../src/host/errno.ts';
import { MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { noCompiler, outputOfC } from '../../../support/c-program.ts';
import type { ContractDevice } from '../../../support/contract-device.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';
import { savedState } from '../../../support/go-on-elsewhere.ts';
import { virtioContract } from '../../../support/virtio-contract.ts';
import { BlockRig, type BlockRigOptions, diskBytes, header, segment } from './block-rig.ts';

const [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES] = [0, 1, 4, 8, 11, 13] as const;
const [OK, IOERR, UNSUPP] = [0, 1, 2] as const;

function rigFor(t: Test, options: BlockRigOptions = {}): BlockRig {
  const rig = new BlockRig(options);
  t.teardown(() => rig.close());
  return rig;
}

function contractParts(backend: FakeBackend): ContractDevice {
  const ram = new Ram(4 * MiB, 'private');
  let device: BlockDevice | undefined;
  return {
    shape: blockShape(backend),
    device: (host, config, memory) => {
      device = new BlockDevice({ backend, memory, host, config, events: { onError: () => {}, onStop: () => {} } });
      return device;
    },
    memory: ram.memory,
    poll: () => {
      backend.settle();
      device?.batchFinished();
    },
    request: (driver) => ({
      queue: 0,
      head: driver.queues[0]?.add([{ read: header(IN, 3n) }, { write: 513 }]) ?? -1,
      check: ({ bytes }) => {
        if (bytes.length !== 513 || bytes[0] !== 4 || bytes[512] !== OK) throw new Error(`it read ${bytes}`);
      },
    }),
    checkState: checkBlockState,
    another: () => contractParts(backend),
    close: () => ram.close(),
  };
}

virtioContract('a disk', () => {
  const backend = new FakeBackend(diskBytes);
  backend.content.fill(4);
  return contractParts(backend);
});

test('reads and writes, in whatever pieces the driver cuts its request', async (t) => {
  const rig = rigFor(t);
  const read = rig.ask([{ read: header(IN, 2n) }, { write: 1024 }, { write: 1 }]);
  t.strictSame([read.length, read.status], [1025, OK]);
  t.strictSame(Buffer.from(read.bytes.subarray(0, 1024)), Buffer.concat([Buffer.alloc(512, 3), Buffer.alloc(512, 4)]));

  const data = Buffer.from(Array.from({ length: 1536 }, (_, index) => index * 7));
  for (const cuts of [[16], [16, 100, 1400], [3, 5, 9, 12, 17, 900], [8, 12]]) {
    const whole = Buffer.concat([header(OUT, 10n), data]);
    const pieces = [0, ...cuts].map((from, index) => ({ read: whole.subarray(from, cuts[index]) }));
    rig.backend.content.fill(0);
    const written = rig.ask([...pieces, { write: 1 }], 'indirect');
    t.strictSame([written.length, written.status], [1, OK]);
    t.strictSame(Buffer.from(rig.backend.content.subarray(5120, 5120 + 1536)), data, `cut at ${cuts}`);
  }
  const joined = rig.ask([
    { read: header(IN, 10n).subarray(0, 1) },
    { read: header(IN, 10n).subarray(1) },
    { write: 7 },
    { write: 506 },
  ]);
  t.strictSame([joined.length, joined.status], [513, OK]);
  t.strictSame(Buffer.from(joined.bytes.subarray(0, 512)), data.subarray(0, 512));
  t.equal(rig.device.invalid, 0);
});

test('refuses what lies beyond the disk, overflows, or is no whole sector', async (t) => {
  const rig = rigFor(t);
  const sectors = BigInt(diskBytes / 512);
  let refused = 0;
  for (const [what, buffers] of [
    ['the sector behind the last', [{ read: header(IN, sectors) }, { write: 513 }]],
    ['across the end', [{ read: header(IN, sectors - 1n) }, { write: 1025 }]],
    ['a sector of 64 bits', [{ read: header(OUT, 0xffff_ffff_ffff_ffffn) }, { read: Buffer.alloc(512) }, { write: 1 }]],
    [
      'a sector whose byte is 0 modulo 2^64',
      [{ read: header(OUT, 1n << 55n) }, { read: Buffer.alloc(512) }, { write: 1 }],
    ],
    ['half a sector', [{ read: header(IN) }, { write: 257 }]],
    ['nothing to read', [{ read: header(IN) }, { write: 1 }]],
    ['nothing to write', [{ read: header(OUT) }, { write: 1 }]],
    ['half a header', [{ read: header(IN).subarray(0, 15) }, { write: 513 }]],
    ['no header', [{ write: 513 }]],
    ['a discard beyond the end', [{ read: header(DISCARD) }, { read: segment(sectors - 1n, 2) }, { write: 1 }]],
    ['a discard of nothing', [{ read: header(DISCARD) }, { read: segment(0n, 0) }, { write: 1 }]],
    ['a discard of far too much', [{ read: header(DISCARD) }, { read: segment(0n, 0xffff_ffff) }, { write: 1 }]],
    ['half a segment', [{ read: header(WRITE_ZEROES) }, { read: segment(0n, 1).subarray(8) }, { write: 1 }]],
    ['two segments', [{ read: header(WRITE_ZEROES) }, { read: Buffer.alloc(32) }, { write: 1 }]],
  ] as const) {
    const { status, length } = rig.ask(buffers);
    t.strictSame([status, length], [IOERR, 1], what);
    refused++;
  }
  t.equal(rig.device.invalid, refused);
  t.strictSame(rig.backend.log, []);
  t.strictSame(rig.told, [], 'these are no errors of the file');
  t.equal(rig.virtio.failures.length, 0);
});

test('a request without room for a status is given back and hurts nobody', async (t) => {
  const rig = rigFor(t);
  rig.queue.add([{ read: header(OUT) }, { read: Buffer.alloc(512) }]);
  rig.kick();
  t.equal(rig.queue.collectOne().length, 0);
  t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, OK);
  t.strictSame(rig.backend.log, ['read 0+512']);
});

test('tells its name, as far as there is room', async (t) => {
  const rig = rigFor(t, { id: 'disk-0' });
  const named = rig.ask([{ read: header(GET_ID) }, { write: 20 }, { write: 1 }]);
  t.strictSame([named.status, named.length], [OK, 21]);
  t.equal(Buffer.from(named.bytes.subarray(0, 20)).toString(), `disk-0${'\0'.repeat(14)}`);
  const short = rig.ask([{ read: header(GET_ID) }, { write: 5 }]);
  t.equal(Buffer.from(short.bytes.subarray(0, 4)).toString(), 'disk');
  t.equal(short.status, OK);
});

test('says of what it does not have that it is unsupported', async (t) => {
  const rig = rigFor(t);
  for (const type of [2, 3, 5, 14, 0xffff_ffff]) {
    t.equal(rig.ask([{ read: header(type) }, { write: 1 }]).status, UNSUPP, `type ${type}`);
  }
  t.equal(rig.ask([{ read: header(DISCARD) }, { read: segment(0n, 8, 1) }, { write: 1 }]).status, UNSUPP);
  t.equal(rig.ask([{ read: header(WRITE_ZEROES) }, { read: segment(0n, 8, 2) }, { write: 1 }]).status, UNSUPP);
  t.equal(rig.device.unsupported, 7);
  t.strictSame(rig.backend.log, []);
});

test('discards and zeroes ranges', async (t) => {
  const rig = rigFor(t);
  for (const [type, flags] of [
    [DISCARD, 0],
    [WRITE_ZEROES, 0],
    [WRITE_ZEROES, 1],
  ] as const) {
    t.equal(rig.ask([{ read: header(type) }, { read: segment(8n, 16, flags) }, { write: 1 }]).status, OK);
  }
  t.strictSame(rig.backend.log, ['discard 4096+8192', 'writeZeroes 4096+8192', 'writeZeroes unmap 4096+8192']);
});

test('a read-only disk takes no change', async (t) => {
  const rig = rigFor(t, { readOnly: true });
  t.equal(rig.virtio.driver.has(blockFeature.readOnly), true);
  t.equal(rig.virtio.driver.has(blockFeature.discard), false);
  t.equal(rig.ask([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(DISCARD) }, { read: segment(0n, 8) }, { write: 1 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(WRITE_ZEROES) }, { read: segment(0n, 8) }, { write: 1 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(FLUSH) }, { write: 1 }]).status, OK);
  t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, OK);
  t.strictSame(rig.backend.log, ['flush', 'read 0+512']);
});

test('with a cache a write is done when it is written, and a flush is a flush', async (t) => {
  const rig = rigFor(t);
  t.equal(rig.virtio.driver.readConfig(32, 1), 1);
  t.equal(rig.ask([{ read: header(OUT, 1n) }, { read: Buffer.alloc(512) }, { write: 1 }]).status, OK);
  t.equal(rig.ask([{ read: header(FLUSH, 7n) }, { write: 1 }]).status, OK);
  t.strictSame(rig.backend.log, ['write 512+512', 'flush']);
});

test('without a cache every write is flushed before the driver hears of it', async (t) => {
  const { version1 } = feature;
  const cacheOff = rigFor(t);
  cacheOff.virtio.driver.writeConfig(32, 1, 0);
  const noFlush = rigFor(t, { features: version1 });
  for (const rig of [cacheOff, noFlush]) {
    rig.queue.add([{ read: header(OUT) }, { read: Buffer.alloc(512, 9) }, { write: 1 }]);
    rig.kick();
    rig.finish();
    rig.device.turn();
    t.strictSame(rig.backend.log, ['write 0+512', 'flush']);
    t.strictSame(rig.queue.collect(), []);
    rig.settle();
    t.equal(rig.queue.collectOne().bytes[0], OK);
    t.equal(rig.ask([{ read: header(WRITE_ZEROES) }, { read: segment(0n, 8) }, { write: 1 }]).status, OK);
    t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, OK);
    t.strictSame(rig.backend.log.slice(2), ['writeZeroes 0+4096', 'flush', 'read 0+512']);
  }
  cacheOff.virtio.driver.writeConfig(32, 1, 1);
  cacheOff.ask([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]);
  t.equal(cacheOff.backend.log.at(-1), 'write 0+512', 'the cache is on again');
});

test('a batch is started once, and answered with one interrupt, in the order of completion', async (t) => {
  const rig = rigFor(t);
  for (let index = 0; index < 20; index++) rig.queue.add([{ read: header(IN, BigInt(index)) }, { write: 513 }]);
  const { starts } = rig.backend;
  const { interrupts } = rig.virtio;
  rig.kick();
  t.equal(rig.device.inFlight, 20);
  t.equal(rig.backend.starts, starts + 1);
  t.equal(rig.virtio.interrupts, interrupts);
  rig.settle(true);
  t.equal(rig.virtio.interrupts, interrupts + 1);
  const answers = rig.queue.collect();
  t.strictSame(
    answers.map(({ bytes }) => bytes[0]),
    Array.from({ length: 20 }, (_, index) => 20 - index),
  );
  t.equal(rig.device.inFlight, 0);
});

test('takes a queue full of requests, and a request as long as the queue', async (t) => {
  const rig = rigFor(t);
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 128; index++) rig.queue.add([{ read: header(IN, 1n) }, { write: 513 }]);
    rig.kick();
    t.equal(rig.device.inFlight, 128);
    rig.settle();
    t.ok(rig.queue.collect().every(({ bytes }) => bytes[512] === OK && bytes[0] === 2));
  }
  const pieces = Array.from({ length: 254 }, (_, index) => ({ write: index < 252 ? 2 : 4 }));
  const long = rig.ask([{ read: header(IN, 5n) }, ...pieces, { write: 1 }], 'indirect');
  t.strictSame([long.length, long.status], [513, OK]);
});

test('errors of the file are the guest’s I/O errors, counted and told', async (t) => {
  const rig = rigFor(t, { werror: 'report' });
  rig.backend.resultOf = () => -EIO;
  t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(FLUSH) }, { write: 1 }]).status, IOERR);
  t.equal(rig.ask([{ read: header(DISCARD) }, { read: segment(0n, 8) }, { write: 1 }]).status, IOERR);
  rig.backend.resultOf = () => -ENOSPC;
  t.equal(rig.ask([{ read: header(WRITE_ZEROES) }, { read: segment(0n, 8) }, { write: 1 }]).status, IOERR);
  t.strictSame(rig.device.errors, { read: 1, write: 1, flush: 1, discard: 1, 'write zeroes': 1 });
  t.strictSame(rig.told, ['read 5', 'write 5', 'flush 5', 'discard 5', 'write zeroes 28']);
});

test('a full host disk stops the machine once, and the writes are done when it goes on', async (t) => {
  const rig = rigFor(t);
  rig.backend.resultOf = ({ operation }) => (operation === 'write' ? -ENOSPC : undefined);
  for (const value of [7, 8])
    rig.queue.add([{ read: header(OUT, BigInt(value)) }, { read: Buffer.alloc(512, value) }, { write: 1 }]);
  rig.queue.add([{ read: header(IN, 1n) }, { write: 513 }]);
  rig.kick();
  rig.settle();
  t.strictSame(rig.told, ['stop 28']);
  t.equal(rig.queue.collect().length, 1, 'the read is answered');
  rig.virtio.transport.pause();
  t.equal(rig.device.inFlight, 0, 'the machine can be parked');

  rig.virtio.transport.resume();
  rig.settle();
  t.strictSame(rig.told, ['stop 28', 'stop 28'], 'still full');
  t.strictSame(rig.queue.collect(), []);
  rig.virtio.transport.pause();

  rig.backend.resultOf = () => undefined;
  rig.virtio.transport.resume();
  rig.settle();
  t.strictSame(
    rig.queue.collect().map(({ bytes }) => bytes[0]),
    [OK, OK],
  );
  t.equal(rig.backend.content[7 * 512], 7);
  t.equal(rig.backend.content[8 * 512 + 511], 8);
  t.equal(rig.ask([{ read: header(IN, 7n) }, { write: 513 }]).bytes[0], 7);
});

test('stop is for any failing write, enospc for a full disk only, and reads are always told', async (t) => {
  const stop = rigFor(t, { werror: 'stop' });
  const enospc = rigFor(t, { werror: 'enospc' });
  for (const rig of [stop, enospc]) {
    rig.backend.resultOf = () => -EIO;
    t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, IOERR);
    rig.queue.add([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]);
    rig.kick();
    rig.settle();
  }
  t.strictSame(stop.told, ['read 5', 'stop 5']);
  t.strictSame(enospc.told, ['read 5', 'write 5']);
  t.equal(stop.queue.collect().length, 0);
  t.equal(enospc.queue.collect().length, 1);
});

test('a flush that failed is told and never kept, whatever is done about writes', async (t) => {
  const { version1 } = feature;
  for (const options of [{ werror: 'stop' }, { werror: 'enospc' }, { werror: 'stop', features: version1 }] as const) {
    const rig = rigFor(t, options);
    rig.backend.resultOf = ({ operation }) => (operation === 'flush' ? -ENOSPC : undefined);
    const request =
      'features' in options
        ? [{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }] // made durable before it is answered
        : [{ read: header(FLUSH) }, { write: 1 }];
    t.equal(rig.ask(request).status, IOERR);
    t.strictSame(rig.told, ['flush 28']);
  }
});

test('of a guest that goes on on another machine, none hears of a change that failed, nor does its machine stop', async (t) => {
  for (const werror of ['report', 'stop', 'enospc'] as const) {
    let isGivenAway = true;
    const rig = rigFor(t, { werror, isGivenAway: () => isGivenAway });
    rig.backend.resultOf = () => -ENOSPC;
    t.equal(
      rig.ask([{ read: header(IN) }, { write: 513 }]).status,
      IOERR,
      'what it cannot read, no other disk knows of',
    );
    const heads = [
      rig.queue.add([{ read: header(OUT, 3n) }, { read: Buffer.alloc(512, 0x33) }, { write: 1 }]),
      rig.queue.add([{ read: header(FLUSH) }, { write: 1 }]),
      rig.queue.add([{ read: header(WRITE_ZEROES) }, { read: segment(16n, 8) }, { write: 1 }]),
    ];
    rig.kick();
    rig.settle();
    t.strictSame(rig.told, ['read 28']);
    t.strictSame(rig.queue.collect(), []);
    const { kept } = savedState(rig.virtio).device as BlockState;
    t.strictSame(kept, heads, 'whoever goes on from here does them again');

    // A stop for a checkpoint.
    rig.virtio.transport.pause();
    rig.virtio.transport.resume();
    rig.settle();
    t.strictSame(rig.queue.collect(), []);

    // The other machine is lost, and the disk well again: but what was to be flushed may be gone.
    isGivenAway = false;
    rig.backend.resultOf = () => undefined;
    rig.virtio.transport.pause();
    rig.virtio.transport.resume();
    rig.settle();
    const answers = new Map(rig.queue.collect().map(({ head, bytes }) => [head, bytes[0]]));
    t.strictSame(
      heads.map((head) => answers.get(head)),
      [OK, IOERR, OK],
    );
    t.equal(rig.backend.content[3 * 512], 0x33);
  }
});

test('a reset forgets requests that were kept', async (t) => {
  const rig = rigFor(t);
  for (let round = 0; round < 3; round++) {
    rig.backend.resultOf = () => -ENOSPC;
    for (let index = 0; index < 85; index++) {
      rig.queue.add([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]);
    }
    rig.kick();
    rig.settle();
    t.equal(rig.device.inFlight, 0);
    rig.virtio.driver.reset();
    t.equal(rig.virtio.driver.status, 0);
    rig.backend.resultOf = () => undefined;
    rig.virtio.driver.start();
    t.equal(rig.ask([{ read: header(IN) }, { write: 513 }]).status, OK);
  }
  t.equal(rig.told.length, 3);
});

test('pages that a read fills are marked when the bytes are there', async (t) => {
  const rig = rigFor(t);
  const { memory } = rig.virtio;
  const placed = rig.queue.place({ write: 3 * 4096 + 1 });
  rig.queue.addPlaced([rig.queue.place({ read: header(IN) }), placed]);
  memory.tracking = true;
  rig.kick();
  const { written } = memory.regions[0] ?? { written: undefined };
  // No rings are in this page.
  const page = Math.floor(placed.address / 4096) + 1;
  t.equal(written?.has(page), false);
  rig.settle();
  t.equal(written?.has(page), true);
});

test('pages of a read that failed are marked: what did not come through may have been written all the same', async (t) => {
  const rig = rigFor(t);
  const { memory } = rig.virtio;
  rig.backend.resultOf = () => -EIO;
  const placed = rig.queue.place({ write: 3 * 4096 + 1 });
  rig.queue.addPlaced([rig.queue.place({ read: header(IN) }), placed]);
  memory.tracking = true;
  rig.kick();
  rig.settle();
  const page = Math.floor(placed.address / 4096) + 1;
  t.equal(memory.regions[0]?.written.has(page), true);
  t.strictSame(rig.told, ['read 5']);
});

test('closes its backend', async (t) => {
  const rig = new BlockRig();
  rig.close();
  t.equal(rig.backend.closed, 1);
});

test('shows the driver what stands behind the disk', async (t) => {
  const shape = blockShape({
    sizeBytes: 5 * 1024 ** 4,
    readOnly: false,
    physicalBlockBytes: 4096,
    discardBytes: 65536,
  });
  const config = virtio_blk_config.over(shape.config);
  t.equal(config.capacity, (5n * 1024n ** 4n) / 512n);
  t.strictSame([config.blk_size, config.physical_block_exp, config.min_io_size], [512, 3, 8]);
  t.strictSame([config.seg_max, config.discard_sector_alignment, config.max_discard_seg], [254, 128, 1]);
  t.strictSame(shape.writableConfig, [32, 33]);
  t.equal(config.wce, 1);
  const disk = { sizeBytes: 8192, readOnly: false, physicalBlockBytes: 512, discardBytes: 512 };
  const coarse = virtio_blk_config.over(blockShape(disk, 4096).config);
  t.strictSame([coarse.blk_size, coarse.physical_block_exp, coarse.min_io_size], [4096, 0, 1]);
  t.strictSame([coarse.capacity, coarse.discard_sector_alignment], [16n, 8]);
});

test('lays out its configuration as the C headers do', { skip: noCompiler() }, async (t) => {
  const member: Record<string, string> = {
    cylinders: 'geometry.cylinders',
    heads: 'geometry.heads',
    sectors: 'geometry.sectors',
  };
  const fields = Object.entries(virtio_blk_config.offsets).filter(([name]) => name !== 'unused2');
  const lines = fields.map(
    ([name]) => `printf("%zu\\n", offsetof(struct virtio_blk_config, ${member[name] ?? name}));`,
  );
  const bits = ['SEG_MAX', 'RO', 'BLK_SIZE', 'FLUSH', 'TOPOLOGY', 'CONFIG_WCE', 'DISCARD', 'WRITE_ZEROES'];
  const output = outputOfC(`#include <stddef.h>\n#include <stdio.h>\n#include <linux/virtio_blk.h>
    int main(void) { ${lines.join('\n')} ${bits.map((bit) => `printf("%d\\n", VIRTIO_BLK_F_${bit});`).join('\n')} return 0; }`);
  const numbers = output.trim().split('\n').map(Number);
  t.strictSame(
    fields.map(([, offset]) => offset),
    numbers.slice(0, fields.length),
  );
  t.strictSame(
    Object.values(blockFeature),
    numbers.slice(fields.length).map((bit) => 1n << BigInt(bit)),
  );
});
