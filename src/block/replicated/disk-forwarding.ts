import { EINVAL, ETIMEDOUT, errnoName } from '../../host/errno.ts';
import { IoVectors } from '../../host/mappings/io-vector.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { BlockBackend, BlockRequest } from '../block-backend.ts';
import { DiskError } from '../disk-error.ts';
import type { ActivityLog, ActivityOwner } from './activity-log.ts';
import { DiskLayer, LayerPages } from './disk-layer.ts';
import type { ChangeKind } from './disk-ring.ts';
import { type ChangeOwner, ChangePiece, ForwardedChange } from './forwarded-change.ts';
import { type ChangeSink, ForwardedDisk } from './forwarded-disk.ts';
import { ForwardingLink, type ForwardingParts } from './forwarding-link.ts';
import { OwnFlushes } from './own-flushes.ts';
import { type FlushOwner, WatchedFlush } from './watched-flush.ts';

/** Pieces that are made at a time; more are made when they are needed. */
const chunk = 32;
/** A guest that has just been taken over answers its clients first: its own flushes need not wait for one of ours, ms. */
const settlingMs = 1000;

/**
 * Copies what changes disks to a standby (design: disks), on the io thread. A change is copied into the ring once and written
 * from there: a guest that changes a page under I/O must not make the disks differ. The record stays until it was sent and
 * the disk's own backend is done with it. A request is finished when the latter is.
 *
 * Whatever finds no room waits, in order, in flight for its device, and goes on with {@link woken}. With an activity log, what changes
 * a region that is not marked waits for that first.
 */
export class DiskForwarding implements ChangeSink, ActivityOwner, ChangeOwner, FlushOwner, Closable {
  readonly #disks: ForwardedDisk[] = [];
  readonly #owner = new Owner();
  readonly #idle: ForwardedChange[] = [];
  readonly #idlePieces: ChangePiece[] = [];
  readonly #idleFlushes: WatchedFlush[] = [];
  /** Flushes since protection began that are in flight. */
  #flushes = 0;
  #waiting: ForwardedChange[] = [];
  #link: ForwardingLink | undefined;
  #layerPages: LayerPages | undefined;
  /** When all that was laid down becomes durable. */
  #flushAt: number | undefined;
  #log: ActivityLog | undefined;
  /** Changes that wait for their regions' marks. */
  #unmarked: ForwardedChange[] = [];
  /** The errno with which marks could not be written last, or 0. */
  #markFailure = 0;
  /** Changes asked for before protection began are still in flight: nothing is taken until they are done. */
  #earlier: (() => number) | undefined;

