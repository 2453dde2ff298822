import type { BlockBackend, BlockRequest } from '../../src/block/block-backend.ts';
import { viewMemory } from '../../src/host/libc/memory.ts';

/** What a backend was asked to do. */
export interface BackendCall {
  readonly operation: 'read' | 'write' | 'flush' | 'discard' | 'writeZeroes' | 'writeZeroes unmap';
  readonly offset: number;
  readonly length: number;
  readonly request: BlockRequest;
}

/** A disk in an array, which does what it is asked when a test says so: with {@link settle}. */
export class FakeBackend implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes = 4096;
  readonly discardBytes = 4096;
  readonly content: Uint8Array;
  /** Submitted and started, not yet done. */
  readonly started: BackendCall[] = [];
  /** All there ever was, in order. */
  readonly log: string[] = [];
  /** The result of a call instead of doing it. */
  resultOf: (call: BackendCall) => number | undefined = () => undefined;
  starts = 0;
  closed = 0;
  readonly #submitted: BackendCall[] = [];

  constructor(sizeBytes: number, readOnly = false) {
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
    this.content = new Uint8Array(sizeBytes);
  }

  read(request: BlockRequest): void {
    this.#submit('read', request);
  }
  write(request: BlockRequest): void {
    this.#submit('write', request);
  }
  flush(request: BlockRequest): void {
    this.#submit('flush', request);
  }
  discard(request: BlockRequest): void {
    this.#submit('discard', request);
  }
  writeZeroes(request: BlockRequest, unmap: boolean): void {
    this.#submit(unmap ? 'writeZeroes unmap' : 'writeZeroes', request);
  }

  start(): void {
    this.starts++;
    this.started.push(...this.#submitted.splice(0));
  }

  close(): void {
    this.closed++;
  }

  /** Does what was started, the latest first if `backwards`. */
  settle(backwards = false): void {
    const calls = this.started.splice(0);
    if (backwards) calls.reverse();
    for (const call of calls) call.request.finished(this.resultOf(call) ?? this.#do(call));
  }

  #submit(operation: BackendCall['operation'], request: BlockRequest): void {
    const { offset, length } = request;
    this.#submitted.push({ operation, offset, length, request });
    this.log.push(operation === 'flush' ? 'flush' : `${operation} ${offset}+${length}`);
  }

  #do({ operation, offset, length, request }: BackendCall): number {
    if (operation === 'read' || operation === 'write') {
      const { data } = request;
      if (data.bytes !== length) throw new Error(`${data.bytes} bytes of data for a request of ${length}`);
      let at = offset;
      for (let index = 0; index < data.count; index++) {
        const memory = new Uint8Array(viewMemory(data.addressOf(index), data.lengthOf(index)));
        if (operation === 'read') memory.set(this.content.subarray(at, at + memory.length));
        else this.content.set(memory, at);
        at += memory.length;
      }
      // As backends may, which do the rest of what a call did in part.
      data.dropFront(length);
    } else if (operation !== 'flush') this.content.fill(0, offset, offset + length);
    return 0;
  }
}
