import { pageSize } from '../../memory/address.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import { maxEncodedBytes, type PageBatch, PageEncoder } from '../../memory/page-codec.ts';
import { WindowedBytes } from '../../memory/windowed-bytes.ts';
import type { BootDescriptors } from '../../vmm/machine/machine-shape.ts';
import type { MemoryCopy } from '../../vmm/monitor/colo-control.ts';
import type { Captured, Collected, SharedCheckpoints } from '../machine/shared-checkpoints.ts';
import type { BootMessage, Pages, PagesEnd, VmState } from '../protocol/messages.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { bootMessages } from './boot-messages.ts';
import type { GuestFirst } from './guest-first.ts';
import { SentPages } from './sent-pages.ts';
import { Turns } from './turns.ts';
import { isWorthAnother } from './worth-another.ts';

export interface PageSenderParts {
  readonly shared: SharedCheckpoints;
  /**
   * Sends a message; data in it may change once this returns.
   *
   * @returns false if {@link PageSender.drained} is to be waited for
   */
  readonly send: (message: Pages | PagesEnd | VmState) => boolean;
  /** Asks the main thread for a live look: CheckpointSource.collect. */
  readonly collect: () => Promise<Collected>;
  /** The peer owes this before more is sent, in words; undefined: it has moved on, or what is sent to it is not all sent yet. */
  readonly owes: (what: string | undefined) => void;
  /** Milliseconds. Default: this process's clock. */
  readonly now?: () => number;
  /** Whom live passes yield to. */
  readonly guestFirst: GuestFirst;
  /** What the guest begins anew from; absent: a reset ends it. */
  readonly boot?: {
    readonly descriptors: BootDescriptors;
    /** As the other one. */
    readonly send: (message: BootMessage) => boolean;
  };
}

/** Whom the work lets go first, and how. */
type Pace = Pick<GuestFirst, 'begin' | 'next'>;

/** How a live pass went. */
export interface Passed {
  readonly epoch: Epoch;
  readonly worthAnother: boolean;
  /** Pages that it sent, and that were written again meanwhile. */
  readonly sent: number;
  readonly left: number;
}

/** Pages of a frame: so few that what else the thread has to do, a packet of the guest's above all, waits less than for a slow write. */
const framePages = 31;
/** Pages of the last checkpoints that are kept, so that only what differs is sent: at most so many, and so much of RAM. */
const mostSentPages = 8192;
const sentPart = 1 / 4;
/** Bytes of a piece of device state. */
const pieceBytes = 256 * 1024;
/** While a checkpoint is sent, its peer is not late: so often that is said, ms. */
const sendingMs = 500;
/** Longest stretch of RAM that is one array: see WindowedBytes. */
const stretchPages = 2 ** 31 / pageSize;

/**
 * Sends P's RAM and device state, on the colo thread: one for each pairing. It waits for room on the link and lets others have
 * their turn after a millisecond. Once it is closed, or the link is, it sends nothing more.
 */
export class PageSender {
  readonly #parts: PageSenderParts;
  readonly #live: readonly DirtyBitmap[];
  readonly #staged: WindowedBytes;
  readonly #stagedNumbers: Uint32Array;
  readonly #encoder = new PageEncoder();
  readonly #numbers = new Uint32Array(framePages);
  readonly #frame: Uint8Array;
  readonly #turns = new Turns();
  readonly #sent: SentPages;
  #ram: { readonly shared: SharedRam; readonly bytes: WindowedBytes } | undefined;
  /** `pages` items of the open epoch. */
  #items = 0;
  #hasRoom = false;
  #roomCame: () => void = () => {};
  #closed = false;
  #firstCopy: 'to come' | 'under way' | 'done' = 'to come';
  /** Until it is sent. */
  #boot: PageSenderParts['boot'];

