import { type Test, test } from 'tap';
import { virtio_blk_config } from '../../../../src/devices/block/block-shape.ts';
import type { BlockState } from '../../../../src/devices/block/block-state.ts';
import type { TransportState } from '../../../../src/devices/virtio/transport-state.ts';
import { ENOSPC } from '../../../../src/host/errno.ts';
import type { ViewOf } from '../../../../src/host/layout.ts';
import { gpa } from '../../../../src/memory/address.ts';
import { goOnElsewhere, savedState } from '../../../support/go-on-elsewhere.ts';
import { BlockRig, type BlockRigOptions, header } from './block-rig.ts';

const [OUT, FLUSH] = [1, 4];

function rigFor(t: Test, options: BlockRigOptions = { werror: 'stop' }): BlockRig {
  const rig = new BlockRig(options);
  t.teardown(() => rig.close());
  return rig;
}

/** A disk that keeps writes, as the file behind it is full; their heads. */
function fullDisk(t: Test, writes = 3): { rig: BlockRig; heads: number[] } {
  const rig = rigFor(t);
  rig.backend.resultOf = () => -ENOSPC;
  const heads: number[] = [];
  for (let index = 0; index < writes; index++) {
    heads.push(
      rig.queue.add([{ read: header(OUT, BigInt(index)) }, { read: Buffer.alloc(512, 0x60 + index) }, { write: 1 }]),
    );
  }
  rig.kick();
  rig.settle();
  return { rig, heads };
}

function keptOf(state: TransportState): readonly number[] {
  return (state.device as BlockState).kept;
}

test('saves writes that are to be done again, and does them as another disk', async (t) => {
  const { rig, heads } = fullDisk(t);
  const next = rigFor(t);
  const state = goOnElsewhere(rig.virtio, next.virtio);
  t.strictSame(keptOf(state), heads);
  t.strictSame(next.backend.log, [], 'not before it goes on');
  t.strictSame(savedState(next.virtio), state, 'a state that was loaded and not used is saved again');

  next.virtio.transport.resume();
  next.settle();
  t.strictSame(next.backend.log, ['write 0+512', 'write 512+512', 'write 1024+512']);
  t.strictSame(
    [...next.backend.content.subarray(0, 1536)].filter((_, at) => at % 512 === 7),
    [0x60, 0x61, 0x62],
  );
  const answers = next.queue.collect();
  t.strictSame(
    answers.map(({ head }) => head),
    heads,
  );
  t.strictSame(
    answers.map(({ bytes }) => [...bytes]),
    [[0], [0], [0]],
  );
  t.strictSame(keptOf(savedState(next.virtio)), [], 'they are done');
});

test('keeps a write again that fails again after a load', async (t) => {
  const { rig, heads } = fullDisk(t);
  const next = rigFor(t);
  next.backend.resultOf = () => -ENOSPC;
  goOnElsewhere(rig.virtio, next.virtio);
  next.virtio.transport.resume();
  next.settle();
  t.strictSame(next.told, [`stop ${ENOSPC}`]);
  t.strictSame(keptOf(savedState(next.virtio)), heads);
});

test('goes back to writes that are to be done again, though they were done meanwhile', async (t) => {
  const { rig, heads } = fullDisk(t);
  const state = savedState(rig.virtio);
  rig.backend.resultOf = () => undefined;
  rig.virtio.transport.resume();
  rig.settle();
  rig.virtio.transport.pause();
  rig.virtio.transport.prepareLoad(state)();
  rig.virtio.memory.writeU16(gpa(rig.queue.setup.device + 2), 0); // as memory was
  t.strictSame(keptOf(savedState(rig.virtio)), heads);
  rig.virtio.transport.resume();
  rig.settle();
  t.strictSame(
    rig.queue.collect().map(({ head }) => head),
    heads,
    'each is given back once',
  );
});

test('forgets writes that are to be done again when it goes back to a time before them', async (t) => {
  const rig = rigFor(t);
  const state = savedState(rig.virtio);
  rig.virtio.transport.resume();
  rig.backend.resultOf = () => -ENOSPC;
  rig.queue.add([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]);
  rig.kick();
  rig.settle();
  t.equal(keptOf(savedState(rig.virtio)).length, 1);
  rig.virtio.transport.prepareLoad(state)();
  t.strictSame(savedState(rig.virtio), state);
  // All that a queue can hold still finds room.
  rig.virtio.transport.resume();
  for (let round = 0; round < 300; round++) rig.settle();
});

test('fails its driver if a write that is to be done again is none any more', async (t) => {
  const { rig } = fullDisk(t);
  const next = rigFor(t);
  goOnElsewhere(rig.virtio, next.virtio);
  next.queue.writeDescriptor(keptOf(savedState(next.virtio))[1] ?? 0, { address: 2 ** 50, length: 512 });
  next.virtio.transport.resume();
  next.settle();
  t.match(next.virtio.failures, [/^a buffer of 512 bytes at .* is not in RAM/]);
  next.virtio.driver.start();
  t.equal(next.ask([{ read: header(FLUSH) }, { write: 1 }]).status, 0, 'and works after a reset');
});

