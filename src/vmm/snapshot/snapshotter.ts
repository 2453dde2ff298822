import { randomUUID } from 'node:crypto';
import { fsync, ftruncateSync, statSync, writeSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { MiB } from '../../memory/address.ts';
import type { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DiskConfig } from '../config/device-config.ts';
import type { RunState } from '../machine/run-state.ts';
import { snapshotStop } from '../vcpu/guest-end.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import { PartialFile } from './partial-file.ts';
import { RamWriter } from './ram-writer.ts';
import { type PageTracker, SnapshotChain } from './snapshot-chain.ts';
import { SnapshotError } from './snapshot-error.ts';
import { encodePrelude, ramOffset } from './snapshot-format.ts';
import { encodeTail, type SnapshotBase, type SnapshotConfig } from './snapshot-tail.ts';

const sync = promisify(fsync);

/** The part of a machine that snapshots are taken of. */
export interface SnapshotMachine {
  readonly state: RunState;
  /** How often it was resumed, by whomever. */
  readonly timesResumed: number;
  readonly ram: { readonly memory: GuestMemory };
  trackDirtyPages(): PageTracker;
  whilePaused<T>(body: () => T): T;
  save(): MachineState;
  pause(): void;
  /** Brings the files of disks to where the guest was told they are, if it is paused. */
  settleDisks(): void;
  resume(): void;
  stop(by: string, exitCode: number): void;
}

export interface SnapshotOptions {
  /**
   * Hold only what changed since the last snapshot, if that was taken with this option as well; else all, and from then on
   * changes are kept track of.
   */
  readonly incremental?: boolean;
  /** Pause the machine from now on, and end it when the snapshot is there. */
  readonly stop?: boolean;
}

/** What became of a snapshot. */
export interface SnapshotReport {
  readonly path: string;
  /** The snapshot that it holds the changes since; null if it holds all. */
  readonly base: string | null;
  /** Bytes of RAM in the file. */
  readonly ramBytes: number;
  /** How long the guest was paused. */
  readonly pauseMs: number;
}

/** While more pages than this change during a pass, another pass is made before the guest is stopped. */
const fewPages = 1024;
const mostPasses = 4;
/**
 * After so many bytes they are waited for to be on the disk. So the last wait is short, and with it the time that the VMM
 * takes to end: it cannot leave while the kernel works for one of its threads.
 */
const bytesToSync = 16 * MiB;

/**
 * Takes snapshots of a machine while it runs: RAM is written first, then, while the guest is paused for a moment, what
 * changed meanwhile, and the state. The file gets its name when all of it is on the disk; until then nobody sees it.
 */
export class Snapshotter {
  readonly #machine: SnapshotMachine;
  readonly #config: SnapshotConfig;
  /** Settles with the snapshot that is being taken. */
  #current: Promise<SnapshotReport> | undefined;
  /** Where the chain of incremental snapshots stands; undefined while nobody has asked for one. */
  #chain: SnapshotChain | undefined;
  #closed = false;

  constructor(machine: SnapshotMachine, config: SnapshotConfig) {
    this.#machine = machine;
    this.#config = config;
  }

  /**
   * Writes a snapshot to `path`, in place of one that is there. Unless it is told to stop, the machine goes on as it was,
   * whatever happens.
   *
   * @throws SnapshotError, and there is no new file
   */
  async take(path: string, { incremental = false, stop = false }: SnapshotOptions = {}): Promise<SnapshotReport> {
    if (this.#current !== undefined) {
      throw new SnapshotError(`${path}: another snapshot of this machine is being taken; wait until it is there`);
    }
    this.#current = stop ? this.#takeAndStop(path, incremental) : this.#take(path, { incremental, stop });
    try {
      return await this.#current;
    } finally {
      this.#current = undefined;
    }
  }

  /** Gives up a snapshot that is being taken. It uses the machine until this resolves. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#current?.catch(() => {});
    this.#chain?.close();
    this.#chain = undefined;
  }

  async #takeAndStop(path: string, incremental: boolean): Promise<SnapshotReport> {
    const wasRunning = this.#machine.state === 'running';
    try {
      if (wasRunning) this.#machine.pause();
      return await this.#take(path, { incremental, stop: true });
    } catch (error) {
      // It may have ended meanwhile, or somebody may have let it go on.
      const now: RunState = this.#machine.state;
      if (wasRunning && now === 'paused') this.#machine.resume();
      throw asSnapshotError(path, error);
    }
  }

  async #take(path: string, { incremental, stop }: Required<SnapshotOptions>): Promise<SnapshotReport> {
    let chain = this.#chain;
    let partial: PartialFile | undefined;
    try {
      this.#requireMachine();
      // Of a machine that runs on nobody can copy the disks at this moment.
      this.#machine.settleDisks();
      partial = new PartialFile(path);
      chain ??= new SnapshotChain(this.#machine);
      const { target } = partial;
      const base = incremental ? chain.base : undefined;
      if (chain.holds(target)) {
        throw new SnapshotError(
          `${path}: the next incremental snapshots of this machine need the one that is there; give another path`,
        );
      }
      const { id, report, timesResumed } = await this.#write(partial, chain, base);
      await sync(partial.fd);
      this.#requireMachine();
      // Also if it is paused again by now: what it did in between is not in the file.
      if (stop && (this.#machine.state !== 'paused' || this.#machine.timesResumed !== timesResumed)) {
        throw new SnapshotError(`${path}: the machine was resumed while its snapshot was taken, and was not ended`);
      }
      // All at once from here: what the machine did in between would be lost.
      partial.rename();
      if (incremental) {
        chain.wasWritten({ id, path: target }, base);
        this.#chain = chain;
      }
      if (stop) this.#machine.stop(snapshotStop, 0);
      return report;
    } catch (error) {
      throw asSnapshotError(path, error);
    } finally {
      partial?.close();
      if (chain !== this.#chain) chain?.close();
    }
  }

  async #write(
    { fd, target }: PartialFile,
    chain: SnapshotChain,
    base: SnapshotBase | undefined,
  ): Promise<{ id: string; report: SnapshotReport; timesResumed: number }> {
    const { memory } = this.#machine.ram;
    const ramBytes = memory.sizeBytes;
    ftruncateSync(fd, ramOffset + ramBytes);
    const writer = new RamWriter(memory, fd, ramOffset);
    let dirty = chain.first(base === undefined);
    for (let pass = 1; pass <= mostPasses; pass++) {
      let unsynced = 0;
      for (const written of writer.write(dirty)) {
        unsynced += written;
        if (unsynced >= bytesToSync) {
          await sync(fd);
          unsynced = 0;
        }
        await this.#turn();
      }
      dirty = chain.next();
      if (count(dirty) <= fewPages) break;
    }
    const started = performance.now();
    const { state, diskTimes, timesResumed } = this.#machine.whilePaused(() => {
      for (const [index, bitmap] of chain.next().entries()) dirty[index]?.unite(bitmap);
      for (const _ of writer.write(dirty));
      const { timesResumed } = this.#machine;
      return { state: this.#machine.save(), diskTimes: this.#config.disk.map(lastWritten), timesResumed };
    });
    const pauseMs = performance.now() - started;
    const checksums = await this.#checksumsOf(writer);
    const id = randomUUID();
    const tail = encodeTail({
      version: 1,
      id,
      base: base === undefined ? null : { id: base.id, path: relative(dirname(target), base.path) },
      takenAt: Date.now(),
      config: this.#config,
      diskTimes,
      state,
      checksums: new Uint8Array(checksums.buffer),
      pages: base === undefined ? null : new Uint8Array(writer.held.words.slice().buffer),
    });
    writeFully(fd, tail, ramOffset + ramBytes);
    // Last: with a first page the file is one.
    writeFully(fd, encodePrelude(ramBytes, tail), 0);
    const report = { path: target, base: base?.path ?? null, ramBytes: writer.bytesInFile, pauseMs };
    return { id, report, timesResumed };
  }

  async #checksumsOf(writer: RamWriter): Promise<Uint32Array> {
    const steps = writer.checksums();
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      await this.#turn();
    }
  }

  /** Lets other work of this thread have its turn. After it the machine may have ended, and is not to be touched then. */
  async #turn(): Promise<void> {
    await setImmediate();
    this.#requireMachine();
  }

  #requireMachine(): void {
    if (this.#closed || this.#machine.state === 'ended') throw new Error('the machine has ended');
  }
}

function lastWritten({ path, overlay }: DiskConfig): number {
  return statSync(overlay ?? path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function count(dirty: readonly DirtyBitmap[]): number {
  return dirty.reduce((sum, bitmap) => sum + bitmap.count, 0);
}

function writeFully(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

function asSnapshotError(path: string, error: unknown): SnapshotError {
  return error instanceof SnapshotError ? error : new SnapshotError(`${path}: ${explain(error)}`, { cause: error });
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'there is no room for a snapshot; make room, or give another path';
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such folder; make it, or give another path';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'no permission to write there; give another path';
    case 'ENAMETOOLONG':
      return 'the name is too long; give a shorter one';
    case 'EFBIG':
      return 'the file would be longer than files may be there; give another path';
    default:
      return message;
  }
}
