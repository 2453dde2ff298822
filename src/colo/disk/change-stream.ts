import { changeKind, changeRecord, DiskRingControl, loggedBytes } from '../../block/replicated/disk-ring.ts';
import { RecordConsumer } from '../../host/threads/record-ring.ts';
import type { SharedDisks } from '../../vmm/platform/shared-protection.ts';
import type { DiskWindow } from '../core/epochs/disk-window.ts';
import type { PrimaryEvent } from '../core/events.ts';
import type { Message } from '../protocol/messages.ts';
import { type Epoch, epoch, next } from '../protocol/numbers.ts';
import { isZero } from './block-hashes.ts';
import type { Difference } from './history/difference.ts';
import { type SentChange, SyncRaces } from './sync-races.ts';

export interface ChangeStreamParts {
  /** The io thread has the other end. */
  readonly shared: SharedDisks;
  readonly window: DiskWindow;
  /** What is forwarded may make the disks differ. */
  readonly difference: Difference;
  /** Sends, having taken a copy of its data; false: wait for {@link ChangeStream.drained}. */
  readonly send: (message: Message) => boolean;
  readonly post: (event: PrimaryEvent) => void;
  readonly wakeIo: () => void;
}

/** Changes that are sent before the event loop gets its turn. */
const turnChanges = 64;

/**
 * Changes may gather in the ring until so much is there, or there is something else to do: S does nothing about them before their epoch
 * ends, a block of the copy may leave before changes that it has already, and to be woken for each costs more than to send it. Never more
 * than this part of S's log: that it is half full is to be known before it is full.
 */
const gatheredBytes = 64 * 1024;
const gatheredPart = 1 / 8;

/** A change in the ring that was sent. */
interface Sent extends SentChange {
  /** What to give back once it and all before it are done. */
  readonly position: number;
}

/** Changes of P's guest, from the io thread's ring to S, an epoch at a time. Blocks of the copy go among them. */
export class ChangeStream {
  readonly control: DiskRingControl;
  readonly races = new SyncRaces();
  readonly #parts: ChangeStreamParts;
  readonly #consumer: RecordConsumer;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #gatheredBytes: number;
  readonly #sent: Sent[] = [];
  #epoch: Epoch = epoch(0);
  /** All changes of this epoch are in the ring. */
  #captured: Epoch = epoch(-1);
  #items = 0;
  /** The consumer stands at a change that was not sent. */
  #hasChange = false;
  #mayWrite = true;
  /** The guest waits for room in S's log, and that was told. */
  #logIsFull = false;
  #holds = 0;
  #laid = 0;
  /** Bytes that were sent other than through the ring. */
  #synced = 0;
  #isOver = false;
  #inStep = false;

  constructor(parts: ChangeStreamParts) {
    this.#parts = parts;
    this.control = new DiskRingControl(parts.shared.control);
    this.#gatheredBytes = Math.min(gatheredBytes, Math.floor(this.control.logBytes * gatheredPart));
    this.#consumer = new RecordConsumer(parts.shared.ring, parts.wakeIo);
    const { bytes } = this.#consumer;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset);
  }

  /** The open epoch: what is sent now belongs to it. */
  get epoch(): Epoch {
    return this.#epoch;
  }

  /** There is room on the way. */
  get hasRoom(): boolean {
    return this.#mayWrite;
  }

  /** Changes of the guest's wait until S has laid down what it has, or there is room on the way to it. */
  get guestWaits(): boolean {
    return this.control.waitsForLog || this.#consumer.producerWaits;
  }

