import * as v from 'valibot';
import { checkBlockState } from '../../devices/block/block-state-schema.ts';
import { checkNetState } from '../../devices/net/net-state-schema.ts';
import { checkRngState } from '../../devices/rng/rng-state-schema.ts';
import { checkState, list, record } from '../../devices/state-schema.ts';
import { checkTransportState, type DeviceStateCheck } from '../../devices/virtio/transport-state-schema.ts';
import { within } from '../../devices/vm-state-error.ts';
import { mostVirtioDevices } from '../platform/virtio-slots.ts';
import type { IoDeviceState } from './io-device-state.ts';

/** Every kind of device that has a state, with its check. */
export const deviceStateChecks: Readonly<Record<string, DeviceStateCheck>> = {
  block: checkBlockState,
  net: checkNetState,
  rng: checkRngState,
};

const ioDeviceStates = list(record({ name: v.string('is no name'), transport: v.unknown() }), mostVirtioDevices);

/**
 * A value that comes from outside as states of the io thread's devices, to be handed to that thread.
 *
 * @throws VmStateError that names device and field
 */
export function checkIoDeviceStates(value: unknown): IoDeviceState[] {
  return checkState('devices', 0, ioDeviceStates, value).map(({ name, transport }) => ({
    name,
    transport: within(name.slice(0, 40), () => checkTransportState(transport, deviceStateChecks)),
  }));
}
