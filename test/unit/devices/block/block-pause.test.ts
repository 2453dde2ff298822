import { type Test, test } from 'tap';
import type { BlockState } from '../../../../src/devices/block/block-state.ts';
import { EIO, ENOSPC } from '../../../../src/host/errno.ts';
import { goOnElsewhere, savedState } from '../../../support/go-on-elsewhere.ts';
import type { MockBuffer } from '../../../support/mock-queue.ts';
import { BlockRig, type BlockRigOptions, header, segment } from './block-rig.ts';

const [IN, OUT, FLUSH, DISCARD, WRITE_ZEROES] = [0, 1, 4, 11, 13] as const;
const [OK, IOERR] = [0, 1] as const;

function rigFor(t: Test, options: BlockRigOptions = {}): BlockRig {
  const rig = new BlockRig(options);
  t.teardown(() => rig.close());
  return rig;
}

function write(sector: bigint, value: number): MockBuffer[] {
  return [{ read: header(OUT, sector) }, { read: Buffer.alloc(512, value) }, { write: 1 }];
}

/** One of each kind that may stay in flight; their heads. */
function addOneOfEach({ queue }: BlockRig): number[] {
  return [
    queue.add(write(1n, 0x61)),
    queue.add([{ read: header(FLUSH) }, { write: 1 }]),
    queue.add([{ read: header(DISCARD) }, { read: segment(8n, 8) }, { write: 1 }]),
    queue.add([{ read: header(WRITE_ZEROES) }, { read: segment(16n, 8) }, { write: 1 }]),
  ];
}

function keptOf(rig: BlockRig): readonly number[] {
  return (savedState(rig.virtio).device as BlockState).kept;
}

function memoryOf(rig: BlockRig): Buffer {
  const { memory } = rig.virtio;
  return Buffer.concat(memory.regions.map(({ start, sizeBytes }) => memory.slice(start, sizeBytes)));
}

test('a disk that does not come to an end with a flush or a write holds up no stop', async (t) => {
  const rig = rigFor(t);
  const heads = addOneOfEach(rig);
  rig.kick();
  rig.virtio.transport.pause();
  t.equal(rig.virtio.transport.isQuiet, true, 'it can be parked');
  t.equal(rig.virtio.transport.idle, false);
  t.strictSame(keptOf(rig), heads, 'what has no answer is saved, in the order in which it was asked for');
});

test('a stop waits for reads, and they are answered', async (t) => {
  const rig = rigFor(t);
  rig.queue.add([{ read: header(IN, 3n) }, { write: 513 }]);
  rig.queue.add(write(1n, 0x61));
  rig.kick();
  rig.virtio.transport.pause();
  t.equal(rig.virtio.transport.isQuiet, false);
  rig.finish();
  t.equal(rig.virtio.transport.isQuiet, true);
  const { bytes } = rig.queue.collectOne();
  t.strictSame([bytes[0], bytes[512]], [4, OK]);
});

test('paused means that guest memory stays as it is, whatever disks finish; the answers come later, once', async (t) => {
  const rig = rigFor(t);
  const heads = addOneOfEach(rig);
  rig.kick();
  rig.virtio.transport.pause();
  const before = memoryOf(rig);
  const { interrupts } = rig.virtio;
  rig.settle();
  t.equal(Buffer.compare(memoryOf(rig), before), 0);
  t.equal(rig.virtio.interrupts, interrupts);
  t.equal(rig.virtio.transport.idle, true, 'the files change no more');
  t.strictSame(keptOf(rig), heads, 'what was not answered is not done, for who goes on from here');

  rig.virtio.transport.resume();
  rig.settle();
  const answers = rig.queue.collect();
  t.strictSame(
    answers.map(({ head, bytes }) => [head, bytes[0]]),
    heads.map((head) => [head, OK]),
  );
  t.equal(rig.virtio.interrupts, interrupts + 1);
  t.equal(rig.backend.log.length, 4, 'none is done twice');
  t.strictSame(keptOf(rig), []);
});

test('an error that comes while it is paused is told the guest afterwards', async (t) => {
  const rig = rigFor(t, { werror: 'report' });
  addOneOfEach(rig);
  rig.kick();
  rig.virtio.transport.pause();
  rig.backend.resultOf = () => -EIO;
  rig.settle();
  rig.virtio.transport.resume();
  t.ok(rig.queue.collect().every(({ bytes }) => bytes[0] === IOERR));
});

