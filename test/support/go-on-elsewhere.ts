import { decode, encode } from 'cbor-x';
import type { TransportState } from '../../src/devices/virtio/transport-state.ts';
import { checkTransportState } from '../../src/devices/virtio/transport-state-schema.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { deviceStateChecks } from '../../src/vmm/io/io-device-state-schema.ts';
import type { VirtioRig } from './mock-driver.ts';

/** A device that stands still, saved, after a trip through CBOR and the check. */
export function savedState({ transport }: VirtioRig): TransportState {
  transport.pause();
  return checkTransportState(decode(encode(transport.save())), deviceStateChecks);
}

/** Loads what was saved of one device into another one, with memory and driver; paused. */
export function goOnElsewhere(from: VirtioRig, to: VirtioRig): TransportState {
  const state = savedState(from);
  to.transport.pause();
  to.transport.prepareLoad(state)();
  copyMemory(from.memory, to.memory);
  to.driver.queues.splice(0, Number.POSITIVE_INFINITY, ...from.driver.over(to.registers, to.memory).queues);
  return state;
}

export function copyMemory(from: GuestMemory, to: GuestMemory): void {
  for (const { start, sizeBytes } of from.regions) to.write(start, from.slice(start, sizeBytes));
}
