import { closeSync } from 'node:fs';
import { EINVAL } from '../host/errno.ts';
import { viewMemory } from '../host/libc/memory.ts';
import { type IoVector, IoVectors } from '../host/mappings/io-vector.ts';
import { AnonymousMapping } from '../host/mappings/mapping.ts';
import { Owner } from '../host/ownership.ts';
import { AllocationMap } from './allocation-map.ts';
import type { BlockBackend, BlockGeometry, BlockRequest } from './block-backend.ts';
import type { EngineChooser } from './disk-engines.ts';
import type { DiskFile } from './disk-file.ts';
import { overlayBlockBytes as blockBytes, type OpenOverlay, openOverlay } from './overlay-file.ts';
import { RawFile } from './raw-file.ts';

/** Operations that are made at a time; more are made when they are needed. */
const chunk = 32;
/** Ranges of one request, with the edges of its first and last block. */
const maxRanges = 512;

/** What a disk that is an overlay over `base` is like, before there is one. */
export function overlayGeometry(base: DiskFile): BlockGeometry {
  return {
    sizeBytes: base.sizeBytes,
    readOnly: false,
    physicalBlockBytes: blockBytes,
    discardBytes: blockBytes,
  };
}

/**
 * Copy-on-write over a base that is only read (format: overlay-file.ts). A block is read from the base until something
 * of it was written; a write of part of it takes the rest along from the base, in one system call.
 *
 * While a write fills blocks that are not allocated yet, no other may fill the same ones: what it took from the base
 * would overwrite what the other wrote. Such writes wait for each other.
 */
