import type { BlockBackend } from '../../block/block-backend.ts';
import type { BatchListener } from '../../block/disk-engine.ts';
import { EIO } from '../../host/errno.ts';
import { Owner } from '../../host/ownership.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { ofKind } from '../virtio/device-state.ts';
import { type TakesTurns, TurnShare } from '../virtio/takes-turns.ts';
import type { DeviceState } from '../virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { VmStateError } from '../vm-state-error.ts';
import { readCommand, verdict } from './block-command.ts';
import {
  type BlockSlot,
  type SlotOwner,
  slotStage,
  blockStatus as status,
  blockRequestType as type,
} from './block-request.ts';
import { blockFeature, blockQueueSize, virtio_blk_config } from './block-shape.ts';
import type { BlockState } from './block-state.ts';
import { capacityBytes, checkServes } from './block-told.ts';
import { type BlockEvents, type BlockOperation, FileFailures, type WriteErrorPolicy } from './file-failures.ts';
import { RequestPieces } from './request-pieces.ts';
import { SlotTable } from './slot-table.ts';

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
  /** Another clock for its turns, in ms; for tests. */
  readonly now?: () => number;
  /** Bytes of a sector, if its user insists on them. */
  readonly sector?: number | undefined;
}

/** Requests taken in one turn: twice what a queue holds. */
const turnRequests = 2 * blockQueueSize;
const idBytes = 20;
const wceOffset = virtio_blk_config.offsets.wce;

/**
 * virtio-blk (Virtio 1.2, 5.2), with one queue. All that waits in the queue is handed to the backend together, and all
 * that finishes together is shown to the driver together: that is {@link batchFinished}.
 *
 * Paused, it answers reads that are on their way, for those write guest memory anyhow; all else that finishes is held and
 * answered when it goes on. So a disk that takes its time with a flush holds up no pause. What has no answer when the device
 * is saved is saved as the head of its chain, and done again after a load: it was never reported, and a write, a discard or a
 * flush that is done twice is done. That waits until the backend has finished what it was given before the load.
 */
export class BlockDevice implements VirtioDevice, TakesTurns, SlotOwner, BatchListener {
  /** Requests that no driver should make, and of types that we do not have. */
  invalid = 0;
  unsupported = 0;
  readonly #backend: BlockBackend;
  readonly #memory: GuestMemory;
  readonly #host: DeviceHost;
  readonly #config: Uint8Array;
  readonly #id: Uint8Array;
  readonly #owner = new Owner();
  readonly #failures: FileFailures;
  readonly #sector: number | undefined;
  /** The disk as the driver was told of it; what stands behind it may be larger. */
  readonly #told: { sizeBytes: number; readonly readOnly: boolean };
  readonly #slots: SlotTable;
  readonly #pieces: RequestPieces;
  readonly #share: TurnShare;
  /** Requests without an answer of a state that was loaded: their heads, to be read from the queue again. */
  #headsAgain: number[] = [];
  #queue: Virtqueue | undefined;
  #hasFlush = false;
  #hasConfigWce = false;
  #paused = false;
  /** The driver's turn is over, though there may be more. */
  #more = false;
  /** Its turn is over until less is on its way. */
  #waitsForRoom = false;
  /** Something was pushed and not published. */
  #pushed = false;

