import type { BlockBackend } from '../../block/block-backend.ts';
import type { BatchListener } from '../../block/disk-engine.ts';
import { ENOSPC } from '../../host/errno.ts';
import { IoVectors } from '../../host/io-vector.ts';
import { Owner } from '../../host/ownership.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { checkConfig, ofKind } from '../virtio/device-state.ts';
import type { TakesTurns } from '../virtio/takes-turns.ts';
import type { DeviceState } from '../virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { VmStateError } from '../vm-state-error.ts';
import {
  BlockSlot,
  headerBytes,
  readableU32,
  readableU64,
  type SlotOwner,
  segmentBytes,
  blockStatus as status,
  blockRequestType as type,
  writeStatus,
} from './block-request.ts';
import { blockFeature, blockQueueSize, maxRangeSectors, sectorBytes, virtio_blk_config } from './block-shape.ts';
import type { BlockState } from './block-state.ts';

/**
 * What becomes of a write that fails, in QEMU's words: the guest is told (report), the machine stops and the write is
 * done again when it goes on (stop), or the latter only while the host's disk is full (enospc). The guest is always told
 * of a flush that fails.
 */
export type WriteErrorPolicy = 'report' | 'stop' | 'enospc';

export type BlockOperation = 'read' | 'write' | 'flush' | 'discard' | 'write zeroes';

/** Whom a disk tells of failures of the file behind it. */
export interface BlockEvents {
  /** The guest was told of an I/O error. */
  onError(operation: BlockOperation, errno: number): void;
  /** A request is kept until {@link BlockDevice.resume}: the machine is to stop. Once, however many requests. */
  onStop(errno: number): void;
}

export interface BlockDeviceParts {
  /** The device's from now on. */
  readonly backend: BlockBackend;
  readonly memory: GuestMemory;
  readonly host: DeviceHost;
  /** The live configuration, which the driver may change. */
  readonly config: Uint8Array;
  readonly events: BlockEvents;
  /** What the driver gets for the disk's serial number; up to 20 bytes. */
  readonly id?: string;
  readonly werror?: WriteErrorPolicy;
}

/** Requests taken in one turn: twice what a queue holds. */
const turnRequests = 2 * blockQueueSize;
const idBytes = 20;
const UNMAP = 1;
const wceOffset = virtio_blk_config.offsets.wce;

/**
 * virtio-blk (Virtio 1.2, 5.2), with one queue. All that waits in the queue is handed to the backend together, and all
 * that finishes together is shown to the driver together: that is {@link batchFinished}.
 */
export class BlockDevice implements VirtioDevice, TakesTurns, SlotOwner, BatchListener {
  inFlight = 0;
  /** Requests that failed, by what the file could not do. */
  readonly errors: Readonly<Record<BlockOperation, number>>;
  /** Requests that no driver should make, and of types that we do not have. */
  invalid = 0;
  unsupported = 0;
  readonly #errors: Record<BlockOperation, number> = { read: 0, write: 0, flush: 0, discard: 0, 'write zeroes': 0 };
  readonly #backend: BlockBackend;
  readonly #memory: GuestMemory;
  readonly #host: DeviceHost;
  readonly #config: Uint8Array;
  readonly #events: BlockEvents;
  readonly #id: Uint8Array;
  readonly #werror: WriteErrorPolicy;
  readonly #owner = new Owner();
  readonly #free: BlockSlot[] = [];
  /** Requests to be done again when the machine goes on. */
  readonly #kept: BlockSlot[] = [];
  /** The same of a state that was loaded: their heads, to be read from the queue again. */
  #keptHeads: readonly number[] = [];
  #queue: Virtqueue | undefined;
  #hasFlush = false;
  #hasConfigWce = false;
  #paused = false;
  #stopping = false;
  /** The driver's turn is over, though there may be more. */
  #more = false;
  /** Something was pushed and not published. */
  #pushed = false;

  constructor(parts: BlockDeviceParts) {
    this.errors = this.#errors;
    this.#backend = this.#owner.own(parts.backend);
    this.#memory = parts.memory;
    this.#host = parts.host;
    this.#config = parts.config;
    this.#events = parts.events;
    this.#id = new Uint8Array(idBytes);
    this.#id.set(new TextEncoder().encode(parts.id ?? '').subarray(0, idBytes));
    this.#werror = parts.werror ?? 'enospc';
    try {
      // One more than a queue gives: to look whether there is another request takes a slot.
      const { vectors } = this.#owner.own(new IoVectors(blockQueueSize + 1, blockQueueSize));
      for (const data of vectors) this.#free.push(new BlockSlot(this, blockQueueSize, data));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  activate(queues: readonly Virtqueue[], features: bigint): void {
    this.#setDriver(queues[0], features);
    this.#paused = false;
    this.#stopping = false;
  }

  #setDriver(queue: Virtqueue | undefined, features: bigint): void {
    this.#queue = queue;
    this.#hasFlush = (features & blockFeature.flush) !== 0n;
    this.#hasConfigWce = (features & blockFeature.configWce) !== 0n;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  kicked(_index: number): void {
    this.turn();
  }

