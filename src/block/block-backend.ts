import type { IoVector } from '../host/mappings/io-vector.ts';
import type { Closable } from '../host/ownership.ts';

/**
 * One request to a disk. Whoever makes it owns it and reuses it; from submission until {@link finished} it belongs to
 * the backend. A layer that turns a request into others has request objects of its own.
 */
export interface BlockRequest {
  /** First byte on the disk; a multiple of 512, whatever the file wants. */
  offset: number;
  /** Bytes; a multiple of 512. For read and write the same as `data.bytes`. */
  length: number;
  /** Where the bytes come from or go to, host addresses. Read and write only. */
  readonly data: IoVector;
  /** Called once, with 0 or a negative errno; perhaps before the call that submitted it returns. */
  finished(result: number): void;
}

/** What a disk's driver has to know before it uses the disk. */
export interface BlockGeometry {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Bytes of the smallest write that is not a read, a change and a write of what lies beneath; 512 or more. */
  readonly physicalBlockBytes: number;
  /** Smallest piece that discard gives back. */
  readonly discardBytes: number;
}

/**
 * What stands behind a disk: a file, a layer over another one. Errors are values, never exceptions. Nothing here blocks
 * the calling thread for the time of a disk access.
 *
 * Order: requests may finish in any order. `flush` covers every write that had finished when it was submitted.
 */
export interface BlockBackend extends BlockGeometry, Closable {
  read(request: BlockRequest): void;
  write(request: BlockRequest): void;
  /** Makes what was written survive a loss of power. `offset`, `length` and `data` mean nothing. */
  flush(request: BlockRequest): void;
  /** The content no longer matters; reads give zeros or what was there. */
  discard(request: BlockRequest): void;
  /** Reads give zeros afterwards. `unmap`: the space may be given back. */
  writeZeroes(request: BlockRequest, unmap: boolean): void;
  /** Hands what was submitted since the last call to the kernel. Submissions are collected until then. */
  start(): void;
  /** Gives everything back. Nothing may be in flight. */
  close(): void;
}