  constructor(parts: BlockDeviceParts) {
    this.#backend = this.#owner.own(parts.backend);
    this.#memory = parts.memory;
    this.#pieces = new RequestPieces(parts.backend, parts.memory);
    this.#host = parts.host;
    this.#config = parts.config;
    this.#id = new Uint8Array(idBytes);
    this.#id.set(new TextEncoder().encode(parts.id ?? '').subarray(0, idBytes));
    this.#share = new TurnShare({ requests: turnRequests, ...(parts.now === undefined ? {} : { now: parts.now }) });
    this.#failures = new FileFailures(parts.werror ?? 'enospc', parts.events);
    this.#sector = parts.sector;
    this.#told = { sizeBytes: 0, readOnly: parts.backend.readOnly };
    try {
      this.#slots = this.#owner.own(new SlotTable(this, blockQueueSize, blockQueueSize));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** Requests that failed, by what the file could not do. */
  get errors(): Readonly<Record<BlockOperation, number>> {
    return this.#failures.counts;
  }

  /** Requests that the backend has. */
  get inFlight(): number {
    return this.#pieces.inFlight;
  }

  /** Those of {@link inFlight} that are no reads. */
  get changesInFlight(): number {
    return this.#pieces.inFlight - this.#pieces.readsInFlight;
  }

  get abandoned(): number {
    return this.#slots.abandoned;
  }

  get writesMemory(): boolean {
    return this.#pieces.readsInFlight > 0;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  activate(queues: readonly Virtqueue[], features: bigint): void {
    this.#setDriver(queues[0], features);
    this.#paused = false;
    this.#failures.resume();
  }

  #setDriver(queue: Virtqueue | undefined, features: bigint): void {
    this.#queue = queue;
    this.#told.sizeBytes = capacityBytes(this.#config);
    this.#hasFlush = (features & blockFeature.flush) !== 0n;
    this.#hasConfigWce = (features & blockFeature.configWce) !== 0n;
  }

  kicked(_index: number): void {
    this.turn();
  }

  /** Hot path. */
  turn(): void {
    const queue = this.#queue;
    this.#more = false;
    this.#waitsForRoom = false;
    // Requests that are done again must not be overtaken by what they are done again for.
    if (queue === undefined || this.#slots.abandoned > 0) return;
    this.#share.begin();
    let isOver = false;
    // Requests that finish at once make room for more, which a driver may send without end.
    while (!this.#paused) {
      isOver = this.#resume() || this.#takeAgain(queue);
      if (!isOver) {
        queue.disableKicks();
        isOver = this.#takeNew(queue);
      }
      this.#backend.start();
      this.#publish(queue);
      if (queue.fault !== undefined) this.#host.fail(queue.fault);
      if (isOver || this.#slots.hasReady || !queue.enableKicks()) break;
    }
    if (this.#paused || !(isOver || this.#slots.hasReady)) return;
    this.#waitsForRoom = this.#pieces.isFull;
    this.#more = !this.#waitsForRoom;
  }

  pause(): void {
    this.#paused = true;
    this.#more = false;
  }

  resume(): void {
    this.#paused = false;
    this.#failures.resume();
    for (const slot of this.#slots.takeHeld()) this.#giveAnswer(slot, 1);
    // Each once: one that fails again is kept again.
    for (const slot of this.#slots.takeKept()) {
      if (slot.type !== type.flush) this.#slots.again(slot);
      // What it was to make durable may be lost, and another flush would not say so.
      else if (this.#failures.isSilent) this.#slots.keep(slot);
      else this.#fail(slot, EIO);
    }
    this.turn();
    // If the machine is to stop again already, what was submitted is on its way all the same.
    this.#backend.start();
    this.batchFinished();
  }

  reset(): void {
    this.#queue = undefined;
    this.#pushed = false;
    this.#failures.resume();
    this.#more = false;
    this.#slots.abandonAll();
    this.#pieces.abandonAll();
    this.#headsAgain = [];
  }

  save(active: boolean): BlockState {
    return { kind: 'block', version: 1, kept: active ? [...this.#slots.heads(), ...this.#headsAgain] : [] };
  }

  prepareLoad(state: DeviceState, { config, active }: LoadSetting): () => void {
    const { kept } = ofKind<BlockState>(state, 'block');
    checkServes(config, { sizeBytes: this.#backend.sizeBytes, sector: this.#sector });
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
      this.#told.sizeBytes = capacityBytes(config);
      this.#headsAgain = [...kept];
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
    this.#pieces.returned(slot);
    if (slot.stage === slotStage.abandoned) {
      this.#slots.free(slot);
      this.#more = !this.#paused && this.#slots.abandoned === 0;
      return;
    }
    if (result < 0) this.#fail(slot, -result);
    else this.#advance(slot);
    if (this.#waitsForRoom ? !this.#pieces.isFull : this.#slots.hasReady) this.#more = !this.#paused;
  }

  /** A piece is done. Hot path. */
  #advance(slot: BlockSlot): void {
    slot.done += slot.length;
    if (slot.done < slot.total) this.#slots.makeReady(slot);
    else if (slot.type === type.in) this.#answer(slot, status.ok, slot.total + 1);
    else if (slot.type === type.flush || slot.flushing || !this.#writesThrough) this.#answer(slot, status.ok, 1);
    else {
      slot.flushing = true;
      this.#slots.makeReady(slot);
    }
  }

  /** A driver without FLUSH knows nothing of a cache; one with CONFIG_WCE says whether there is one (5.2.5, 5.2.6.2). */
  get #writesThrough(): boolean {
    return this.#hasConfigWce ? this.#config[wceOffset] === 0 : !this.#hasFlush;
  }

  /** Goes on with requests of which a piece is done. True: the turn is over. Hot path. */
  #resume(): boolean {
    for (let slot = this.#slots.takeReady(); slot !== undefined; slot = this.#slots.takeReady()) {
      this.#submit(slot);
      if (this.#isOver(slot)) return true;
    }
    return false;
  }

  /** Does requests again that had no answer when the device was saved. They lie where its driver put them. */
  #takeAgain(queue: Virtqueue): boolean {
    while (this.#headsAgain.length > 0 && !this.#paused) {
      const slot = this.#slots.take();
      if (!queue.popAgain(slot.chain, this.#headsAgain.shift() as number)) {
        this.#slots.free(slot);
        return true;
      }
      this.#take(slot);
      if (this.#isOver(slot)) return true;
    }
    return false;
  }

  #takeNew(queue: Virtqueue): boolean {
    while (!this.#paused) {
      const slot = this.#slots.take();
      if (!queue.pop(slot.chain)) {
        this.#slots.free(slot);
        return false;
      }
      this.#take(slot);
      if (this.#isOver(slot)) return true;
    }
    return true;
  }

  /** True: the turn is over, with what `slot` cost. Hot path. */
  #isOver(slot: BlockSlot): boolean {
    return this.#share.spend(slot.cost, slot.chain.count) || this.#pieces.isFull;
  }

  /** Reads a request and sends it on its way. Hot path. */
  #take(slot: BlockSlot): void {
    const what = readCommand(this.#memory, slot, this.#told);
    switch (what) {
      case verdict.carryOut:
        this.#submit(slot);
        break;
      case verdict.tellId:
        this.#writeId(slot);
        break;
      case verdict.refuse:
        this.#refuse(slot);
        break;
      case verdict.unsupported:
        this.unsupported++;
        this.#answer(slot, status.unsupported, 1);
        break;
      case verdict.noRoom:
        this.invalid++;
        this.#return(slot, 0);
        break;
      default:
        what satisfies never;
    }
  }

  /** Sends the next piece of a request on its way. Hot path. */
  #submit(slot: BlockSlot): void {
    if (!this.#pieces.submit(slot)) this.#refuse(slot);
  }

  #writeId(slot: BlockSlot): void {
    const room = Math.min(idBytes, slot.chain.writableBytes - 1);
    slot.chain.write(this.#memory, 0, this.#id.subarray(0, room));
    this.#answer(slot, status.ok, slot.chain.writableBytes);
  }

  /** The file failed. */
  #fail(slot: BlockSlot, errno: number): void {
    if (this.#failures.keeps(slot, errno)) this.#slots.keep(slot);
    else this.#answer(slot, status.ioError, 1);
  }

  /** The driver's mistake. */
  #refuse(slot: BlockSlot): void {
    this.invalid++;
    this.#answer(slot, status.ioError, 1);
  }

  /** Answers a request, once the device is not paused; a read at once. Hot path. */
  #answer(slot: BlockSlot, code: number, written: number): void {
    slot.status = code;
    if (this.#paused && slot.type !== type.in) this.#slots.hold(slot);
    else this.#giveAnswer(slot, written);
  }

  /** Hot path. */
  #giveAnswer(slot: BlockSlot, written: number): void {
    writeStatus(this.#memory, slot.chain, slot.status);
    this.#return(slot, written);
  }

  #return(slot: BlockSlot, written: number): void {
    this.#queue?.push(slot.chain.head, written);
    this.#pushed = true;
    this.#slots.free(slot);
  }

  #publish(queue: Virtqueue): void {
    if (!this.#pushed) return;
    this.#pushed = false;
    if (queue.publish()) this.#host.interruptQueue();
  }
}

/** The writable stream has at least that byte. Hot path. */
function writeStatus(memory: GuestMemory, chain: DescriptorChain, code: number): void {
  const last = chain.count - 1;
  memory.writeU8(gpa(chain.addressOf(last) + chain.lengthOf(last) - 1), code);
}
