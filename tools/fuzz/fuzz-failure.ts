/** A case that went wrong, and how to see it again. */
export class FuzzFailure extends Error {
  readonly code = 'FUZZ';

  /** @param again arguments that run the same case */
  constructor(target: string, seed: number, again: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`${target}, seed ${seed}: ${why}\n  again: npm run fuzz -- ${again}`);
    this.name = 'FuzzFailure';
    this.cause = cause;
  }
}
