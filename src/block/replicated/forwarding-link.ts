import { addressOf } from '../../host/libc/memory.ts';
import { RecordProducer } from '../../host/threads/record-ring.ts';
import { gather } from '../scratch.ts';
import {
  changeKind,
  changeRecord,
  DiskRingControl,
  type DiskRingStorage,
  loggedBytes,
  writeRecordBytes,
} from './disk-ring.ts';
import type { ChangePiece, ForwardedChange } from './forwarded-change.ts';
import type { ForwardedDisk } from './forwarded-disk.ts';

/** What forwarding begins with. */
export interface ForwardingParts {
  readonly storage: DiskRingStorage;
  /** The epoch that a change belongs to when it is taken (spec B.1). */
  readonly epoch: { readonly number: number };
  /** Wakes the thread that forwards. */
  readonly ring: () => void;
}

/** The ring of one protection. It lives as long as something is written from it. */
export class ForwardingLink {
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
  put(forwarded: ForwardedChange, piece: ChangePiece): boolean {
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
