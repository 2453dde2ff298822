import type { IoVector } from '../../host/mappings/io-vector.ts';
import type { BlockRequest } from '../block-backend.ts';
import type { Change } from '../change-order.ts';
import type { ActivityLog } from './activity-log.ts';
import { type ChangeKind, changeKind, mostChangeBytes } from './disk-ring.ts';
import type { ForwardedDisk } from './forwarded-disk.ts';

/** A piece ends where a block ends, so that the next one is aligned as well. */
const blockBytes = 4096;

/** Has changes made, and has them again when they are done: they are used again and again. */
export interface ChangeOwner {
  recycle(change: ForwardedChange): void;
  recyclePiece(piece: ChangePiece): void;
}

/** The ring in which a piece lies. */
export interface PieceRing {
  /** The disk's own backend is done with the piece whose record has its `done` there. */
  done(doneAt: number, disk: ForwardedDisk, result: number): void;
}

/** A change that was asked for, until it is finished. Also a request of its own: the rest of it, where that goes straight. */
export class ForwardedChange implements BlockRequest {
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
  readonly #owner: ChangeOwner;
  /** Pieces in flight, and one for what is not handed over. */
  #pending = 0;
  #result = 0;

  constructor(owner: ChangeOwner) {
    this.#owner = owner;
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
  handOver(piece: ChangePiece): void {
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
    this.#owner.recycle(this);
    request.finished(this.#result);
  }
}

/** A change that lies in the ring, until the disk's own backend is done with it. */
export class ChangePiece implements BlockRequest, Change {
  offset = 0;
  length = 0;
  first = 0;
  end = 0;
  /** So that it and any other change of the same bytes come one after the other. */
  readonly merges = true;
  waits = false;
  readonly data: IoVector;
  readonly #owner: ChangeOwner;
  #link: PieceRing | undefined;
  #doneAt = 0;
  #of: ForwardedChange | undefined;
  #disk: ForwardedDisk | undefined;
  #kind: ChangeKind = changeKind.write;

  constructor(owner: ChangeOwner, data: IoVector) {
    this.#owner = owner;
    this.data = data;
  }

  /** It lies there; the record's `done` is that word. Hot path. */
  lie(link: PieceRing, doneAt: number, of: ForwardedChange): void {
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
    const of = this.#of as ForwardedChange;
    this.#link?.done(this.#doneAt, disk, result);
    this.#link = undefined;
    this.#of = undefined;
    disk.order.end(this);
    this.#owner.recyclePiece(this);
    of.finished(result);
  }
}
