import type { BlockBackend, BlockRequest } from '../../block/block-backend.ts';
import { viewMemory } from '../../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../host/mappings/mapping.ts';
import { type Closable, Owner } from '../../host/ownership.ts';

/** Memory that every disk takes as it lies, direct I/O too, with the request that uses it: one at a time. */
export class DiskBuffer implements BlockRequest, Closable {
  offset = 0;
  length = 0;
  readonly data: IoVector;
  readonly bytes: Uint8Array;
  readonly #address: number;
  readonly #owner = new Owner();
  #done: ((result: number) => void) | undefined;

  constructor(sizeBytes: number) {
    try {
      const mapping = this.#owner.own(new AnonymousMapping('disk buffer', sizeBytes));
      this.#address = mapping.address;
      this.bytes = new Uint8Array(viewMemory(mapping.address, sizeBytes));
      this.data = this.#owner.own(new IoVectors(1, 1)).vectors[0] as IoVector;
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  get isBusy(): boolean {
    return this.#done !== undefined;
  }

  /** Reads to the front of the buffer: 0, or a negative errno. */
  read(backend: BlockBackend, offset: number, length: number): Promise<number> {
    return this.#run(offset, length, () => backend.read(this));
  }

  /** Writes from the front of the buffer. */
  write(backend: BlockBackend, offset: number, length: number): Promise<number> {
    return this.#run(offset, length, () => backend.write(this));
  }

  writeZeroes(backend: BlockBackend, offset: number, length: number, unmap: boolean): Promise<number> {
    return this.#run(offset, length, () => backend.writeZeroes(this, unmap));
  }

  flush(backend: BlockBackend): Promise<number> {
    return this.#run(0, 0, () => backend.flush(this));
  }

  finished(result: number): void {
    const done = this.#done;
    this.#done = undefined;
    done?.(result);
  }

  /** It must not be busy. */
  close(): void {
    this.#owner.close();
  }

  #run(offset: number, length: number, submit: () => void): Promise<number> {
    if (this.#done !== undefined) throw new Error('a disk buffer is used twice');
    this.offset = offset;
    this.length = length;
    this.data.clear();
    this.data.add(this.#address, Math.min(length, this.bytes.length));
    return new Promise((resolve) => {
      this.#done = resolve;
      submit();
    });
  }
}
