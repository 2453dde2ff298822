import { EINVAL, errnoName } from '../../host/errno.ts';
import { type IoVector, IoVectors } from '../../host/io-vector.ts';
import { addressOf } from '../../host/libc.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { RecordProducer } from '../../host/record-ring.ts';
import type { BlockBackend, BlockRequest } from '../block-backend.ts';
import type { Change } from '../change-order.ts';
import { gather } from '../scratch.ts';
import type { ActivityLog, ActivityOwner } from './activity-log.ts';
import { DiskLayer, LayerPages } from './disk-layer.ts';
import {
  type ChangeKind,
  changeKind,
  changeRecord,
  DiskRingControl,
  type DiskRingStorage,
  loggedBytes,
  mostChangeBytes,
  writeRecordBytes,
} from './disk-ring.ts';
import { type ChangeSink, ForwardedDisk } from './forwarded-disk.ts';

/** What forwarding begins with. */
export interface ForwardingParts {
  readonly storage: DiskRingStorage;
  /** The epoch that a change belongs to when it is taken (spec B.1). */
  readonly epoch: { readonly number: number };
  /** Wakes the thread that forwards. */
  readonly ring: () => void;
}

/** Pieces that are made at a time; more are made when they are needed. */
const chunk = 32;
/** A piece ends where a block ends, so that the next one is aligned as well. */
const blockBytes = 4096;

/**
 * Copies what changes disks to a standby (design: disks), on the io thread. A change is copied into the ring once and written
 * from there: a guest that changes a page under I/O must not make the disks differ. The record stays until it was sent and
 * the disk's own backend is done with it. A request is finished when the latter is.
 *
 * Whatever finds no room waits, in order, in flight for its device, and goes on with {@link woken}. With an activity log, what changes
 * a region that is not marked waits for that first.
 */
