import { isPairing } from '../../../../src/colo/core/primary/primary-phase.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { DiskRequest } from '../fakes/fake-guest.ts';
import { toBytes } from '../fakes/numbers-as-bytes.ts';
import type { Resync } from '../resync/resync.ts';
import type { PrimaryProcess } from './primary-process.ts';
import type { WriteMarks } from './write-marks.ts';

const roomForBlock = 'room in the disk log';

/** A guest whose disk fails waits so long. */
const triesAgainMs = 20;

/** A write's data: block and value. */
const writeBytes = 16;

/** P's disk: what the guest writes goes to it and to S, as far as S's disk log has room. The first copy has its turns there too. */
export class ForwardedDisk {
  readonly #side: PrimaryProcess;
  readonly #resync: Resync | undefined;
  readonly #marks: WriteMarks;
  /** Writes that were forwarded in this epoch. */
  #items = 0;
  /** The copy waits for room. */
  #copyOwed = false;
  /** What was forwarded of each from when the copy waited first until it was over; undefined: it has not. */
  shares: { readonly guest: number; readonly copy: number } | undefined;
  #isCopying = false;
  /** What the disk could not do while a standby was counted on: nobody was told. */
  readonly #kept: DiskRequest[] = [];
  /** The guest waits for room, and that was told. */
  #logIsFull = false;
  /** Bytes, when the standby told last. */
  #outstanding = 0;

  /** @param resync what is known of the standby's disk, if machines remember */
  constructor(side: PrimaryProcess, resync: Resync | undefined, marks: WriteMarks) {
    this.#side = side;
    this.#resync = resync;
    this.#marks = marks;
  }

  beginPairing(): void {
    this.#items = 0;
    this.shares = undefined;
    this.#isCopying = true;
  }

  /** Nobody is sent anything any more. */
  endPairing(): void {
    this.#copyOwed = false;
    this.#logIsFull = false;
    for (const request of this.#kept.splice(0)) this.#side.guest.failed(request);
    this.pump();
  }

  endEpoch(epoch: Epoch): void {
    this.#side.send({ kind: 'disk-end', epoch, items: this.#items });
    this.#items = 0;
    this.#isCopying = false;
    this.#side.primary.diskWindow.epochEnded();
  }

  /** A block of the copy may be forwarded. */
  get copyMayForward(): boolean {
    return this.#side.primary.diskWindow.copyMayForward(writeBytes, false);
  }

  copyWaits(): void {
    this.#copyOwed = true;
    this.shares ??= { guest: 0, copy: 0 };
    this.#side.primary.diskWindow.copyWaits(true);
    this.#side.post({ kind: 'copy-waits', owed: roomForBlock });
  }

  copyHadRoom(): void {
    this.#copyOwed = false;
    this.#side.primary.diskWindow.copyWaits(false);
  }

  /** A block of the copy on its way to S. */
  forwardCopy(block: number, value: number): void {
    this.#send(block, value);
    this.#side.primary.diskWindow.forwardCopy(writeBytes);
    if (this.shares !== undefined) this.shares = { ...this.shares, copy: this.shares.copy + 1 };
  }

  #forward(block: number, value: number): void {
    const side = this.#side;
    this.#send(block, value);
    if (side.primary.diskWindow.forward(writeBytes)) side.post({ kind: 'disk-log-half' });
    if (this.#isCopying && this.shares !== undefined) this.shares = { ...this.shares, guest: this.shares.guest + 1 };
  }

  #send(block: number, value: number): void {
    const side = this.#side;
    this.#items++;
    const data = toBytes([block, value]);
    side.send({ kind: 'disk-write', epoch: side.epoch, disk: 0, offset: block * writeBytes, data });
  }

  #tellFull(isFull: boolean): void {
    if (isFull === this.#logIsFull) return;
    this.#logIsFull = isFull;
    this.#side.post({ kind: 'disk-log-full', isFull });
  }

  /** Takes what is in the guest's queue. */
  pump(): void {
    const side = this.#side;
    const { world, guest, attached } = side;
    for (const request of guest.queue) {
      if (request.taken) continue;
      if (attached && side.primary.diskWindow.mustWait) {
        world.count('the guest waits for room in the disk log');
        this.#tellFull(side.primary.diskWindow.isFull);
        return;
      }
      guest.taken(request);
      this.#marks.wrote(request.block, attached ? side.epoch : 0);
      if (attached) {
        this.#resync?.sends(request.block, request.value);
        this.#forward(request.block, request.value);
      } else this.#resync?.note(request.block);
      side.disk.write(request.block, request.value, (error) => this.#written(request, error));
    }
  }

  #written(request: DiskRequest, error: string | undefined): void {
    const side = this.#side;
    if (error !== undefined) {
      this.#failed(request, error);
      return;
    }
    if (!request.flush) side.process(() => side.completed(request));
    else {
      side.disk.flush((failed) => {
        if (failed !== undefined) this.#failed(request, failed);
        else side.process(() => side.completed(request));
      });
    }
  }

  /** From when a standby is counted on until nothing is forwarded any more the guest does not hear of it. */
  #failed(request: DiskRequest, error: string): void {
    const side = this.#side;
    side.diskFailed(error);
    if (side.attached && !isPairing(side.primary.phase)) {
      this.#kept.push(request);
      return;
    }
    side.process(() => side.guest.failed(request));
    side.world.agenda.after(triesAgainMs, () => side.process(() => this.pump()));
  }

  /** A frame came: a heartbeat tells how much of the disk log is laid down. */
  heard(isHeartbeat: boolean): void {
    const { diskWindow } = this.#side.primary;
    if (isHeartbeat && this.#copyOwed && diskWindow.outstandingBytes < this.#outstanding) {
      this.#side.post({ kind: 'copy-waits', owed: roomForBlock });
      this.#side.progress.moved();
    }
    if (this.#logIsFull && diskWindow.outstandingBytes < this.#outstanding) {
      this.#side.post({ kind: 'disk-log-full', isFull: true });
    }
    this.#outstanding = diskWindow.outstandingBytes;
    if (!diskWindow.isFull) this.#tellFull(false);
    if (this.#side.guest.queue.length > 0) this.pump();
  }
}
