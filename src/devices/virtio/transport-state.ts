import type { QueuePosition } from './virtqueue.ts';

/** Registers of a queue. */
export interface QueueRegisters {
  /** Its largest size. */
  readonly maxSize: number;
  readonly size: number;
  readonly ready: boolean;
  readonly descriptors: bigint;
  readonly driver: bigint;
  readonly device: bigint;
}

/** The register file of a virtio device over MMIO, with what it was made with. */
export interface RegistersState {
  readonly deviceId: number;
  readonly offeredFeatures: bigint;
  readonly status: number;
  readonly interruptStatus: number;
  readonly configGeneration: number;
  readonly deviceFeaturesSelect: number;
  readonly driverFeaturesSelect: number;
  readonly driverFeatures: bigint;
  /** Bits that the driver accepted from 64 on. */
  readonly driverFeaturesBeyond: number;
  readonly queueSelect: number;
  readonly queues: readonly QueueRegisters[];
  /** The live configuration. */
  readonly config: Uint8Array;
}

/** What a device saves of itself. Each kind has a type of its own with more in it. */
export interface DeviceState {
  readonly kind: string;
  readonly version: number;
}

/** A virtio device with its registers and queues. Guest memory, where the rings are, is saved elsewhere. */
export interface TransportState {
  readonly version: 1;
  /** As in {@link VirtioTransport}. Nobody saves a device whose reset is not over. */
  readonly phase: 'inactive' | 'active' | 'failed' | 'refused';
  readonly registers: RegistersState;
  /** Where the queues stand, those that are not ready at 0. None unless the phase is active. */
  readonly positions: readonly QueuePosition[];
  readonly device: DeviceState;
}
