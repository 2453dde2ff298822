import { randomUUID } from 'node:crypto';
import { closeSync, fsync, ftruncateSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Closable } from '../../host/ownership.ts';
import { pageSize } from '../../memory/address.ts';
import type { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../memory/dirty-tracker.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DiskConfig } from '../device-config.ts';
import type { RunState } from '../run-state.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import { RamWriter } from './ram-writer.ts';
import { SnapshotError } from './snapshot-error.ts';
import { encodePrelude, ramOffset } from './snapshot-format.ts';
import { encodeTail, type SnapshotBase, type SnapshotConfig } from './snapshot-tail.ts';

const sync = promisify(fsync);

/** The part of a machine that snapshots are taken of. */
export interface SnapshotMachine {
  readonly state: RunState;
  readonly ram: { readonly memory: GuestMemory };
  trackDirtyPages(): DirtyTracker;
  whileStill<T>(body: () => T): T;
  save(): MachineState;
  pause(): void;
  resume(): void;
  stop(by: string, exitCode: number): void;
}

export interface SnapshotOptions {
  /**
   * Hold only what changed since the last snapshot, if that was taken with this option as well; else all, and from then on
   * changes are kept track of.
   */
  readonly incremental?: boolean;
  /** Let the machine stand still from now on, and end it when the snapshot is there. */
  readonly stop?: boolean;
}

/** What became of a snapshot. */
export interface SnapshotReport {
  readonly path: string;
  /** The snapshot that it holds the changes since; null if it holds all. */
  readonly base: string | null;
  /** Bytes of RAM in the file. */
  readonly ramBytes: number;
  /** How long the guest stood still. */
  readonly pauseMs: number;
}

/** While more pages than this change during a pass, another pass is made before the guest is stopped. */
const fewPages = 1024;
const mostPasses = 4;

/**
 * Takes snapshots of a machine while it runs: RAM is written first, then, while the guest stands still for a moment, what
 * changed meanwhile, and the state. The file gets its name when all of it is on the disk; until then nobody sees it.
 */
export class Snapshotter implements Closable {
  readonly #machine: SnapshotMachine;
  readonly #config: SnapshotConfig;
  #busy = false;
  /** Where the chain of incremental snapshots stands; undefined while nobody has asked for one. */
  #chain: Chain | undefined;

  constructor(machine: SnapshotMachine, config: SnapshotConfig) {
    this.#machine = machine;
    this.#config = config;
  }

