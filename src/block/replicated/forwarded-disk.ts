import type { BlockBackend, BlockRequest } from '../block-backend.ts';
import { ChangeOrder } from '../change-order.ts';
import type { DiskLayer } from './disk-layer.ts';
import { type ChangeKind, changeKind, mostAlignment } from './disk-ring.ts';

/** Where a protected disk's changes go. */
export interface ChangeSink {
  take(disk: ForwardedDisk, request: BlockRequest, kind: ChangeKind): void;
  flush(disk: ForwardedDisk, request: BlockRequest): void;
}

/**
 * A disk whose changes go to a standby's too, while there is one. Otherwise, and for reads always, it is the disk's own backend
 * with one comparison in front.
 */
export class ForwardedDisk implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  /** Its number in the machine. */
  readonly number: number;
  /** The disk's own. */
  readonly own: BlockBackend;
  /** What data has to be aligned to that is written without another copy; 1 if nothing. */
  readonly alignment: number;
  /** Takes changes while the machine is protected. */
  sink: ChangeSink | undefined;
  /** Stands before the disk while the machine is a replica. */
  layer: DiskLayer | undefined;
  /** Two changes of the same bytes are made one after the other, in the order in which the standby gets them. */
  readonly order = new ChangeOrder();

  constructor(number: number, own: BlockBackend, alignment: number) {
    this.number = number;
    this.own = own;
    this.alignment = Math.min(alignment, mostAlignment);
    this.sizeBytes = own.sizeBytes;
    this.readOnly = own.readOnly;
    this.physicalBlockBytes = own.physicalBlockBytes;
    this.discardBytes = own.discardBytes;
  }

  read(request: BlockRequest): void {
    if (this.layer === undefined) this.own.read(request);
    else this.layer.read(request);
  }

  write(request: BlockRequest): void {
    if (this.layer !== undefined) this.layer.write(request);
    else if (this.sink === undefined) this.own.write(request);
    else this.sink.take(this, request, changeKind.write);
  }

  flush(request: BlockRequest): void {
    if (this.layer !== undefined) this.layer.flush(request);
    else if (this.sink === undefined) this.own.flush(request);
    else this.sink.flush(this, request);
  }

  discard(request: BlockRequest): void {
    if (this.layer !== undefined) this.layer.discard(request);
    else if (this.sink === undefined) this.own.discard(request);
    else this.sink.take(this, request, changeKind.erase);
  }

  writeZeroes(request: BlockRequest, unmap: boolean): void {
    if (this.layer !== undefined) this.layer.writeZeroes(request);
    else if (this.sink === undefined) this.own.writeZeroes(request, unmap);
    else this.sink.take(this, request, unmap ? changeKind.erase : changeKind.zeroes);
  }

  start(): void {
    this.own.start();
  }

  close(): void {
    this.own.close();
  }
}