export class Overlay implements BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly = false;
  readonly physicalBlockBytes = blockBytes;
  readonly discardBytes = blockBytes;
  readonly #base: BlockBackend;
  readonly #top: RawFile;
  readonly #map: AllocationMap;
  readonly #dataOffset: number;
  readonly #owner: Owner;
  readonly #idle: OverlayOperation[] = [];
  /** Writes on their way that fill unallocated blocks. */
  readonly #filling: OverlayOperation[] = [];
  /** Writes that wait for one of those. */
  readonly #waiting: OverlayOperation[] = [];

  /**
   * Opens the overlay `path` over `base`, which belongs to it from now on; makes it if there is none.
   *
   * @throws DiskError; the base is closed then too
   */
  static open(path: string, base: BlockBackend, options: { direct?: boolean }, engines: EngineChooser): Overlay {
    const owner = new Owner();
    owner.own(base);
    try {
      const opened = openOverlay(path, base.sizeBytes, options);
      owner.defer(() => closeSync(opened.file.fd));
      return new Overlay(opened, base, engines, owner);
    } catch (error) {
      owner.close();
      throw error;
    }
  }

  /** @param owner closes what the overlay stands on, after it: the base, and the descriptor */
  constructor({ file, layout, map }: OpenOverlay, base: BlockBackend, engines: EngineChooser, owner: Owner) {
    const top = owner.own(new RawFile(file, engines));
    this.#owner = owner;
    this.#base = base;
    this.#top = top;
    this.#map = owner.own(new AllocationMap(top, file.fd, layout, map));
    this.#dataOffset = layout.dataOffset;
    this.sizeBytes = base.sizeBytes;
  }

  read(request: BlockRequest): void {
    const operation = this.#begin(request);
    if (operation === undefined) return;
    operation.step = Step.read;
    this.#readRun(operation);
  }

  write(request: BlockRequest): void {
    const operation = this.#begin(request);
    if (operation === undefined) return;
    operation.zeroes = false;
    this.#change(operation);
  }

  flush(request: BlockRequest): void {
    this.#map.flush(request);
  }

  /** Whole blocks only: they read as zero afterwards, never as the base again. */
  discard(request: BlockRequest): void {
    const operation = this.#begin(request);
    if (operation === undefined) return;
    const end = operation.end === this.sizeBytes ? operation.end : alignDown(operation.end);
    operation.offset = alignUp(operation.offset);
    operation.end = end;
    if (operation.offset >= end) this.#end(operation, 0);
    else this.#zero(operation, true);
  }

  writeZeroes(request: BlockRequest, unmap: boolean): void {
    const operation = this.#begin(request);
    if (operation !== undefined) this.#zero(operation, unmap);
  }

  start(): void {
    this.#base.start();
    this.#top.start();
  }

  /** Writes the bits that no flush has written, and closes the base too. */
  close(): void {
    try {
      this.#map.writeBack();
    } finally {
      this.#owner.close();
    }
  }

  /** As {@link close}, but leaves the bits to another thread that has the overlay open. */
  leave(): void {
    this.#owner.close();
  }

  /** A call for `operation` is done. For {@link OverlayOperation} only. Hot path. */
  advance(operation: OverlayOperation, result: number): void {
    if (result < 0) {
      operation.error = result;
      // Of two reads of edges the other may still be on its way.
      if (operation.step !== Step.edges) {
        this.#finish(operation);
        return;
      }
    }
    switch (operation.step) {
      case Step.read:
        operation.done += operation.part.length;
        if (operation.offset + operation.done < operation.end) this.#readRun(operation);
        else this.#finish(operation);
        break;
      case Step.edges:
        if (--operation.edgesLeft > 0) break;
        if (operation.error < 0) this.#finish(operation);
        else if (operation.zeroes) this.#writeHead(operation);
        else this.#writeData(operation);
        break;
      case Step.head:
        this.#writeTail(operation);
        break;
      case Step.tail:
        this.#writeZeroRange(operation);
        break;
      case Step.data:
        this.#map.add(blockOf(operation.offset), blockOf(operation.end - 1));
        this.#finish(operation);
        break;
      default:
        operation.step satisfies never;
    }
  }

  #zero(operation: OverlayOperation, unmap: boolean): void {
    operation.zeroes = true;
    operation.unmap = unmap;
    this.#change(operation);
  }

  /** Reads the next bytes that lie in the same file. */
  #readRun(operation: OverlayOperation): void {
    const { part, request, end } = operation;
    const map = this.#map;
    const from = operation.offset + operation.done;
    const allocated = map.has(blockOf(from));
    let to = (blockOf(from) + 1) * blockBytes;
    while (to < end && map.has(blockOf(to)) === allocated) to += blockBytes;
    part.length = Math.min(to, end) - from;
    part.offset = allocated ? this.#dataOffset + from : from;
    part.data.clear();
    if (!part.data.addPart(request.data, operation.done, part.length)) this.advance(operation, -EINVAL);
    else if (allocated) this.#top.read(part);
    else this.#base.read(part);
  }

  /** Writes or zeroes [offset, end), unless another write has to be done first. */
  #change(operation: OverlayOperation): void {
    const first = blockOf(operation.offset);
    const last = blockOf(operation.end - 1);
    if (!this.#map.hasAll(first, last)) {
      for (const other of this.#filling) {
        if (blockOf(other.offset) <= last && first <= blockOf(other.end - 1)) {
          this.#waiting.push(operation);
          return;
        }
      }
      operation.fills = true;
      this.#filling.push(operation);
    }
    this.#readEdges(operation, first, last);
  }

  /** Takes from the base what the first and the last block have besides what is written. */
  #readEdges(operation: OverlayOperation, first: number, last: number): void {
    const { head, tail, offset, end } = operation;
    const start = first * blockBytes;
    const stop = (last + 1) * blockBytes;
    head.length = offset > start && !this.#map.has(first) ? offset - start : 0;
    tail.length = end < stop && !this.#map.has(last) ? stop - end : 0;
    // Behind the end of the base there is nothing to read.
    const tailFromBase = Math.min(stop, this.sizeBytes) - end;
    operation.tailBytes = tail.length;
    if (tail.length > tailFromBase) {
      operation.tailMemory.fill(0);
      tail.length = Math.max(0, tailFromBase);
    }
    operation.step = Step.edges;
    // One more than there are reads, so that the last one to be counted is this method.
    operation.edgesLeft = 1 + (head.length > 0 ? 1 : 0) + (tail.length > 0 ? 1 : 0);
    if (head.length > 0) this.#readEdge(head, start);
    if (tail.length > 0) this.#readEdge(tail, end);
    this.advance(operation, 0);
  }

  #readEdge(edge: Part, offset: number): void {
    edge.offset = offset;
    edge.data.clear();
    edge.data.add(edge.address, edge.length);
    this.#base.read(edge);
  }

  /** Edges and data in one write. */
  #writeData(operation: OverlayOperation): void {
    const { part, head, tail, request } = operation;
    operation.step = Step.data;
    part.data.clear();
    let fits = head.length === 0 || part.data.add(head.address, head.length);
    fits &&= part.data.addPart(request.data, 0, request.length);
    fits &&= operation.tailBytes === 0 || part.data.add(tail.address, operation.tailBytes);
    part.offset = this.#dataOffset + operation.offset - head.length;
    part.length = part.data.bytes;
    if (fits) this.#top.write(part);
    else this.advance(operation, -EINVAL);
  }

  #writeHead(operation: OverlayOperation): void {
    const { head } = operation;
    operation.step = Step.head;
    if (head.length === 0) this.#writeTail(operation);
    else this.#writeEdge(operation, head, head.length, operation.offset - head.length);
  }

  #writeTail(operation: OverlayOperation): void {
    operation.step = Step.tail;
    if (operation.tailBytes === 0) this.#writeZeroRange(operation);
    else this.#writeEdge(operation, operation.tail, operation.tailBytes, operation.end);
  }

  #writeEdge(operation: OverlayOperation, edge: Part, length: number, offset: number): void {
    const { part } = operation;
    part.data.clear();
    part.data.add(edge.address, length);
    part.offset = this.#dataOffset + offset;
    part.length = length;
    this.#top.write(part);
  }

  #writeZeroRange(operation: OverlayOperation): void {
    const { part } = operation;
    operation.step = Step.data;
    part.offset = this.#dataOffset + operation.offset;
    part.length = operation.end - operation.offset;
    this.#top.writeZeroes(part, operation.unmap);
  }

  /** Gives the result, and lets go who waited. */
  #finish(operation: OverlayOperation): void {
    if (operation.fills) {
      operation.fills = false;
      this.#filling.splice(this.#filling.indexOf(operation), 1);
      // Each once; those that have to wait again go to the end.
      for (let count = this.#waiting.length; count > 0; count--) {
        const next = this.#waiting.shift();
        if (next !== undefined) this.#change(next);
      }
    }
    this.#end(operation, operation.error);
  }

  #end(operation: OverlayOperation, result: number): void {
    const { request } = operation;
    this.#idle.push(operation);
    request.finished(result);
  }

  /** An operation for `request`; undefined if there cannot be one, and the request is finished. */
  #begin(request: BlockRequest): OverlayOperation | undefined {
    if (request.length <= 0 || request.offset + request.length > this.sizeBytes) {
      request.finished(-EINVAL);
      return undefined;
    }
    if (this.#idle.length === 0) this.#makeOperations();
    const operation = this.#idle.pop() as OverlayOperation;
    operation.request = request;
    operation.offset = request.offset;
    operation.end = request.offset + request.length;
    operation.done = 0;
    operation.error = 0;
    operation.fills = false;
    return operation;
  }

  #makeOperations(): void {
    const memory = this.#owner.own(new AnonymousMapping('overlay edges', chunk * 2 * blockBytes));
    const { vectors } = this.#owner.own(new IoVectors(chunk, maxRanges));
    const { vectors: edges } = this.#owner.own(new IoVectors(2 * chunk, 1));
    for (let index = 0; index < chunk; index++) {
      const address = memory.address + index * 2 * blockBytes;
      const [part, head, tail] = [vectors[index], edges[2 * index], edges[2 * index + 1]];
      if (part === undefined || head === undefined || tail === undefined) throw new RangeError('too few vectors');
      this.#idle.push(new OverlayOperation(this, part, head, tail, address));
    }
  }
}

