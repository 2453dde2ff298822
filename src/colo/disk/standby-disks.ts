import { ChangeOrder } from '../../block/change-order.ts';
import type { EngineChooser } from '../../block/disk-engines.ts';
import { EventLoopEngine } from '../../block/event-loop-engine.ts';
import { loggedBytes } from '../../block/replicated/disk-ring.ts';
import { removeMark, takesMark, writeMark } from '../../block/standby-mark.ts';
import { errnoName } from '../../host/errno.ts';
import { Owner } from '../../host/ownership.ts';
import { DiskLog, type Logged } from '../core/epochs/disk-log.ts';
import type { SecondaryEvent } from '../core/events.ts';
import type { Rules } from '../core/rules.ts';
import type { Settings } from '../core/settings.ts';
import { messageTable } from '../protocol/message-table.ts';
import {
  comparedBlockBytes,
  type DiskCompare,
  type DiskGeneration,
  type DiskQuestion,
  type DiskRecord,
  type Message,
  mostComparedBytes,
} from '../protocol/messages.ts';
import { type Epoch, epoch, noCheckpoint, type Term } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { hashesOf } from './block-hashes.ts';
import { DiskBuffer } from './disk-buffer.ts';
import { type DiskView, type OpenDisk, OpenDisks } from './disk-view.ts';
import { Difference } from './history/difference.ts';
import { encodeHistory, type Generation, generationBytes, type History } from './history/history.ts';

export interface StandbyDisksParts {
  /** All of the machine's. Its own thread leaves them alone until {@link StandbyDisks.handOver}. */
  readonly disks: readonly DiskView[];
  readonly settings: Pick<Settings, 'diskLogBytes'>;
  readonly rules: Rules;
  readonly pair: string;
  readonly term: Term;
  readonly post: (event: SecondaryEvent) => void;
  /** False: wait for {@link StandbyDisks.drained}. */
  readonly send: (message: Message) => boolean;
  /** What is known of the disks, and is written down. */
  readonly past: StandbyPast;
  /** How calls on the disks' files are made; default on other threads. */
  readonly engines?: EngineChooser;
}

/** What S's disks were before a pairing, and are from then on. */
export interface StandbyPast {
  /** Before anything is written to the disks; undefined: nothing certain is known. */
  readonly history: History | undefined;
  /** From now on they are of that generation, and have not been written since. Resolves when that is durable. */
  renew(generation: Generation): Promise<void>;
}

/** Changes that are laid down at a time. */
const layers = 4;
/** Ranges that are hashed at a time, and questions that may wait. */
const readers = 2;
const mostQuestions = 64;
/** Disks count in these. */
const sectorBytes = 512;

interface Change extends Logged {
  readonly record: DiskRecord;
  state: 'waiting' | 'begun' | 'done';
}

/** A question of P's, and the changes that came before it. */
interface Question {
  readonly asked: DiskCompare;
  readonly after: number;
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
  readonly #idleReaders: DiskBuffer[] = [];
  readonly #questions: Question[] = [];
  #logBytes = 0;
  /** Changes of the log, from the oldest on, that are being laid down, or done. */
  #begun = 0;
  /** Changes that came, and that are on the disk, since pairing. */
  #staged = 0;
  #laid = 0;
  #standsAt = noCheckpoint;
  /** What is staged is not this disk's any more. */
  #isOver = false;
  #isClosed = false;
  #mayWrite = true;
  #mark: 'none' | 'being written' | 'copying' | 'whole' = 'none';
  #busy = 0;
  /** Marks that are being written, and when they are. */
  #marks = 0;
  #marking: Promise<void> = Promise.resolve();
  #waiters: (() => void)[] = [];
  /** What the first copy wrote, while it is not known yet how much of that was this side's own. */
  #copied: Difference | undefined;
  /** How far P and this side are with what the disks are. */
  #past: 'untold' | 'told' | 'being written' | 'written' = 'untold';
  /** Of `disk-sync`: what came before is to be made durable. */
  #sync: { readonly epoch: Epoch; readonly after: number } | undefined;

