import { test } from 'tap';
import { Doorbell } from '../../../../src/host/threads/doorbell.ts';
import {
  mostPayloadBytes,
  RecordConsumer,
  RecordProducer,
  recordRingStorage,
} from '../../../../src/host/threads/record-ring.ts';
import { inThread } from '../../../support/thread.ts';
import { lengthOfRecord } from './threads.ts';

function ring(sizeBytes: number): { producer: RecordProducer; consumer: RecordConsumer; wakes: string[] } {
  const storage = recordRingStorage(sizeBytes);
  const wakes: string[] = [];
  const producer = new RecordProducer(storage, () => wakes.push('consumer'));
  const consumer = new RecordConsumer(storage, () => wakes.push('producer'));
  return { producer, consumer, wakes };
}

function send(producer: RecordProducer, text: string, kind = 1, tag = 0): boolean {
  const bytes = Buffer.from(text);
  const at = producer.reserve(bytes.length);
  if (at < 0) return false;
  producer.bytes.set(bytes, at);
  producer.commit(kind, tag);
  return true;
}

/** The next record as [kind, tag, text]. */
function take(consumer: RecordConsumer): [number, number, string] | undefined {
  if (!consumer.next()) return undefined;
  const { kind, tag, offset, length, bytes } = consumer;
  return [kind, tag, Buffer.from(bytes.subarray(offset, offset + length)).toString()];
}

test('hands records over in order, with kind and tag', (t) => {
  const { producer, consumer } = ring(256);
  t.equal(take(consumer), undefined);
  t.ok(send(producer, 'one', 3, 2 ** 52));
  t.ok(send(producer, '', 4, -1.5));
  t.strictSame(take(consumer), [3, 2 ** 52, 'one']);
  t.strictSame(take(consumer), [4, -1.5, '']);
  t.equal(take(consumer), undefined);
  t.end();
});

test('shows nothing of a record that is not committed', (t) => {
  const { producer, consumer } = ring(256);
  const at = producer.reserve(8);
  producer.bytes.fill(0xff, at, at + 8);
  t.equal(take(consumer), undefined);
  t.ok(send(producer, 'another'), 'and it can be given up');
  t.strictSame(take(consumer), [1, 0, 'another']);
  t.end();
});

test('a record may become shorter than was reserved, but not longer, and is committed once', (t) => {
  const { producer, consumer } = ring(256);
  const at = producer.reserve(100);
  producer.bytes.set(Buffer.from('short'), at);
  t.throws(() => producer.commit(1, 0, 101), RangeError);
  producer.commit(1, 0, 5);
  t.throws(() => producer.commit(1, 0), RangeError);
  t.strictSame(take(consumer), [1, 0, 'short']);
  t.end();
});

test('a full ring has no room until records are given back, in order', (t) => {
  const { producer, consumer } = ring(64);
  t.ok(send(producer, 'first'));
  t.ok(send(producer, 'second'));
  t.notOk(send(producer, 'third'), 'two records of 24 bytes fill 64 but for 16');
  t.strictSame(take(consumer), [1, 0, 'first']);
  const position = consumer.position;
  t.strictSame(take(consumer), [1, 0, 'second']);
  t.notOk(send(producer, 'third'), 'reading alone gives nothing back');
  consumer.giveBack(position);
  t.ok(send(producer, 'third'));
  t.strictSame(take(consumer), [1, 0, 'third']);
  t.end();
});

test('records that are held are not written over while others come and go behind them', (t) => {
  const { producer, consumer } = ring(128);
  send(producer, 'held');
  consumer.next();
  const { offset, length } = consumer;
  let sent = 0;
  while (send(producer, `more ${sent}`)) sent++;
  while (consumer.next());
  t.ok(sent > 0);
  t.notOk(send(producer, 'x'));
  t.equal(Buffer.from(consumer.bytes.subarray(offset, offset + length)).toString(), 'held');
  t.end();
});

test('what was given back cannot be held again', (t) => {
  const { producer, consumer } = ring(64);
  send(producer, 'first');
  send(producer, 'second');
  consumer.next();
  const { position } = consumer;
  consumer.next();
  consumer.giveBack();
  t.throws(() => consumer.giveBack(position), { name: 'RangeError', message: /in order/ });
  t.ok(send(producer, 'x'.repeat(mostPayloadBytes(64))), 'all of it is free');
  t.end();
});

test('giving back nothing wakes nobody', (t) => {
  const { producer, consumer, wakes } = ring(64);
  while (send(producer, 'full'));
  producer.waitForRoom();
  consumer.next();
  wakes.length = 0;
  const { position } = consumer;
  consumer.next();
  consumer.giveBack(position);
  t.strictSame(wakes, ['producer']);
  producer.waitForRoom();
  producer.waitForRoom();
  consumer.giveBack(position);
  t.strictSame(wakes, ['producer']);
  t.ok(consumer.producerWaits);
  t.end();
});