test('a write that finds the disk full while it is paused is tried again when it goes on, and stops nothing anew', async (t) => {
  const rig = rigFor(t);
  rig.queue.add(write(1n, 0x61));
  rig.queue.add(write(2n, 0x62));
  rig.kick();
  rig.backend.resultOf = () => -ENOSPC;
  rig.virtio.transport.pause();
  rig.settle();
  t.strictSame(rig.told, [`stop ${ENOSPC}`]);
  t.equal(keptOf(rig).length, 2);
  rig.backend.resultOf = () => undefined;
  rig.virtio.transport.resume();
  rig.settle();
  t.strictSame(rig.told, [`stop ${ENOSPC}`]);
  t.strictSame(
    rig.queue.collect().map(({ bytes }) => bytes[0]),
    [OK, OK],
  );
});

test('a write that goes through to the file is made durable after the pause, before it is answered', async (t) => {
  const rig = rigFor(t, { features: 1n << 32n });
  rig.queue.add(write(1n, 0x61));
  rig.kick();
  rig.virtio.transport.pause();
  rig.settle();
  t.strictSame(rig.backend.log, ['write 512+512']);
  rig.virtio.transport.resume();
  t.strictSame(rig.backend.log, ['write 512+512', 'flush']);
  t.strictSame(rig.queue.collect(), []);
  rig.settle();
  t.equal(rig.queue.collectOne().bytes[0], OK);
});

test('what was in flight is done again elsewhere, in its order', async (t) => {
  const rig = rigFor(t);
  const heads = addOneOfEach(rig);
  rig.kick();
  const next = rigFor(t);
  const state = goOnElsewhere(rig.virtio, next.virtio);
  t.strictSame((state.device as BlockState).kept, heads);
  next.virtio.transport.resume();
  t.strictSame(next.backend.log, ['write 512+512', 'flush', 'discard 4096+4096', 'writeZeroes 8192+4096']);
  next.settle();
  t.equal(next.backend.content[512], 0x61);
  t.strictSame(
    next.queue.collect().map(({ head }) => head),
    heads,
  );
});

test('loaded in place, it does nothing again before the file has finished what it had', async (t) => {
  const rig = rigFor(t);
  const head = rig.queue.add(write(1n, 0x61));
  rig.kick();
  const state = savedState(rig.virtio);
  for (let round = 0; round < 3; round++) {
    rig.virtio.transport.prepareLoad(state)();
    t.strictSame(keptOf(rig), [head], 'and it can be saved again at once');
    rig.virtio.transport.resume();
    rig.queue.add([{ read: header(IN, 1n) }, { write: 513 }]);
    rig.kick();
    t.strictSame(rig.backend.log, ['write 512+512'], 'the old write alone');
    rig.virtio.transport.pause();
    t.equal(rig.virtio.transport.isQuiet, true);
  }
  rig.virtio.transport.resume();
  rig.finish();
  t.equal(rig.device.hasMore, true);
  t.strictSame(rig.queue.collect(), [], 'the guest that asked for it is no more');
  rig.device.turn();
  t.strictSame(rig.backend.log.slice(1), ['write 512+512', 'read 512+512', 'read 512+512', 'read 512+512']);
  rig.settle();
  const answers = rig.queue.collect();
  t.equal(answers.length, 4);
  t.equal(answers[0]?.head, head);
});

test('a guest that begins anew over a disk that hangs is served when that has come back', async (t) => {
  const rig = rigFor(t);
  rig.virtio.transport.pause();
  const fresh = new BlockRig();
  fresh.virtio.driver.reset();
  const state = savedState(fresh.virtio);
  fresh.close();
  rig.virtio.transport.resume();
  addOneOfEach(rig);
  rig.kick();
  rig.virtio.transport.pause();
  rig.virtio.transport.prepareLoad(state)();
  rig.virtio.transport.resume();
  rig.virtio.driver.start();
  rig.queue.add([{ read: header(IN, 3n) }, { write: 513 }]);
  rig.kick();
  t.equal(rig.backend.log.length, 4);
  rig.settle();
  t.equal(rig.queue.collectOne().bytes[0], 4);
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 85; index++) rig.queue.add(write(1n, 1));
    rig.kick();
    rig.settle();
    t.equal(rig.queue.collect().length, 85, 'no room is lost');
  }
});

test('a reset gives up answers that were held', async (t) => {
  const rig = rigFor(t);
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 85; index++) rig.queue.add(write(1n, 1));
    rig.kick();
    rig.device.pause();
    rig.settle();
    rig.virtio.driver.reset();
    rig.virtio.driver.start();
    t.equal(rig.ask([{ read: header(IN, 5n) }, { write: 513 }]).status, OK);
  }
});