test('writes through after a load, for a driver that knows of no cache or turned it off', async (t) => {
  for (const [options, turnsOff, others] of [
    [{ features: 1n << 32n }, false, {}],
    [{}, true, { features: 1n << 32n }],
  ] as const) {
    const rig = rigFor(t, options);
    if (turnsOff) rig.virtio.driver.writeConfig(32, 1, 0);
    const next = rigFor(t, others);
    goOnElsewhere(rig.virtio, next.virtio);
    next.virtio.transport.resume();
    t.equal(next.virtio.driver.readConfig(32, 1), turnsOff ? 0 : 1);
    t.equal(next.ask([{ read: header(OUT) }, { read: Buffer.alloc(512) }, { write: 1 }]).status, 0);
    t.strictSame(next.backend.log, ['write 0+512', 'flush']);
  }
});

/** The state of a disk whose driver was told something else. */
function toldState(t: Test, change: (config: ViewOf<typeof virtio_blk_config>) => void): TransportState {
  const state = savedState(rigFor(t).virtio);
  const config = state.registers.config.slice();
  change(virtio_blk_config.over(config));
  return { ...state, registers: { ...state.registers, config } };
}

function loads(rig: BlockRig, state: TransportState): void {
  rig.virtio.transport.pause();
  rig.virtio.transport.prepareLoad(state)();
}

test('goes on over a disk of other blocks, and its driver sees what it was told', async (t) => {
  const state = toldState(t, (config) => {
    config.blk_size = 4096;
    config.physical_block_exp = 0;
    config.min_io_size = 1;
    config.discard_sector_alignment = 64;
    config.max_discard_sectors = 1000;
  });
  const rig = rigFor(t);
  loads(rig, state);
  t.strictSame(savedState(rig.virtio).registers.config, state.registers.config);
  const { driver } = rig.virtio;
  t.equal(driver.readConfig(virtio_blk_config.offsets.blk_size, 4), 4096);
  t.equal(driver.readConfig(virtio_blk_config.offsets.discard_sector_alignment, 4), 64);
  rig.virtio.transport.resume();
  t.equal(rig.ask([{ read: header(OUT, 8n) }, { read: Buffer.alloc(4096, 5) }, { write: 1 }]).status, 0);
  driver.start();
  t.equal(driver.readConfig(virtio_blk_config.offsets.blk_size, 4), 4096, 'and after a reset as well');
});

test('goes on over a larger disk, of which its driver sees as much as it was told', async (t) => {
  const rig = rigFor(t);
  loads(
    rig,
    toldState(t, (config) => {
      config.capacity = 3n;
    }),
  );
  rig.virtio.transport.resume();
  const write = (sector: bigint): number =>
    rig.ask([{ read: header(OUT, sector) }, { read: Buffer.alloc(512, 5) }, { write: 1 }]).status;
  t.equal(write(2n), 0);
  t.equal(write(3n), 1, 'an I/O error');
  t.strictSame(rig.backend.log, ['write 1024+512']);
  rig.virtio.driver.start();
  t.equal(write(3n), 1);
});

for (const [what, options, change, message] of [
  [
    'a larger disk',
    {},
    (config) => {
      config.capacity = 129n;
    },
    'the file has 65536 bytes, and the guest was told of 66048: give the file that it had, or one that is as large',
  ],
  [
    'sectors of another size than is configured',
    { sector: 512 },
    (config) => {
      config.blk_size = 4096;
    },
    'sector=512 cannot be: the guest was told of sectors of 4096 bytes: leave the key out, or start the guest anew',
  ],
  [
    'sectors of no size',
    {},
    (config) => {
      config.blk_size = 0;
    },
    /^registers.config has limits that no disk/,
  ],
  [
    'longer discards than we do',
    {},
    (config) => {
      config.max_discard_sectors++;
    },
    /^registers.config has limits that no disk/,
  ],
] as [string, BlockRigOptions, (config: ViewOf<typeof virtio_blk_config>) => void, string | RegExp][]) {
  test(`is not loaded where the driver was told of ${what}`, async (t) => {
    const rig = rigFor(t, options);
    const before = savedState(rig.virtio);
    rig.virtio.transport.pause();
    t.throws(() => rig.virtio.transport.prepareLoad(toldState(t, change)), { code: 'VM_STATE', message });
    t.strictSame(savedState(rig.virtio), before);
  });
}

test('is not loaded where the driver was told otherwise about writing, and says so by the key', async (t) => {
  for (const [then, now, readOnly] of [
    ['on', 'off', true],
    ['off', 'on', false],
  ] as const) {
    const rig = rigFor(t, { readOnly: !readOnly });
    rig.virtio.transport.pause();
    t.throws(() => rig.virtio.transport.prepareLoad(savedState(rigFor(t, { readOnly }).virtio)), {
      code: 'VM_STATE',
      message:
        `readonly was ${then} when the guest started, and is ${now} here, which a guest cannot be told while it runs: ` +
        `leave it ${then}, or start the guest anew`,
    });
  }
});

for (const [what, change, message] of [
  ['fewer requests than were taken', (kept: readonly number[]) => kept.slice(1), /kept are 2 requests, and 3 were/],
  ['more requests than were taken', (kept: readonly number[]) => [...kept, 0], /kept are 4 requests, and 3 were/],
  ['a request outside the queue', (kept: readonly number[]) => [...kept.slice(1), 256], /kept cannot hold 256/],
] as const) {
  test(`refuses a state with ${what}`, async (t) => {
    const { rig } = fullDisk(t);
    const state = savedState(rig.virtio);
    const device: BlockState = { kind: 'block', version: 1, kept: change(keptOf(state)) };
    t.throws(() => rig.virtio.transport.prepareLoad({ ...state, device }), { code: 'VM_STATE', message });
    t.strictSame(savedState(rig.virtio), state);
  });
}
