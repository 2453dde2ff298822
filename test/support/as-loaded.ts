import type { NetState } from '../../src/devices/net/net-state.ts';
import type { TransportState } from '../../src/devices/virtio/transport-state.ts';

/**
 * What a device saves once it was loaded with `state`: the same, but that no listener has seen a packet yet, whatever a
 * state of an earlier version says of another machine's listener.
 */
export function asLoaded(state: TransportState): TransportState {
  if (state.device.kind !== 'net') return state;
  return { ...state, device: { ...state.device, nextIsSeen: false } as NetState };
}