export class DiskForwarding implements ChangeSink, ActivityOwner, Closable {
  readonly #disks: ForwardedDisk[] = [];
  readonly #owner = new Owner();
  readonly #idle: Forwarded[] = [];
  readonly #idlePieces: Piece[] = [];
  readonly #idleFlushes: WatchedFlush[] = [];
  /** Flushes since protection began that are in flight. */
  #flushes = 0;
  #waiting: Forwarded[] = [];
  #link: Link | undefined;
  #layerPages: LayerPages | undefined;
  #log: ActivityLog | undefined;
  /** Changes that wait for their regions' marks. */
  #unmarked: Forwarded[] = [];
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
    this.#link = new Link(parts);
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
   * What was kept goes to the disks, and from now on so does everything.
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
  }

  /** There may be room again, or earlier requests may be done. To be called whenever the thread is woken. */
  woken(): void {
    this.#log?.woken();
    if (this.#link === undefined || (this.#waiting.length === 0 && this.#earlier === undefined)) return;
    this.#lookForEarlier();
    if (this.#earlier !== undefined || this.#waiting.length === 0) return;
    let gone = 0;
    while (gone < this.#waiting.length && this.#forward(this.#waiting[gone] as Forwarded)) gone++;
    this.#waiting.splice(0, gone);
    if (gone > 0) this.#startAll();
  }

  /** Hot path. */
  take(disk: ForwardedDisk, request: BlockRequest, kind: ChangeKind): void {
    if (request.length <= 0 || request.offset + request.length > disk.sizeBytes) {
      request.finished(-EINVAL);
      return;
    }
    const forwarded = this.#idle.pop() ?? new Forwarded(this);
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

  /** For the log only: a change that may not be made unmarked fails, as if the disk itself could not take it. */
  failed(errno: number): void {
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

  /** For {@link Forwarded} only: it is done with. Hot path. */
  recycle(forwarded: Forwarded): void {
    const { log, disk, first, end } = forwarded;
    // Without a standby no mark is taken off.
    log?.done(disk.number, first, end - first, this.#link?.epoch.number ?? 0);
    this.#idle.push(forwarded);
  }

  /** For {@link Piece} only. */
  recyclePiece(piece: Piece): void {
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
  #begin(forwarded: Forwarded): void {
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
  #go(forwarded: Forwarded): void {
    if (this.#link === undefined) this.#goStraight(forwarded);
    else if (this.#waiting.length > 0 || this.#earlier !== undefined || !this.#forward(forwarded)) {
      this.#waiting.push(forwarded);
    }
  }

  /** What is not in the ring goes to the disk alone. */
  #goStraight(forwarded: Forwarded): void {
    const { disk, next, end } = forwarded;
    if (next < end) this.#log?.changed(disk.number, next, end - next);
    forwarded.goStraight();
  }

  /** Puts what is left of it into the ring and has it made; false: it has to wait. Hot path. */
  #forward(forwarded: Forwarded): boolean {
    const link = this.#link as Link;
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

  #makePieces(): Piece {
    const { vectors } = this.#owner.own(new IoVectors(chunk, 1));
    for (const data of vectors) this.#idlePieces.push(new Piece(this, data));
    return this.#idlePieces.pop() as Piece;
  }
}

/** The ring of one protection. It lives as long as something is written from it. */
class Link {
  readonly producer: RecordProducer;
  readonly control: DiskRingControl;
  readonly epoch: { readonly number: number };
  readonly #ring: () => void;
  readonly #address: number;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #numbers: Float64Array<SharedArrayBuffer>;
  #isOpen = true;

  constructor({ storage, epoch, ring }: ForwardingParts) {
    this.producer = new RecordProducer(storage.ring, ring);
    this.control = new DiskRingControl(storage.control);
    this.#ring = ring;
    this.epoch = epoch;
    const { bytes } = this.producer;
    this.#address = addressOf(bytes);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset);
    this.#numbers = new Float64Array(bytes.buffer, bytes.byteOffset);
  }

  /** Copies the next piece of `forwarded` into the ring; false if there is no room. Hot path. */
  put(forwarded: Forwarded, piece: Piece): boolean {
    const { disk, kind, data } = forwarded;
    const isWrite = kind === changeKind.write;
    const length = forwarded.nextPieceBytes;
    const { alignment } = disk;
    const at = this.producer.reserve(isWrite ? writeRecordBytes(length, alignment) : changeRecord.headBytes);
    if (at < 0) return false;
    const doneAt = (at + changeRecord.done) >> 2;
    this.#words[(at + changeRecord.disk) >> 2] = disk.number;
    this.#words[doneAt] = 0;
    this.#numbers[(at + changeRecord.offset) >> 3] = forwarded.next;
    this.#numbers[(at + changeRecord.length) >> 3] = length;
    piece.data.clear();
    if (isWrite) {
      const earliest = this.#address + at + changeRecord.headBytes;
      const address = earliest + ((alignment - (earliest % alignment)) % alignment);
      this.#words[(at + changeRecord.dataAt) >> 2] = address - this.#address - at;
      gather(address, data, length);
      if (length < forwarded.end - forwarded.next) data.dropFront(length);
      piece.data.add(address, length);
    }
    piece.offset = forwarded.next;
    piece.length = length;
    piece.lie(this, doneAt, forwarded);
    this.producer.commit(kind, this.epoch.number);
    this.control.forward(loggedBytes(isWrite ? length : 0));
    return true;
  }

  /** The disk's own backend is done with the change whose word that is. Hot path. */
  done(doneAt: number, disk: ForwardedDisk, result: number): void {
    if (result < 0) this.fail(disk, result);
    Atomics.store(this.#words, doneAt, 1);
    if (this.control.takeWaitForDone()) this.ring();
  }

  fail(disk: ForwardedDisk, result: number): void {
    this.control.fail(disk.number, -result);
    this.ring();
  }

  ring(): void {
    if (this.#isOpen) this.#ring();
  }

  /** Nobody listens any more. */
  close(): void {
    this.#isOpen = false;
  }
}

/** A change that was asked for, until it is finished. Also a request of its own: the rest of it, where that goes straight. */
class Forwarded implements BlockRequest {
  offset = 0;
  length = 0;
  /** All of it: [first, end). */
  first = 0;
  /** What is not in the ring yet: [next, end). */
  next = 0;
  end = 0;
  kind: ChangeKind = changeKind.write;
  /** Knows of it until it is done. */
  log: ActivityLog | undefined;
  #disk: ForwardedDisk | undefined;
  #request: BlockRequest | undefined;
  readonly #forwarding: DiskForwarding;
  /** Pieces in flight, and one for what is not handed over. */
  #pending = 0;
  #result = 0;

  constructor(forwarding: DiskForwarding) {
    this.#forwarding = forwarding;
  }

  get disk(): ForwardedDisk {
    return this.#disk as ForwardedDisk;
  }

  get data(): IoVector {
    return (this.#request as BlockRequest).data;
  }

  /** All of it is in the ring, or the rest need not be: it has failed. */
  get isHandedOver(): boolean {
    return this.next === this.end || this.#result < 0;
  }

  get nextPieceBytes(): number {
    const left = this.end - this.next;
    if (this.kind !== changeKind.write || left <= mostChangeBytes) return left;
    return mostChangeBytes - (this.next % blockBytes);
  }

  begin(disk: ForwardedDisk, request: BlockRequest, kind: ChangeKind): void {
    this.#disk = disk;
    this.#request = request;
    this.kind = kind;
    this.first = request.offset;
    this.next = request.offset;
    this.end = request.offset + request.length;
    this.#pending = 1;
    this.#result = 0;
  }

  /** That piece is in the ring: it is made from there. Hot path. */
  handOver(piece: Piece): void {
    this.#pending++;
    this.next += piece.length;
    piece.begin();
  }

  /** The rest goes to the disk alone. */
  goStraight(): void {
    if (this.isHandedOver) {
      this.finished(0);
      return;
    }
    this.offset = this.next;
    this.length = this.end - this.next;
    const { own } = this.disk;
    if (this.kind === changeKind.write) own.write(this);
    else own.writeZeroes(this, this.kind === changeKind.erase);
  }

  /** A piece is done, or all is handed over, or what went straight is done. */
  finished(result: number): void {
    if (result < 0) this.#result = result;
    if (--this.#pending > 0) return;
    const request = this.#request as BlockRequest;
    this.#request = undefined;
    this.#forwarding.recycle(this);
    request.finished(this.#result);
  }
}

/** A change that lies in the ring, until the disk's own backend is done with it. */
class Piece implements BlockRequest, Change {
  offset = 0;
  length = 0;
  first = 0;
  end = 0;
  /** So that it and any other change of the same bytes come one after the other. */
  readonly merges = true;
  waits = false;
  readonly data: IoVector;
  readonly #forwarding: DiskForwarding;
  #link: Link | undefined;
  #doneAt = 0;
  #of: Forwarded | undefined;
  #disk: ForwardedDisk | undefined;
  #kind: ChangeKind = changeKind.write;

  constructor(forwarding: DiskForwarding, data: IoVector) {
    this.#forwarding = forwarding;
    this.data = data;
  }

  /** It lies there; the record's `done` is that word. Hot path. */
  lie(link: Link, doneAt: number, of: Forwarded): void {
    this.#link = link;
    this.#doneAt = doneAt;
    this.#of = of;
    this.#disk = of.disk;
    this.#kind = of.kind;
    this.first = this.offset;
    this.end = this.offset + this.length;
  }

  begin(): void {
    if (this.#disk?.order.begin(this) === true) this.go();
  }

  go(): void {
    const { own } = this.#disk as ForwardedDisk;
    if (this.#kind === changeKind.write) own.write(this);
    else own.writeZeroes(this, this.#kind === changeKind.erase);
  }

  finished(result: number): void {
    const disk = this.#disk as ForwardedDisk;
    const of = this.#of as Forwarded;
    this.#link?.done(this.#doneAt, disk, result);
    this.#link = undefined;
    this.#of = undefined;
    disk.order.end(this);
    this.#forwarding.recyclePiece(this);
    of.finished(result);
  }
}

/** A flush whose failure the other side is to hear of. */
class WatchedFlush implements BlockRequest {
  readonly offset = 0;
  readonly length = 0;
  readonly #forwarding: DiskForwarding;
  #disk: ForwardedDisk | undefined;
  #request: BlockRequest | undefined;

  constructor(forwarding: DiskForwarding) {
    this.#forwarding = forwarding;
  }

  get data(): IoVector {
    throw new Error('a flush has no data');
  }

  begin(disk: ForwardedDisk, request: BlockRequest): void {
    this.#disk = disk;
    this.#request = request;
    disk.own.flush(this);
  }

  finished(result: number): void {
    const request = this.#request as BlockRequest;
    this.#request = undefined;
    this.#forwarding.flushed(this, this.#disk as ForwardedDisk, result);
    request.finished(result);
  }
}
