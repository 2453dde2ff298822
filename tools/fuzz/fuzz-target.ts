import type { DeviceHost, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import type { ContractRequest } from '../../test/support/contract-device.ts';
import type { MockDriver } from '../../test/support/mock-driver.ts';
import type { HostileMemory } from './hostile-memory.ts';

/** Numbers from 0 to below a limit, the same for the same seed. */
export type Random = (limit: number) => number;

/** A request as a driver means it: what the device reads, and room for what it writes. */
export interface HostileRequest {
  readonly queue: number;
  /** One of the target's kinds. */
  readonly kind: string;
  readonly readable: Uint8Array;
  readonly writableBytes: number;
}

/** A device under attack. What is dear to make is made once, with the target. */
export interface FuzzTarget {
  readonly name: string;
  readonly shape: VirtioShape;
  /** Types of requests, each of which must have been tried at the end. */
  readonly kinds: readonly string[];
  /** Cases after which a device is made anew. With more than 1, a case may need those before it to fail again. */
  readonly lifetimeCases: number;
  /** Makes the device; the one before is closed. */
  readonly device: (host: DeviceHost, config: Uint8Array, memory: HostileMemory) => VirtioDevice;
  /**
   * Something happens around the device: requests finish, packets come. All that is in flight finishes by calls of this.
   * `calm`: nothing goes wrong.
   */
  readonly poll: (random: Random, calm: boolean) => void;
  /** A request that is right, or nearly. */
  readonly hostile: (random: Random) => HostileRequest;
  /** A request that is right and is answered after some calm calls of `poll`. */
  readonly request: (driver: MockDriver) => ContractRequest;
  readonly close: () => void;
}