  /** They wait for S: for room in its log, or for a block of the copy that waits for that. */
  get waitsForStandby(): boolean {
    return this.control.waitsForLog || (this.#hasChange && this.#mayWrite);
  }

  /** There is something to do, or may be: sends changes in order, as far as there is room. */
  work(): void {
    if (this.#isOver) return;
    this.#giveBack();
    this.#pump();
    // It may have begun to wait since.
    if (this.#consumer.producerWaits) this.#giveBack();
  }

  /** There is room on the way again. */
  drained(): void {
    this.#mayWrite = true;
  }

  /** S said how much it has laid down since pairing. @returns whether that is more than before */
  laid(bytes: number): boolean {
    const isMore = bytes > this.#laid;
    // That begins its patience anew.
    if (isMore && this.#logIsFull) this.#parts.post({ kind: 'disk-log-full', isFull: true });
    this.#laid = Math.max(this.#laid, bytes);
    // Before the io thread is woken, which then waits no more, or again.
    this.#tellFull(this.waitsForStandby);
    this.#settle();
    return isMore;
  }

  /** The epoch's last change is in the ring: its end is sent after that. */
  epochCaptured(epoch: Epoch): void {
    this.#captured = epoch;
  }

  /** No change is sent until {@link release}: they wait in the ring. */
  hold(): void {
    this.#holds++;
    // Who holds waits for what was sent to be done.
    this.#giveBack();
  }

  release(): void {
    this.#holds--;
  }

  /** Both sides' disks are equal: nobody has to know any more what is under way. */
  inStep(): void {
    this.#inStep = true;
  }

  /** Nothing more is sent, nor taken from the ring. */
  abort(): void {
    this.#isOver = true;
  }

  /** What is in the ring and was not sent will not be. */
  takeRest(): void {
    while (this.#hasChange || this.#consumer.next()) {
      this.#hasChange = false;
      const { offset: at } = this.#consumer;
      this.#note(at);
    }
  }

  /** Sends a block as it is now, a change of the open epoch like any other. */
  sendBlock(disk: number, offset: number, block: Uint8Array): void {
    const place = { epoch: this.#epoch, disk, offset };
    const zero = isZero(block);
    if (zero) this.#sendItem({ kind: 'disk-discard', ...place, lengthBytes: block.length });
    else this.#sendItem({ kind: 'disk-write', ...place, data: block });
    const bytes = loggedBytes(zero ? 0 : block.length);
    this.#wantCheckpoint(this.#parts.window.forwardCopy(bytes));
    this.#synced += bytes;
    this.#settle();
  }

  /** Sends what is no change. */
  send(message: Message): void {
    this.#mayWrite = this.#parts.send(message) && this.#mayWrite;
  }

  /** The change in the ring there may make the disks differ. */
  #note(at: number): void {
    const view = this.#view;
    const disk = view.getUint32(at + changeRecord.disk, true);
    const offset = view.getFloat64(at + changeRecord.offset, true);
    this.#parts.difference.wrote(disk, offset, view.getFloat64(at + changeRecord.length, true));
  }

  #pump(): void {
    for (let count = 0; count < turnChanges; count++) {
      if (!this.#mayWrite || this.#isOver || this.#holds > 0) return;
      if (!this.#hasChange) this.#hasChange = this.#consumer.next();
      if (!this.#hasChange || this.#consumer.tag > this.#epoch) {
        if (this.#captured >= this.#epoch) this.#endEpoch();
        // What belongs to the next epoch waits until that is captured; what is not there yet rings the bell.
        else if (this.#hasChange || this.#consumer.sleep(this.#gatheredBytes)) return;
        continue;
      }
      this.#tellFull(true);
      if (this.#parts.window.mustWait) return;
      this.#forward();
    }
    setImmediate(() => this.work());
  }

  /** @param waits something of the guest's does, here or on the io thread, which lets nothing come here that finds no room */
  #tellFull(waits: boolean): void {
    const isFull = this.#parts.window.isFull && (waits || this.#logIsFull);
    if (isFull === this.#logIsFull) return;
    this.#logIsFull = isFull;
    this.#parts.post({ kind: 'disk-log-full', isFull });
  }

  #endEpoch(): void {
    this.send({ kind: 'disk-end', epoch: this.#epoch, items: this.#items });
    this.#epoch = next(this.#epoch);
    this.#items = 0;
    this.#parts.window.epochEnded();
  }

  /** Sends the change that the consumer stands at. */
  #forward(): void {
    const { kind, tag, offset: at, position, bytes } = this.#consumer;
    const view = this.#view;
    const disk = view.getUint32(at + changeRecord.disk, true);
    const offset = view.getFloat64(at + changeRecord.offset, true);
    const lengthBytes = view.getFloat64(at + changeRecord.length, true);
    const doneAt = (at + changeRecord.done) >> 2;
    this.#hasChange = false;
    this.#note(at);
    const isDone = (): boolean => Atomics.load(this.#words, doneAt) === 1;
    const sent: Sent = { disk, first: offset, end: offset + lengthBytes, position, isDone };
    this.#sent.push(sent);
    if (!this.#inStep) this.races.sent(sent);
    const place = { epoch: epoch(tag), disk, offset };
    if (kind === changeKind.write) {
      const dataAt = at + view.getUint32(at + changeRecord.dataAt, true);
      this.#sendChange(
        { kind: 'disk-write', ...place, data: bytes.subarray(dataAt, dataAt + lengthBytes) },
        lengthBytes,
      );
    } else {
      this.#sendChange({ kind: kind === changeKind.erase ? 'disk-discard' : 'disk-zeroes', ...place, lengthBytes }, 0);
    }
    // It may be done long since.
    if (this.#sent.length === 1) this.#giveBack();
  }

  #sendChange(message: Message, dataBytes: number): void {
    this.#sendItem(message);
    this.#wantCheckpoint(this.#parts.window.forward(loggedBytes(dataBytes)));
  }

  #sendItem(message: Message): void {
    this.#items++;
    this.send(message);
  }

  #wantCheckpoint(isWanted: boolean): void {
    if (isWanted) this.#parts.post({ kind: 'disk-log-half' });
  }

  /** The io thread counts by this what it may put into the ring. */
  #settle(): void {
    if (this.control.settle(this.#laid - this.#synced)) this.#parts.wakeIo();
  }

  /** Gives records back, in order, that were sent and are done; and asks to be told of the next one if anybody waits for that. */
  #giveBack(): void {
    const sent = this.#sent;
    for (;;) {
      let count = 0;
      while (count < sent.length && (sent[count] as Sent).isDone()) count++;
      const last = sent[count - 1];
      if (last !== undefined) {
        // Its words are the io thread's again: what races know of it has to go first.
        this.races.forget();
        sent.splice(0, count);
        this.#consumer.giveBack(last.position);
      }
      const first = sent[0];
      if (first === undefined || (this.#holds === 0 && !this.#consumer.producerWaits)) return;
      this.control.waitForDone();
      if (!first.isDone()) return;
    }
  }
}
