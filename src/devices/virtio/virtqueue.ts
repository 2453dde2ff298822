import type { Gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from './descriptor-chain.ts';

/** What a driver has set a queue up with. Nothing of it is checked yet. */
export interface QueueSetup {
  readonly size: number;
  readonly descriptors: Gpa;
  /** The avail ring. */
  readonly driver: Gpa;
  /** The used ring. */
  readonly device: Gpa;
}

export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** A split virtqueue, device side (Virtio 1.2, 2.7). */
export class Virtqueue {
  readonly size: number;

  /** @throws VirtqueueError if the setup is not one that a device can work with */
  constructor(_memory: GuestMemory, setup: QueueSetup, _features: QueueFeatures) {
    this.size = setup.size;
  }

  /** Why the queue can no longer be used; undefined while all is well. Once set it stays. */
  get fault(): string | undefined {
    throw new Error('not there yet');
  }

  /** Takes the next request. False: there is none, or the ring is broken ({@link fault}). Hot path. */
  pop(_chain: DescriptorChain): boolean {
    throw new Error('not there yet');
  }

  /** Gives the last `count` popped requests back to the ring, as if never taken. They must be the latest ones. */
  undoPop(_count: number): void {
    throw new Error('not there yet');
  }

  /** Writes a used entry; the driver does not see it before {@link publish}. Hot path. */
  push(_head: number, _bytesWritten: number): void {
    throw new Error('not there yet');
  }

  /** Shows the driver all that was pushed. True if the driver wants an interrupt for it. Hot path. */
  publish(): boolean {
    throw new Error('not there yet');
  }

  /** Asks the driver not to kick: the queue is being drained. */
  disableKicks(): void {
    throw new Error('not there yet');
  }

  /** Asks the driver to kick for the next request. True if there is one already: drain again. */
  enableKicks(): boolean {
    throw new Error('not there yet');
  }
}
