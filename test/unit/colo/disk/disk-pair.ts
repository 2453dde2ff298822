import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { openDiskFile } from '../../../../src/block/disk-file.ts';
import { Overlay } from '../../../../src/block/overlay.ts';
import { openOverlay } from '../../../../src/block/overlay-file.ts';
import { RawFile } from '../../../../src/block/raw-file.ts';
import { ActivityLog } from '../../../../src/block/replicated/activity-log.ts';
import { DiskForwarding } from '../../../../src/block/replicated/disk-forwarding.ts';
import type { ForwardedDisk } from '../../../../src/block/replicated/forwarded-disk.ts';
import {
  encodeRegionFile,
  logIdBytes,
  regionBitmapBytes,
  regionPlaces,
} from '../../../../src/block/replicated/region-file.ts';
import type { SharedChanges } from '../../../../src/block/replicated/shared-changes.ts';
import { DiskWindow } from '../../../../src/colo/core/epochs/disk-window.ts';
import { EpochOrder } from '../../../../src/colo/core/epochs/epoch-order.ts';
import type { PrimaryEvent, SecondaryEvent } from '../../../../src/colo/core/events.ts';
import { specification } from '../../../../src/colo/core/rules.ts';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { type DiskView, historyDisk } from '../../../../src/colo/disk/disk-view.ts';
import type { History, Suspicion } from '../../../../src/colo/disk/history/history.ts';
import { type HistoryDisk, HistoryStore } from '../../../../src/colo/disk/history/history-store.ts';
import { newSharedChanges, PrimaryChanges } from '../../../../src/colo/disk/history/primary-changes.ts';
import { PrimaryDisks } from '../../../../src/colo/disk/primary-disks.ts';
import { newSharedDisks } from '../../../../src/colo/disk/shared-disks.ts';
import { StandbyDisks } from '../../../../src/colo/disk/standby/standby-disks.ts';
import { GuestFirst, guestTime } from '../../../../src/colo/memory/guest-first.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { type DiskQuestion, isDiskAnswer, type Message } from '../../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, next, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { DiskRig, type TestRequest } from '../../../support/disk-rig.ts';
import { ShuffledEngine } from '../../../support/shuffled-engine.ts';

export interface PairDisk {
  readonly primary: Buffer;
  readonly standby: Buffer;
  readonly kind?: 'raw' | 'overlay' | 'read-only';
}

/** Of P's disks. */
export const generation = 'a0'.repeat(16);

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Two machines' disks with all that is between them, in one thread: whatever would happen on its own happens when a test says so,
 * in an order that it chooses.
 */
export class DiskPair {
  readonly rig: DiskRig;
  readonly forwarding = new DiskForwarding();
  readonly disks: ForwardedDisk[] = [];
  readonly window: DiskWindow;
  readonly primary: PrimaryDisks;
  readonly standby: StandbyDisks;
  readonly changes: PrimaryChanges;
  readonly found: Suspicion[] = [];
  /** What P asked for. */
  readonly asked: DiskQuestion[] = [];
  /** The generation that S wrote down. */
  renewed: string | undefined;
  readonly told: (PrimaryEvent | SecondaryEvent)[] = [];
  /** On their way. */
  readonly toStandby: Uint8Array[] = [];
  readonly toPrimary: Uint8Array[] = [];
  /** Frames that fit before a sender has to wait. */
  room = 3;
  /** How much faster P's clock runs. */
  haste = 1;
  readonly requests: TestRequest[] = [];
  readonly #epoch = { number: 0 };
  readonly #engines: readonly ShuffledEngine[];
  readonly #order = new EpochOrder(specification);
  readonly #readers: Record<Role, FrameReader>;
  readonly #paths: { primary: string; standby: string; views: { primary: DiskView; standby: DiskView } }[] = [];
  /** Of the standby, to what it was asked about its disks. */
  answers = 0;
  #laidBytes = 0;
  #ring = false;
  #woken = false;
  #waits = { primary: false, secondary: false };

