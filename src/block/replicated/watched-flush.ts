import type { IoVector } from '../../host/mappings/io-vector.ts';
import type { BlockRequest } from '../block-backend.ts';
import type { ForwardedDisk } from './forwarded-disk.ts';

/** Hears what became of a flush, before who asked for it does. */
export interface FlushOwner {
  flushed(flush: WatchedFlush, disk: ForwardedDisk, result: number): void;
}

/** A flush whose failure the other side is to hear of. */
export class WatchedFlush implements BlockRequest {
  readonly offset = 0;
  readonly length = 0;
  readonly #owner: FlushOwner;
  #disk: ForwardedDisk | undefined;
  #request: BlockRequest | undefined;

  constructor(owner: FlushOwner) {
    this.#owner = owner;
  }

  get data(): IoVector {
    throw new Error('a flush has no data');
  }

  begin(disk: ForwardedDisk, request: BlockRequest): void {
    this.#disk = disk;
    this.#request = request;
    disk.own.flush(this);
  }

  finished(result: number): void {
    const request = this.#request as BlockRequest;
    this.#request = undefined;
    this.#owner.flushed(this, this.#disk as ForwardedDisk, result);
    request.finished(result);
  }
}