  /**
   * Writes a snapshot to `path`, in place of what is there. The machine goes on as it was, whatever happens.
   *
   * @throws SnapshotError, and there is no new file
   */
  async take(path: string, { incremental = false, stop = false }: SnapshotOptions = {}): Promise<SnapshotReport> {
    if (this.#busy) throw new SnapshotError('another snapshot is being taken; wait until it is done');
    if (!stop) return this.#take(path, incremental);
    const wasRunning = this.#machine.state === 'running';
    if (wasRunning) this.#machine.pause();
    try {
      const report = await this.#take(path, incremental);
      this.#machine.stop('a snapshot', 0);
      return report;
    } catch (error) {
      // It may have ended meanwhile, or somebody may have let it go on.
      const now: RunState = this.#machine.state;
      if (wasRunning && now === 'paused') this.#machine.resume();
      throw error;
    }
  }

  close(): void {
    this.#chain?.close();
    this.#chain = undefined;
  }

  async #take(path: string, incremental: boolean): Promise<SnapshotReport> {
    this.#busy = true;
    const target = resolve(path);
    const partial = `${target}.${process.pid}.part`;
    const chain = this.#chain ?? new Chain(this.#machine);
    try {
      const fd = openSync(partial, 'wx', 0o600);
      try {
        const { id, report } = await this.#write(fd, target, chain, incremental ? chain.base : undefined);
        await sync(fd);
        renameSync(partial, target);
        await syncFolder(dirname(target));
        if (incremental) {
          chain.wasWritten({ id, path: target });
          this.#chain = chain;
        }
        return report;
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      rmSync(partial, { force: true });
      throw error instanceof SnapshotError ? error : new SnapshotError(`${path}: ${explain(error)}`, { cause: error });
    } finally {
      if (chain !== this.#chain) chain.close();
      this.#busy = false;
    }
  }

  async #write(
    fd: number,
    target: string,
    chain: Chain,
    base: SnapshotBase | undefined,
  ): Promise<{ id: string; report: SnapshotReport }> {
    const { memory } = this.#machine.ram;
    const ramBytes = memory.sizeBytes;
    ftruncateSync(fd, ramOffset + ramBytes);
    const writer = new RamWriter(memory, fd, ramOffset);
    let dirty = chain.first(base === undefined);
    for (let pass = 1; pass <= mostPasses; pass++) {
      for (const _ of writer.write(dirty)) await setImmediate();
      if (this.#machine.state === 'ended') throw new SnapshotError('the machine ended while the snapshot was taken');
      dirty = chain.next();
      if (count(dirty) <= fewPages) break;
    }
    const started = performance.now();
    const state = this.#machine.whileStill(() => {
      unite(dirty, chain.next());
      for (const _ of writer.write(dirty));
      return { machine: this.#machine.save(), diskTimes: this.#config.disk.map(lastWritten) };
    });
    const pauseMs = performance.now() - started;
    const id = randomUUID();
    const tail = encodeTail({
      version: 1,
      id,
      base: base === undefined ? null : { id: base.id, path: relative(dirname(target), base.path) },
      takenAt: Date.now(),
      config: this.#config,
      diskTimes: state.diskTimes,
      state: state.machine,
      checksums: new Uint8Array(writer.checksums.buffer),
      pages: base === undefined ? null : new Uint8Array(writer.held.words.slice().buffer),
    });
    writeFully(fd, tail, ramOffset + ramBytes);
    // Last: with a first page the file is one.
    writeFully(fd, encodePrelude(ramBytes, ramOffset + ramBytes, tail), 0);
    return { id, report: { path: target, base: base?.path ?? null, ramBytes: writer.writtenBytes, pauseMs } };
  }
}

/** What changed since the last snapshot of a chain, whatever became of attempts to take another one. */
class Chain {
  /** The last snapshot. */
  base: SnapshotBase | undefined;
  readonly #tracker: DirtyTracker;
  readonly #memory: GuestMemory;
  /** Changes that no snapshot has, besides those that the tracker has not been asked for yet. */
  #pending: DirtyBitmap[];

  constructor(machine: SnapshotMachine) {
    this.#memory = machine.ram.memory;
    this.#tracker = machine.trackDirtyPages();
    this.#pending = this.#tracker.emptyBitmaps();
  }

  /** The pages to write first: all, or those that changed. */
  first(all: boolean): DirtyBitmap[] {
    this.next();
    const pages = this.#tracker.emptyBitmaps();
    if (!all) unite(pages, this.#pending);
    else for (const [index, { sizeBytes }] of this.#memory.regions.entries()) pages[index]?.markBytes(0, sizeBytes);
    return pages;
  }

  /** What changed since this was last called. */
  next(): DirtyBitmap[] {
    const dirty = this.#tracker.emptyBitmaps();
    this.#tracker.collect(dirty);
    unite(this.#pending, dirty);
    return dirty;
  }

  /** A snapshot has it all. What changed since the machine went on is with the tracker. */
  wasWritten(snapshot: SnapshotBase): void {
    this.base = snapshot;
    this.#pending = this.#tracker.emptyBitmaps();
  }

  close(): void {
    this.#tracker.close();
  }
}

function lastWritten({ path, overlay }: DiskConfig): number {
  return statSync(overlay ?? path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function unite(target: readonly DirtyBitmap[], source: readonly DirtyBitmap[]): void {
  target.forEach((bitmap, index) => {
    source[index]?.forEachRun((page, pages) => bitmap.markBytes(page * pageSize, pages * pageSize));
  });
}

function count(dirty: readonly DirtyBitmap[]): number {
  return dirty.reduce((sum, bitmap) => sum + bitmap.count, 0);
}

function writeFully(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

/** A new name is on the disk when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    await sync(fd);
  } finally {
    closeSync(fd);
  }
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'there is no room for a snapshot; the machine goes on. Make room, or give another path';
    case 'ENOENT':
      return 'there is no such folder; make it, or give another path';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'no permission to write there; give another path';
    case 'EEXIST':
      return 'a snapshot is being written there; wait, or give another path';
    case 'EISDIR':
      return 'is a folder; give the path of a file';
    case 'EFBIG':
      return 'the file would be longer than files may be there; give another path';
    default:
      return message;
  }
}
