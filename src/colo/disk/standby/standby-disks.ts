import { ChangeOrder } from '../../../block/change-order.ts';
import { EventLoopEngine } from '../../../block/event-loop-engine.ts';
import { loggedBytes } from '../../../block/replicated/disk-ring.ts';
import { errnoName } from '../../../host/errno.ts';
import { Owner } from '../../../host/ownership.ts';
import { DiskLog, type Logged } from '../../core/epochs/disk-log.ts';
import { messageTable } from '../../protocol/message-table.ts';
import { type DiskQuestion, type DiskRecord, type Message, mostComparedBytes } from '../../protocol/messages.ts';
import { type Epoch, epoch, noCheckpoint } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { CheckpointCopy } from '../backup/checkpoint-copy.ts';
import { DiskBuffer } from '../disk-buffer.ts';
import { cannotBeWritten } from '../disk-failure.ts';
import { type OpenDisk, OpenDisks } from '../disk-view.ts';
import { Difference } from '../history/difference.ts';
import { CopyMarks } from './copy-marks.ts';
import { DiskQuestions, readers } from './disk-questions.ts';
import { diskOf, sectorBytes } from './disk-range.ts';
import { DurableSteps, flushAll } from './durable-steps.ts';
import type { StandbyDisksParts } from './standby-parts.ts';
import { ToldPast } from './told-past.ts';

/** Changes that are laid down at a time. */
const layers = 4;
interface Change extends Logged {
  readonly record: DiskRecord;
  state: 'waiting' | 'begun' | 'done';
}

/**
 * S's disks, for one pairing. What P writes is kept in the core's log until its epoch is committed, then laid down in order, in
 * the background. The first copy, all of it in epoch 0, is laid down as it comes.
 */
export class StandbyDisks {
  /** What went wrong first; it stays. */
  error: string | undefined;
  /** What the first copy brought, with what the guest wrote meanwhile. */
  copiedBytes = 0;
  readonly #parts: StandbyDisksParts;
  readonly #owner = new Owner();
  readonly #open: readonly OpenDisk[];
  readonly #orders: readonly ChangeOrder[];
  readonly #log: DiskLog<Change>;
  readonly #idleLayers: DiskBuffer[] = [];
  /** Changes of the log, from the oldest on, that are being laid down, or done. */
  #begun = 0;
  /** Changes that came, and that are on the disk, since pairing. */
  #staged = 0;
  #laid = 0;
  #standsAt = noCheckpoint;
  /** What is staged is not this disk's any more. */
  #isOver = false;
  #isClosed = false;
  #maySend = true;
  /** Changes that are being laid down. */
  #busy = 0;
  readonly #steps: DurableSteps;
  readonly #marks: CopyMarks;
  readonly #told: ToldPast;
  readonly #questions: DiskQuestions;
  #waiters: (() => void)[] = [];
  /** A checkpoint that somebody copies: what is laid down over it waits. */
  #copy: CheckpointCopy | undefined;
  /** Reads for that. */
  #reads = 0;
  /** What the first copy wrote, while it is not known yet how much of that was this side's own. */
  #copied: Difference | undefined;
  /** Of `disk-sync`: what came before is to be made durable. */
  #sync: { readonly epoch: Epoch; readonly after: number } | undefined;

  constructor(parts: StandbyDisksParts) {
    this.#parts = parts;
    this.#log = new DiskLog(parts.settings.diskLogBytes, parts.rules);
    // Until the first checkpoint the disk is being copied: nothing has to be kept aside.
    this.#log.commit(epoch(0));
    try {
      const engines = parts.engines ?? new EventLoopEngine();
      this.#open = this.#owner.own(new OpenDisks(parts.disks, engines, 'both')).disks;
      // Nothing is larger than a disk.
      const largest = Math.max(sectorBytes, ...this.#open.map(({ backend }) => backend.sizeBytes));
      const buffer = (bytes: number): DiskBuffer => this.#owner.own(new DiskBuffer(Math.min(bytes, largest)));
      for (let count = 0; count < layers; count++) {
        this.#idleLayers.push(buffer(messageTable['disk-write'].limitBytes));
      }
      const reading = Array.from({ length: readers }, () => buffer(mostComparedBytes));
      this.#questions = new DiskQuestions(this.#open, reading, this.#answering());
    } catch (error) {
      this.#owner.close();
      throw error;
    }
    this.#orders = this.#open.map(() => new ChangeOrder());
    this.#steps = new DurableSteps(
      (error) => this.#fail(error),
      () => this.#retire(),
    );
    this.#marks = new CopyMarks(this.#open, parts, this.#steps);
    this.#told = new ToldPast(parts.past, this.#steps, (message) => this.#say(message));
    if (parts.past.history !== undefined)
      this.#copied = new Difference(this.#open.map(({ backend }) => backend.sizeBytes));
  }

