import type { DeviceState } from '../virtio/transport-state.ts';

/** Where a generator of repeatable bytes stands. */
export interface SeededRandomState {
  readonly version: 1;
  /** Four 32-bit words, not all of them zero. */
  readonly words: readonly number[];
}

/** An entropy device's own state. */
export interface RngState extends DeviceState {
  readonly kind: 'rng';
  readonly version: 1;
  /** The generator that its bytes come from, if that gives the same ones again; null for the host's. */
  readonly seeded: SeededRandomState | null;
}
