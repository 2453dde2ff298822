import { comparedBlockBytes } from '../protocol/messages.ts';

/** A change of P's guest that was sent to S. */
export interface SentChange {
  readonly disk: number;
  /** The bytes that it changes: [first, end). */
  readonly first: number;
  readonly end: number;
  /** It is on P's own disk. */
  readonly isDone: () => boolean;
}

/**
 * Which blocks that were read may be sent to S. Whatever is sent replaces what S has, also a change that it got before: so a
 * block may be sent only if every change of it that was sent before was on P's disk when the read began. Changes that are sent
 * after it do no harm, whether the read saw something of them or not: S makes them after it.
 *
 * Without I/O.
 */
export class SyncRaces {
  readonly #changes = new Set<SentChange>();
  readonly #reads = new Set<BlockRead>();

  /** A change is on its way to S. */
  sent(change: SentChange): void {
    for (const read of this.#reads) read.spoil(change);
    this.#changes.add(change);
  }

  /** A read of P's disk begins. To be ended once its blocks are sent, or will not be. */
  begin(disk: number, offset: number, lengthBytes: number): BlockRead {
    const read = new BlockRead(disk, offset, lengthBytes);
    for (const change of this.#changes) {
      if (change.isDone()) this.#changes.delete(change);
      else read.spoil(change);
    }
    this.#reads.add(read);
    return read;
  }

  end(read: BlockRead): void {
    this.#reads.delete(read);
  }

  /** A change of these bytes was sent, and is not on P's disk. */
  isPending(disk: number, offset: number, lengthBytes: number): boolean {
    for (const change of this.#changes) {
      if (change.isDone()) this.#changes.delete(change);
      else if (change.disk === disk && change.first < offset + lengthBytes && offset < change.end) return true;
    }
    return false;
  }

  /** Forgets what is done. To be called now and then, or there would be more and more. */
  forget(): void {
    for (const change of this.#changes) {
      if (!change.isDone()) return;
      this.#changes.delete(change);
    }
  }
}

/** A range that was read, or is being read. */
export class BlockRead {
  readonly disk: number;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly #spoilt: boolean[];

  constructor(disk: number, offset: number, lengthBytes: number) {
    this.disk = disk;
    this.offset = offset;
    this.lengthBytes = lengthBytes;
    this.#spoilt = new Array(Math.ceil(lengthBytes / comparedBlockBytes)).fill(false);
  }

  /** Its block `index` may be sent now. */
  maySend(index: number): boolean {
    return this.#spoilt[index] === false;
  }

  spoil({ disk, first, end }: SentChange): void {
    if (disk !== this.disk || end <= this.offset || first >= this.offset + this.lengthBytes) return;
    const from = Math.max(0, Math.floor((first - this.offset) / comparedBlockBytes));
    const to = Math.min(this.#spoilt.length - 1, Math.floor((end - 1 - this.offset) / comparedBlockBytes));
    this.#spoilt.fill(true, from, to + 1);
  }
}
