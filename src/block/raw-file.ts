import { closeSync } from 'node:fs';
import { EINVAL, EIO, EOPNOTSUPP } from '../host/errno.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../host/files/file-calls.ts';
import type { Fd } from '../host/libc/descriptors.ts';
import type { IoVector } from '../host/mappings/io-vector.ts';
import { Owner } from '../host/ownership.ts';
import type { BlockBackend, BlockRequest } from './block-backend.ts';
import { type Change, ChangeOrder } from './change-order.ts';
import type { Completion, DiskEngine } from './disk-engine.ts';
import type { EngineChooser } from './disk-engines.ts';
import { type DiskFile, type DiskFileOptions, openDiskFile, sectorBytes } from './disk-file.ts';
import { gather, type Scratch, ScratchPool, scatter } from './scratch.ts';
import { isTransient, mostRetries, WriteBack } from './write-back.ts';

/**
 * A file or block device whose bytes are the disk's bytes.
 *
 * Where the file takes only whole blocks of more than a sector (direct I/O on such a file system or device), parts of blocks
 * are read, changed and written through memory of ours; no other change of those blocks comes in between.
 */
export class RawFile implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  readonly fd: Fd;
  /** Alignment that the file wants of memory addresses, offsets and lengths of data; and of offsets and lengths of holes. */
  readonly #alignment: number;
  readonly #holeAlignment: number;
  /** Only where there are blocks of which a request can change a part. */
  readonly #order: ChangeOrder | undefined;
  readonly #engine: DiskEngine;
  readonly #writeBack: WriteBack;
  readonly #owner = new Owner();
  readonly #idle: FileOperation[] = [];
  #scratches: ScratchPool | undefined;
  // What this file system is known to lack.
  #noPunch = false;
  #noZeroRange = false;

  /** The descriptor stays its owner's, who closes it after this. */
  constructor(file: DiskFile, engines: EngineChooser) {
    this.fd = file.fd;
    this.#engine = engines.engineFor(file.path, file.regular);
    this.#writeBack = new WriteBack(file.fd, this.#engine);
    this.sizeBytes = file.sizeBytes;
    this.readOnly = file.readOnly;
    this.physicalBlockBytes = file.physicalBlockBytes;
    this.discardBytes = file.discardBytes;
    this.#alignment = file.alignment;
    this.#holeAlignment = file.holeAlignment;
    if (file.alignment > sectorBytes) this.#order = new ChangeOrder();
  }

  /**
   * Opens and locks `path`; closing this closes it again.
   *
   * @throws DiskError as {@link openDiskFile}
   */
  static open(path: string, options: DiskFileOptions, engines: EngineChooser): RawFile {
    const file = openDiskFile(path, options);
    try {
      const raw = new RawFile(file, engines);
      raw.#owner.defer(() => closeSync(file.fd));
      return raw;
    } catch (error) {
      closeSync(file.fd);
      throw error;
    }
  }

  read(request: BlockRequest): void {
    this.#begin(request, OperationKind.read);
  }

  write(request: BlockRequest): void {
    if (this.readOnly) request.finished(-EINVAL);
    else this.#begin(request, OperationKind.write);
  }

  flush(request: BlockRequest): void {
    this.#writeBack.sync(this.#operation(request, OperationKind.flush));
  }

  /** 0, or the negative errno of the flush that failed: data is lost, and no flush succeeds any more. */
  get lost(): number {
    return this.#writeBack.lost;
  }

  discard(request: BlockRequest): void {
    if (this.readOnly) request.finished(-EINVAL);
    else if (this.#noPunch) request.finished(0);
    else this.#begin(request, OperationKind.discard);
  }

  writeZeroes(request: BlockRequest, unmap: boolean): void {
    if (this.readOnly) request.finished(-EINVAL);
    else if (unmap && !this.#noPunch) this.#begin(request, OperationKind.punch);
    else this.#begin(request, this.#noZeroRange ? OperationKind.zeroWrite : OperationKind.zeroRange);
  }

  start(): void {
    this.#engine.start();
  }

  close(): void {
    this.#owner.close();
  }

  /** A step of `operation` is done. For {@link FileOperation} only. Hot path. */
  advance(operation: FileOperation, result: number): void {
    if (result < 0 && this.#goesOn(operation, result)) return;
    const moves = operation.kind === OperationKind.read || operation.kind === OperationKind.write;
    if (result < 0) this.#end(operation, result);
    else if (operation.scratch !== undefined) this.#advanceScratch(operation, operation.scratch, result);
    else if (moves) this.#advanceData(operation, this.#wholeBlocks(result));
    else this.#end(operation, 0);
  }

  #advanceData(operation: FileOperation, moved: number): void {
    operation.done += moved;
    // Nothing: a file that has shrunk.
    if (moved === 0 || operation.done === operation.length) this.#end(operation, moved === 0 ? -EIO : 0);
    else {
      operation.request.data.dropFront(moved);
      this.#submit(operation);
    }
  }

  /** What a call that did part of the work did of whole blocks; the rest is done again. */
  #wholeBlocks(bytes: number): number {
    return bytes - (bytes % this.#alignment);
  }

  #begin(request: BlockRequest, kind: OperationKind): void {
    if (request.offset + request.length > this.sizeBytes || request.length <= 0) {
      request.finished(-EINVAL);
      return;
    }
    const operation = this.#operation(request, kind);
    if (kind === OperationKind.read || this.#order === undefined) this.#submit(operation);
    else {
      const { offset, length } = operation;
      operation.first = roundDown(offset, this.#alignment);
      operation.end = roundUp(offset + length, this.#alignment);
      operation.merges = operation.first !== offset || operation.end !== offset + length;
      if (this.#order.begin(operation)) this.#submit(operation);
    }
  }

  /** `operation` may change its blocks now. For {@link FileOperation} only. */
  begin(operation: FileOperation): void {
    this.#submit(operation);
  }

  #submit(operation: FileOperation): void {
    const { request, offset, length, done } = operation;
    const { data } = request;
    const engine = this.#engine;
    const { read, write, discard, punch, zeroRange, zeroWrite } = OperationKind;
    switch (operation.kind) {
      case read:
      case write:
        if (this.#isMisaligned(operation)) {
          this.#withScratch(operation);
          return;
        }
        data.offset = offset + done;
        if (operation.kind === read) engine.read(this.fd, data, operation);
        else engine.write(this.fd, data, operation);
        return;
      case discard: {
        // What is not a whole block of the device stays as it is.
        const first = roundUp(offset, this.#holeAlignment);
        const end = roundDown(offset + length, this.#holeAlignment);
        if (first < end) engine.allocate(this.fd, punchMode, first, end - first, operation);
        else this.#end(operation, 0);
        return;
      }
      case punch:
      case zeroRange:
        if (offset % this.#holeAlignment !== 0 || length % this.#holeAlignment !== 0) {
          operation.kind = zeroWrite;
          this.#withScratch(operation);
        } else engine.allocate(this.fd, operation.kind === punch ? punchMode : zeroMode, offset, length, operation);
        return;
      case zeroWrite:
        this.#withScratch(operation);
        return;
      default:
        throw new RangeError(`operation ${operation.kind} is not submitted here`);
    }
  }

  /** Whether a call that failed is made once more, or in another way; then that is on its way. */
  #goesOn(operation: FileOperation, result: number): boolean {
    const { kind, scratch } = operation;
    if (kind === OperationKind.flush) return false;
    if (!isTransient(result)) return result === -EOPNOTSUPP && this.#fallBack(operation);
    if (operation.retries++ >= mostRetries) return false;
    if (scratch === undefined) this.#submit(operation);
    else this.submitPiece(operation, scratch);
    return true;
  }

  /** Another way to do what the file system has no call for. True if there is one, and it is on its way. */
  #fallBack(operation: FileOperation): boolean {
    switch (operation.kind) {
      case OperationKind.discard:
        this.#noPunch = true;
        this.#end(operation, 0);
        return true;
      case OperationKind.punch:
        this.#noPunch = true;
        operation.kind = OperationKind.zeroRange;
        break;
      case OperationKind.zeroRange:
        this.#noZeroRange = true;
        operation.kind = OperationKind.zeroWrite;
        break;
      default:
        return false;
    }
    this.#submit(operation);
    return true;
  }

  /** Whether what is left cannot go between the guest's memory and the file as it lies. */
  #isMisaligned({ request: { data }, offset, length, done }: FileOperation): boolean {
    const alignment = this.#alignment;
    if (alignment === 1) return false;
    if ((offset + done) % alignment !== 0 || (length - done) % alignment !== 0) return true;
    for (let index = 0; index < data.count; index++) {
      if (data.addressOf(index) % alignment !== 0 || data.lengthOf(index) % alignment !== 0) return true;
    }
    return false;
  }

  /** Goes through memory of ours, piece by piece, as soon as some is free. */
  #withScratch(operation: FileOperation): void {
    this.#scratches ??= this.#owner.own(new ScratchPool());
    this.#scratches.take(operation);
  }

  /** `operation` has its scratch memory: does the next piece. For {@link FileOperation} only. */
  submitPiece(operation: FileOperation, scratch: Scratch): void {
    const { kind, request, offset, length, done } = operation;
    const { data } = scratch;
    const at = offset + done;
    const lead = at % this.#alignment;
    const left = length - done;
    const ofBlock = this.#pieceOfBlock(at, left);
    data.clear();
    if (ofBlock > 0) {
      data.add(scratch.address, this.#alignment);
      data.offset = at - lead;
      // Whoever writes part of a block reads it first.
      if (kind === OperationKind.read || !operation.hasBlock) {
        this.#engine.read(this.fd, data, operation);
        return;
      }
    } else {
      data.add(scratch.address, this.#wholeBlocks(Math.min(scratch.bytes.length, left)));
      data.offset = at;
    }
    if (kind === OperationKind.read) {
      this.#engine.read(this.fd, data, operation);
      return;
    }
    const bytes = ofBlock > 0 ? ofBlock : data.bytes;
    if (kind === OperationKind.write) gather(scratch.address + lead, request.data, bytes);
    else scratch.bytes.fill(0, lead, lead + bytes);
    this.#engine.write(this.fd, data, operation);
  }

  /** How many of the `left` bytes from `at` on lie in one block that they are only a part of; 0 if they begin with a whole one. */
  #pieceOfBlock(at: number, left: number): number {
    const alignment = this.#alignment;
    const lead = at % alignment;
    return lead === 0 && left >= alignment ? 0 : Math.min(alignment - lead, left);
  }

  #advanceScratch(operation: FileOperation, scratch: Scratch, result: number): void {
    const { kind, request, length } = operation;
    const at = operation.offset + operation.done;
    const ofBlock = this.#pieceOfBlock(at, length - operation.done);
    let moved = this.#wholeBlocks(result);
    if (moved === 0) {
      this.#end(operation, -EIO);
      return;
    }
    if (ofBlock > 0) {
      moved = ofBlock;
      operation.hasBlock = kind !== OperationKind.read && !operation.hasBlock;
      if (operation.hasBlock) {
        this.submitPiece(operation, scratch);
        return;
      }
    }
    if (kind === OperationKind.read) scatter(request.data, scratch.address + (at % this.#alignment), moved);
    if (kind !== OperationKind.zeroWrite) request.data.dropFront(moved);
    operation.done += moved;
    if (operation.done < length) this.submitPiece(operation, scratch);
    else this.#end(operation, 0);
  }

  #operation(request: BlockRequest, kind: OperationKind): FileOperation {
    const operation = this.#idle.pop() ?? new FileOperation(this);
    operation.request = request;
    operation.offset = request.offset;
    operation.length = request.length;
    operation.kind = kind;
    operation.done = 0;
    operation.retries = 0;
    operation.hasBlock = false;
    return operation;
  }

  #end(operation: FileOperation, result: number): void {
    const { request, scratch, kind } = operation;
    if (kind !== OperationKind.read && kind !== OperationKind.flush) this.#order?.end(operation);
    operation.request = noRequest;
    this.#idle.push(operation);
    if (scratch !== undefined) {
      operation.scratch = undefined;
      this.#scratches?.give(scratch);
    }
    request.finished(result);
  }
}

const punchMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const zeroMode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

const OperationKind = { read: 0, write: 1, flush: 2, discard: 3, punch: 4, zeroRange: 5, zeroWrite: 6 } as const;
type OperationKind = (typeof OperationKind)[keyof typeof OperationKind];

/** In place of a request that there is none of. */
const noRequest: BlockRequest = {
  offset: 0,
  length: 0,
  get data(): IoVector {
    throw new Error('an idle operation has no data');
  },
  finished: () => {
    throw new Error('an idle operation cannot finish');
  },
};

/** A request on its way through the engine, in as many steps as it takes. */
class FileOperation implements Completion, Change {
  request = noRequest;
  offset = 0;
  length = 0;
  kind: OperationKind = OperationKind.read;
  /** Bytes that are done. */
  done = 0;
  retries = 0;
  /** The block that is to be changed in part is in the scratch memory. */
  hasBlock = false;
  // As a change, where blocks are changed in part.
  first = 0;
  end = 0;
  merges = false;
  waits = false;
  scratch: Scratch | undefined = undefined;
  readonly #file: RawFile;

  constructor(file: RawFile) {
    this.#file = file;
  }

  finished(result: number): void {
    this.#file.advance(this, result);
  }

  go(): void {
    this.#file.begin(this);
  }

  /** Called by the pool. */
  scratchReady(scratch: Scratch): void {
    this.scratch = scratch;
    this.#file.submitPiece(this, scratch);
  }
}

function roundDown(offset: number, unit: number): number {
  return offset - (offset % unit);
}

function roundUp(offset: number, unit: number): number {
  return roundDown(offset + unit - 1, unit);
}
