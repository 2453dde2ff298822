/** What the io thread tells. */
export type IoReport =
  /** For the operator to know. */
  | { readonly kind: 'notice'; readonly text: string }
  /** A TAP does not exist any more: somebody has removed it. */
  | { readonly kind: 'tap-gone'; readonly tap: string; readonly text: string }
  /** The guest was told of an I/O error. */
  | { readonly kind: 'disk-failure'; readonly failure: DiskFailure }
  /** Nothing is in flight any more of guests that were gone when guest memory moved for the `move`th time. */
  | { readonly kind: 'drained'; readonly move: number }
  /** A disk cannot be written, and the machine is to stop until somebody has mended that. */
  | { readonly kind: 'stop'; readonly text: string; readonly failure: DiskFailure };

/** A request that a disk's file could not carry out. */
export interface DiskFailure {
  /** Id of the disk. */
  readonly disk: string;
  readonly operation: string;
  /** The machine stops, and the request is done again when it goes on. */
  readonly stops: boolean;
  /** The host's disk is full. */
  readonly noSpace: boolean;
  readonly reason: string;
}
