import { DiskError } from '../../block/disk-error.ts';
import { changedBlockBytes } from '../../block/replicated/changed-blocks.ts';
import { loggedBytes } from '../../block/replicated/disk-ring.ts';
import { errnoName } from '../../host/errno.ts';
import { Owner } from '../../host/ownership.ts';
import { comparedBlockBytes, type DiskHashes, hashBytes, mostComparedBytes } from '../protocol/messages.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { blockCount, blockOf, isBlock } from './block-hashes.ts';
import { DiskBuffer } from './disk-buffer.ts';
import type { OpenDisk } from './disk-view.ts';
import type { Difference } from './history/difference.ts';
import { Owed, type WaitingPort } from './owed.ts';
import { type DiskRange, type SyncOutcome, SyncPlan, type SyncProgress } from './sync-plan.ts';
import type { SyncRaces } from './sync-races.ts';

/** Ranges that are read or sent at a time. */
const readers = 2;
/**
 * Ranges that are asked for at a time. An answer comes once S has laid down all of its log, and to a guest that writes more than S's disk
 * takes it is full: of 64 MiB, two ranges for each log would take a copy 32 times as long as the same bytes of the guest's.
 */
const lanes = 32;
const roomForBlock = 'room for a block, on the disk stream or in its disk log,';
/** Pieces of a block that may differ, with others between them. */
const mostPieces = comparedBlockBytes / changedBlockBytes / 2;

/** How the first copy reaches S, and what it has to wait for. */
export interface SyncPort extends WaitingPort {
  readonly disks: readonly OpenDisk[];
  /** What is to be made equal. */
  readonly difference: Difference;
  readonly races: SyncRaces;
  /** There is room on the way. */
  readonly mayAsk: boolean;
  /**
   * There is room on the way and in S's log for a block of so many bytes there; `holds`: the guest is held for it. Throws once it is
   * over what {@link WaitingPort.moved} rejects with: a read may end after that.
   */
  maySend(bytes: number, holds: boolean): boolean;
  /** A block begins to wait for that, or ceases to: what is sent next is sent at once. */
  waitsForRoom(waits: boolean): void;
  now(): number;
  ask(range: DiskRange): void;
  /** Sends a block as it is now, a change of the open epoch like any other. */
  send(disk: number, offset: number, block: Uint8Array): void;
  /** From now on no change of the guest's is sent, until {@link release}. They wait in the ring. */
  hold(): void;
  release(): void;
  /** Work on this thread begins, or goes on when something was waited for: see GuestFirst. */
  begin(): void;
  /** A piece of it is over: resolves when the next one may begin. Rejects as {@link WaitingPort.moved}. */
  next(): Promise<void>;
}

/**
 * Makes S's disks equal to P's while P's guest runs (design: disks), where they may differ: a range at a time S is asked for hashes,
 * and of blocks that differ is sent what may. Where that is little, nobody is asked.
 *
 * Hashes that are equal settle a block, whatever is under way: all that the guest changes in it meanwhile reaches S after the
 * question, and both disks in the same order. One that differs is sent as it was read, if it may be (see SyncRaces). If
 * not, changes of the guest are held for as long as it is read once more and sent: so one that the guest never leaves alone
 * is sent too.
 */
export class Synchronisation {
  readonly #port: SyncPort;
  readonly #plan: SyncPlan;
  readonly #owed: Owed;
  /** Questions by what they ask for. */
  readonly #questions = new Map<string, (hashes: Uint8Array) => void>();
  #hasFailed = false;

  constructor(port: SyncPort) {
    this.#port = port;
    this.#owed = new Owed(port);
    this.#plan = new SyncPlan(port.difference, port.now());
  }

  progress(): SyncProgress {
    return this.#plan.progress(this.#port.now());
  }

  /** Once it is over. */
  get outcome(): SyncOutcome {
    const now = this.#port.now();
    const { totalBytes, comparedBytes, sentBytes } = this.#plan.progress(now);
    return { totalBytes, comparedBytes, sentBytes, seconds: this.#plan.seconds(now) };
  }

  /** @throws DiskError if a disk cannot be read, or is only read and differs; what `moved` rejects with */
  async run(): Promise<void> {
    const owner = new Owner();
    try {
      const largest = Math.max(comparedBlockBytes, ...this.#port.disks.map(({ backend }) => backend.sizeBytes));
      const bytes = Math.min(mostComparedBytes, largest);
      const buffers = new BufferPool(Array.from({ length: readers }, () => owner.own(new DiskBuffer(bytes))));
      // All of them, also when one has failed, and the others end their ranges: buffers must not go while something is read into them.
      const ends = await Promise.allSettled(Array.from({ length: lanes }, () => this.#lane(buffers)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    } finally {
      owner.close();
    }
  }

  /** The peer did something, if not yet what is waited for. */
  peerMoved(): void {
    this.#owed.peerMoved();
  }

  /** @throws ProtocolError if nobody asked for that */
  answered({ disk, offset, data }: DiskHashes): void {
    const name = `${disk}:${offset}`;
    const answer = this.#questions.get(name);
    if (answer === undefined) {
      throw new ProtocolError('out-of-order', `the peer sent disk-hashes of disk ${disk} that nobody asked for`);
    }
    this.#questions.delete(name);
    answer(data);
  }

  async #lane(buffers: BufferPool): Promise<void> {
    while (!this.#hasFailed) {
      const range = this.#plan.next();
      if (range === undefined) return;
      try {
        await this.#makeEqual(range, buffers);
      } catch (error) {
        this.#hasFailed = true;
        throw error;
      }
      this.#plan.settled(range);
    }
  }

  /** Makes that range equal. */
  async #makeEqual(range: DiskRange, buffers: BufferPool): Promise<void> {
    // What cannot be sent is to be found equal, however little of it may differ.
    const { readOnly } = (this.#port.disks[range.disk] as OpenDisk).backend;
    const hashes = range.compares || readOnly ? await this.#ask(range) : undefined;
    const buffer = await buffers.take();
    try {
      await this.#settle(range, hashes, buffer);
    } finally {
      buffers.give(buffer);
    }
  }

  async #ask(range: DiskRange): Promise<Uint8Array> {
    const port = this.#port;
    await this.#owed.until('room on the disk stream', () => port.mayAsk);
    let hashes: Uint8Array | undefined;
    this.#questions.set(`${range.disk}:${range.offset}`, (data) => {
      hashes = data;
    });
    port.ask(range);
    await this.#owed.until('disk-hashes', () => hashes !== undefined);
    const { length } = hashes as unknown as Uint8Array;
    if (length !== blockCount(range.lengthBytes) * hashBytes) {
      throw new ProtocolError(
        'invalid-message',
        `the peer sent ${length} bytes of hashes of ${range.lengthBytes} bytes`,
      );
    }
    return hashes as unknown as Uint8Array;
  }

