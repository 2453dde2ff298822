import type { EngineChooser } from '../../block/disk-engines.ts';
import { EventLoopEngine } from '../../block/event-loop-engine.ts';
import { changeKind, changeRecord, DiskRingControl, loggedBytes } from '../../block/replicated/disk-ring.ts';
import { errnoName } from '../../host/errno.ts';
import { RecordConsumer } from '../../host/record-ring.ts';
import type { SharedDisks } from '../../vmm/platform/shared-protection.ts';
import type { DiskWindow } from '../core/epochs/disk-window.ts';
import type { PrimaryEvent } from '../core/events.ts';
import type { DiskAnswer, Message } from '../protocol/messages.ts';
import { type Epoch, epoch, next } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { isZero } from './block-hashes.ts';
import { cannotBeWritten } from './disk-failure.ts';
import { type DiskView, historyDisk, OpenDisks } from './disk-view.ts';
import type { Suspicion } from './history/history.ts';
import type { PrimaryChanges } from './history/primary-changes.ts';
import { Meeting } from './meeting.ts';
import type { SyncOutcome, SyncProgress } from './sync-plan.ts';
import { type SentChange, SyncRaces } from './sync-races.ts';
import { Synchronisation, type SyncPort } from './synchronisation.ts';

export interface PrimaryDisksParts {
  /** The io thread has the other end. */
  readonly shared: SharedDisks;
  /** All of the machine's. */
  readonly disks: readonly DiskView[];
  readonly window: DiskWindow;
  /** What may differ. The io thread hands changes on already, and notes no more of them. */
  readonly changes: PrimaryChanges;
  /** What is to be copied is known. */
  readonly found: (suspicion: Suspicion, bytes: number) => void;
  /** Sends, having taken a copy of its data; false: wait for {@link PrimaryDisks.drained}. */
  readonly send: (message: Message) => boolean;
  readonly post: (event: PrimaryEvent) => void;
  /** This side's clock, ms. */
  readonly now: () => number;
  readonly wakeIo: () => void;
  /** How calls on the disks' files are made; default on other threads. */
  readonly engines?: EngineChooser;
}

/** Changes that are sent before the event loop gets its turn. */
const turnChanges = 64;
/** S is asked so often to make durable what it has; a disk that nobody writes to is left alone. */
const durableMs = 3000;

/** A change in the ring that was sent. */
interface Sent extends SentChange {
  /** What to give back once it and all before it are done. */
  readonly position: number;
}

/** It is over: nobody is there to send to. */
class AbortedError extends Error {}

