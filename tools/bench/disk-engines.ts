import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WatchedEngine } from '../../src/block/disk-engine.ts';
import { PlainEngine } from '../../src/block/plain-engine.ts';
import { UringEngine } from '../../src/block/uring-engine.ts';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/events/epoll.ts';
import type { Fd } from '../../src/host/libc/descriptors.ts';
import { type IoVector, IoVectors } from '../../src/host/mappings/io-vector.ts';
import { AnonymousMapping } from '../../src/host/mappings/mapping.ts';
import { Owner } from '../../src/host/ownership.ts';
import { median, rounded } from './statistics.ts';

interface Row {
  readonly where: string;
  readonly work: string;
  readonly plain_us: number;
  readonly uring_us: number;
  /** io_uring to plain calls: below 1 is for io_uring. */
  readonly ratio: number;
}

export interface DiskEnginesResult {
  readonly bench: 'disk-engines';
  readonly rows: readonly Row[];
  readonly rounds: number;
}

interface Work {
  readonly name: string;
  readonly bytes: number;
  readonly depth: number;
  readonly count: number;
  readonly write: boolean;
  readonly random: boolean;
  /** fdatasync after each write. */
  readonly sync?: boolean;
}

const fileBytes = 64 * 1024 * 1024;
const blockBytes = 4096;
const works: readonly Work[] = [
  { name: '4k random read, depth 1', bytes: blockBytes, depth: 1, count: 20_000, write: false, random: true },
  { name: '4k random read, depth 32', bytes: blockBytes, depth: 32, count: 40_000, write: false, random: true },
  { name: '4k random write, depth 1', bytes: blockBytes, depth: 1, count: 10_000, write: true, random: true },
  { name: '4k random write, depth 32', bytes: blockBytes, depth: 32, count: 20_000, write: true, random: true },
  { name: '1M sequential read', bytes: 1 << 20, depth: 4, count: 256, write: false, random: false },
  { name: '1M sequential write', bytes: 1 << 20, depth: 4, count: 256, write: true, random: false },
  { name: '4k write and fdatasync', bytes: blockBytes, depth: 1, count: 100, write: true, random: true, sync: true },
];

const places: readonly { name: string; folder: string; direct: boolean }[] = [
  { name: 'disk, page cache', folder: '/var/tmp', direct: false },
  { name: 'disk, direct', folder: '/var/tmp', direct: true },
  { name: 'tmpfs', folder: '/dev/shm', direct: false },
];

/** Ways to make system calls on files, beside each other, for one thread that waits as the io thread does. */
export function benchDiskEngines(rounds: number, progress: (line: string) => void): DiskEnginesResult {
  const rows: Row[] = [];
  for (const { name: where, folder, direct } of places) {
    const directory = mkdtempSync(join(folder, 'colo-vmm-bench-'));
    const owner = new Owner();
    try {
      const path = join(directory, 'file');
      writeFileSync(path, Buffer.alloc(fileBytes, 1));
      const fd = openSync(path, constants.O_RDWR | (direct ? constants.O_DIRECT : 0)) as Fd;
      owner.defer(() => closeSync(fd));
      const plain = new Runner(owner.own(new PlainEngine()), fd, owner);
      const uring = new Runner(owner.own(new UringEngine()), fd, owner);
      for (const work of works) {
        const figures: { plain: number; uring: number }[] = [];
        // One round more, to warm up.
        for (let round = 0; round <= rounds; round++) {
          const figure = { plain: plain.microseconds(work), uring: uring.microseconds(work) };
          if (round > 0) figures.push(figure);
        }
        const row = {
          where,
          work: work.name,
          plain_us: rounded(median(figures.map((figure) => figure.plain)), 2),
          uring_us: rounded(median(figures.map((figure) => figure.uring)), 2),
          ratio: rounded(median(figures.map((figure) => figure.uring / figure.plain)), 2),
        };
        progress(`${where}, ${work.name}: plain ${row.plain_us} us, io_uring ${row.uring_us} us, ratio ${row.ratio}`);
        rows.push(row);
      }
    } finally {
      owner.close();
      rmSync(directory, { recursive: true });
    }
  }
  return { bench: 'disk-engines', rows, rounds };
}

class Runner {
  readonly engine: WatchedEngine;
  readonly fd: Fd;
  readonly #epoll: Epoll;
  readonly #lanes: readonly Lane[];

  constructor(engine: WatchedEngine, fd: Fd, owner: Owner) {
    this.engine = engine;
    this.fd = fd;
    this.#epoll = owner.own(new Epoll());
    this.#epoll.add(engine.completions.fd, EPOLLIN | EPOLLET, 0);
    const memory = owner.own(new AnonymousMapping('bench', 32 << 20));
    const { vectors } = owner.own(new IoVectors(32, 1));
    this.#lanes = vectors.map((data, index) => new Lane(this, data, memory.address + (index << 20)));
  }

  /** Microseconds of one call of `work`. */
  microseconds(work: Work): number {
    const start = performance.now();
    for (const lane of this.#lanes.slice(0, work.depth)) lane.begin(work);
    this.engine.start();
    while (this.engine.inFlight > 0) this.#epoll.wait(-1, () => this.engine.reap());
    return ((performance.now() - start) * 1000) / work.count;
  }
}

/** One of `depth` requests that are always on their way. */
class Lane {
  readonly #runner: Runner;
  readonly #data: IoVector;
  readonly #address: number;
  #work: Work = works[0] as Work;
  #left = 0;
  #position = 0;
  #syncing = false;

  constructor(runner: Runner, data: IoVector, address: number) {
    this.#runner = runner;
    this.#data = data;
    this.#address = address;
  }

  begin(work: Work): void {
    this.#work = work;
    this.#left = Math.ceil(work.count / work.depth);
    this.#syncing = false;
    this.#submit();
  }

  finished(result: number): void {
    if (result !== (this.#syncing ? 0 : this.#work.bytes)) throw new Error(`${this.#work.name}: ${result}`);
    if (this.#work.sync && !this.#syncing) {
      this.#syncing = true;
      this.#runner.engine.sync(this.#runner.fd, this);
      return;
    }
    this.#syncing = false;
    if (--this.#left > 0) this.#submit();
  }

  #submit(): void {
    const { bytes, random, write } = this.#work;
    const places = fileBytes / bytes;
    this.#position = random ? Math.floor(Math.random() * places) : (this.#position + 1) % places;
    this.#data.clear();
    this.#data.add(this.#address, bytes);
    this.#data.offset = this.#position * bytes;
    if (write) this.#runner.engine.write(this.#runner.fd, this.#data, this);
    else this.#runner.engine.read(this.#runner.fd, this.#data, this);
  }
}