  constructor(parts: StandbyDisksParts) {
    this.#parts = parts;
    this.#log = new DiskLog(parts.settings.diskLogBytes, parts.rules);
    // Until the first checkpoint the disk is being copied: nothing has to be kept aside.
    this.#log.commit(epoch(0));
    try {
      this.#open = this.#owner.own(new OpenDisks(parts.disks, parts.engines ?? new EventLoopEngine())).disks;
      // Nothing is larger than a disk.
      const largest = Math.max(sectorBytes, ...this.#open.map(({ backend }) => backend.sizeBytes));
      const buffer = (bytes: number): DiskBuffer => this.#owner.own(new DiskBuffer(Math.min(bytes, largest)));
      for (let count = 0; count < layers; count++) {
        this.#idleLayers.push(buffer(messageTable['disk-write'].limitBytes));
      }
      for (let count = 0; count < readers; count++) this.#idleReaders.push(buffer(mostComparedBytes));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
    this.#orders = this.#open.map(() => new ChangeOrder());
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

  /** Bytes of P's writes that are not on the disk. */
  get logBytes(): number {
    return this.#logBytes;
  }

  /** Nothing is under way on the disks. */
  get isIdle(): boolean {
    return this.#busy === 0 && this.#marks === 0;
  }

  /** A change of P's, in order. @throws ProtocolError if no such change could be P's */
  stage(record: DiskRecord): void {
    const lengthBytes = record.kind === 'disk-write' ? record.data.length : record.lengthBytes;
    const { backend } = this.#diskOf(record, lengthBytes);
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
    this.#logBytes += bytes;
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
        this.#compare(question);
        return;
      case 'disk-origin':
        this.#tellPast();
        return;
      case 'disk-generation':
        this.#renew(question);
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

  #tellPast(): void {
    if (this.#past !== 'untold') throw new ProtocolError('out-of-order', 'the peer sent disk-origin twice');
    this.#past = 'told';
    const data = encodeHistory(this.#parts.past.history);
    const { limitBytes } = messageTable['disk-history'];
    // Of disks that large nothing is known, then.
    this.#say({ kind: 'disk-history', epoch: epoch(0), data: data.length > limitBytes ? new Uint8Array(0) : data });
  }

  #renew({ data }: DiskGeneration): void {
    if (this.#past !== 'told' || data.length !== generationBytes) {
      throw new ProtocolError('out-of-order', 'the peer sent a disk-generation that is none, or not now');
    }
    this.#past = 'being written';
    const generation = Buffer.from(data).toString('hex');
    this.#write('it cannot be written down what the disks are', async () => {
      await this.#parts.past.renew(generation);
      this.#past = 'written';
      if (!this.#isOver) this.#say({ kind: 'disk-generation', epoch: epoch(0), data: Buffer.from(generation, 'hex') });
    });
  }

  /** P asks what is there. It is answered once all that came before is on the disk. @throws ProtocolError */
  #compare(asked: DiskCompare): void {
    const { offset, lengthBytes } = asked;
    if (asked.epoch !== 0 || this.#standsAt !== noCheckpoint) {
      throw new ProtocolError('out-of-order', 'the peer sent disk-compare after its first checkpoint');
    }
    this.#diskOf(asked, lengthBytes);
    if (offset % comparedBlockBytes !== 0 || lengthBytes > mostComparedBytes) {
      throw new ProtocolError('invalid-message', `the peer asks for hashes of ${lengthBytes} bytes from ${offset} on`);
    }
    if (this.#questions.length >= mostQuestions) {
      throw new ProtocolError('too-large', `the peer asks more than ${mostQuestions} questions at a time`);
    }
    this.#questions.push({ asked, after: this.#staged });
    this.#answer();
  }

  /** There is room on the way again. */
  drained(): void {
    this.#mayWrite = true;
    this.#answer();
  }

  #say(message: Message): void {
    this.#mayWrite = this.#parts.send(message) && this.#mayWrite;
    this.#parts.post({ kind: 'copy-moved' });
  }

  /** Once all that came before `disk-sync` is on the disks: flushes them, and says so. */
  #makeDurable(): void {
    const sync = this.#sync;
    if (sync === undefined || sync.after > this.#laid || this.#isOver || this.error !== undefined) return;
    // What comes meanwhile is for the next one.
    this.#sync = { ...sync, after: Number.POSITIVE_INFINITY };
    this.#write('what is on the disks cannot be made durable', async () => {
      const results = await Promise.all(this.#open.map((disk) => flushed(disk)));
      if (results.some((result) => result < 0)) throw new Error('a flush failed');
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
    this.#log.discard(beyond);
    this.#questions.length = 0;
    if (beyond === noCheckpoint) this.#isOver = true;
    const { records } = this.#log;
    this.#begun = 0;
    while (records[this.#begun] !== undefined && records[this.#begun]?.state !== 'waiting') this.#begun++;
    this.#logBytes = records.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#lay();
    this.#wake();
  }

  /** Resolves once all that is committed is on the disk, or the disk has failed: what is read there is the checkpoint's then. */
  async laid(): Promise<void> {
    while (!this.#log.isLaid && this.error === undefined && !this.#isOver) await this.#moved();
  }

  /**
   * Resolves once all that is committed is on the disk and nothing uses it here: the machine's own thread may. Durable is what its
   * first flush makes so.
   *
   * @throws Error if the disk has failed; nothing uses it then either
   */
  async handOver(): Promise<void> {
    while (this.#isInUse || !(this.#log.isLaid || this.error !== undefined)) await this.#moved();
    if (this.error !== undefined) throw new Error(this.error);
    if (this.#isOver || this.#standsAt === noCheckpoint) return;
    const removed = this.#marking.then(() => Promise.all(this.#marked().map(removeMark)));
    if (this.#marks === 0) await removed;
    else removed.catch(() => {});
  }

  /** A flush that only a mark waits for does the machine's own thread no harm, except that an overlay takes one at a time. */
  get #isInUse(): boolean {
    return this.#busy > 0 || (this.#marks > 0 && this.#parts.disks.some(({ overlay }) => overlay !== undefined));
  }

  /** Also while something is under way, which is finished before anything is given back. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isOver = true;
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#isClosed && this.isIdle) this.#owner.close();
  }

  #diskOf({ kind, disk, offset }: DiskRecord | DiskCompare, lengthBytes: number): OpenDisk {
    const found = this.#open[disk];
    if (found === undefined)
      throw new ProtocolError('invalid-message', `the peer sent ${kind} to disk ${disk}: there is none`);
    const isWhole = offset % sectorBytes === 0 && lengthBytes % sectorBytes === 0 && lengthBytes > 0;
    if (!isWhole || offset + lengthBytes > found.backend.sizeBytes) {
      throw new ProtocolError(
        'invalid-message',
        `the peer sent ${kind} of ${lengthBytes} bytes at ${offset} to disk ${disk}, which has ${found.backend.sizeBytes}`,
      );
    }
    return found;
  }

  // Laying down

  /** Begins to lay down what is next, as far as there are buffers. */
  #lay(): void {
    if (this.error !== undefined || this.#isClosed) return;
    if (this.#log.nextToLay(this.#begun) === undefined || !this.#isMarked()) return;
    for (let buffer = this.#idleLayers.pop(); buffer !== undefined; buffer = this.#idleLayers.pop()) {
      const next = this.#log.nextToLay(this.#begun);
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

  #layDown(change: Change, buffer: DiskBuffer): void {
    const { record } = change;
    const { id, backend } = this.#open[record.disk] as OpenDisk;
    const order = this.#orders[record.disk] as ChangeOrder;
    const lengthBytes = record.kind === 'disk-write' ? record.data.length : record.lengthBytes;
    const go = (): void => {
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
        if (result < 0) this.#fail(`disk ${id} cannot be written: ${errnoName(-result)}`);
        this.#retire();
      });
    };
    // Changes of the same bytes one after the other; all others as the disk takes them.
    const { offset } = record;
    const ordered = { first: offset, end: offset + lengthBytes, merges: true, waits: false, go };
    if (order.begin(ordered)) go();
  }

  /** What is done, from the oldest on, leaves the log. */
  #retire(): void {
    const before = this.#laid;
    for (let first = this.#log.records[0]; first?.state === 'done'; first = this.#log.records[0]) {
      if (this.error !== undefined) break;
      this.#log.laid();
      this.#logBytes -= first.bytes;
      this.#begun--;
      this.#laid++;
    }
    if (this.#laid > before) this.#parts.post({ kind: 'disk-laid', bytes: this.#log.laidBytes });
    this.#lay();
    this.#answer();
    this.#makeDurable();
    this.#markWhole();
    this.#wake();
  }

  // Questions

  #answer(): void {
    while (this.#mayWrite && this.error === undefined && !this.#isOver) {
      const question = this.#questions[0];
      if (question === undefined || question.after > this.#laid) return;
      const buffer = this.#idleReaders.pop();
      if (buffer === undefined) return;
      this.#questions.shift();
      this.#busy++;
      void this.#hash(question.asked, buffer);
    }
  }

  async #hash({ epoch, disk, offset, lengthBytes }: DiskCompare, buffer: DiskBuffer): Promise<void> {
    const { id, backend } = this.#open[disk] as OpenDisk;
    const result = await buffer.read(backend, offset, lengthBytes);
    if (result < 0) this.#fail(`disk ${id} cannot be read: ${errnoName(-result)}`);
    else if (!this.#isOver) {
      this.#say({ kind: 'disk-hashes', epoch, disk, offset, data: hashesOf(buffer.bytes.subarray(0, lengthBytes)) });
    }
    this.#idleReaders.push(buffer);
    this.#busy--;
    this.#answer();
    this.#wake();
  }

  // The marks beside the disks

  #marked(): string[] {
    return this.#open.filter(({ path, backend }) => !backend.readOnly && takesMark(path)).map(({ path }) => path);
  }

  /** They say that the disks are being copied; if not, that is begun, and laying down goes on after it. */
  #isMarked(): boolean {
    if (this.#mark === 'none') {
      this.#mark = 'being written';
      this.#write('a disk cannot be marked as a copy', async () => {
        const { pair, term } = this.#parts;
        await Promise.all(this.#marked().map((path) => writeMark(path, { pair, term })));
        this.#mark = 'copying';
      });
    }
    return this.#mark !== 'being written';
  }

  /** Once: all of a checkpoint is on the disks. What comes later is laid down on a whole disk. */
  #markWhole(): void {
    if (this.#mark !== 'copying' || this.#standsAt === noCheckpoint || !this.#log.isLaid || this.#isOver) return;
    this.#mark = 'whole';
    const { pair, term } = this.#parts;
    const standsAt = this.#standsAt;
    this.#write('a disk cannot be marked as whole', async () => {
      const results = await Promise.all(this.#open.map((disk) => flushed(disk)));
      if (results.some((result) => result < 0)) throw new Error('a flush failed');
      await Promise.all(this.#marked().map((path) => writeMark(path, { pair, term, epoch: standsAt })));
    });
  }

  #write(otherwise: string, write: () => Promise<void>): void {
    this.#marks++;
    this.#marking = this.#marking.then(write).then(
      () => this.#written(),
      (error: Error) => {
        this.#fail(`${otherwise}: ${error.message}`);
        this.#written();
      },
    );
  }

  #written(): void {
    this.#marks--;
    this.#retire();
  }

  #fail(error: string): void {
    if (this.error !== undefined) return;
    this.error = error;
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

async function flushed({ backend }: OpenDisk): Promise<number> {
  if (backend.readOnly) return 0;
  const buffer = new DiskBuffer(sectorBytes);
  try {
    return await buffer.flush(backend);
  } finally {
    buffer.close();
  }
}
