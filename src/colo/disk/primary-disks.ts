import type { EngineChooser } from '../../block/disk-engines.ts';
import { EventLoopEngine } from '../../block/event-loop-engine.ts';
import { errnoName } from '../../host/errno.ts';
import type { SharedDisks } from '../../vmm/platform/shared-protection.ts';
import type { DiskWindow } from '../core/epochs/disk-window.ts';
import type { PrimaryEvent } from '../core/events.ts';
import type { Settings } from '../core/settings.ts';
import type { GuestFirst } from '../memory/guest-first.ts';
import type { DiskAnswer, Message } from '../protocol/messages.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { ChangeStream } from './change-stream.ts';
import { cannotBeWritten } from './disk-failure.ts';
import { type DiskView, OpenDisks } from './disk-view.ts';
import type { Suspicion } from './history/history.ts';
import type { PrimaryChanges } from './history/primary-changes.ts';
import { Meeting } from './meeting.ts';
import { type SlowStandby, StandbyPace } from './standby-pace.ts';
import type { SyncOutcome, SyncProgress } from './sync-plan.ts';
import { Synchronisation, type SyncPort } from './synchronisation.ts';

export interface PrimaryDisksParts {
  /** The io thread has the other end. */
  readonly shared: SharedDisks;
  /** All of the machine's. */
  readonly disks: readonly DiskView[];
  readonly window: DiskWindow;
  readonly settings: Pick<Settings, 'heartbeatMs'>;
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
  /** Whom the copy yields to. */
  readonly guestFirst: GuestFirst;
  /** How calls on the disks' files are made; default on other threads. */
  readonly engines?: EngineChooser;
}

/** S is asked so often to make durable what it has; a disk that nobody writes to is left alone. */
const durableMs = 3000;

/** It is over: nobody is there to send to. */
class AbortedError extends Error {}