/** What an operation waits for. */
const Step = { read: 0, edges: 1, head: 2, tail: 3, data: 4 } as const;
type Step = (typeof Step)[keyof typeof Step];

/** A call to the base or the top, of which there may be several for one request. */
class Part implements BlockRequest {
  offset = 0;
  length = 0;
  readonly data: IoVector;
  /** Memory of its own; 0 if it has none. */
  readonly address: number;
  readonly #overlay: Overlay;
  readonly #operation: OverlayOperation;

  constructor(overlay: Overlay, operation: OverlayOperation, data: IoVector, address: number) {
    this.#overlay = overlay;
    this.#operation = operation;
    this.data = data;
    this.address = address;
  }

  finished(result: number): void {
    this.#overlay.advance(this.#operation, result);
  }
}

/** A request on its way. */
class OverlayOperation {
  request: BlockRequest;
  /** What is read or changed: [offset, end). */
  offset = 0;
  end = 0;
  step: Step = Step.read;
  /** Bytes that are read. */
  done = 0;
  error = 0;
  zeroes = false;
  unmap = false;
  fills = false;
  edgesLeft = 0;
  /** Bytes behind `end` up to the end of its block, as far as they are to be written too. */
  tailBytes = 0;
  readonly part: Part;
  readonly head: Part;
  readonly tail: Part;
  readonly tailMemory: Uint8Array;

  constructor(overlay: Overlay, part: IoVector, head: IoVector, tail: IoVector, address: number) {
    this.part = new Part(overlay, this, part, 0);
    this.head = new Part(overlay, this, head, address);
    this.tail = new Part(overlay, this, tail, address + blockBytes);
    this.tailMemory = new Uint8Array(viewMemory(address + blockBytes, blockBytes));
    this.request = this.part;
  }
}

function blockOf(offset: number): number {
  return Math.floor(offset / blockBytes);
}

function alignDown(offset: number): number {
  return blockOf(offset) * blockBytes;
}

function alignUp(offset: number): number {
  return blockOf(offset + blockBytes - 1) * blockBytes;
}
