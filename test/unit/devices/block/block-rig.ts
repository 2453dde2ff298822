import { BlockDevice } from '../../../../src/devices/block/block-device.ts';
import { blockShape } from '../../../../src/devices/block/block-shape.ts';
import type { BlockOperation, WriteErrorPolicy } from '../../../../src/devices/block/file-failures.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';
import { MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { FakeBackend } from '../../../support/fake-backend.ts';
import { type VirtioRig, virtioRig } from '../../../support/mock-driver.ts';
import type { MockBuffer, MockQueue } from '../../../support/mock-queue.ts';

export const diskBytes = 64 * 1024;

export interface BlockRigOptions {
  readonly readOnly?: boolean;
  readonly id?: string;
  readonly werror?: WriteErrorPolicy;
  readonly sector?: number;
  /** Whether another machine goes on in this one's place; default none ever does. */
  readonly isGivenAway?: () => boolean;
  /** Features accepted; default all. */
  readonly features?: bigint;
  readonly sizeBytes?: number;
  /** The clock of the device's turns; default one that stands, so that no turn ends by it. */
  readonly now?: () => number;
}

/** A disk in an array behind the device, its driver, and what the device told. */
export class BlockRig {
  readonly backend: FakeBackend;
  readonly shape: VirtioShape;
  readonly virtio: VirtioRig;
  readonly told: string[] = [];
  readonly #ram = new Ram(4 * MiB, 'private');

  constructor({
    readOnly = false,
    id,
    werror,
    sector,
    isGivenAway,
    features,
    sizeBytes = diskBytes,
    now = () => 0,
  }: BlockRigOptions = {}) {
    this.backend = new FakeBackend(sizeBytes, readOnly);
    this.shape = blockShape(this.backend);
    for (let at = 0; at < diskBytes; at++) this.backend.content[at] = (at >> 9) + 1;
    this.virtio = virtioRig({
      shape: this.shape,
      memory: this.#ram.memory,
      device: (host, config, memory) =>
        new BlockDevice({
          backend: this.backend,
          memory,
          host,
          config,
          events: {
            onError: (operation: BlockOperation, errno: number) => this.told.push(`${operation} ${errno}`),
            onStop: (errno: number) => this.told.push(`stop ${errno}`),
            ...(isGivenAway === undefined ? {} : { isGivenAway }),
          },
          ...(id === undefined ? {} : { id }),
          now,
          ...(werror === undefined ? {} : { werror }),
          sector,
        }),
    });
    this.virtio.driver.start(features);
  }

  get device(): BlockDevice {
    return this.virtio.transport.device as BlockDevice;
  }

  get queue(): MockQueue {
    const [queue] = this.virtio.driver.queues;
    if (queue === undefined) throw new Error('the queue is not set up');
    return queue;
  }

  kick(): void {
    this.virtio.driver.kick(0);
  }

  /** Lets the backend do all there is to do, turn by turn, and the driver hear of it. */
  settle(backwards = false): void {
    do {
      this.finish(backwards);
      if (this.device.hasMore) this.device.turn();
    } while (this.backend.started.length > 0 || this.device.hasMore);
  }

  /** Lets the backend do what was started, and the device hear of it. */
  finish(backwards = false): void {
    this.backend.settle(backwards);
    this.device.batchFinished();
  }

  /** One request from kick to answer. `status` is the last writable byte. */
  ask(
    buffers: readonly MockBuffer[],
    how: 'direct' | 'indirect' = 'direct',
  ): { length: number; bytes: Uint8Array; status: number } {
    const placed = buffers.map((buffer) => this.queue.place(buffer));
    this.queue.addPlaced(placed, how);
    this.kick();
    this.settle();
    const { length, bytes } = this.queue.collectOne();
    const last = placed.at(-1);
    if (last === undefined) throw new Error('a request without buffers');
    const status = this.#ram.memory.slice(last.address as never, last.length).at(-1) ?? -1;
    return { length, bytes, status };
  }

  close(): void {
    this.virtio.transport.close();
    this.#ram.close();
  }
}

export function header(type: number, sector = 0n): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(0xdead_beef, 4);
  bytes.writeBigUInt64LE(sector, 8);
  return bytes;
}

export function segment(sector: bigint, count: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(sector, 0);
  bytes.writeUInt32LE(count, 8);
  bytes.writeUInt32LE(flags, 12);
  return bytes;
}
