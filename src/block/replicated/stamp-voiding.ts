import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Fd } from '../../host/libc/descriptors.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { IoVectors } from '../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { EngineChooser } from '../disk-engines.ts';
import { givenUpStamp } from '../pair-stamp.ts';
import { FileCall } from './file-call.ts';

interface Stamp {
  readonly call: FileCall;
  readonly address: number;
  readonly sizeBytes: number;
}

/**
 * Has nobody ever rely on a log: writes over the stamps beside the disks, which are on the disks' own file systems, and not where the
 * log's file is, which may take nothing, or come back as it once was. They are open from the beginning, and written in place, so that it
 * takes neither a name nor room. One of them is enough, for a history is believed if all of its disks' stamps fit.
 */
export class StampVoiding implements Closable {
  readonly #stamps: readonly Stamp[];
  readonly #resources = new Owner();
  /** Nobody relies on the log already: a disk is without a stamp, as a device is. */
  readonly #isVoid: boolean;
  #left = 0;
  #isClosed = false;
  #done: ((result: number) => void) | undefined;

  /** @throws Error if one cannot be opened */
  constructor(paths: readonly string[], engines: EngineChooser) {
    try {
      const vectors = this.#resources.own(new IoVectors(Math.max(1, paths.length), 1)).vectors;
      const stamps = paths.map((path, index) => this.#open(path, vectors[index] as FileCall['data'], engines));
      this.#stamps = stamps.filter((stamp) => stamp !== undefined);
      this.#isVoid = this.#stamps.length < Math.max(1, paths.length);
    } catch (error) {
      this.#resources.close();
      throw error;
    }
  }

  get isBusy(): boolean {
    return this.#left > 0;
  }

  /**
   * Not while it {@link isBusy}.
   *
   * @param done gets 0 as soon as nobody will rely on the log, also after a loss of power; or a negative errno if no stamp takes it
   */
  begin(done: (result: number) => void): void {
    if (this.#isVoid) {
      done(0);
      return;
    }
    this.#done = done;
    this.#left = this.#stamps.length;
    for (const { call, address, sizeBytes } of this.#stamps) {
      call.write(address, 0, sizeBytes, true, (result) => this.#finished(result));
    }
  }

  /** What is under way keeps its memory, and nobody hears of it. */
  close(): void {
    this.#isClosed = true;
    this.#done = undefined;
    if (!this.isBusy) this.#resources.close();
  }

  #finished(result: number): void {
    this.#left--;
    const done = this.#done;
    if (done !== undefined && (result === 0 || this.#left === 0)) {
      this.#done = undefined;
      done(result);
    }
    if (this.#isClosed && !this.isBusy) this.#resources.close();
  }

  #open(path: string, data: FileCall['data'], engines: EngineChooser): Stamp | undefined {
    let fd: Fd;
    try {
      fd = openSync(path, 'r+') as Fd;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    this.#resources.defer(() => closeSync(fd));
    const content = givenUpStamp(fstatSync(fd).size);
    const mapping = this.#resources.own(new AnonymousMapping('stamp', content.length));
    new Uint8Array(viewMemory(mapping.address, content.length)).set(content);
    const call = new FileCall(engines.engineFor(path, true), fd, data);
    return { call, address: mapping.address, sizeBytes: content.length };
  }
}