/** P's disks, from when the machine is attached until it is detached. One protection: it begins with epoch 0. */
export class PrimaryDisks {
  /** What went wrong first; it stays. */
  error: string | undefined;
  readonly #parts: PrimaryDisksParts;
  readonly #control: DiskRingControl;
  readonly #consumer: RecordConsumer;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #open: OpenDisks;
  readonly #races = new SyncRaces();
  readonly #sent: Sent[] = [];
  #epoch: Epoch = epoch(0);
  /** All changes of this epoch are in the ring. */
  #captured: Epoch = epoch(-1);
  #items = 0;
  /** The consumer stands at a change that was not sent. */
  #hasChange = false;
  #mayWrite = true;
  /** A change waits for room in S's log, and that was told. */
  #logIsFull = false;
  #holds = 0;
  #laid = 0;
  /** Bytes that were sent other than through the ring. */
  #synced = 0;
  #isOver = false;
  /** Both sides' disks are equal: nobody has to know any more what is under way. */
  #inStep = false;
  #meeting: Meeting | undefined;
  #synchronisation: Synchronisation | undefined;
  /** Of what is over. */
  #outcome: SyncOutcome | undefined;
  /** S was asked to make durable what it had been sent, in that epoch. */
  #asked: Epoch | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Resolved once nothing uses the disks any more. */
  #running: Promise<void> = Promise.resolve();
  #movers: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(parts: PrimaryDisksParts) {
    this.#parts = parts;
    this.#control = new DiskRingControl(parts.shared.control);
    this.#consumer = new RecordConsumer(parts.shared.ring, parts.wakeIo);
    const { bytes } = this.#consumer;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset);
    this.#open = new OpenDisks(parts.disks, parts.engines ?? new EventLoopEngine());
    this.work();
  }

  /** Bytes that S has been sent and did not lay down, as far as is known. */
  get outstandingBytes(): number {
    return this.#parts.window.outstandingBytes;
  }

  /** Changes of the guest's wait until S has laid down what it has, or there is room on the way to it. */
  get guestWaits(): boolean {
    return this.#control.waitsForLog || this.#consumer.producerWaits;
  }

  /** While disks are being made equal. */
  get progress(): SyncProgress | undefined {
    return this.#synchronisation?.progress();
  }

  /** Since they are: what it took. */
  get outcome(): SyncOutcome | undefined {
    return this.#outcome;
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#isOver) return;
    this.#lookForFailure();
    this.#giveBack();
    this.#pump();
    this.#moved();
  }

  /** There is room on the way again. */
  drained(): void {
    this.#mayWrite = true;
    this.work();
  }

  /** S said how much it has laid down since pairing. */
  laid(bytes: number): void {
    if (bytes > this.#laid) {
      this.#meeting?.peerMoved();
      this.#synchronisation?.peerMoved();
      if (this.#logIsFull) this.#parts.post({ kind: 'disk-log-full', isFull: true });
    }
    this.#laid = Math.max(this.#laid, bytes);
    this.#settle();
    // Has it look whether what was under way before protection is done by now.
    if (!this.#control.isComplete) this.#parts.wakeIo();
    this.#askDurable();
    this.work();
  }

  /** The epoch's last change is in the ring: its end is sent after that. */
  epochCaptured(epoch: Epoch): void {
    this.#captured = epoch;
    this.work();
  }

  /** Makes S's disks equal. Posts `disks-in-step`, or `disks-not-in-step`. */
  synchronise(): void {
    if (this.#isOver || this.#meeting !== undefined) return;
    this.#running = this.#makeEqual().then(
      () => {
        this.#inStep = true;
        this.#parts.post({ kind: 'disks-in-step' });
      },
      (error: Error) => {
        if (error instanceof AbortedError) return;
        this.#parts.post({ kind: 'disks-not-in-step', reason: error.message });
      },
    );
  }

  /** What S says of its disks. @throws ProtocolError */
  answered(message: DiskAnswer): void {
    if (this.#isOver) return;
    if (message.kind === 'disk-hashes') this.#synchronisation?.answered(message);
    else if (message.kind === 'disk-durable') this.#durable(message.epoch);
    else this.#meeting?.answered(message);
    this.#moved();
  }

  /** Nothing more is sent, nor taken from the ring: the io thread is about to be told that there is no standby. */
  abort(): void {
    this.#isOver = true;
    const movers = this.#movers;
    this.#movers = [];
    for (const { reject } of movers) reject(new AbortedError());
  }

  /** The machine is detached: no change comes any more. */
  close(): void {
    this.abort();
    this.#takeRest();
    void this.#running.finally(() => this.#open.close());
  }

  async #makeEqual(): Promise<void> {
    const { changes, found } = this.#parts;
    const port = this.#port();
    const meeting = new Meeting(
      { owes: port.owes, moved: port.moved, send: (message) => this.#send(message), wakeIo: this.#parts.wakeIo },
      changes,
    );
    this.#meeting = meeting;
    const suspicion = await meeting.run(this.#parts.disks.map(historyDisk));
    if (this.#isOver) throw new AbortedError();
    found(suspicion, changes.difference.unsettledBytes);
    const synchronisation = new Synchronisation(port);
    this.#synchronisation = synchronisation;
    try {
      await synchronisation.run();
      this.#outcome = synchronisation.outcome;
    } finally {
      this.#synchronisation = undefined;
    }
  }

  /** Has S make durable what it was sent, if that is worth it. */
  #askDurable(): void {
    const { changes, now } = this.#parts;
    if (this.#isOver || (this.#synchronisation === undefined && !this.#inStep)) return;
    if (this.#asked !== undefined || now() < this.#askedAt + durableMs) return;
    this.#askedAt = now();
    if (changes.difference.askDurable() || changes.isBehind(this.#epoch)) {
      this.#asked = this.#epoch;
      this.#send({ kind: 'disk-sync', epoch: this.#epoch });
    } else if (changes.sweep()) this.#parts.wakeIo();
  }

  #durable(asked: Epoch): void {
    if (asked !== this.#asked)
      throw new ProtocolError('out-of-order', 'the peer sent disk-durable that nobody asked for');
    this.#asked = undefined;
    const { changes } = this.#parts;
    changes.difference.durable();
    // All of the epochs before was sent before.
    changes.durable(asked - 1);
    this.#parts.wakeIo();
  }

  /** What is in the ring and was not sent will not be. */
  #takeRest(): void {
    while (this.#hasChange || this.#consumer.next()) {
      this.#hasChange = false;
      const { offset: at } = this.#consumer;
      this.#note(at);
    }
  }

  /** The change in the ring there may make the disks differ. */
  #note(at: number): void {
    const view = this.#view;
    const disk = view.getUint32(at + changeRecord.disk, true);
    const offset = view.getFloat64(at + changeRecord.offset, true);
    this.#parts.changes.difference.wrote(disk, offset, view.getFloat64(at + changeRecord.length, true));
  }

  #port(): SyncPort {
    const mayAsk = (): boolean => this.#mayWrite;
    const maySend = (): boolean => this.#mayWrite && !this.#parts.window.isHalfFull;
    const isComplete = (): boolean => this.#control.isComplete;
    return {
      disks: this.#open.disks,
      difference: this.#parts.changes.difference,
      races: this.#races,
      get isComplete() {
        return isComplete();
      },
      get mayAsk() {
        return mayAsk();
      },
      get maySend() {
        return maySend();
      },
      now: this.#parts.now,
      owes: (owed) => {
        if (!this.#isOver) this.#parts.post({ kind: 'copy-waits', owed });
      },
      moved: () =>
        new Promise((resolve, reject) => {
          if (this.#isOver) reject(new AbortedError());
          else this.#movers.push({ resolve, reject });
        }),
      ask: ({ disk, offset, lengthBytes }) =>
        this.#send({ kind: 'disk-compare', epoch: this.#epoch, disk, offset, lengthBytes }),
      send: (disk, offset, block) => this.#sendBlock(disk, offset, block),
      hold: () => {
        this.#holds++;
      },
      release: () => {
        this.#holds--;
        if (this.#holds === 0) this.work();
      },
    };
  }

  #moved(): void {
    const movers = this.#movers;
    this.#movers = [];
    for (const { resolve } of movers) resolve();
  }

  #lookForFailure(): void {
    const { failure } = this.#control;
    if (failure === undefined || this.error !== undefined) return;
    const id = this.#parts.disks[failure.disk]?.id ?? failure.disk;
    this.error = cannotBeWritten(String(id), errnoName(failure.errno));
    this.#parts.post({ kind: 'disk-failed', error: this.error });
  }

  /** Sends changes in order, as far as there is room. */
  #pump(): void {
    for (let count = 0; count < turnChanges; count++) {
      if (!this.#mayWrite || this.#isOver || this.#holds > 0) return;
      if (!this.#hasChange) this.#hasChange = this.#consumer.next();
      if (!this.#hasChange || this.#consumer.tag > this.#epoch) {
        if (this.#captured >= this.#epoch) this.#endEpoch();
        // What belongs to the next epoch waits until that is captured; what is not there yet rings the bell.
        else if (this.#hasChange || this.#consumer.sleep()) return;
        continue;
      }
      const { mustWait } = this.#parts.window;
      if (mustWait !== this.#logIsFull) {
        this.#logIsFull = mustWait;
        this.#parts.post({ kind: 'disk-log-full', isFull: mustWait });
      }
      if (mustWait) return;
      this.#forward();
    }
    setImmediate(() => this.work());
  }

  #endEpoch(): void {
    this.#send({ kind: 'disk-end', epoch: this.#epoch, items: this.#items });
    this.#epoch = next(this.#epoch);
    this.#items = 0;
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
    if (!this.#inStep) this.#races.sent(sent);
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

  #sendBlock(disk: number, offset: number, block: Uint8Array): void {
    const place = { epoch: this.#epoch, disk, offset };
    const zero = isZero(block);
    if (zero) this.#sendChange({ kind: 'disk-discard', ...place, lengthBytes: block.length }, 0);
    else this.#sendChange({ kind: 'disk-write', ...place, data: block }, block.length);
    this.#synced += loggedBytes(zero ? 0 : block.length);
    this.#settle();
  }

  #sendChange(message: Message, dataBytes: number): void {
    this.#items++;
    this.#send(message);
    if (this.#parts.window.forward(loggedBytes(dataBytes))) this.#parts.post({ kind: 'disk-log-half' });
  }

  #send(message: Message): void {
    this.#mayWrite = this.#parts.send(message) && this.#mayWrite;
  }

  /** The io thread counts by this what it may put into the ring. */
  #settle(): void {
    if (this.#control.settle(this.#laid - this.#synced)) this.#parts.wakeIo();
  }

  /** Gives records back, in order, that were sent and are done; and asks to be told of the next one. */
  #giveBack(): void {
    const sent = this.#sent;
    for (;;) {
      let count = 0;
      while (count < sent.length && (sent[count] as Sent).isDone()) count++;
      const last = sent[count - 1];
      if (last !== undefined) {
        // Its words are the io thread's again: what races know of it has to go first.
        this.#races.forget();
        sent.splice(0, count);
        this.#consumer.giveBack(last.position);
      }
      const first = sent[0];
      if (first === undefined) return;
      this.#control.waitForDone();
      if (!first.isDone()) return;
    }
  }
}
