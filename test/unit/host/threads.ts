import { Doorbell } from '../../../src/host/doorbell.ts';
import { Handshake } from '../../../src/host/handshake.ts';
import { threadId } from '../../../src/host/kick.ts';
import { type Fd, tryRead } from '../../../src/host/libc.ts';
import { Mutex } from '../../../src/host/mutex.ts';

/** Bodies of threads that the tests of this folder start. */

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

/** Rings `times` times, adding one to cell 1 before each ring. Cell 0 is the doorbell. */
export function ring(storage: SharedArrayBuffer, times: number): number {
  const cells = new Int32Array(storage);
  const doorbell = new Doorbell(cells, 0);
  for (let done = 0; done < times; done++) {
    Atomics.add(cells, 1, 1);
    doorbell.ring();
  }
  return times;
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