  /** A disk in front of `own`, which it owns; `alignment` as {@link ForwardedDisk.alignment}. */
  add(own: BlockBackend, alignment: number): ForwardedDisk {
    const disk = new ForwardedDisk(this.#disks.length, own, alignment);
    this.#disks.push(disk);
    return disk;
  }

  get isAttached(): boolean {
    return this.#link !== undefined;
  }

  /** The standby can go on without this machine, and is to: a disk has failed, of which it is told. */
  get isGivenAway(): boolean {
    const control = this.#link?.control;
    return control?.standbyIsCountedOn === true && control.failure !== undefined;
  }

  /** The disks as they are without protection. */
  get ownDisks(): readonly BlockBackend[] {
    return this.#disks.map(({ own }) => own);
  }

  /** Requests that wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** The log that is kept. */
  get log(): ActivityLog | undefined {
    return this.#log;
  }

  /** From now on regions are marked before they change, also while nothing is forwarded. Owns the log. */
  keepLog(log: ActivityLog): void {
    this.#log?.close();
    this.#log = log;
    this.#takeOver();
    const unmarked = this.#unmarked;
    this.#unmarked = [];
    for (const forwarded of unmarked) this.#begin(forwarded);
  }

  /**
   * From now on changes are forwarded.
   *
   * @param inFlight counts the requests, other than reads, that the devices wait for
   */
  attach(parts: ForwardingParts, inFlight: () => number): void {
    this.#link = new ForwardingLink(parts);
    this.#log?.beginEpochs();
    this.#takeOver();
    this.#earlier = inFlight;
    this.#lookForEarlier();
  }

  /** From now on changes go to the disks alone, those that wait first. */
  detach(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#earlier = undefined;
    if (this.#log === undefined) for (const disk of this.#disks) disk.sink = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const forwarded of waiting) this.#goStraight(forwarded);
    this.#startAll();
  }

  /**
   * The machine is a replica: what its guest writes is kept before its disks, from now on.
   *
   * @param half called when half of the room for it is taken, once until it is forgotten
   */
  keepApart(half: () => void = () => {}): void {
    const pages = new LayerPages(half);
    this.#layerPages = pages;
    for (const disk of this.#disks) if (!disk.readOnly) disk.layer = new DiskLayer(disk.own, pages);
  }

  /** What was kept is forgotten. */
  forgetApart(): void {
    for (const { layer } of this.#disks) layer?.forget();
    this.#layerPages?.forgotten();
  }

  /**
   * Has what {@link layDown} will change be marked in the log before, durably. A log that takes no mark in time is given up.
   *
   * @param turnUntil waits for calls on files until that is so; false: it has taken too long
   * @throws DiskError if the log cannot be given up either, or not in time: then no log is kept
   */
  markApart(turnUntil: (isDone: () => boolean) => boolean): void {
    const log = this.#log;
    if (log === undefined) return;
    const unmarked: (() => boolean)[] = [];
    for (const { number, layer } of this.#disks) {
      layer?.forEachChange((offset, lengthBytes) => {
        log.changed(number, offset, lengthBytes);
        if (!log.take(number, offset, lengthBytes)) unmarked.push(() => !log.isMarked(number, offset, lengthBytes));
        log.done(number, offset, lengthBytes, 0);
      });
    }
    this.#markFailure = 0;
    if (unmarked.length > 0) log.write();
    const isDone = (): boolean => this.#markFailure !== 0 || !unmarked.some((isStill) => isStill());
    if (!turnUntil(isDone)) {
      log.giveUp(ETIMEDOUT);
      turnUntil(isDone);
    }
    if (this.#markFailure === 0 && isDone()) return;
    const why =
      this.#markFailure === 0 ? 'is not written in time' : `cannot be written: ${errnoName(this.#markFailure)}`;
    log.close();
    this.#log = undefined;
    for (const disk of this.#disks) disk.sink = undefined;
    throw new DiskError(`the activity log ${why}`);
  }

  /**
   * What was kept goes to the disks, and from now on so does everything. Soon it is durable, with what a standby's own thread has written
   * to them: the guest may have flushed it there, and flush nothing more.
   *
   * @param turn waits a while for calls on disks
   * @throws Error if a disk does not take it
   */
  layDown(turn: () => void): void {
    for (const disk of this.#disks) {
      const { layer } = disk;
      disk.layer = undefined;
      const result = layer?.layDown(turn) ?? 0;
      if (result < 0) throw new Error(`disk ${disk.number} does not take what its guest wrote: ${errnoName(-result)}`);
    }
    this.#layerPages = undefined;
    this.#flushAt = performance.now() + settlingMs;
  }

  /** Looks after the log, and what is to become durable; again after {@link waitMs}. */
  look(): void {
    this.#log?.look();
    if (this.#flushAt === undefined || performance.now() < this.#flushAt) return;
    this.#flushAt = undefined;
    // One that fails is told of by the guest's next, as each is from then on.
    const flushes = new OwnFlushes(this.ownDisks, () => {});
    flushes.begin(this.#disks.filter(({ readOnly }) => !readOnly).map(({ number }) => number));
  }

  /** How long there is nothing to {@link look} for, ms; undefined: until something else happens. */
  get waitMs(): number | undefined {
    const logMs = this.#log?.waitMs;
    if (this.#flushAt === undefined) return logMs;
    return Math.min(logMs ?? Number.POSITIVE_INFINITY, Math.max(0, Math.ceil(this.#flushAt - performance.now())));
  }

  /** There may be room again, or earlier requests may be done. To be called whenever the thread is woken. */
  woken(): void {
    this.#log?.woken();
    if (this.#link === undefined || (this.#waiting.length === 0 && this.#earlier === undefined)) return;
    this.#lookForEarlier();
    if (this.#earlier !== undefined || this.#waiting.length === 0) return;
    let gone = 0;
    while (gone < this.#waiting.length && this.#forward(this.#waiting[gone] as ForwardedChange)) gone++;
    this.#waiting.splice(0, gone);
    if (gone > 0) this.#startAll();
  }

  /** Hot path. */
  take(disk: ForwardedDisk, request: BlockRequest, kind: ChangeKind): void {
    if (request.length <= 0 || request.offset + request.length > disk.sizeBytes) {
      request.finished(-EINVAL);
      return;
    }
    const forwarded = this.#idle.pop() ?? new ForwardedChange(this);
    forwarded.begin(disk, request, kind);
    this.#begin(forwarded);
  }

  /** For the log only. */
  marked(): void {
    const unmarked = this.#unmarked;
    if (unmarked.length === 0) return;
    this.#unmarked = [];
    for (const forwarded of unmarked) {
      const { disk, first, end } = forwarded;
      if (this.#log?.isMarked(disk.number, first, end - first) === false) this.#unmarked.push(forwarded);
      else this.#go(forwarded);
    }
    this.#startAll();
    this.#lookForEarlier();
  }

  /** For the log only. */
  ring(): void {
    this.#link?.ring();
  }

  /** For the log only: changes that may not be made unmarked fail, as if the disk itself could not take them. */
  failed(errno: number): void {
    this.#markFailure = errno;
    const unmarked = this.#unmarked;
    this.#unmarked = [];
    for (const forwarded of unmarked) {
      this.#link?.fail(forwarded.disk, -errno);
      forwarded.finished(-errno);
    }
    this.#lookForEarlier();
  }

  flush(disk: ForwardedDisk, request: BlockRequest): void {
    this.#flushes++;
    (this.#idleFlushes.pop() ?? new WatchedFlush(this)).begin(disk, request);
  }

  /** Nothing may be in flight. */
  close(): void {
    this.#log?.close();
    this.#owner.close();
  }

  /** For {@link ForwardedChange} only: it is done with. Hot path. */
  recycle(forwarded: ForwardedChange): void {
    const { log, disk, first, end } = forwarded;
    // Without a standby no mark is taken off, not even by a sweep that was asked for while there was one.
    log?.done(disk.number, first, end - first, this.#link?.epoch.number ?? Number.POSITIVE_INFINITY);
    this.#idle.push(forwarded);
  }

  /** For {@link ChangePiece} only. */
  recyclePiece(piece: ChangePiece): void {
    this.#idlePieces.push(piece);
  }

  /** For {@link WatchedFlush} only. */
  flushed(flush: WatchedFlush, disk: ForwardedDisk, result: number): void {
    this.#flushes--;
    this.#idleFlushes.push(flush);
    if (result < 0) this.#link?.fail(disk, result);
  }

  #lookForEarlier(): void {
    if (this.#earlier === undefined || this.#link === undefined) return;
    if (this.#earlier() > this.#waiting.length + this.#flushes) return;
    this.#earlier = undefined;
    this.#link.control.complete();
    this.#link.ring();
  }

  #startAll(): void {
    for (const disk of this.#disks) disk.start();
  }

  #takeOver(): void {
    for (const disk of this.#disks) if (!disk.readOnly) disk.sink = this;
  }

  /** Has its regions be marked, and goes on with it. Hot path. */
  #begin(forwarded: ForwardedChange): void {
    const log = this.#log;
    const { disk, first, end } = forwarded;
    forwarded.log = log;
    if (log === undefined || log.take(disk.number, first, end - first)) {
      this.#go(forwarded);
      return;
    }
    this.#unmarked.push(forwarded);
    log.write();
  }

  /** Its regions are marked. Hot path. */
  #go(forwarded: ForwardedChange): void {
    if (this.#link === undefined) this.#goStraight(forwarded);
    else if (this.#waiting.length > 0 || this.#earlier !== undefined || !this.#forward(forwarded)) {
      this.#waiting.push(forwarded);
    }
  }

  /** What is not in the ring goes to the disk alone. */
  #goStraight(forwarded: ForwardedChange): void {
    const { disk, next, end } = forwarded;
    if (next < end) this.#log?.changed(disk.number, next, end - next);
    forwarded.goStraight();
  }

  /** Puts what is left of it into the ring and has it made; false: it has to wait. Hot path. */
  #forward(forwarded: ForwardedChange): boolean {
    const link = this.#link as ForwardingLink;
    while (!forwarded.isHandedOver) {
      if (link.control.logIsFull && link.control.waitForLog()) return false;
      const piece = this.#idlePieces.pop() ?? this.#makePieces();
      if (link.put(forwarded, piece)) forwarded.handOver(piece);
      else {
        this.#idlePieces.push(piece);
        if (link.producer.waitForRoom()) return false;
      }
    }
    forwarded.finished(0);
    return true;
  }

  #makePieces(): ChangePiece {
    const { vectors } = this.#owner.own(new IoVectors(chunk, 1));
    for (const data of vectors) this.#idlePieces.push(new ChangePiece(this, data));
    return this.#idlePieces.pop() as ChangePiece;
  }
}
