import { closeSync } from 'node:fs';
import { copyMemory } from '../host/disk-file.ts';
import { EINVAL, EIO, EOPNOTSUPP } from '../host/errno.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../host/file-calls.ts';
import type { IoVector } from '../host/io-vector.ts';
import type { Fd } from '../host/libc.ts';
import { Owner } from '../host/ownership.ts';
import type { BlockBackend, BlockRequest } from './block-backend.ts';
import type { Completion, DiskEngine } from './disk-engine.ts';
import type { EngineChooser } from './disk-engines.ts';
import { type DiskFile, type DiskFileOptions, openDiskFile } from './disk-file.ts';
import { type Scratch, ScratchPool } from './scratch.ts';
import { isTransient, mostRetries, WriteBack } from './write-back.ts';

/** A file or block device whose bytes are the disk's bytes. */
export class RawFile implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  readonly memoryAlignment: number;
  readonly fd: Fd;
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
    this.memoryAlignment = file.memoryAlignment;
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
    // A file that has shrunk.
    else if (result === 0 && moves) this.#end(operation, -EIO);
    else if (operation.scratch !== undefined) this.#advanceScratch(operation, result);
    else if (moves && operation.done + result < operation.request.length) {
      operation.done += result;
      operation.request.data.dropFront(result);
      this.#submit(operation);
    } else this.#end(operation, 0);
  }

  #begin(request: BlockRequest, kind: OperationKind): void {
    if (request.offset + request.length > this.sizeBytes || request.length <= 0) {
      request.finished(-EINVAL);
      return;
    }
    this.#submit(this.#operation(request, kind));
  }

  #submit(operation: FileOperation): void {
    const { request, done } = operation;
    const engine = this.#engine;
    switch (operation.kind) {
      case OperationKind.read:
        if (this.#misaligned(request.data)) this.#withScratch(operation);
        else {
          request.data.offset = request.offset + done;
          engine.read(this.fd, request.data, operation);
        }
        break;
      case OperationKind.write:
        if (this.#misaligned(request.data)) this.#withScratch(operation);
        else {
          request.data.offset = request.offset + done;
          engine.write(this.fd, request.data, operation);
        }
        break;
      case OperationKind.discard:
      case OperationKind.punch:
        engine.allocate(this.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, request.offset, request.length, operation);
        break;
      case OperationKind.zeroRange:
        engine.allocate(this.fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, request.offset, request.length, operation);
        break;
      case OperationKind.zeroWrite:
        this.#withScratch(operation);
        break;
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

  #misaligned(data: IoVector): boolean {
    const alignment = this.memoryAlignment;
    if (alignment === 1) return false;
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
    const { request, done } = operation;
    const length = Math.min(scratch.bytes.length, request.length - done);
    scratch.data.clear();
    scratch.data.add(scratch.address, length);
    scratch.data.offset = request.offset + done;
    if (operation.kind === OperationKind.read) {
      this.#engine.read(this.fd, scratch.data, operation);
      return;
    }
    if (operation.kind === OperationKind.write) gather(scratch.address, request.data, length);
    else scratch.bytes.fill(0, 0, length);
    this.#engine.write(this.fd, scratch.data, operation);
  }

  #advanceScratch(operation: FileOperation, result: number): void {
    const scratch = operation.scratch as Scratch;
    if (result === 0) {
      this.#end(operation, -EIO);
      return;
    }
    if (operation.kind === OperationKind.read) scatter(operation.request.data, scratch.address, result);
    if (operation.kind !== OperationKind.zeroWrite) operation.request.data.dropFront(result);
    operation.done += result;
    if (operation.done < operation.request.length) this.submitPiece(operation, scratch);
    else this.#end(operation, 0);
  }

  #operation(request: BlockRequest, kind: OperationKind): FileOperation {
    const operation = this.#idle.pop() ?? new FileOperation(this);
    operation.request = request;
    operation.kind = kind;
    operation.done = 0;
    operation.retries = 0;
    return operation;
  }

  #end(operation: FileOperation, result: number): void {
    const { request, scratch } = operation;
    operation.request = noRequest;
    this.#idle.push(operation);
    if (scratch !== undefined) {
      operation.scratch = undefined;
      this.#scratches?.give(scratch);
    }
    request.finished(result);
  }
}

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
class FileOperation implements Completion {
  request = noRequest;
  kind: OperationKind = OperationKind.read;
  /** Bytes that are done. */
  done = 0;
  retries = 0;
  scratch: Scratch | undefined = undefined;
  readonly #file: RawFile;

  constructor(file: RawFile) {
    this.#file = file;
  }

  finished(result: number): void {
    this.#file.advance(this, result);
  }

  /** Called by the pool. */
  scratchReady(scratch: Scratch): void {
    this.scratch = scratch;
    this.#file.submitPiece(this, scratch);
  }
}

/** Copies the first `length` bytes of `data` to `address`. */
function gather(address: number, data: IoVector, length: number): void {
  let copied = 0;
  for (let index = 0; copied < length; index++) {
    const part = Math.min(data.lengthOf(index), length - copied);
    copyMemory(address + copied, data.addressOf(index), part);
    copied += part;
  }
}

/** Copies `length` bytes from `address` to the first bytes of `data`. */
function scatter(data: IoVector, address: number, length: number): void {
  let copied = 0;
  for (let index = 0; copied < length; index++) {
    const part = Math.min(data.lengthOf(index), length - copied);
    copyMemory(data.addressOf(index), address + copied, part);
    copied += part;
  }
}
