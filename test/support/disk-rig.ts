import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { BlockBackend, BlockRequest } from '../../src/block/block-backend.ts';
import type { WatchedEngine } from '../../src/block/disk-engine.ts';
import type { EngineChooser } from '../../src/block/disk-engines.ts';
import { PlainEngine } from '../../src/block/plain-engine.ts';
import { viewMemory } from '../../src/host/libc/memory.ts';
import { type IoVector, IoVectors } from '../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../src/host/mappings/mapping.ts';
import { Owner } from '../../src/host/ownership.ts';

/** Every file by one engine. */
export function only(engine: WatchedEngine): EngineChooser {
  return { engineFor: () => engine };
}

/** A request that remembers its result. */
export class TestRequest implements BlockRequest {
  offset = 0;
  length = 0;
  result: number | undefined;
  readonly data: IoVector;

  constructor(data: IoVector) {
    this.data = data;
  }

  finished(result: number): void {
    if (this.result !== undefined) throw new Error('a request finished twice');
    this.result = result;
  }
}

/** Memory, requests, a folder and an engine, all given back when the test ends. */
export class DiskRig {
  readonly folder: string;
  readonly owner = new Owner();
  readonly engine: WatchedEngine;
  readonly memory: Uint8Array;
  readonly address: number;
  readonly #vectors: readonly IoVector[];
  #next = 0;

  constructor(t: Test, engine: WatchedEngine = new PlainEngine(), parent = tmpdir()) {
    t.teardown(() => this.owner.close());
    this.folder = mkdtempSync(join(parent, 'colo-disk-'));
    this.owner.defer(() => rmSync(this.folder, { recursive: true }));
    this.engine = this.owner.own(engine);
    const mapping = this.owner.own(new AnonymousMapping('test', 4 << 20));
    this.address = mapping.address;
    this.memory = new Uint8Array(viewMemory(mapping.address, mapping.sizeBytes));
    this.#vectors = this.owner.own(new IoVectors(64, 64)).vectors;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  get engines(): EngineChooser {
    return only(this.engine);
  }

  /** A request over `ranges` of the rig's memory. At most 64 are used at a time. */
  request(offset: number, ...ranges: [at: number, length: number][]): TestRequest {
    const data = this.#vectors[this.#next++ % this.#vectors.length] as IoVector;
    data.clear();
    for (const [at, length] of ranges) data.add(this.address + at, length);
    const request = new TestRequest(data);
    request.offset = offset;
    request.length = data.bytes;
    return request;
  }

  /** Submits with `submit`, and waits for the result. */
  run(backend: BlockBackend, request: TestRequest, submit: (request: TestRequest) => void): number {
    submit(request);
    backend.start();
    while (request.result === undefined) this.engine.reap();
    return request.result;
  }

  write(backend: BlockBackend, offset: number, bytes: Uint8Array): number {
    this.memory.set(bytes);
    return this.run(backend, this.request(offset, [0, bytes.length]), (request) => backend.write(request));
  }

  /** What a read gives; or its negative errno. */
  read(backend: BlockBackend, offset: number, length: number): Buffer | number {
    this.memory.fill(0xaa, 0, length);
    const result = this.run(backend, this.request(offset, [0, length]), (request) => backend.read(request));
    return result < 0 ? result : Buffer.from(this.memory.subarray(0, length));
  }

  flush(backend: BlockBackend): number {
    return this.run(backend, this.request(0), (request) => backend.flush(request));
  }

  discard(backend: BlockBackend, offset: number, length: number): number {
    return this.run(backend, withLength(this.request(offset), length), (request) => backend.discard(request));
  }

  writeZeroes(backend: BlockBackend, offset: number, length: number, unmap = false): number {
    return this.run(backend, withLength(this.request(offset), length), (request) =>
      backend.writeZeroes(request, unmap),
    );
  }
}

function withLength(request: TestRequest, length: number): TestRequest {
  request.length = length;
  return request;
}