  /** Hot path. */
  turn(): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    // Requests that finish at once make room for more, which a driver may send without end.
    let left = turnRequests;
    this.#more = false;
    while (!this.#paused) {
      queue.disableKicks();
      while (!this.#paused) {
        if (left-- === 0) {
          this.#more = true;
          break;
        }
        const slot = this.#free.pop() as BlockSlot;
        if (!queue.pop(slot.chain)) {
          this.#free.push(slot);
          break;
        }
        this.inFlight++;
        this.#take(slot);
      }
      this.#backend.start();
      this.#publish(queue);
      if (queue.fault !== undefined) this.#host.fail(queue.fault);
      if (this.#more || !queue.enableKicks()) return;
    }
  }

  pause(): void {
    this.#paused = true;
    this.#more = false;
  }

  resume(): void {
    this.#paused = false;
    this.#stopping = false;
    // Each once: one that fails again is kept again.
    for (let count = this.#kept.length; count > 0; count--) {
      const slot = this.#kept.shift();
      if (slot === undefined) break;
      this.inFlight++;
      this.#submit(slot);
    }
    this.#takeKept();
    this.kicked(0);
    // If the machine is to stop again already, what was submitted is on its way all the same.
    this.#backend.start();
    this.batchFinished();
  }

  reset(): void {
    this.#queue = undefined;
    this.#pushed = false;
    this.#stopping = false;
    this.#more = false;
    for (const slot of this.#kept.splice(0)) this.#free.push(slot);
    this.#keptHeads = [];
  }

  save(active: boolean): BlockState {
    const kept = active ? [...this.#kept.map(({ chain }) => chain.head), ...this.#keptHeads] : [];
    return { kind: 'block', version: 1, kept };
  }

  prepareLoad(state: DeviceState, { config, active }: LoadSetting): () => void {
    const { kept } = ofKind<BlockState>(state, 'block');
    checkConfig(config, this.#config, virtio_blk_config.offsets, [wceOffset, wceOffset + 1]);
    const queue = active?.queues[0];
    const { nextAvail, nextUsed, signalled } = queue?.position ?? { nextAvail: 0, nextUsed: 0, signalled: 0 };
    const taken = (nextAvail - nextUsed) & 0xffff;
    if (kept.length !== taken) {
      throw new VmStateError('device.kept', `are ${kept.length} requests, and ${taken} were taken and not given back`);
    }
    for (const head of kept) {
      if (head >= (queue?.size ?? 0)) throw new VmStateError('device.kept', `cannot hold ${head}`);
    }
    return () => {
      this.reset();
      this.#paused = true;
      if (active === undefined || queue === undefined) return;
      this.#setDriver(queue, active.features);
      this.#keptHeads = kept;
      this.#pushed = nextUsed !== signalled;
    };
  }

  /** Nothing may be in flight. */
  close(): void {
    this.#owner.close();
  }

  /** Shows the driver what has finished since the last time. */
  batchFinished(): void {
    if (this.#queue !== undefined) this.#publish(this.#queue);
  }

  /** Hot path. */
  slotFinished(slot: BlockSlot, result: number): void {
    if (result < 0) {
      this.#fail(slot, -result);
      return;
    }
    const { length } = slot;
    switch (slot.type) {
      case type.in:
        slot.chain.markWritten(this.#memory, 0, length);
        this.#answer(slot, status.ok, length + 1);
        return;
      case type.flush:
        this.#answer(slot, status.ok, 1);
        return;
      default:
        if (slot.flushing || !this.#writesThrough) {
          this.#answer(slot, status.ok, 1);
          return;
        }
        slot.flushing = true;
        this.#backend.flush(slot);
        this.#backend.start();
    }
  }

  /** A driver without FLUSH knows nothing of a cache; one with CONFIG_WCE says whether there is one (5.2.5, 5.2.6.2). */
  get #writesThrough(): boolean {
    return this.#hasConfigWce ? this.#config[wceOffset] === 0 : !this.#hasFlush;
  }

  /** Does requests again that were kept when the device was saved. They lie where its driver put them. */
  #takeKept(): void {
    const heads = this.#keptHeads;
    this.#keptHeads = [];
    for (const head of heads) {
      const slot = this.#free.pop() as BlockSlot;
      if (this.#queue?.popAgain(slot.chain, head) !== true) {
        this.#free.push(slot);
        this.#host.fail(this.#queue?.fault ?? 'there is no queue');
        return;
      }
      this.inFlight++;
      this.#take(slot);
    }
  }

  /** Reads a request and sends it on its way. Hot path. */
  #take(slot: BlockSlot): void {
    const { chain } = slot;
    if (chain.writableBytes === 0) {
      // There is no room to say so in.
      this.invalid++;
      this.#return(slot, 0);
      return;
    }
    if (chain.readableBytes < headerBytes) {
      this.#refuse(slot);
      return;
    }
    const memory = this.#memory;
    slot.flushing = false;
    slot.type = readableU32(memory, chain, 0);
    switch (slot.type) {
      case type.in:
        this.#takeTransfer(slot, chain.writableBytes - 1);
        break;
      case type.out:
        this.#takeTransfer(slot, chain.readableBytes - headerBytes);
        break;
      case type.flush:
        slot.offset = 0;
        slot.length = 0;
        this.#submit(slot);
        break;
      case type.getId:
        this.#writeId(slot);
        break;
      case type.discard:
      case type.writeZeroes:
        this.#takeRange(slot);
        break;
      default:
        this.unsupported++;
        this.#answer(slot, status.unsupported, 1);
    }
  }

  #takeTransfer(slot: BlockSlot, length: number): void {
    slot.offset = readableU64(this.#memory, slot.chain, 8) * sectorBytes;
    slot.length = length;
    if (this.#isOnDisk(slot) && (slot.type === type.in || !this.#backend.readOnly)) this.#submit(slot);
    else this.#refuse(slot);
  }

  /** Discard and write zeroes: one segment, as the configuration says. */
  #takeRange(slot: BlockSlot): void {
    const { chain } = slot;
    const memory = this.#memory;
    if (chain.readableBytes !== headerBytes + segmentBytes || this.#backend.readOnly) {
      this.#refuse(slot);
      return;
    }
    const sectors = readableU32(memory, chain, headerBytes + 8);
    const flags = readableU32(memory, chain, headerBytes + 12);
    slot.offset = readableU64(memory, chain, headerBytes) * sectorBytes;
    slot.length = sectors * sectorBytes;
    slot.unmap = (flags & UNMAP) !== 0;
    if ((flags & ~(slot.type === type.writeZeroes ? UNMAP : 0)) !== 0) {
      this.unsupported++;
      this.#answer(slot, status.unsupported, 1);
    } else if (sectors <= maxRangeSectors && this.#isOnDisk(slot)) this.#submit(slot);
    else this.#refuse(slot);
  }

  #isOnDisk({ offset, length }: BlockSlot): boolean {
    return length > 0 && length % sectorBytes === 0 && offset + length <= this.#backend.sizeBytes;
  }

  /** Sends a request to the backend, perhaps not for the first time. Hot path. */
  #submit(slot: BlockSlot): void {
    const { chain, data } = slot;
    const backend = this.#backend;
    slot.flushing = false;
    switch (slot.type) {
      case type.in:
        data.clear();
        if (chain.gatherWritable(this.#memory, 0, slot.length, data)) backend.read(slot);
        else this.#refuse(slot);
        break;
      case type.out:
        data.clear();
        if (chain.gatherReadable(this.#memory, headerBytes, slot.length, data)) backend.write(slot);
        else this.#refuse(slot);
        break;
      case type.flush:
        backend.flush(slot);
        break;
      case type.discard:
        backend.discard(slot);
        break;
      default:
        backend.writeZeroes(slot, slot.unmap);
    }
  }

  #writeId(slot: BlockSlot): void {
    const room = Math.min(idBytes, slot.chain.writableBytes - 1);
    slot.chain.write(this.#memory, 0, this.#id.subarray(0, room));
    this.#answer(slot, status.ok, slot.chain.writableBytes);
  }

  /** The file failed. The request is answered with an error, or kept, as the user chose. */
  #fail(slot: BlockSlot, errno: number): void {
    const operation = slot.flushing ? 'flush' : operationOf(slot.type);
    this.#errors[operation]++;
    const keeps = this.#werror === 'stop' || (this.#werror === 'enospc' && errno === ENOSPC);
    // What a flush that failed was to make durable may be lost, and none that comes after it says so.
    if (operation === 'read' || operation === 'flush' || !keeps) {
      this.#events.onError(operation, errno);
      this.#answer(slot, status.ioError, 1);
      return;
    }
    this.inFlight--;
    this.#kept.push(slot);
    if (this.#stopping) return;
    this.#stopping = true;
    this.#events.onStop(errno);
  }

  /** The driver's mistake. */
  #refuse(slot: BlockSlot): void {
    this.invalid++;
    this.#answer(slot, status.ioError, 1);
  }

  #answer(slot: BlockSlot, code: number, written: number): void {
    writeStatus(this.#memory, slot.chain, code);
    this.#return(slot, written);
  }

  #return(slot: BlockSlot, written: number): void {
    this.#queue?.push(slot.chain.head, written);
    this.#pushed = true;
    this.inFlight--;
    this.#free.push(slot);
  }

  #publish(queue: Virtqueue): void {
    if (!this.#pushed) return;
    this.#pushed = false;
    if (queue.publish()) this.#host.interruptQueue();
  }
}

function operationOf(requestType: number): BlockOperation {
  switch (requestType) {
    case type.in:
      return 'read';
    case type.out:
      return 'write';
    case type.flush:
      return 'flush';
    case type.discard:
      return 'discard';
    default:
      return 'write zeroes';
  }
}