  async #settle(range: DiskRange, theirs: Uint8Array | undefined, buffer: DiskBuffer): Promise<void> {
    const port = this.#port;
    const { disk, offset, lengthBytes } = range;
    const again: number[] = [];
    const read = port.races.begin(disk, offset, lengthBytes);
    try {
      const bytes = await this.#read(range, buffer);
      port.begin();
      for (let index = 0; index < blockCount(lengthBytes); index++, await port.next()) {
        const block = blockOf(bytes, index);
        if (theirs !== undefined && isBlock(block, theirs, index)) continue;
        this.#mustBeWritable(disk);
        await this.#whenThereIsRoom(block.length, false, () => {
          if (read.maySend(index)) this.#send(disk, offset + index * comparedBlockBytes, block);
          else again.push(index);
        });
      }
    } finally {
      port.races.end(read);
    }
    for (const index of again) await this.#sendHeld(range, index, buffer);
  }

  async #sendHeld({ disk, offset, lengthBytes }: DiskRange, index: number, buffer: DiskBuffer): Promise<void> {
    const port = this.#port;
    const first = index * comparedBlockBytes;
    const block = {
      disk,
      offset: offset + first,
      lengthBytes: Math.min(comparedBlockBytes, lengthBytes - first),
    };
    // The guest waits for no more than this block is laid down in.
    await this.#whenThereIsRoom(block.lengthBytes, false, () => port.hold());
    try {
      while (port.races.isPending(disk, block.offset, block.lengthBytes)) await port.moved();
      const bytes = await this.#read(block, buffer);
      await this.#whenThereIsRoom(block.lengthBytes, true, () => this.#send(disk, block.offset, bytes));
    } finally {
      port.release();
    }
  }

  /** Rejects as {@link WaitingPort.moved}. @param send of so many bytes of a block, and what else is done at once */
  async #whenThereIsRoom(blockBytes: number, holds: boolean, send: () => void): Promise<void> {
    const port = this.#port;
    const bytes = blockBytes + mostPieces * loggedBytes(0);
    const maySend = (): boolean => port.maySend(bytes, holds);
    if (maySend()) {
      send();
      return;
    }
    port.waitsForRoom(true);
    try {
      // Another range may have been quicker.
      do await this.#owed.until(roomForBlock, maySend);
      while (!maySend());
      port.begin();
      send();
    } finally {
      port.waitsForRoom(false);
    }
  }

  /** Of a block, what may differ. */
  #send(disk: number, offset: number, block: Uint8Array): void {
    let bits = this.#port.difference.unsettledIn(disk, offset / comparedBlockBytes);
    for (let at = 0; bits !== 0; ) {
      const skip = Math.clz32(bits & -bits) ^ 31;
      const run = Math.clz32(~(bits >>> skip) & -~(bits >>> skip)) ^ 31;
      at += skip;
      const part = block.subarray(at * changedBlockBytes, (at + run) * changedBlockBytes);
      this.#port.send(disk, offset + at * changedBlockBytes, part);
      this.#plan.sent(part.length);
      at += run;
      bits >>>= skip + run;
    }
  }

  async #read({ disk, offset, lengthBytes }: Omit<DiskRange, 'compares'>, buffer: DiskBuffer): Promise<Uint8Array> {
    const { id, path, backend } = this.#port.disks[disk] as OpenDisk;
    const result = await buffer.read(backend, offset, lengthBytes);
    if (result < 0) throw new DiskError(`disk ${id}, ${path}, cannot be read: ${errnoName(-result)}`);
    return buffer.bytes.subarray(0, lengthBytes);
  }

  #mustBeWritable(disk: number): void {
    const { id, path, backend } = this.#port.disks[disk] as OpenDisk;
    if (!backend.readOnly) return;
    throw new DiskError(
      `disk ${id} is only read and has other bytes there: copy ${path} to the standby, and protect again`,
    );
  }
}

/** Buffers of ranges, which come in the order in which they are answered. */
class BufferPool {
  readonly #idle: DiskBuffer[];
  readonly #waiters: ((buffer: DiskBuffer) => void)[] = [];

  constructor(buffers: DiskBuffer[]) {
    this.#idle = buffers;
  }

  async take(): Promise<DiskBuffer> {
    return this.#idle.pop() ?? (await new Promise((resolve) => this.#waiters.push(resolve)));
  }

  give(buffer: DiskBuffer): void {
    const next = this.#waiters.shift();
    if (next === undefined) this.#idle.push(buffer);
    else next(buffer);
  }
}
