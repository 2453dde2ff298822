/** A saved state that cannot be loaded. Whoever throws it has changed nothing. */
export class VmStateError extends Error {
  readonly code = 'VM_STATE';
  /** What of the state will not do: a path of names. */
  readonly part: string;
  readonly reason: string;

  /** @param reason goes on from the part's name: `is missing` */
  constructor(part: string, reason: string) {
    super(`${part} ${reason}`);
    this.name = 'VmStateError';
    this.part = part;
    this.reason = reason;
  }

  /** The same, of a part of `whole`. */
  within(whole: string): VmStateError {
    return new VmStateError(`${whole}: ${this.part}`, this.reason);
  }
}

/** Calls `body`; what it finds wrong is wrong with a part of `whole`. */
export function within<T>(whole: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof VmStateError ? error.within(whole) : error;
  }
}
