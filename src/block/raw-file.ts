import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { blockDeviceGeometry, copyMemory, directAlignment, lockFile, lockHolder } from '../host/disk-file.ts';
import { EINVAL, EIO, EOPNOTSUPP } from '../host/errno.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../host/file-calls.ts';
import type { IoVector } from '../host/io-vector.ts';
import type { Fd } from '../host/libc.ts';
import { Owner } from '../host/ownership.ts';
import type { BlockBackend, BlockRequest } from './block-backend.ts';
import type { Completion, DiskEngine } from './disk-engine.ts';
import type { EngineChooser } from './disk-engines.ts';
import { DiskError } from './disk-error.ts';
import { type Scratch, ScratchPool } from './scratch.ts';

export const sectorBytes = 512;

export interface RawFileOptions {
  readonly readOnly?: boolean;
  /** Bypass the host's page cache (O_DIRECT). */
  readonly direct?: boolean;
}

/** What a file is, once it is open and locked. */
interface OpenFile {
  readonly fd: Fd;
  readonly engine: DiskEngine;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  readonly memoryAlignment: number;
}

/** A file or block device whose bytes are the disk's bytes. */
export class RawFile implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly physicalBlockBytes: number;
  readonly discardBytes: number;
  readonly memoryAlignment: number;
  readonly fd: Fd;
  readonly #engine: DiskEngine;
  readonly #owner = new Owner();
  readonly #idle: FileOperation[] = [];
  #scratches: ScratchPool | undefined;
  // What this file system is known to lack.
  #noPunch = false;
  #noZeroRange = false;

  private constructor(file: OpenFile) {
    this.fd = file.fd;
    this.#engine = file.engine;
    this.sizeBytes = file.sizeBytes;
    this.readOnly = file.readOnly;
    this.physicalBlockBytes = file.physicalBlockBytes;
    this.discardBytes = file.discardBytes;
    this.memoryAlignment = file.memoryAlignment;
    this.#owner.defer(() => closeSync(file.fd));
  }

  /**
   * Opens and locks `path`.
   *
   * @throws DiskError if it is no disk, cannot be opened, or someone else has it
   */
  static open(path: string, options: RawFileOptions, engines: EngineChooser): RawFile {
    const { readOnly = false, direct = false } = options;
    const fd = openDisk(path, readOnly, direct);
    try {
      const stat = fstatSync(fd);
      if (stat.isDirectory()) throw new DiskError(`disk ${path} is a directory: name a file or a block device`);
      if (!stat.isFile() && !stat.isBlockDevice()) {
        throw new DiskError(`disk ${path} is neither a file nor a block device`);
      }
      if (!lockFile(fd, !readOnly, path)) {
        const holder = lockHolder(stat.ino);
        const use = readOnly ? 'is being written to' : 'is in use';
        throw new DiskError(`disk ${path} ${use} by ${holder ?? 'another process'}: end that first, or use a copy`);
      }
      const device = stat.isBlockDevice() ? blockDeviceGeometry(fd, path) : undefined;
      const sizeBytes = device?.size ?? stat.size;
      const memoryAlignment = direct ? directAlignmentOf(fd, path, device?.logical) : 1;
      const unit = Math.max(sectorBytes, memoryAlignment);
      if (sizeBytes === 0) throw new DiskError(`disk ${path} is empty: give it a size, as with truncate -s 1G ${path}`);
      if (sizeBytes % unit !== 0) {
        throw new DiskError(
          `disk ${path} has ${sizeBytes} bytes, not a multiple of ${unit}: truncate -s %${unit} ${path} mends that`,
        );
      }
      return new RawFile({
        fd,
        engine: engines.engineFor(path, stat.isFile()),
        sizeBytes,
        readOnly,
        physicalBlockBytes: Math.max(unit, device?.physical ?? stat.blksize),
        discardBytes: Math.max(unit, device === undefined ? stat.blksize : discardGranularity(stat.rdev)),
        memoryAlignment,
      });
    } catch (error) {
      closeSync(fd);
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
    this.#engine.sync(this.fd, this.#operation(request, OperationKind.flush));
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
    if (result < 0 && this.#fallBack(operation, -result)) return;
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

  /** Another way to do what the file system has no call for. True if there is one, and it is on its way. */
  #fallBack(operation: FileOperation, errno: number): boolean {
    if (errno !== EOPNOTSUPP) return false;
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

function openDisk(path: string, readOnly: boolean, direct: boolean): Fd {
  const { O_RDONLY, O_RDWR, O_DIRECT, O_EXCL, O_NONBLOCK } = constants;
  try {
    // On a block device O_EXCL fails while the host has it mounted; without O_CREAT it means nothing elsewhere.
    const exclusive = !readOnly && statSync(path).isBlockDevice() ? O_EXCL : 0;
    const flags = (readOnly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | exclusive | O_NONBLOCK;
    return openSync(path, flags) as Fd;
  } catch (error) {
    throw new DiskError(`disk ${path} ${whyNotOpen(error, path, direct)}`, { cause: error });
  }
}

function whyNotOpen(error: unknown, path: string, direct: boolean): string {
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case 'ENOENT':
      return `does not exist: truncate -s 1G ${path} makes an empty one`;
    case 'EACCES':
    case 'EPERM':
      return 'may not be opened by this user: change its permissions, or use readonly=on if it may be read';
    case 'EROFS':
      return 'is on a read-only file system: use readonly=on';
    case 'EISDIR':
      return 'is a directory: name a file or a block device';
    case 'EBUSY':
      return 'is in use by the host, perhaps mounted: unmount it first';
    case 'EINVAL':
      if (direct) return 'is on a file system without direct I/O: use direct=off';
      break;
  }
  return `cannot be opened: ${code ?? String(error)}`;
}

/** @param sector of a block device; undefined for a file */
function directAlignmentOf(fd: Fd, path: string, sector: number | undefined): number {
  const alignment = directAlignment(fd);
  if (alignment === 0) throw new DiskError(`disk ${path} is on a file system without direct I/O: use direct=off`);
  // Where the kernel cannot tell, a page suits every file system there is.
  return Math.max(alignment ?? sector ?? 4096, sector ?? 1);
}

function discardGranularity(device: number): number {
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  try {
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/queue/discard_granularity`, 'utf8')) || sectorBytes;
  } catch {
    return sectorBytes; // a partition has no queue of its own
  }
}
