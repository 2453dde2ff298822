import { ENOSPC } from '../../host/errno.ts';
import { type BlockSlot, blockRequestType as type } from './block-request.ts';

/**
 * What becomes of a write that fails, in QEMU's words: the guest is told (report), the machine stops and the write is
 * done again when it goes on (stop), or the latter only while the host's disk is full (enospc). The guest is always told of a
 * flush that fails. Where another machine goes on in this one's place, nothing of this happens: it does it again there.
 */
export type WriteErrorPolicy = 'report' | 'stop' | 'enospc';

export type BlockOperation = 'read' | 'write' | 'flush' | 'discard' | 'write zeroes';

/** Whom a disk tells of failures of the file behind it. */
export interface BlockEvents {
  /** The guest was told of an I/O error. */
  onError(operation: BlockOperation, errno: number): void;
  /** A request is kept until the device goes on: the machine is to stop. Once, however many requests. */
  onStop(errno: number): void;
  /** Another machine goes on in this one's place, for a change or a flush has failed: it may be the one in hand. Absent: none ever does. */
  readonly isGivenAway?: () => boolean;
}

/** Counts what the file behind a disk could not do, tells of it, and decides whether it is to be tried again. */
export class FileFailures {
  /** By what it could not do. */
  readonly counts: Readonly<Record<BlockOperation, number>>;
  readonly #counts: Record<BlockOperation, number> = { read: 0, write: 0, flush: 0, discard: 0, 'write zeroes': 0 };
  readonly #policy: WriteErrorPolicy;
  readonly #events: BlockEvents;
  #stopping = false;

  constructor(policy: WriteErrorPolicy, events: BlockEvents) {
    this.counts = this.#counts;
    this.#policy = policy;
    this.#events = events;
  }

  /** The piece of `slot` on its way failed. True: it is kept and tried again later; false: the guest is told. */
  keeps(slot: BlockSlot, errno: number): boolean {
    const operation = operationOf(slot);
    this.#counts[operation]++;
    if (operation !== 'read' && this.isSilent) return true;
    const isKept = this.#policy === 'stop' || (this.#policy === 'enospc' && errno === ENOSPC);
    // What a flush that failed was to make durable may be lost, and none that comes after it says so.
    if (operation === 'read' || operation === 'flush' || !isKept) {
      this.#events.onError(operation, errno);
      return false;
    }
    if (!this.#stopping) {
      this.#stopping = true;
      this.#events.onStop(errno);
    }
    return true;
  }

  /** The guest is not to hear of what fails: another machine goes on without that. */
  get isSilent(): boolean {
    return this.#events.isGivenAway?.() === true;
  }

  /** The machine goes on, or it is another one: the next request that is kept stops it again. */
  resume(): void {
    this.#stopping = false;
  }
}

function operationOf(slot: BlockSlot): BlockOperation {
  if (slot.flushing) return 'flush';
  switch (slot.type) {
    case type.in:
      return 'read';
    case type.out:
      return 'write';
    case type.flush:
      return 'flush';
    case type.discard:
      return 'discard';
    default:
      return 'write zeroes';
  }
}
