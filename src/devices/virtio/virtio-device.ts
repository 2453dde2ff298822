import type { DeviceState } from './transport-state.ts';
import type { Virtqueue } from './virtqueue.ts';

/** What a device asks of the machine around it. All of it on the io thread. */
export interface DeviceHost {
  /** Interrupts the driver: buffers were used. Only if the queue says that the driver wants it. */
  interruptQueue(): void;
  /** Tells the driver that the configuration changed; its bytes are changed before. */
  interruptConfig(): void;
  /** The driver broke the rules: the device is paused, here and now, until it is reset (Virtio 1.2, 2.1.1). */
  fail(reason: string): void;
}

/** What a device is loaded into, all of it checked but what only the device knows. */
export interface LoadSetting {
  /** The configuration as it will be, which others write. */
  readonly config: Uint8Array;
  /** What {@link VirtioDevice.activate} would get, if the driver runs the device. The queues stand where they stood. */
  readonly active?: { readonly queues: readonly Virtqueue[]; readonly features: bigint };
}

/**
 * A virtio device behind its registers: the part that works on queues. It lives on the io thread and is driven by it:
 *
 *     activate -> (kicked | pause, resume)* -> reset -> activate -> ...
 *
 * At any time it can be loaded instead, see {@link VirtioDevice.prepareLoad}; paused if it is active.
 *
 * Nothing a driver writes may make a method throw; a broken ring is {@link DeviceHost.fail}.
 */
export interface VirtioDevice {
  /**
   * The driver is ready: takes the queues, whose order is the device type's. Those that the driver did not set up stay
   * empty for ever. From now on the device runs, also if it was paused when it was reset. Work may be waiting already:
   * a call of {@link kicked} follows for each queue.
   */
  activate(queues: readonly Virtqueue[], features: bigint): void;
  /** Buffers may be waiting in queue `index`. Drains it. Hot path. */
  kicked(index: number): void;
  /** Requests that somebody else is at, who will say when they are finished. */
  readonly inFlight: number;
  /** Those of {@link inFlight} that were in flight when the device was reset or loaded; absent: there are never any. */
  readonly abandoned?: number;
  /**
   * Some of them write guest memory before they are finished. Where none does, and the device is paused, it leaves guest
   * memory alone, whatever is still in flight: what finishes then is answered once it goes on.
   */
  readonly writesMemory: boolean;
  /** From now on takes nothing from the queues. What writes guest memory is still given back. */
  pause(): void;
  /** Goes on, with whatever is waiting, also to be answered. */
  resume(): void;
  /** Forgets the queues and all the driver said. Called only while nothing is in flight. */
  reset(): void;
  /**
   * All of it that is not in registers, queues and configuration. Called while it is paused, or not active, and nothing
   * writes guest memory. Of what is in flight it saves what it takes to do it again. `active`: a driver runs it; otherwise there is only what outlives a reset.
   */
  save(active: boolean): DeviceState;
  /**
   * Checks a state against this device and makes what it takes. Nothing changes, neither here nor in guest memory, until
   * what is returned is called, which cannot fail: then the device is as it was saved, and paused. Nothing that is in flight
   * writes guest memory, and nobody will hear of it; if it reads guest memory, whoever loads that waits for it first, or
   * does not mind. What the queues hold is looked at by {@link resume} and not before, for guest memory may be loaded later.
   *
   * @param state of any kind of device, with what that kind's own check has found right
   * @throws VmStateError
   */
  prepareLoad(state: DeviceState, setting: LoadSetting): () => void;
  close(): void;
}

/** A key of a device's configuration, and the features by which a driver hears of its value. */
export interface ConfiguredFeatures {
  readonly features: bigint;
  readonly key: string;
  /** What its user calls the value that these are offered with, and the one without. */
  readonly offered: string;
  readonly missing: string;
}

/** What the registers show of a device, known before it runs. */
export interface VirtioShape {
  /** Virtio 1.2, section 5. */
  readonly deviceId: number;
  /** Feature bits offered, besides those of every device (VERSION_1, INDIRECT_DESC, EVENT_IDX). */
  readonly features: bigint;
  /** The largest size of each queue; powers of two. */
  readonly queueSizes: readonly number[];
  /** What an earlier version had instead; none of them is larger. A device that was saved with these goes on with them. */
  readonly earlierQueueSizes?: readonly number[];
  /** Features that go with a key of the device's configuration: a state of a device with another value is refused by it. */
  readonly configured?: readonly ConfiguredFeatures[];
  /**
   * Device configuration as it is at first. The live bytes, which a device is given when it is made, are shared with
   * the registers: the device changes them to tell its driver something, and reads what a driver may write.
   */
  readonly config: Uint8Array;
  /** Bytes of it that a driver may write: [start, end). A reset makes them what they were at first. */
  readonly writableConfig?: readonly [number, number];
}
