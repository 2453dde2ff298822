import type { DeviceState } from '../virtio/transport-state.ts';

/** A network card's own state. Address, link and announcement stand in the configuration. */
export interface NetState extends DeviceState {
  readonly kind: 'net';
  readonly version: 1;
  /** Which packets the driver wants, of those it agreed on: feature bits. */
  readonly guestOffloads: bigint;
  /** A packet, header and frame, that came from the port and waits for the driver's buffers; empty if none does. */
  readonly waiting: Uint8Array;
  /**
   * Set by an earlier version where whoever listened to packets on their way to the port had seen the one that comes next. It
   * means nothing: that was a listener of that machine, and another one has its own.
   */
  readonly nextIsSeen: boolean;
}
