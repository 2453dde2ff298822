import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { BlockBackend, BlockRequest } from '../../src/block/block-backend.ts';
import { DiskEngines } from '../../src/block/disk-engines.ts';
import { RawFile } from '../../src/block/raw-file.ts';
import { BlockDevice } from '../../src/devices/block/block-device.ts';
import { blockRequestType, blockStatus } from '../../src/devices/block/block-request.ts';
import { blockShape } from '../../src/devices/block/block-shape.ts';
import { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/events/epoll.ts';
import { Owner } from '../../src/host/ownership.ts';
import { GiB, type Gpa, gpa, MiB } from '../../src/memory/address.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Ram } from '../../src/memory/ram.ts';
import { median, rounded } from './statistics.ts';

interface Row {
  readonly backend: string;
  readonly work: string;
  readonly requests_per_second: number;
  /** Of V8's heap. */
  readonly bytes_per_request: number;
}

export interface VirtioNativeResult {
  readonly bench: 'virtio-native';
  readonly rows: readonly Row[];
  readonly rounds: number;
}

const queueSize = 256;
const diskBytes = 64 * MiB;
const blockBytes = 4096;
/** Of a round; few enough that what one allocates is not collected within. */
const requestsOfRound = 30_000;

/** The block device without a guest: a driver that does nothing but fill its ring, and what stands behind the disk. */
export function benchVirtioNative(rounds: number, progress: (line: string) => void): VirtioNativeResult {
  const rows: Row[] = [];
  const low = gpa(MiB);
  const high = gpa(5 * GiB); // behind the 32-bit hole
  for (const [name, folder, data] of [
    ['nothing', undefined, low],
    ['nothing, data above 4 GiB', undefined, high],
    ['raw file in memory', '/dev/shm', low],
    ['raw file in memory, data above 4 GiB', '/dev/shm', high],
    ['raw file on disk', '/var/tmp', low],
  ] as const) {
    const owner = new Owner();
    try {
      const engines = owner.own(new DiskEngines());
      const rig = owner.own(
        new NativeRig(folder === undefined ? new NullBackend() : rawFile(folder, owner, engines), engines, data),
      );
      for (const write of [false, true]) {
        for (const depth of [1, 32]) {
          const work = `4k random ${write ? 'write' : 'read'}, depth ${depth}`;
          const figures = Array.from({ length: rounds + 8 }, () => rig.run(write, depth)).slice(8);
          const row = {
            backend: name,
            work,
            requests_per_second: Math.round(median(figures.map((figure) => figure.perSecond))),
            bytes_per_request: rounded(median(figures.map((figure) => figure.bytes)), 1),
          };
          progress(`${name}, ${work}: ${row.requests_per_second} requests/s, ${row.bytes_per_request} bytes a request`);
          rows.push(row);
        }
      }
    } finally {
      owner.close();
    }
  }
  return { bench: 'virtio-native', rows, rounds };
}

function rawFile(folder: string, owner: Owner, engines: DiskEngines): RawFile {
  const directory = mkdtempSync(join(folder, 'colo-vmm-bench-'));
  owner.defer(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'disk');
  writeFileSync(path, Buffer.alloc(diskBytes, 1));
  return RawFile.open(path, {}, engines);
}

/** Finishes every request when it is started, and does nothing. */
class NullBackend implements BlockBackend {
  readonly sizeBytes = diskBytes;
  readonly readOnly = false;
  readonly physicalBlockBytes = blockBytes;
  readonly discardBytes = blockBytes;
  readonly #submitted: BlockRequest[] = [];

  read(request: BlockRequest): void {
    this.#submitted.push(request);
  }
  write(request: BlockRequest): void {
    this.#submitted.push(request);
  }
  flush(request: BlockRequest): void {
    this.#submitted.push(request);
  }
  discard(request: BlockRequest): void {
    this.#submitted.push(request);
  }
  writeZeroes(request: BlockRequest): void {
    this.#submitted.push(request);
  }
  start(): void {
    for (let next = this.#submitted.pop(); next !== undefined; next = this.#submitted.pop()) next.finished(0);
  }
  close(): void {}
}

/**
 * A driver whose requests lie ready in memory: number n has descriptors 3n (header), 3n + 1 (data), 3n + 2 (status).
 *
 *     0x1000 descriptors   0x3000 avail   0x4000 used   0x5000 headers and statuses, 32 bytes each   data
 */
class NativeRig {
  readonly #owner = new Owner();
  readonly #memory: GuestMemory;
  readonly #device: BlockDevice;
  readonly #engines: DiskEngines;
  readonly #epoll: Epoll;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedEntries: Uint32Array;
  readonly #headers: Uint32Array;
  readonly #statuses: Uint8Array;
  readonly #reap = () => this.#engines.reap();
  #availIndex = 0;
  #usedIndex = 0;

  readonly #data: Gpa;

  constructor(backend: BlockBackend, engines: DiskEngines, data: Gpa) {
    this.#data = data;
    this.#engines = engines;
    const ram = this.#owner.own(new Ram(5 * GiB, 'private'));
    this.#memory = ram.memory;
    const { config } = blockShape(backend);
    this.#device = this.#owner.own(
      new BlockDevice({
        backend,
        memory: ram.memory,
        host: {
          interruptQueue: () => {},
          interruptConfig: () => {},
          fail: (reason) => {
            throw new Error(reason);
          },
        },
        config: config.slice(),
        events: {
          onError: (operation, errno) => {
            throw new Error(`${operation}: errno ${errno}`);
          },
          onStop: (errno) => {
            throw new Error(`stop: errno ${errno}`);
          },
        },
      }),
    );
    engines.listen(this.#device);
    this.#epoll = this.#owner.own(new Epoll());
    this.#epoll.add(engines.completions.fd, EPOLLIN | EPOLLET, 0);
    const setup = { size: queueSize, descriptors: gpa(0x1000), driver: gpa(0x3000), device: gpa(0x4000) };
    const bytes = (address: Gpa, length: number) => ram.memory.writableSlice(address, length);
    const words16 = (address: Gpa, count: number) => {
      const { buffer, byteOffset } = bytes(address, 2 * count);
      return new Uint16Array(buffer, byteOffset, count);
    };
    const words32 = (address: Gpa, count: number) => {
      const { buffer, byteOffset } = bytes(address, 4 * count);
      return new Uint32Array(buffer, byteOffset, count);
    };
    this.#avail = words16(setup.driver, 3 + queueSize);
    this.#used = words16(setup.device, 3 + 4 * queueSize);
    this.#usedEntries = words32(setup.device, 1 + 2 * queueSize);
    this.#headers = words32(gpa(0x5000), 8 * 64);
    this.#statuses = bytes(gpa(0x5000), 32 * 64);
    this.#device.activate(
      [new Virtqueue(ram.memory, setup, { indirect: true, eventIndex: true })],
      blockShape(backend).features,
    );
  }

  /** A round: requests per second, and bytes of heap for each. */
  run(write: boolean, depth: number): { perSecond: number; bytes: number } {
    const [NEXT, WRITE] = [1, 2];
    const descriptor = (index: number, address: number, length: number, flags: number, next: number) => {
      const at = 0x1000 + 16 * index;
      this.#memory.writeU64(gpa(at), BigInt(address));
      this.#memory.writeU32(gpa(at + 8), length);
      this.#memory.writeU16(gpa(at + 12), flags);
      this.#memory.writeU16(gpa(at + 14), next);
    };
    for (let slot = 0; slot < depth; slot++) {
      descriptor(3 * slot, 0x5000 + 32 * slot, 16, NEXT, 3 * slot + 1);
      descriptor(3 * slot + 1, this.#data + slot * blockBytes, blockBytes, write ? NEXT : NEXT | WRITE, 3 * slot + 2);
      descriptor(3 * slot + 2, 0x5000 + 32 * slot + 16, 1, WRITE, 0);
      this.#headers[8 * slot] = write ? blockRequestType.out : blockRequestType.in;
    }
    collectGarbage();
    const heap = process.memoryUsage().heapUsed;
    const start = performance.now();
    this.#drive(depth);
    const elapsedMs = performance.now() - start;
    const bytes = (process.memoryUsage().heapUsed - heap) / requestsOfRound;
    return { perSecond: (requestsOfRound / elapsedMs) * 1000, bytes };
  }

  /** Keeps `depth` requests in the ring. */
  #drive(depth: number): void {
    let submitted = 0;
    let finished = 0;
    for (let slot = 0; slot < depth; slot++) {
      this.#offer(slot, submitted);
      submitted++;
    }
    this.#show();
    for (;;) {
      this.#device.kicked(0);
      while (this.#usedIndex === this.#used[1]) this.#epoll.wait(-1, this.#reap);
      while (this.#usedIndex !== this.#used[1]) {
        const head = this.#usedEntries[1 + 2 * (this.#usedIndex % queueSize)] as number;
        this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
        const slot = head / 3;
        if (this.#statuses[32 * slot + 16] !== blockStatus.ok) throw new Error('a request failed');
        finished++;
        if (submitted < requestsOfRound) {
          this.#offer(slot, submitted);
          submitted++;
        }
      }
      if (finished === requestsOfRound) return;
      this.#show();
    }
  }

  #offer(slot: number, number: number): void {
    const block = (Math.imul(number, 0x9e37_79b1) >>> 0) % (diskBytes / blockBytes);
    this.#headers[8 * slot + 2] = block * (blockBytes / 512);
    this.#avail[2 + (this.#availIndex % queueSize)] = 3 * slot;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  #show(): void {
    this.#avail[1] = this.#availIndex;
  }

  close(): void {
    this.#owner.close();
  }
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
