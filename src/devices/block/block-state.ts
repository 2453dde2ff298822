import type { DeviceState } from '../virtio/transport-state.ts';

/** A disk's own state. What is behind it (the file, and what it is allowed) is not part of it. */
export interface BlockState extends DeviceState {
  readonly kind: 'block';
  readonly version: 1;
  /** Requests that are to be done again when the machine goes on: their heads, in order. */
  readonly kept: readonly number[];
}