test('the largest payload finds room wherever an empty ring stands', (t) => {
  const size = 128;
  const largest = 'x'.repeat(mostPayloadBytes(size));
  for (let shift = 0; shift < size / 8; shift++) {
    const { producer, consumer } = ring(size);
    for (let count = 0; count < shift; count++) {
      send(producer, 'y'.repeat((count % 3) * 8));
      consumer.next();
      consumer.giveBack();
    }
    t.ok(send(producer, largest), `after ${shift} records`);
    t.strictSame(take(consumer), [1, 0, largest]);
  }
  t.end();
});

test('counts on past 2^32 bytes', (t) => {
  const size = 2 ** 16;
  const storage = recordRingStorage(size);
  // As after so many bytes that the positions are about to wrap.
  new Int32Array(storage).fill(-size, 0, 1);
  new Int32Array(storage).fill(-size, 16, 17);
  const producer = new RecordProducer(storage, () => {});
  const consumer = new RecordConsumer(storage, () => {});
  for (let number = 0; number < 5000; number++) {
    if (!send(producer, `number ${number}`, 1, number)) t.fail(`no room for ${number}`);
    t.strictSame(take(consumer), [1, number, `number ${number}`]);
    consumer.giveBack();
  }
  t.end();
});

test('wakes a consumer that sleeps, once, and one that is busy never', (t) => {
  const { producer, consumer, wakes } = ring(256);
  send(producer, 'busy');
  t.strictSame(wakes, []);
  t.notOk(consumer.sleep(), 'there is a record');
  take(consumer);
  t.ok(consumer.sleep());
  send(producer, 'a');
  send(producer, 'b');
  t.strictSame(wakes, ['consumer']);
  t.end();
});

test('wakes a consumer that lets records gather once there are more bytes of them, or no room', (t) => {
  const { producer, consumer, wakes } = ring(128);
  // Each takes 24 bytes.
  t.ok(consumer.sleep(48));
  send(producer, 'a');
  send(producer, 'b');
  t.strictSame(wakes, []);
  send(producer, 'c');
  t.strictSame(wakes, ['consumer']);
  t.notOk(consumer.sleep(48), 'there is more already');
  t.ok(consumer.sleep(72));
  t.strictSame(take(consumer), [1, 0, 'a']);
  send(producer, 'd');
  send(producer, 'e');
  t.ok(consumer.sleep(96), 'counted from the record that was read last');
  wakes.length = 0;
  t.notOk(send(producer, 'f'), 'the ring is full');
  t.ok(producer.waitForRoom());
  t.strictSame(wakes, ['consumer'], 'it would wait for ever');
  t.ok(consumer.producerWaits);
  t.end();
});

test('wakes a producer that waits for room, once, and another one never', (t) => {
  const { producer, consumer, wakes } = ring(64);
  send(producer, 'first');
  send(producer, 'second');
  take(consumer);
  consumer.giveBack();
  t.strictSame(wakes, []);
  send(producer, 'third');
  t.notOk(send(producer, 'fourth'));
  t.ok(producer.waitForRoom());
  take(consumer);
  consumer.giveBack();
  take(consumer);
  consumer.giveBack();
  t.strictSame(wakes, ['producer']);
  t.notOk(producer.waitForRoom(), 'there is room that it has not seen');
  t.ok(send(producer, 'fourth'));
  t.end();
});

test('a size that is no power of two is refused', (t) => {
  for (const size of [0, 63, 96, 2 ** 31]) t.throws(() => recordRingStorage(size), RangeError);
  t.end();
});

test('nothing is lost or changed between two threads, and no wake-up either', { timeout: 120_000 }, async (t) => {
  const storage = recordRingStorage(1024);
  const woken = new SharedArrayBuffer(4);
  const cells = new Int32Array(woken);
  const doorbell = new Doorbell();
  t.teardown(() => doorbell.close());
  const consumer = new RecordConsumer(storage, () => {
    Atomics.add(cells, 0, 1);
    Atomics.notify(cells, 0);
  });
  const times = 20_000;
  const module = new URL('./threads.ts', import.meta.url);
  const producing = inThread(module, 'produceRecords', storage, woken, doorbell.button, times);
  let wrong = 0;
  for (let number = 0; number < times; ) {
    while (consumer.next()) {
      const payload = consumer.bytes.subarray(consumer.offset, consumer.offset + consumer.length);
      const right =
        consumer.tag === number &&
        consumer.kind === 1 + (number % 7) &&
        consumer.length === lengthOfRecord(number) &&
        payload.every((byte) => byte === (number & 0xff));
      if (!right) wrong++;
      number++;
      // Now and then several at once, as a consumer does that holds them for a while.
      if (number % 3 === 0 || number === times) consumer.giveBack();
    }
    consumer.giveBack();
    if (number < times && consumer.sleep()) t.ok((await doorbell.next(60_000)) || number === times, 'woken');
  }
  t.equal(wrong, 0);
  t.ok(((await producing) as number) >= 0);
});
