import { DiskError } from '../../block/disk-error.ts';
import { errnoName } from '../../host/errno.ts';
import { Owner } from '../../host/ownership.ts';
import { comparedBlockBytes, type DiskHashes, hashBytes, mostComparedBytes } from '../protocol/messages.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { blockCount, blockOf, hashesOf, sameBlock } from './block-hashes.ts';
import { DiskBuffer } from './disk-buffer.ts';
import type { OpenDisk } from './disk-view.ts';
import { type DiskRange, SyncPlan, type SyncProgress } from './sync-plan.ts';
import type { SyncRaces } from './sync-races.ts';

/** Ranges that are asked for, read or sent at a time. */
const lanes = 2;
const roomForBlock = 'room for a block, on the disk stream or in its disk log,';

/** How the first copy reaches S, and what it has to wait for. */
export interface SyncPort {
  readonly disks: readonly OpenDisk[];
  readonly races: SyncRaces;
  /** Every change of P's guest that is under way is forwarded. */
  readonly isComplete: boolean;
  /** There is room on the way. */
  readonly mayAsk: boolean;
  /** There is room on the way and in S's log. */
  readonly maySend: boolean;
  now(): number;
  /** The peer owes this before the copy can go on, in words; undefined: nothing. */
  owes(what: string | undefined): void;
  /** Resolves when one of these may be otherwise, or a change is done. Rejects once it is over. */
  moved(): Promise<void>;
  ask(range: DiskRange): void;
  /** Sends a block as it is now, a change of the open epoch like any other. */
  send(disk: number, offset: number, block: Uint8Array): void;
  /** From now on no change of the guest's is sent, until {@link release}. They wait in the ring. */
  hold(): void;
  release(): void;
}

/**
 * Makes S's disks equal to P's while P's guest runs (design: disks): a range at a time S is asked for hashes, and blocks that
 * differ are sent.
 *
 * Hashes that are equal settle a block, whatever is under way: all that the guest changes in it meanwhile reaches S after the
 * question, and both disks in the same order. One that differs is sent as it was read, if it may be (see SyncRaces). If
 * not, changes of the guest are held for as long as it is read once more and sent: so one that the guest never leaves alone
 * is sent too.
 */
export class Synchronisation {
  readonly #port: SyncPort;
  readonly #plan: SyncPlan;
  /** What lanes wait for. */
  readonly #owed: string[] = [];
  /** Questions by what they ask for. */
  readonly #questions = new Map<string, (hashes: Uint8Array) => void>();

  constructor(port: SyncPort) {
    this.#port = port;
    this.#plan = new SyncPlan(
      port.disks.map(({ backend }) => backend.sizeBytes),
      port.now(),
    );
  }

  progress(): SyncProgress {
    return this.#plan.progress(this.#port.now());
  }

  /** @throws DiskError if a disk cannot be read, or is only read and differs; what `moved` rejects with */
  async run(): Promise<void> {
    const owner = new Owner();
    try {
      while (!this.#port.isComplete) await this.#port.moved();
      const largest = Math.max(comparedBlockBytes, ...this.#port.disks.map(({ backend }) => backend.sizeBytes));
      const bytes = Math.min(mostComparedBytes, largest);
      const buffers = Array.from({ length: lanes }, () => owner.own(new DiskBuffer(bytes)));
      // All of them, also when one has failed: buffers must not go while something is read into them.
      const ends = await Promise.allSettled(buffers.map((buffer) => this.#lane(buffer)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    } finally {
      owner.close();
    }
  }

  /** The peer did something, if not yet what is waited for. */
  peerMoved(): void {
    const owed = this.#owed.at(-1);
    if (owed !== undefined) this.#port.owes(owed);
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

  async #lane(buffer: DiskBuffer): Promise<void> {
    for (let range = this.#plan.next(); range !== undefined; range = this.#plan.next()) {
      const hashes = await this.#ask(range);
      await this.#settle(range, hashes, buffer);
      this.#plan.compared(range);
    }
  }

  async #ask(range: DiskRange): Promise<Uint8Array> {
    const port = this.#port;
    await this.#awaits('room on the disk stream', () => port.mayAsk);
    let hashes: Uint8Array | undefined;
    this.#questions.set(`${range.disk}:${range.offset}`, (data) => {
      hashes = data;
    });
    port.ask(range);
    await this.#awaits('disk-hashes', () => hashes !== undefined);
    const { length } = hashes as unknown as Uint8Array;
    if (length !== blockCount(range.lengthBytes) * hashBytes) {
      throw new ProtocolError(
        'invalid-message',
        `the peer sent ${length} bytes of hashes of ${range.lengthBytes} bytes`,
      );
    }
    return hashes as unknown as Uint8Array;
  }

  /** Waits for what only the peer can bring about. */
  async #awaits(what: string, came: () => boolean): Promise<void> {
    if (came()) return;
    this.#owed.push(what);
    this.#port.owes(what);
    try {
      while (!came()) await this.#port.moved();
    } finally {
      this.#owed.splice(this.#owed.indexOf(what), 1);
      this.#port.owes(this.#owed.at(-1));
    }
  }

  async #settle(range: DiskRange, theirs: Uint8Array, buffer: DiskBuffer): Promise<void> {
    const port = this.#port;
    const { disk, offset, lengthBytes } = range;
    const again: number[] = [];
    const read = port.races.begin(disk, offset, lengthBytes);
    try {
      const bytes = await this.#read(range, buffer);
      const ours = hashesOf(bytes);
      for (let index = 0; index < blockCount(lengthBytes); index++) {
        if (sameBlock(ours, theirs, index)) continue;
        this.#mustBeWritable(disk);
        await this.#awaits(roomForBlock, () => port.maySend);
        if (read.maySend(index)) this.#send(disk, offset, bytes, index);
        else again.push(index);
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
    port.hold();
    try {
      while (port.races.isPending(disk, block.offset, block.lengthBytes)) await port.moved();
      const bytes = await this.#read(block, buffer);
      await this.#awaits(roomForBlock, () => port.maySend);
      this.#send(disk, block.offset, bytes, 0);
    } finally {
      port.release();
    }
  }

  #send(disk: number, offset: number, bytes: Uint8Array, index: number): void {
    const block = blockOf(bytes, index);
    this.#port.send(disk, offset + index * comparedBlockBytes, block);
    this.#plan.sent(block.length);
  }

  async #read({ disk, offset, lengthBytes }: DiskRange, buffer: DiskBuffer): Promise<Uint8Array> {
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
