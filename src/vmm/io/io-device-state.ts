import type { TransportState } from '../../devices/virtio/transport-state.ts';
import type { DeviceOrder } from './device-orders.ts';

/** A device of the io thread, saved. */
export interface IoDeviceState {
  /** See {@link lastingNames}. */
  readonly name: string;
  readonly transport: TransportState;
}

/**
 * What devices are called in states: a name that stays when a machine goes on elsewhere, over files and TAPs with other
 * names. Disks have ids; network cards are counted, as in their guest.
 */
export function lastingNames(orders: readonly DeviceOrder[]): string[] {
  let nets = 0;
  return orders.map(({ device }) => {
    switch (device.kind) {
      case 'disk':
        return `disk ${device.id}`;
      case 'net':
        return `network card ${nets++}`;
      case 'rng':
        return 'rng';
      default:
        return device satisfies never;
    }
  });
}
