import type { Closable } from '../../host/ownership.ts';
import type { CheckpointPages } from '../../memory/checkpointed-memory.ts';
import { decodePages, PageEncodingError, type PageVisitor } from '../../memory/page-codec.ts';
import type { Pages, PagesEnd, VmState } from '../protocol/messages.ts';
import { type Epoch, next, noCheckpoint } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { StagedPages } from './staged-pages.ts';
import { TargetRam } from './target-ram.ts';
import { Turns } from './turns.ts';

/** Of staging, memory for this part of RAM is kept between two checkpoints. */
const keptPart = 1 / 32;

/**
 * Takes P's RAM and device state on S, on the colo thread: one for each standby machine. The core says what belongs where, and
 * bounds device state (core/secondary/staging.ts); what a peer can spoil besides is checked here.
 *
 * Before the first checkpoint pages go straight into RAM: S cannot take over then, and RAM is there once. Later they are staged,
 * and {@link load} puts them into RAM when they are whole: so S stands at a checkpoint always, or is loading the next one.
 */
export class PageReceiver implements Closable {
  readonly #ram: TargetRam;
  readonly #check: (state: Uint8Array) => void;
  readonly #staged: StagedPages;
  readonly #turns = new Turns();
  /** The checkpoint that was loaded last, or is being loaded. */
  #standsAt = noCheckpoint;
  #state: Uint8Array | undefined;
  /** Device state as it comes: the first so many bytes. A piece may be of any size, so nothing is kept of each. */
  #gathered = new Uint8Array(0);
  #gatheredBytes = 0;
  #loading: Generator<undefined> | undefined;
  #closed = false;

  /**
   * @param ram of the standby machine, of zeros
   * @param check throws if a state is none: decodeState
   * @param changed gets a mark for each page that is written
   */
  constructor(ram: CheckpointPages, check: (state: Uint8Array) => void = () => {}, changed?: SharedArrayBuffer) {
    this.#ram = new TargetRam(ram, changed);
    this.#check = check;
    this.#staged = new StagedPages(this.#ram.pages);
  }

  /** Takes what came on the pages stream; nothing of it is held on to. @throws ProtocolError; what is staged is of no use then */
  stage(item: Pages | PagesEnd | VmState): void {
    if (this.#closed) return;
    if (item.epoch !== next(this.#standsAt) || this.#loading !== undefined) {
      throw new ProtocolError(
        'wrong-epoch',
        `the peer sent ${item.kind} of epoch ${item.epoch} to a standby at checkpoint ${this.#standsAt}`,
      );
    }
    switch (item.kind) {
      case 'pages':
        this.#take(item.data);
        return;
      case 'vmstate':
        this.#gather(item.data);
        return;
      case 'pages-end':
        return;
      default:
        item satisfies never;
    }
  }

  /**
   * Has the staged checkpoint be what is in RAM, in turns; false if it was thrown away meanwhile.
   *
   * @throws VmStateError if its device state is none: then this is of no use any more
   */
  async load(epoch: Epoch): Promise<boolean> {
    if (epoch !== next(this.#standsAt)) {
      throw new Error(`checkpoint ${epoch} cannot be loaded by a standby at ${this.#standsAt}`);
    }
    this.#standsAt = epoch;
    this.#state = this.#gathered.slice(0, this.#gatheredBytes);
    this.#gatheredBytes = 0;
    this.#check(this.#state);
    const steps = this.#staged.copyInto(this.#ram);
    this.#loading = steps;
    this.#turns.begin();
    while (!steps.next().done) {
      await this.#turns.next();
      if (this.#loading !== steps) return false;
    }
    this.#loading = undefined;
    this.#forget();
    return true;
  }

  /**
   * Throws away what is staged beyond a checkpoint; a load of that one goes on. `noCheckpoint`: everything, and RAM is of no
   * use until the machine is made anew.
   */
  discard(beyond: Epoch): void {
    if (this.#closed || (beyond >= this.#standsAt && this.#loading !== undefined)) return;
    this.#gatheredBytes = 0;
    this.#loading = undefined;
    if (beyond < this.#standsAt) {
      this.#standsAt = noCheckpoint;
      this.#state = undefined;
    }
    this.#forget();
  }

  /** Device state of the checkpoint that is loaded, or being loaded: see decodeState. */
  stateOf(epoch: Epoch): Uint8Array {
    if (epoch !== this.#standsAt || this.#state === undefined) {
      throw new Error(`there is no state of checkpoint ${epoch}: the standby is at ${this.#standsAt}`);
    }
    return this.#state;
  }

  close(): void {
    if (this.#closed) return;
    this.discard(noCheckpoint);
    this.#closed = true;
    this.#staged.close();
  }

  #gather(data: Uint8Array): void {
    const sizeBytes = this.#gatheredBytes + data.length;
    if (sizeBytes > this.#gathered.length) {
      const larger = new Uint8Array(Math.max(sizeBytes, 2 * this.#gathered.length));
      larger.set(this.#gathered.subarray(0, this.#gatheredBytes));
      this.#gathered = larger;
    }
    this.#gathered.set(data, this.#gatheredBytes);
    this.#gatheredBytes = sizeBytes;
  }

  #take(data: Uint8Array): void {
    const isFirst = this.#standsAt === noCheckpoint;
    const target = isFirst ? this.#ram : this.#staged;
    const visitor: PageVisitor = {
      raw: (page, bytes) => target.raw(page, bytes),
      zero: (page, pages) => target.zero(page, pages),
      delta: (page, delta) => {
        if (isFirst) {
          const why = `page ${page} is sent as a difference to a checkpoint that there is not`;
          throw new ProtocolError('invalid-message', `invalid message: pages: ${why}`);
        }
        this.#staged.delta(page, delta);
      },
    };
    try {
      decodePages(data, this.#ram.pages, visitor);
    } catch (error) {
      if (!(error instanceof PageEncodingError)) throw error;
      throw new ProtocolError('invalid-message', `invalid message: pages: ${error.message}`);
    }
  }

  #forget(): void {
    this.#staged.clear(Math.ceil(this.#ram.pages * keptPart));
  }
}
