import type { DeviceStateCheck } from '../../src/devices/virtio/transport-state-schema.ts';
import type { DeviceHost, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import type { MockDriver, VirtioRig } from './mock-driver.ts';
import type { Answer } from './mock-queue.ts';

/** A request that was put into a queue, and how to tell that it was answered well. */
export interface ContractRequest {
  readonly queue: number;
  readonly head: number;
  /** Throws if the answer is not the right one. */
  readonly check: (answer: Answer) => void;
}

/** A device to be tested, and all that it takes. */
export interface ContractDevice {
  readonly device: (host: DeviceHost, config: Uint8Array, memory: GuestMemory) => VirtioDevice;
  readonly shape: VirtioShape;
  /** Memory with real addresses, if the device needs that. */
  readonly memory?: GuestMemory;
  /** Lets the device take note of what has finished. */
  readonly poll?: () => void;
  /** Adds one request that the device answers, and does not kick. Features may be the least that a driver accepts. */
  readonly request: (driver: MockDriver) => ContractRequest;
  /** Checks a state of the device that comes from outside. */
  readonly checkState: DeviceStateCheck;
  /** Makes another one, as new, over memory of its own: with the same port, file or whatever is behind the first. */
  readonly another: () => ContractDevice;
  /** Gives back what was made for the test, after the device was closed. */
  readonly close?: () => void;
}

/** Waits for the answer to a request, and checks it. */
export async function answered(
  rig: VirtioRig,
  driver: MockDriver,
  { queue, head, check }: ContractRequest,
): Promise<void> {
  const mock = driver.queues[queue];
  if (mock === undefined) throw new Error(`queue ${queue} is not set up`);
  check(await rig.answer(mock, head));
}

/** Gives the device time to do what it should not. */
export async function turns(rig: VirtioRig): Promise<void> {
  let left = 20;
  await rig.until(() => left-- === 0);
}

export function expect(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}
