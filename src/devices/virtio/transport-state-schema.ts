import * as v from 'valibot';
import { bytes, checkState, flag, list, record, u8, u16, u32, u64 } from '../state-schema.ts';
import { VmStateError } from '../vm-state-error.ts';
import type { DeviceState, TransportState } from './transport-state.ts';

/** More than any device has. */
const mostQueues = 64;
const mostConfigBytes = 4096;

const transportState = record({
  version: v.literal(1, 'is no version'),
  phase: v.picklist(['inactive', 'active', 'failed', 'refused'], 'is no phase'),
  registers: record({
    deviceId: u32,
    offeredFeatures: u64,
    status: u8,
    interruptStatus: u32,
    configGeneration: u32,
    deviceFeaturesSelect: u32,
    driverFeaturesSelect: u32,
    driverFeatures: u64,
    driverFeaturesBeyond: u32,
    queueSelect: u32,
    queues: list(
      record({ maxSize: u16, size: u32, ready: flag, descriptors: u64, driver: u64, device: u64 }),
      mostQueues,
    ),
    config: bytes(mostConfigBytes),
  }),
  positions: list(record({ nextAvail: u16, nextUsed: u16, signalled: u16 }), mostQueues),
  device: v.looseObject({ kind: v.string('is no name') }, 'is no record of named fields'),
});

/** Checks the state of a device of one kind. @throws VmStateError whose part is within the device's state */
export type DeviceStateCheck = (value: unknown) => DeviceState;

/**
 * A value that comes from outside as the state of a virtio device: all of the right type and in range. Whether it fits a
 * device is looked at when it is loaded.
 *
 * @param kinds the check of each kind of device
 * @throws VmStateError
 */
export function checkTransportState(value: unknown, kinds: Readonly<Record<string, DeviceStateCheck>>): TransportState {
  const state = checkState('state', 1, transportState, value);
  const { kind } = state.device;
  const check = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (check === undefined) {
    throw new VmStateError('state.device.kind', `is ${JSON.stringify(kind.slice(0, 40))}, which is no device`);
  }
  return { ...state, device: check(state.device) };
}