  /**
   * Once the first copy is here: blocks that were replaced where this side may have written last, in an earlier role; undefined if
   * nobody knows where that was. What the other side wrote there counts too.
   */
  takeReplacedBlocks(): number | undefined {
    const { history } = this.#parts.past;
    const blocks = history === undefined ? undefined : this.#copied?.blocksIn(history.regions);
    this.#copied = undefined;
    return blocks;
  }

  /** How far the first copy is, as far as this side knows; undefined: it is over, or there is nothing to copy. */
  get copying(): { readonly comparedBytes: number; readonly receivedBytes: number } | undefined {
    if (this.#standsAt !== noCheckpoint || this.#isOver || this.#open.length === 0) return undefined;
    return { comparedBytes: this.#questions.answeredBytes, receivedBytes: this.copiedBytes };
  }

  /** Bytes of P's writes that are not on the disk. */
  get logBytes(): number {
    return this.#log.bytes;
  }

  /** Nothing is under way on the disks. */
  get isIdle(): boolean {
    return this.#busy + this.#reads === 0 && this.#questions.isIdle && this.#steps.isIdle;
  }

  /** A change of P's, in order. @throws ProtocolError if no such change could be P's */
  stage(record: DiskRecord): void {
    const lengthBytes = record.kind === 'disk-write' ? record.data.length : record.lengthBytes;
    const { backend } = diskOf(this.#open, record, lengthBytes);
    if (backend.readOnly) {
      throw new ProtocolError(
        'invalid-message',
        `the peer sent ${record.kind} to disk ${record.disk}, which is only read`,
      );
    }
    const isWrite = record.kind === 'disk-write';
    const bytes = loggedBytes(isWrite ? lengthBytes : 0);
    const kept = isWrite ? { ...record, data: record.data.slice() } : record;
    const isHalf = this.#log.append({ epoch: record.epoch, bytes, record: kept, state: 'waiting' });
    this.#staged++;
    if (record.epoch === 0) {
      if (isWrite) this.copiedBytes += lengthBytes;
      this.#copied?.wrote(record.disk, record.offset, lengthBytes);
    }
    if (isHalf) this.#parts.post({ kind: 'disk-log-half' });
    this.#lay();
  }

  /** P asks for something. @throws ProtocolError if it may not ask for that now */
  asked(question: DiskQuestion): void {
    switch (question.kind) {
      case 'disk-compare':
        if (question.epoch !== 0 || this.#standsAt !== noCheckpoint) {
          throw new ProtocolError('out-of-order', 'the peer sent disk-compare after its first checkpoint');
        }
        this.#questions.ask(question, this.#staged);
        return;
      case 'disk-origin':
        this.#told.tell();
        this.#parts.post({ kind: 'peer-prepares', isOver: false });
        return;
      case 'disk-generation':
        this.#told.renew(question);
        this.#parts.post({ kind: 'peer-prepares', isOver: true });
        return;
      case 'disk-sync':
        if (this.#sync !== undefined) throw new ProtocolError('out-of-order', 'the peer sent disk-sync twice');
        this.#sync = { epoch: question.epoch, after: this.#staged };
        this.#makeDurable();
        return;
      default:
        question satisfies never;
    }
  }

  /** There is room on the way again. */
  drained(): void {
    this.#maySend = true;
    this.#questions.answer();
  }

  /** Nobody listens once this is over. */
  #say(message: Message): void {
    if (this.#isOver) return;
    this.#maySend = this.#parts.send(message) && this.#maySend;
    this.#parts.post({ kind: 'copy-moved' });
  }

  /** Once all that came before `disk-sync` is on the disks: flushes them, and says so. */
  #makeDurable(): void {
    const sync = this.#sync;
    if (sync === undefined || sync.after > this.#laid || this.#isOver || this.error !== undefined) return;
    // What comes meanwhile is for the next one.
    this.#sync = { ...sync, after: Number.POSITIVE_INFINITY };
    this.#steps.add('what is on the disks cannot be made durable', async () => {
      await flushAll(this.#open);
      this.#sync = undefined;
      if (!this.#isOver) this.#parts.send({ kind: 'disk-durable', epoch: sync.epoch });
    });
  }

  /** The writes of that epoch, and of those before it, belong to the disk. */
  commit(committed: Epoch): void {
    this.#log.commit(committed);
    this.#standsAt = committed;
    if (this.error === undefined) this.#parts.post({ kind: 'disk-committed', epoch: committed });
    this.#lay();
    this.#markWhole();
  }

  /** What does not belong to that checkpoint is dropped. */
  discard(beyond: Epoch): void {
    const { isLaid } = this.#log;
    this.#log.discard(beyond);
    this.#questions.forget();
    if (beyond === noCheckpoint) {
      if (!isLaid) this.#marks.torn();
      this.#isOver = true;
      this.#endCopy('nobody is protected here any more');
    }
    const isBegun = (change: Change | undefined): boolean => change !== undefined && change.state !== 'waiting';
    this.#begun = 0;
    while (isBegun(this.#log.at(this.#begun))) this.#begun++;
    this.#lay();
    this.#wake();
  }

  /** The disks, in their order. */
  get disks(): readonly { readonly id: string; readonly sizeBytes: number }[] {
    return this.#open.map(({ id, backend: { sizeBytes } }) => ({ id, sizeBytes }));
  }

  /**
   * Somebody copies the last checkpoint, block by block: what is laid down over it waits until that is copied. Ends by itself when this
   * pairing does, a disk fails, or the machine's own thread takes the disks.
   *
   * @throws Error if there is none
   */
  beginCopy(now: () => number): CheckpointCopy {
    if (this.#standsAt === noCheckpoint || this.#isOver) throw new Error('there is no checkpoint any more');
    if (this.error !== undefined) throw new Error(this.error);
    this.#copy?.end('another copy was begun');
    const sizes = this.#open.map(({ backend }) => backend.sizeBytes);
    this.#copy = new CheckpointCopy(this.#standsAt, sizes, now);
    this.#copy.laid(this.#log.first?.epoch);
    return this.#copy;
  }

  /** For a copy: to the front of the buffer. 0, or a negative errno. */
  async read(disk: number, offset: number, lengthBytes: number, buffer: DiskBuffer): Promise<number> {
    this.#reads++;
    try {
      const { backend } = this.#open[disk] as OpenDisk;
      const made = buffer.read(backend, offset, lengthBytes);
      backend.start();
      return await made;
    } finally {
      this.#reads--;
      this.#wake();
    }
  }

  #endCopy(why: string): void {
    this.#copy?.end(why);
    this.#lay();
  }

  /** Resolves once all that is committed is on the disk, or the disk has failed: what is read there is the checkpoint's then. */
  async laid(): Promise<void> {
    while (!this.#log.isLaid && this.error === undefined && !this.#isOver) await this.#moved();
  }

  /** As {@link laid}, but a disk that takes nothing for so long is not waited for. */
  async laidWhileItMoves(stepMs: number): Promise<void> {
    while (!this.#log.isLaid && this.error === undefined && !this.#isOver) {
      const moved = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), stepMs);
        void this.#moved().then(() => {
          clearTimeout(timer);
          resolve(true);
        });
      });
      if (!moved) return;
    }
  }

  /**
   * Resolves once all that is committed is on the disk and nothing uses it here: the machine's own thread may. Durable is what its
   * first flush makes so.
   *
   * @throws Error if the disk has failed; nothing uses it then either
   */
  async laidDown(): Promise<void> {
    this.#endCopy('this side has taken over');
    while (this.#isInUse || !(this.#log.isLaid || this.error !== undefined)) await this.#moved();
    if (this.error !== undefined) throw new Error(this.error);
  }

  /** As {@link laidDown}, and the disks are nobody's copies any more. @throws Error too if that cannot be kept */
  async handOver(): Promise<void> {
    await this.laidDown();
    if (this.#isOver || this.#standsAt === noCheckpoint) return;
    const isIdle = this.#steps.isIdle;
    const removed = this.#marks.remove();
    if (isIdle) await removed;
    else removed.catch(() => {});
  }

  /**
   * A flush that is under way does the machine's own thread no harm, which has the disks in other open files; except that an overlay
   * takes one at a time.
   */
  get #isInUse(): boolean {
    const hasOverlay = this.#parts.disks.some(({ overlay }) => overlay !== undefined);
    return this.#busy > 0 || !this.#questions.isIdle || (hasOverlay && !this.#steps.isIdle);
  }

  /** Also while something is under way, which is finished before anything is given back. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isOver = true;
    this.#copy?.end('this standby ends');
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#isClosed && this.isIdle) this.#owner.close();
  }

  // Laying down

  /** Begins to lay down what is next, as far as there are buffers. */
  #lay(): void {
    if (this.error !== undefined || this.#isClosed) return;
    if (this.#next() === undefined || !this.#marks.mayWrite()) return;
    for (let buffer = this.#idleLayers.pop(); buffer !== undefined; buffer = this.#idleLayers.pop()) {
      const next = this.#next();
      if (next === undefined) {
        this.#idleLayers.push(buffer);
        return;
      }
      this.#begun++;
      next.state = 'begun';
      this.#busy++;
      this.#layDown(next, buffer);
    }
  }

  /** What is to be laid down next, and may be. */
  #next(): Change | undefined {
    const next = this.#log.nextToLay(this.#begun);
    return next === undefined || this.#copy?.admits(next.epoch) === false ? undefined : next;
  }

  #layDown(change: Change, buffer: DiskBuffer): void {
    const { record } = change;
    const { id, backend } = this.#open[record.disk] as OpenDisk;
    const order = this.#orders[record.disk] as ChangeOrder;
    const lengthBytes = record.kind === 'disk-write' ? record.data.length : record.lengthBytes;
    const lay = (): void => {
      if (record.kind === 'disk-write') buffer.bytes.set(record.data);
      const made =
        record.kind === 'disk-write'
          ? buffer.write(backend, record.offset, lengthBytes)
          : buffer.writeZeroes(backend, record.offset, lengthBytes, record.kind === 'disk-discard');
      backend.start();
      void made.then((result) => {
        order.end(ordered);
        this.#idleLayers.push(buffer);
        this.#busy--;
        change.state = 'done';
        if (result < 0) this.#fail(cannotBeWritten(id, errnoName(-result)));
        this.#retire();
      });
    };
    const go = (): void => {
      if (this.#copy?.holdsBack(record.disk, record.offset, lengthBytes, lay) !== true) lay();
    };
    // Changes of the same bytes one after the other; all others as the disk takes them.
    const { offset } = record;
    const ordered = { first: offset, end: offset + lengthBytes, merges: true, waits: false, go };
    if (order.begin(ordered)) go();
  }

  /** What is done, from the oldest on, leaves the log. */
  #retire(): void {
    const before = this.#laid;
    for (let first = this.#log.first; first?.state === 'done'; first = this.#log.first) {
      if (this.error !== undefined) break;
      this.#log.laid();
      this.#begun--;
      this.#laid++;
    }
    this.#copy?.laid(this.#log.first?.epoch);
    if (this.#laid > before) this.#parts.post({ kind: 'disk-laid', bytes: this.#log.laidBytes });
    this.#lay();
    this.#questions.answer();
    this.#makeDurable();
    this.#markWhole();
    this.#wake();
  }

  /** What questions see of it. */
  #answering(): ConstructorParameters<typeof DiskQuestions>[2] {
    const laid = () => this.#laid;
    const mayAnswer = () => this.#maySend && this.error === undefined && !this.#isOver;
    return {
      get laid() {
        return laid();
      },
      get mayAnswer() {
        return mayAnswer();
      },
      say: (message) => this.#say(message),
      failed: (error) => this.#fail(error),
      answered: () => this.#wake(),
    };
  }

  /** Once: all of a checkpoint is on the disks. */
  #markWhole(): void {
    if (this.#standsAt === noCheckpoint || !this.#log.isLaid || this.#isOver) return;
    this.#marks.whole(this.#standsAt);
  }

  #fail(error: string): void {
    if (this.error !== undefined) return;
    this.error = error;
    this.#copy?.end(error);
    this.#parts.post({ kind: 'disk-failed', error });
  }

  // Waiting

  #moved(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    this.#closeIfIdle();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
