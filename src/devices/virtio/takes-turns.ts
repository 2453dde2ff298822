/**
 * A device that stops after a fair share of work, so that the other devices of its thread get theirs. Whoever calls its
 * methods looks at {@link hasMore} afterwards, and calls {@link turn} once the others had their turn.
 */
export interface TakesTurns {
  /** It stopped though there is more to do. */
  readonly hasMore: boolean;
  /** Does another share of it. */
  turn(): void;
}

/** Requests that a device serves in one turn. */
export const turnRequests = 64;
/** Bytes after which a turn is over as well. */
export const turnBytes = 1 << 20;