  constructor(parts: PageSenderParts) {
    this.#parts = parts;
    this.#boot = parts.boot;
    const { live, ramBytes, regions, staging } = parts.shared;
    this.#frame = new Uint8Array(maxEncodedBytes(Math.min(framePages, ramBytes / pageSize)));
    this.#live = regions.map(({ pages }, index) => new DirtyBitmap(pages, live[index]));
    this.#staged = WindowedBytes.ofShared({
      buffer: staging.bytes,
      start: staging.start,
      sizeBytes: staging.capacity * pageSize,
    });
    this.#stagedNumbers = new Uint32Array(staging.numbers);
    const ramPages = ramBytes / pageSize;
    this.#sent = new SentPages(ramPages, Math.min(mostSentPages, Math.ceil(ramPages * sentPart)));
  }

  /**
   * Sends the pages that are marked, all of RAM at first, while the guest writes them: what it writes after they were read is
   * marked again. Before the first pass goes what the guest boots. Resolves when they are handed to the link; undefined if this was
   * closed meanwhile.
   *
   * @throws Error that names a file of a boot that cannot be read
   */
  async livePass(epoch: Epoch): Promise<Passed | undefined> {
    await this.#sendBoot();
    const { ram } = await this.#parts.collect();
    if (this.#closed) return undefined;
    this.#useRam(ram);
    if (this.#firstCopy === 'to come') this.#firstCopy = 'under way';
    const { guestFirst } = this.#parts;
    guestFirst.begin();
    let sent = 0;
    for (const [index, { firstPage }] of this.#parts.shared.regions.entries()) {
      const marked = this.#live[index] as DirtyBitmap;
      for (let page = marked.nextMarked(0); page < marked.pages; page = marked.nextMarked(page)) {
        const first = page;
        let count = 0;
        for (; page < marked.pages && page - first < stretchPages && count < framePages; count++) {
          marked.unmark(page);
          this.#numbers[count] = firstPage + page;
          page = marked.nextMarked(page + 1);
        }
        sent += count;
        const batch = this.#liveBatch(count);
        // The guest writes them meanwhile: nobody here knows what was sent of them.
        this.#sent.forget(batch.numbers);
        if (!(await this.#sendPages(epoch, batch, guestFirst))) return undefined;
      }
    }
    guestFirst.end();
    const { marked: left } = await this.#parts.collect();
    return this.#closed ? undefined : { epoch, worthAnother: isWorthAnother(sent, left), sent, left };
  }

  /**
   * Sends what was captured, and that the epoch's pages are all on their way. Resolves when all of it is handed to the link;
   * false if this was closed meanwhile.
   */
  async transmit(epoch: Epoch, { pages, state }: Pick<Captured, 'pages' | 'state'>): Promise<boolean> {
    const { owes, now = () => performance.now() } = this.#parts;
    let toldAt = now();
    this.#turns.begin();
    for (let place = 0; place < pages; place += framePages) {
      const count = Math.min(framePages, pages - place);
      const batch = {
        numbers: this.#stagedNumbers.subarray(place, place + count),
        bytes: this.#staged.slice(place * pageSize, count * pageSize),
      };
      if (!(await this.#sendPages(epoch, batch, this.#turns, this.#sent))) return false;
      // On a slow processor the link has room all along, and yet it may take longer than a peer may be silent.
      if (now() - toldAt >= sendingMs) {
        toldAt = now();
        owes(undefined);
      }
    }
    if (!(await this.#send({ kind: 'pages-end', epoch, items: this.#items }, this.#turns))) return false;
    this.#items = 0;
    this.#firstCopy = 'done';
    for (let at = 0; at < state.sizeBytes; at += pieceBytes) {
      const data = new Uint8Array(state.storage, at, Math.min(pieceBytes, state.sizeBytes - at));
      if (!(await this.#send({ kind: 'vmstate', epoch, data }, this.#turns))) return false;
    }
    return !this.#closed;
  }

  /** How far the guest's RAM is copied, while it first is: before its first checkpoint is on its way. */
  get firstCopy(): MemoryCopy | undefined {
    if (this.#firstCopy !== 'under way') return undefined;
    const left = this.#live.reduce((pages, marked) => pages + marked.count, 0);
    return { totalBytes: this.#parts.shared.ramBytes, leftBytes: left * pageSize };
  }

  /** There is room on the link again. */
  drained(): void {
    this.#hasRoom = true;
    this.#roomCame();
  }

  /** Ends what is under way: nothing more is sent, nor read. */
  close(): void {
    this.#closed = true;
    this.#roomCame();
  }

  async #sendBoot(): Promise<void> {
    const boot = this.#boot;
    if (boot === undefined) return;
    this.#boot = undefined;
    const { guestFirst } = this.#parts;
    guestFirst.begin();
    for await (const message of bootMessages(boot.descriptors)) {
      if (this.#closed) return;
      this.#hasRoom = false;
      if (!(await this.#hasLeft(boot.send(message), guestFirst))) return;
    }
    guestFirst.end();
  }

  #useRam(shared: SharedRam): void {
    if (this.#ram?.shared.address === shared.address) return;
    const { bytes: buffer, start } = shared;
    this.#ram = { shared, bytes: WindowedBytes.ofShared({ buffer, start, sizeBytes: this.#parts.shared.ramBytes }) };
  }

  /** The first `count` numbers as pages in RAM itself. */
  #liveBatch(count: number): PageBatch {
    const numbers = this.#numbers.subarray(0, count);
    const origin = numbers[0] as number;
    const pages = (numbers[count - 1] as number) - origin + 1;
    const bytes = (this.#ram as { readonly bytes: WindowedBytes }).bytes.slice(origin * pageSize, pages * pageSize);
    return { numbers, bytes, origin };
  }

  /** @param sent where what differs from the checkpoint before is enough, and is kept for the next one */
  #sendPages(epoch: Epoch, batch: PageBatch, pace: Pace, sent?: SentPages): Promise<boolean> {
    const length = this.#encoder.encode(batch, this.#frame, sent);
    sent?.keep(batch);
    this.#items++;
    return this.#send({ kind: 'pages', epoch, data: this.#frame.subarray(0, length) }, pace);
  }

  /** Resolves when more may be sent; false once this is closed. */
  async #send(message: Pages | PagesEnd | VmState, pace: Pace): Promise<boolean> {
    if (this.#closed) return false;
    this.#hasRoom = false;
    return this.#hasLeft(this.#parts.send(message), pace);
  }

  /** Something was sent, after which there was room or none: resolves as {@link #send}. */
  async #hasLeft(hasRoom: boolean, pace: Pace): Promise<boolean> {
    await pace.next();
    if (!hasRoom && !this.#hasRoom && !this.#closed) {
      this.#parts.owes('room on the pages stream');
      while (!this.#hasRoom && !this.#closed) {
        await new Promise<void>((resolve) => {
          this.#roomCame = resolve;
        });
      }
      if (!this.#closed) this.#parts.owes(undefined);
      pace.begin();
    }
    return !this.#closed;
  }
}