/** P's disks, from when the machine is attached until it is detached. One protection: it begins with epoch 0. */
export class PrimaryDisks {
  /** What went wrong first; it stays. */
  error: string | undefined;
  readonly #parts: PrimaryDisksParts;
  readonly #stream: ChangeStream;
  readonly #open: OpenDisks;
  readonly #pace: StandbyPace;
  #isOver = false;
  /** Both sides' disks are equal: nobody has to know any more what is under way. */
  #inStep = false;
  #meeting: Meeting | undefined;
  #synchronisation: Synchronisation | undefined;
  /** Of what is over. */
  #outcome: SyncOutcome | undefined;
  /** S was asked to make durable what it had been sent, in that epoch. */
  #asked: Epoch | undefined;
  /** When that was asked, the disks had been made equal. */
  #asksAll = false;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Resolved once nothing uses the disks any more. */
  #running: Promise<void> = Promise.resolve();
  #movers: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(parts: PrimaryDisksParts) {
    this.#parts = parts;
    this.#pace = new StandbyPace(parts.settings.heartbeatMs);
    this.#stream = new ChangeStream({ ...parts, difference: parts.changes.difference });
    this.#open = new OpenDisks(parts.disks, parts.engines ?? new EventLoopEngine(), 'its own thread');
    this.work();
  }

  /** Bytes that S has been sent and did not lay down, as far as is known. */
  get outstandingBytes(): number {
    return this.#parts.window.outstandingBytes;
  }

  /** Changes of the guest's wait until S has laid down what it has, or there is room on the way to it. */
  get guestWaits(): boolean {
    return this.#stream.guestWaits;
  }

  /** S's disk takes less than the guest writes, so that it waits. */
  get slowStandby(): SlowStandby | undefined {
    return this.#pace.slow;
  }

  /** While disks are being made equal. */
  get progress(): SyncProgress | undefined {
    return this.#synchronisation?.progress();
  }

  /** Since they are: what it took. */
  get outcome(): SyncOutcome | undefined {
    return this.#outcome;
  }

  /** S has all, and may take over: what fails from now on is not told to the guest, for S does it again. */
  countOnStandby(): void {
    this.#stream.control.countOnStandby();
  }

  /** The doorbell rang. */
  work(): void {
    if (this.#isOver) return;
    this.#lookForFailure();
    this.#stream.work();
    this.#moved();
  }

  /** There is room on the way again. */
  drained(): void {
    this.#stream.drained();
    this.work();
  }

  /** S said how much it has laid down since pairing. */
  laid(bytes: number): void {
    this.#pace.heard(this.#parts.now(), this.#stream.waitsForStandby, bytes);
    if (this.#stream.laid(bytes)) {
      this.#meeting?.peerMoved();
      this.#synchronisation?.peerMoved();
    }
    // Has it look whether what was under way before protection is done by now.
    if (!this.#stream.control.isComplete) this.#parts.wakeIo();
    this.#askDurable();
    this.work();
  }

  /** The epoch's last change is in the ring: its end is sent after that. */
  epochCaptured(epoch: Epoch): void {
    this.#stream.epochCaptured(epoch);
    this.work();
  }

  /** Makes S's disks equal. Posts `disks-in-step`, or `disks-not-in-step`. */
  synchronise(): void {
    if (this.#isOver || this.#meeting !== undefined) return;
    this.#running = this.#makeEqual().then(
      () => {
        if (this.#isOver) return;
        this.#inStep = true;
        this.#stream.inStep();
        this.#parts.post({ kind: 'disks-in-step' });
      },
      (error: Error) => {
        // A disk that fails after that as well: the next pairing would take it for its own.
        if (this.#isOver) return;
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
    this.#stream.abort();
    const movers = this.#movers;
    this.#movers = [];
    for (const { reject } of movers) reject(new AbortedError());
  }

  /** The machine is detached: no change comes any more. */
  close(): void {
    this.abort();
    this.#stream.takeRest();
    void this.#running.finally(() => this.#open.close());
  }

  async #makeEqual(): Promise<void> {
    const { changes, found } = this.#parts;
    const port = this.#port();
    const stream = this.#stream;
    const meeting = new Meeting(
      {
        owes: port.owes,
        moved: port.moved,
        get isComplete() {
          return stream.control.isComplete;
        },
        send: (message) => stream.send(message),
        wakeIo: this.#parts.wakeIo,
      },
      changes,
    );
    this.#meeting = meeting;
    const suspicion = await meeting.run();
    if (this.#isOver) throw new AbortedError();
    found(suspicion, changes.difference.unsettledBytes);
    const synchronisation = new Synchronisation(port);
    this.#synchronisation = synchronisation;
    try {
      await synchronisation.run();
      this.#outcome = synchronisation.outcome;
    } finally {
      this.#parts.guestFirst.end();
      this.#synchronisation = undefined;
    }
  }

  /** Has S make durable what it was sent, if that is worth it. */
  #askDurable(): void {
    const { changes, now } = this.#parts;
    if (this.#isOver || (this.#synchronisation === undefined && !this.#inStep)) return;
    if (this.#asked !== undefined || now() < this.#askedAt + durableMs) return;
    this.#askedAt = now();
    if (changes.difference.askDurable() || changes.isBehind(this.#stream.epoch)) {
      this.#asked = this.#stream.epoch;
      this.#asksAll = this.#synchronisation === undefined;
      this.#stream.send({ kind: 'disk-sync', epoch: this.#asked });
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
    if (this.#asksAll) void changes.settled();
    this.#parts.wakeIo();
  }

  #port(): SyncPort {
    const stream = this.#stream;
    const { guestFirst, changes, window } = this.#parts;
    return {
      disks: this.#open.disks,
      difference: changes.difference,
      races: stream.races,
      get mayAsk() {
        return stream.hasRoom;
      },
      maySend: (bytes, holds) => {
        // What is sent to nobody is not settled: all pairings share the difference.
        if (this.#isOver) throw new AbortedError();
        return stream.hasRoom && window.copyMayForward(bytes, holds);
      },
      waitsForRoom: (waits) => {
        window.copyWaits(waits);
        // What waits meanwhile is the guest's: it goes on once the block is sent.
        if (!waits) setImmediate(() => this.work());
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
        stream.send({ kind: 'disk-compare', epoch: stream.epoch, disk, offset, lengthBytes }),
      send: (disk, offset, block) => stream.sendBlock(disk, offset, block),
      hold: () => stream.hold(),
      release: () => {
        stream.release();
        this.work();
      },
      begin: () => guestFirst.begin(),
      next: async () => {
        await guestFirst.next();
        if (this.#isOver) throw new AbortedError();
      },
    };
  }

  #moved(): void {
    const movers = this.#movers;
    this.#movers = [];
    for (const { resolve } of movers) resolve();
  }

  #lookForFailure(): void {
    const { failure } = this.#stream.control;
    if (failure === undefined || this.error !== undefined) return;
    const id = this.#parts.disks[failure.disk]?.id ?? failure.disk;
    this.error = cannotBeWritten(String(id), errnoName(failure.errno));
    this.#parts.post({ kind: 'disk-failed', error: this.error });
  }
}
