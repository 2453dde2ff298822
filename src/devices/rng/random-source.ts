import type { SeededRandomState } from './rng-state.ts';

/** Bytes of a seed that nobody can guess. */
export const seedBytes = 32;

/** Where an entropy device takes its bytes from. */
export interface RandomSource {
  /** Fills [address, address + length) in this process; the bytes filled, or a negative errno. */
  fill(address: number, length: number): number;
  /** Where a source stands that gives the same bytes again. Other sources do not have this. */
  save?(): SeededRandomState;
  /** Brings it there; without fail if the state's own check has found it right. */
  load?(state: SeededRandomState): void;
}
