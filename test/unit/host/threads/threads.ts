import { readFileSync } from 'node:fs';
import { type Fd, tryRead } from '../../../../src/host/libc/descriptors.ts';
import { DoorbellButton } from '../../../../src/host/threads/doorbell.ts';
import { Handshake } from '../../../../src/host/threads/handshake.ts';
import { threadId } from '../../../../src/host/threads/kick.ts';
import { Mutex } from '../../../../src/host/threads/mutex.ts';
import { RecordProducer } from '../../../../src/host/threads/record-ring.ts';
import { nameThread } from '../../../../src/host/threads/thread-name.ts';

/** Bodies of threads that the tests of this folder start. */

/** What the kernel calls this thread, once it was given that name. */
export function nameOf(name: string): string {
  nameThread(name);
  return readFileSync('/proc/thread-self/comm', 'latin1');
}

/**
 * Adds one to an unprotected number again and again, under the lock, once `threads` threads are there: a thread is done
 * before the next one has started, otherwise. Cells: 0 lock, 1 number, 2 threads there.
 */
export function increment(storage: SharedArrayBuffer, times: number, threads: number): number {
  const cells = new Int32Array(storage);
  const lock = new Mutex(cells, 0);
  Atomics.add(cells, 2, 1);
  Atomics.notify(cells, 2);
  while (Atomics.load(cells, 2) < threads);
  for (let done = 0; done < times; done++) {
    lock.lock();
    cells[1] = (cells[1] as number) + 1;
    lock.unlock();
  }
  return times;
}

/** Rings `times` times, adding one to cell 0 before each ring. */
export function ring(storage: SharedArrayBuffer, button: number, times: number): number {
  const cells = new Int32Array(storage);
  const doorbell = new DoorbellButton(button as Fd);
  for (let done = 0; done < times; done++) {
    Atomics.add(cells, 0, 1);
    doorbell.ring();
  }
  return times;
}

/** Rings, and rings again only once cell 0 says that the ring was heard; how many rings were not heard in 20 s. */
export function ringAndWait(storage: SharedArrayBuffer, button: number, times: number): number {
  const cells = new Int32Array(storage);
  const doorbell = new DoorbellButton(button as Fd);
  let lost = 0;
  for (let done = 0; done < times; done++) {
    doorbell.ring();
    if (Atomics.wait(cells, 0, done, 20_000) === 'timed-out') lost++;
  }
  return lost;
}

/** Blocks in read() until it is kicked; the outcome. Cell 0 becomes the thread's id. */
export function blockInRead(storage: SharedArrayBuffer, fd: number): number {
  const cells = new Int32Array(storage);
  Atomics.store(cells, 0, threadId());
  return tryRead(fd as Fd, new Uint8Array(8));
}

/** Asks so many questions; how often it went on before cell 2 told of the answer. */
export function askMany(storage: SharedArrayBuffer, times: number): number {
  const cells = new Int32Array(storage);
  const shake = new Handshake(cells, 0, 1);
  let early = 0;
  for (let count = 0; count < times; count++) {
    const number = shake.ask();
    shake.wait(number, () => false);
    if (Atomics.load(cells, 2) < number) early++;
  }
  return early;
}

/** Sends so many records of the lengths that {@link lengthOfRecord} says; how often it waited for room. Cells: 0 woken. */
export function produceRecords(
  ring: SharedArrayBuffer,
  wake: SharedArrayBuffer,
  button: number,
  times: number,
): number {
  const cells = new Int32Array(wake);
  const doorbell = new DoorbellButton(button as Fd);
  const producer = new RecordProducer(ring, () => doorbell.ring());
  let waits = 0;
  for (let number = 0; number < times; number++) {
    const length = lengthOfRecord(number);
    for (;;) {
      const seen = Atomics.load(cells, 0);
      const at = producer.reserve(length);
      if (at >= 0) {
        producer.bytes.fill(number & 0xff, at, at + length);
        producer.commit(1 + (number % 7), number);
        break;
      }
      if (!producer.waitForRoom()) continue;
      waits++;
      // A wake-up that is lost would be seen by the test as a thread that does not end.
      if (Atomics.wait(cells, 0, seen, 60_000) === 'timed-out') return -1;
    }
  }
  return waits;
}

export function lengthOfRecord(number: number): number {
  return (number * 7919) % 200;
}
