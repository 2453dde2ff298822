import type { Fd } from '../../host/libc/descriptors.ts';
import type { IoVector } from '../../host/mappings/io-vector.ts';
import type { Completion, DiskEngine } from '../disk-engine.ts';
import { isTransient, mostRetries } from '../write-back.ts';

/** A write to a file, with an fdatasync behind it if it must last. One at a time. */
export class FileCall implements Completion {
  isBusy = false;
  readonly data: IoVector;
  readonly #engine: DiskEngine;
  readonly #fd: Fd;
  #left = 0;
  #syncs = false;
  #retries = 0;
  #done: (result: number) => void = () => {};

  constructor(engine: DiskEngine, fd: Fd, data: IoVector) {
    this.#engine = engine;
    this.#fd = fd;
    this.data = data;
  }

  write(address: number, offset: number, lengthBytes: number, syncs: boolean, done: (result: number) => void): void {
    this.data.clear();
    this.data.add(address, lengthBytes);
    this.data.offset = offset;
    this.#begin(lengthBytes, syncs, done);
    this.#engine.write(this.#fd, this.data, this);
    this.#engine.start();
  }

  sync(done: (result: number) => void): void {
    this.#begin(0, true, done);
    this.#engine.sync(this.#fd, this);
    this.#engine.start();
  }

  finished(result: number): void {
    if (isTransient(result) && this.#retries++ < mostRetries) this.#again();
    else if (result < 0) this.#end(result);
    else if (this.#left > 0) {
      this.#left -= result;
      if (this.#left > 0) {
        this.data.dropFront(result);
        this.data.offset += result;
        this.#again();
      } else if (this.#syncs) this.#again();
      else this.#end(0);
    } else this.#end(0);
  }

  #begin(lengthBytes: number, syncs: boolean, done: (result: number) => void): void {
    this.isBusy = true;
    this.#left = lengthBytes;
    this.#syncs = syncs;
    this.#retries = 0;
    this.#done = done;
  }

  #again(): void {
    if (this.#left > 0) this.#engine.write(this.#fd, this.data, this);
    else this.#engine.sync(this.#fd, this);
    this.#engine.start();
  }

  #end(result: number): void {
    this.isBusy = false;
    this.#done(result);
  }
}
