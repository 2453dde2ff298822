import { monotonicMs } from '../../host/system/clock.ts';
import { MiB } from '../../memory/address.ts';

/**
 * A device that stops after a fair share of work, so that the other devices of its thread get theirs. Whoever calls its
 * methods looks at {@link hasMore} afterwards, and calls {@link turn} once the others had their turn.
 *
 * A turn takes a few milliseconds at most, whatever a driver asks for: nothing else happens on the thread meanwhile, and a
 * machine that is paused waits for it.
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

/** A buffer of a request costs as much as so many bytes: to walk it, to check it, and the kernel's look at it. */
const bufferCost = 1024;
/** After so many requests the clock is looked at: it costs a part of a request. */
const requestsToLook = 16;

/** What a device does in one turn at most. A clock other than the real one is for tests. */
export interface TurnLimits {
  readonly requests: number;
  readonly bytes?: number;
  readonly ms?: number;
  readonly now?: () => number;
}

/** What a turn may take: by requests, by bytes and buffers, and by time, for calls may be slow that others make fast. */
export class TurnShare {
  readonly #requests: number;
  readonly #bytes: number;
  readonly #ms: number;
  readonly #now: () => number;
  #requestsLeft = 0;
  #costLeft = 0;
  #lookedAt = 0;

  constructor({ requests, bytes = 8 * MiB, ms = 5, now = monotonicMs }: TurnLimits) {
    this.#requests = requests;
    this.#bytes = bytes;
    this.#ms = ms;
    this.#now = now;
  }

  begin(): void {
    this.#requestsLeft = this.#requests;
    this.#costLeft = this.#bytes;
  }

  /** Something was done: a request of so many buffers, with so many bytes moved. True if that was all. Hot path. */
  spend(bytes: number, buffers: number): boolean {
    this.#costLeft -= bytes + buffers * bufferCost;
    if (--this.#requestsLeft <= 0 || this.#costLeft <= 0) return true;
    return this.#requestsLeft % requestsToLook === 0 && this.#isLate();
  }

  #isLate(): boolean {
    const now = this.#now();
    if (this.#requests - this.#requestsLeft <= requestsToLook) this.#lookedAt = now;
    // It may have begun anew in between: then this is over at once, or a little later.
    return now < this.#lookedAt || now - this.#lookedAt >= this.#ms;
  }
}