  constructor(
    t: Test,
    disks: readonly PairDisk[],
    random: (limit: number) => number,
    logBytes = 1 << 20,
    history?: History,
  ) {
    this.rig = new DiskRig(t);
    const { owner } = this.rig;
    const [io, ours, theirs] = [0, 1, 2].map(() => owner.own(new ShuffledEngine(random))) as [
      ShuffledEngine,
      ShuffledEngine,
      ShuffledEngine,
    ];
    this.#engines = [io, ours, theirs];
    owner.own(this.forwarding);
    for (const [index, disk] of disks.entries()) this.#addDisk(index, disk, io);
    const shared = newSharedDisks(logBytes);
    const store = new QuickStore(this.rig.folder, 'web');
    const known = this.#paths.map(({ views }) => historyDisk(views.primary));
    const changes = loggedChanges(store.logPath, known);
    this.changes = PrimaryChanges.inherited(store, known, { shared: changes, generation });
    this.forwarding.keepLog(
      new ActivityLog(changes, this.forwarding.ownDisks, { engineFor: () => io }, this.forwarding),
    );
    this.changes.beginPairing();
    owner.defer(() => store.rest());
    this.window = new DiskWindow(logBytes, specification);
    this.primary = new PrimaryDisks({
      shared,
      disks: this.#paths.map(({ views }) => views.primary),
      window: this.window,
      settings: defaultSettings,
      changes: this.changes,
      found: (suspicion) => this.found.push(suspicion),
      send: (message) => this.#send('primary', message),
      post: (event) => this.told.push(event),
      now: () => performance.now() * this.haste,
      wakeIo: () => {
        this.#woken = true;
      },
      // The guest always waits: the copy rests whenever it may.
      guestFirst: new GuestFirst({ ...guestTime(() => performance.now()), rest: settled }),
      engines: { engineFor: () => ours },
    });
    this.standby = new StandbyDisks({
      disks: this.#paths.map(({ views }) => views.standby),
      settings: { diskLogBytes: logBytes },
      rules: specification,
      pair: 'web',
      term: term(3),
      past: {
        history,
        renew: async (renewed) => {
          this.renewed = renewed;
        },
      },
      post: (event) => {
        this.told.push(event);
        if (event.kind === 'disk-laid') this.#laidBytes = event.bytes;
      },
      send: (message) => this.#send('secondary', message),
      engines: { engineFor: () => theirs },
    });
    owner.defer(() => {
      this.primary.close();
      this.standby.close();
    });
    this.#readers = {
      primary: new FrameReader('disk', 'primary', ({ message }) => this.#standbyTakes(message)),
      secondary: new FrameReader('disk', 'secondary', ({ message }) => {
        if (!isDiskAnswer(message)) return;
        this.answers++;
        this.primary.answered(message);
      }),
    };
    this.forwarding.attach({ storage: shared, epoch: this.#epoch, ring: () => this.bell() }, () => 0);
  }

  bell(): void {
    this.#ring = true;
  }

  /** As many as a guest can have. */
  get mayWrite(): boolean {
    return this.requests.filter(({ result }) => result === undefined).length < 50;
  }

  write(disk: number, offset: number, bytes: Uint8Array): void {
    // A guest's page of its own for each of 64 requests.
    const slot = (this.requests.length % 64) * 65536;
    if (!this.mayWrite) throw new Error('no page is free');
    this.rig.memory.set(bytes, slot);
    const request = this.rig.request(offset, [slot, bytes.length]);
    this.requests.push(request);
    (this.disks[disk] as ForwardedDisk).write(request);
  }

  erase(disk: number, offset: number, length: number, how: 'discard' | 'zeroes'): void {
    const request = this.rig.request(offset);
    request.length = length;
    this.requests.push(request);
    if (how === 'discard') this.disks[disk]?.discard(request);
    else this.disks[disk]?.writeZeroes(request, false);
  }

  /** The stop of a checkpoint. */
  capture(): Epoch {
    const captured = epoch(this.#epoch.number);
    this.#epoch.number = next(captured);
    this.primary.epochCaptured(captured);
    return captured;
  }

  /** One of the things that happen on their own; each as likely to be there as not. */
  async step(choice: number): Promise<void> {
    const [io, ours, theirs] = this.#engines as [ShuffledEngine, ShuffledEngine, ShuffledEngine];
    switch (choice % 8) {
      case 0:
        io.reap();
        this.forwarding.woken();
        break;
      case 1:
        ours.reap();
        break;
      case 2:
        theirs.reap();
        break;
      case 3:
        this.#deliver('primary', this.toStandby);
        break;
      case 4:
        this.#deliver('secondary', this.toPrimary);
        break;
      case 5:
        if (this.#ring) {
          this.#ring = false;
          this.primary.work();
        }
        break;
      case 6:
        if (this.#woken) {
          this.#woken = false;
          this.forwarding.woken();
        }
        break;
      default:
        this.window.laid(this.#laidBytes);
        this.primary.laid(this.#laidBytes);
    }
    await settled();
  }

  /** Until nothing happens any more. @throws Error if that takes too long */
  async settle(): Promise<void> {
    for (let quiet = 0, steps = 0; quiet < 24; steps++) {
      if (steps > 200_000) throw new Error('it never comes to rest');
      // Files beside the disks are written meanwhile.
      if (steps % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 1));
      const before = this.#activity;
      await this.step(steps);
      quiet = before === this.#activity && this.#isIdle ? quiet + 1 : 0;
    }
  }

  /** Reads of P's copy that are under way. */
  get reads(): number {
    return this.#engines[1]?.inFlight ?? 0;
  }

  content(disk: number): { primary: Buffer; standby: Buffer } {
    const { primary, standby } = this.#paths[disk] as { primary: string; standby: string };
    return { primary: readFileSync(primary), standby: readFileSync(standby) };
  }

  path(disk: number): { primary: string; standby: string } {
    return this.#paths[disk] as { primary: string; standby: string };
  }

  view(disk: number): { primary: DiskView; standby: DiskView } {
    return (this.#paths[disk] as { views: { primary: DiskView; standby: DiskView } }).views;
  }

  has(kind: PrimaryEvent['kind'] | SecondaryEvent['kind']): boolean {
    return this.told.some((event) => event.kind === kind);
  }

  get #activity(): string {
    const inFlight = this.#engines.map((engine) => engine.inFlight);
    return [inFlight, this.toStandby.length, this.toPrimary.length, this.told.length, this.#laidBytes].join();
  }

  get #isIdle(): boolean {
    return (
      this.#engines.every((engine) => engine.inFlight === 0) &&
      this.toStandby.length === 0 &&
      this.toPrimary.length === 0 &&
      this.standby.isIdle &&
      !this.#ring &&
      !this.#woken
    );
  }

  #send(role: Role, message: Message): boolean {
    const queue = role === 'primary' ? this.toStandby : this.toPrimary;
    queue.push(encodeFrame({ role, term: term(3), message }));
    const isFull = queue.length >= this.room;
    if (isFull) this.#waits[role] = true;
    return !isFull;
  }

  #deliver(from: Role, queue: Uint8Array[]): void {
    const bytes = queue.shift();
    if (bytes !== undefined) this.#readers[from].push(bytes);
    if (queue.length > 0 || !this.#waits[from]) return;
    this.#waits[from] = false;
    if (from === 'primary') this.primary.drained();
    else this.standby.drained();
  }

  #standbyTakes(message: Message): void {
    switch (message.kind) {
      case 'disk-write':
      case 'disk-discard':
      case 'disk-zeroes':
        this.#order.item(message.kind, message.epoch);
        this.standby.stage(message);
        return;
      case 'disk-end':
        this.#order.end(message.kind, message.epoch, message.items);
        this.standby.commit(message.epoch);
        return;
      case 'disk-compare':
      case 'disk-origin':
      case 'disk-generation':
      case 'disk-sync':
        this.asked.push(message);
        this.standby.asked(message);
        return;
      default:
        throw new Error(`nobody sends ${message.kind}`);
    }
  }

  #addDisk(index: number, { primary, standby, kind = 'raw' }: PairDisk, io: ShuffledEngine): void {
    const views = (['primary', 'standby'] as const).map((side) => {
      const path = this.rig.path(`${side}-${index}`);
      writeFileSync(path, side === 'primary' ? primary : standby);
      const file = openDiskFile(path, { readOnly: kind !== 'raw', raw: true });
      this.rig.owner.defer(() => closeSync(file.fd));
      if (kind !== 'overlay') return { id: `disk${index}`, file };
      const overlay = openOverlay(`${path}.top`, file.sizeBytes);
      this.rig.owner.defer(() => closeSync(overlay.file.fd));
      return { id: `disk${index}`, file, overlay };
    }) as [DiskView, DiskView];
    const engines = { engineFor: () => io };
    const [{ file, overlay }] = views;
    const raw = new RawFile(file, engines);
    const own = overlay === undefined ? raw : new Overlay(overlay, raw, engines, ownerOf(raw));
    this.disks.push(this.forwarding.add(own, 1));
    this.rig.owner.defer(() => own.close());
    this.#paths.push({
      primary: this.rig.path(`primary-${index}`),
      standby: this.rig.path(`standby-${index}`),
      views: { primary: views[0], standby: views[1] },
    });
  }
}

/** With a log in which nothing is marked. */
export function loggedChanges(path: string, disks: readonly HistoryDisk[]): SharedChanges {
  const id = new Uint8Array(logIdBytes);
  const { count } = regionPlaces(disks.map(({ sizeBytes }) => sizeBytes));
  writeFileSync(path, encodeRegionFile(id, new Uint8Array(regionBitmapBytes(count)), count));
  return newSharedChanges(path, id, disks);
}

/** Takes no time, so that a test says when things happen. */
class QuickStore extends HistoryStore {
  override write(): Promise<void> {
    return Promise.resolve();
  }

  override watch(): void {}
}

function ownerOf(raw: RawFile): Owner {
  const owner = new Owner();
  owner.own(raw);
  return owner;
}
