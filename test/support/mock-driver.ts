import { configOffset, MmioRegisters, mmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { feature, type MmioState, mmioState, status } from '../../src/devices/virtio/mmio-state.ts';
import type { DeviceHost, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import type { QueueSetup } from '../../src/devices/virtio/virtqueue.ts';
import { gpa } from '../../src/memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../src/memory/guest-memory.ts';
import { type Answer, GuestRoom, MockQueue } from './mock-queue.ts';

/** Offset of each register by its name in the specification. */
export const register: Readonly<Record<string, number>> = Object.fromEntries(
  mmioRegisters.map(({ name, offset }) => [name, offset]),
);

export interface RigOptions {
  readonly shape: VirtioShape;
  readonly device: (host: DeviceHost, config: Uint8Array, memory: GuestMemory) => VirtioDevice;
  /** Default: 4 MiB in a buffer. A device that calls the kernel needs memory with real addresses. */
  readonly memory?: GuestMemory;
  /** Lets the device take note of what has finished. Called again and again while a test waits. */
  readonly poll?: () => void;
  readonly onInterrupt?: () => void;
}

/** A device behind its registers, a driver before them, and no threads between: each call is carried out at once. */
export interface VirtioRig {
  readonly memory: GuestMemory;
  readonly state: MmioState;
  readonly registers: MmioRegisters;
  readonly transport: VirtioTransport;
  readonly driver: MockDriver;
  /** Interrupts raised so far. */
  readonly interrupts: number;
  /** Reasons of failures so far. */
  readonly failures: readonly string[];
  /** Waits until the io thread has done what the driver wants: a reset may have to wait for requests in flight. */
  settled(): Promise<void>;
  /** Waits for `done`, letting the device work. */
  until(done: () => boolean): Promise<void>;
  /** Waits for the answer to the request `head` of a queue; others are dropped. */
  answer(queue: MockQueue, head: number): Promise<Answer>;
}

const defaultMemoryBytes = 4 << 20;
/** A device that takes longer is stuck. */
const patienceMs = 20_000;

export function virtioRig({ shape, device, memory, poll, onInterrupt }: RigOptions): VirtioRig {
  const ram = memory ?? bufferedGuestMemory([{ start: gpa(0), sizeBytes: defaultMemoryBytes, offset: 0 }]);
  const state = mmioState(shape);
  const failures: string[] = [];
  let interrupts = 0;
  const transport: VirtioTransport = new VirtioTransport({
    memory: ram,
    state,
    shape,
    interrupt: {
      signal: () => {
        interrupts++;
        onInterrupt?.();
      },
    },
    onFail: (reason) => failures.push(reason),
    device: (host) => device(host, state.config, ram),
  });
  const registers = new MmioRegisters(state, shape, {
    synchronize: () => transport.settle(),
    notify: (index) => transport.kicked(index),
  });
  const until = async (done: () => boolean): Promise<void> => {
    const limit = Date.now() + patienceMs;
    while (!done()) {
      if (Date.now() > limit) throw new Error(`the device has not done it in ${patienceMs} ms`);
      poll?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return {
    memory: ram,
    state,
    registers,
    transport,
    driver: new MockDriver(registers, ram),
    get interrupts() {
      return interrupts;
    },
    failures,
    settled: () => until(() => transport.settle()),
    until,
    answer: async (queue, head) => {
      let answer: Answer | undefined;
      await until(() => {
        answer = queue.collect().find((one) => one.head === head);
        return answer !== undefined;
      });
      return answer as Answer;
    },
  };
}

/** Drives a virtio device over MMIO in the order of Linux's virtio_mmio. */
export class MockDriver {
  readonly #registers: MmioRegisters;
  readonly memory: GuestMemory;
  readonly room: GuestRoom;
  /** The queues that were set up, by index. */
  readonly queues: MockQueue[] = [];
  /** What was agreed on. */
  features = 0n;

  constructor(registers: MmioRegisters, memory: GuestMemory, room?: GuestRoom) {
    this.#registers = registers;
    this.memory = memory;
    this.room = room ?? new GuestRoom(4096, Math.min(memory.lowEnd, 64 << 20));
  }

  /** This driver over a copy of its memory and its registers: what becomes of it when its machine goes on elsewhere. */
  over(registers: MmioRegisters, memory: GuestMemory): MockDriver {
    const copy = new MockDriver(registers, memory, this.room);
    copy.features = this.features;
    for (const [index, queue] of this.queues.entries()) {
      const { size, eventIndex } = queue;
      copy.queues[index] = new MockQueue(memory, this.room, { size, eventIndex, from: queue });
    }
    return copy;
  }

  read(name: string): number {
    return this.#registers.read(offsetOf(name), 4);
  }

  write(name: string, value: number): void {
    this.#registers.write(offsetOf(name), 4, value);
  }

  readConfig(offset: number, size: number): number {
    return this.#registers.read(configOffset + offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.#registers.write(configOffset + offset, size, value);
  }

  get status(): number {
    return this.read('Status');
  }

  /** What was agreed on holds `bits`. */
  has(bits: bigint): boolean {
    return (this.features & bits) === bits;
  }

  /** From reset to queues that work. `accept`: features wanted of those offered; default all. */
  start(accept?: bigint): void {
    this.negotiate(accept);
    this.setUpQueues();
    this.finish();
  }

  /** Starts over, and agrees on features. */
  negotiate(accept?: bigint): void {
    this.reset();
    this.addStatus(status.acknowledge);
    this.addStatus(status.driver);
    const offered = this.offered();
    this.setFeatures(offered & (accept ?? offered));
    this.addStatus(status.featuresOk);
    if ((this.status & status.featuresOk) === 0) throw new Error('the device does not take the features');
  }

  reset(): void {
    this.write('Status', 0);
    this.queues.length = 0;
  }

  /** Every queue at its largest. */
  setUpQueues(): void {
    for (let index = 0; this.maxSize(index) > 0; index++) this.setUpQueue(index);
  }

  maxSize(index: number): number {
    this.write('QueueSel', index);
    return this.read('QueueNumMax');
  }

  setUpQueue(index: number, size = this.maxSize(index)): MockQueue {
    const eventIndex = this.has(feature.eventIndex);
    const queue = new MockQueue(this.memory, this.room, { size, eventIndex });
    if (eventIndex) queue.setUsedEvent(0);
    this.describe(index, queue.setup);
    this.queues[index] = queue;
    return queue;
  }

  /** Writes a queue's registers, whatever is in the setup. */
  describe(index: number, setup: QueueSetup): void {
    this.write('QueueSel', index);
    if (this.read('QueueReady') !== 0) throw new Error(`queue ${index} is ready before it is set up`);
    this.write('QueueNum', setup.size);
    this.#writeAddress('QueueDesc', setup.descriptors);
    this.#writeAddress('QueueDriver', setup.driver);
    this.#writeAddress('QueueDevice', setup.device);
    this.write('QueueReady', 1);
  }

  /** The device may start. */
  finish(): void {
    this.addStatus(status.driverOk);
  }

  addStatus(bit: number): void {
    this.write('Status', this.status | bit);
  }

  offered(): bigint {
    this.write('DeviceFeaturesSel', 1);
    const high = this.read('DeviceFeatures');
    this.write('DeviceFeaturesSel', 0);
    return (BigInt(high) << 32n) | BigInt(this.read('DeviceFeatures'));
  }

  setFeatures(features: bigint): void {
    this.write('DriverFeaturesSel', 1);
    this.write('DriverFeatures', Number(features >> 32n));
    this.write('DriverFeaturesSel', 0);
    this.write('DriverFeatures', Number(features & 0xffff_ffffn));
    this.features = features;
  }

  /** Kicks queue `index`, if the device wants it. */
  kick(index: number): void {
    if (this.queues[index]?.wantsKick() ?? true) this.write('QueueNotify', index);
  }

  /** As an interrupt handler does; the status it found. */
  acknowledgeInterrupt(): number {
    const found = this.read('InterruptStatus');
    this.write('InterruptACK', found);
    return found;
  }

  #writeAddress(name: string, address: number): void {
    this.write(`${name}Low`, address % 0x1_0000_0000);
    this.write(`${name}High`, Math.floor(address / 0x1_0000_0000));
  }
}

function offsetOf(name: string): number {
  const offset = register[name];
  if (offset === undefined) throw new Error(`no register is called ${name}`);
  return offset;
}
