import { DescriptorChain } from '../../src/devices/virtio/descriptor-chain.ts';
import { checkConfig, checkNothingTaken, ofKind } from '../../src/devices/virtio/device-state.ts';
import type { DeviceState } from '../../src/devices/virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import type { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { type IoVector, IoVectors } from '../../src/host/mappings/io-vector.ts';
import type { EchoState } from '../../test/support/echo-device.ts';
import type { FuzzTarget } from './fuzz-target.ts';
import type { HostileMemory } from './hostile-memory.ts';

/** First byte of a request. */
const kinds = ['echo', 'hold', 'gather', 'give back'] as const;

const shape: VirtioShape = {
  deviceId: 42,
  features: (1n << 5n) | (1n << 40n),
  queueSizes: [64, 16, 1],
  config: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  writableConfig: [4, 6],
};

/** Longest echo. */
const echoBytes = 4096;

/** A device that does with queues and chains all that a real one may do. */
class EchoTarget implements VirtioDevice {
  readonly #host: DeviceHost;
  readonly #ram: HostileMemory;
  readonly #vector: IoVector;
  readonly #chain = new DescriptorChain(Math.max(...shape.queueSizes));
  readonly #bytes = new Uint8Array(echoBytes);
  readonly #held: { readonly queue: number; readonly head: number }[] = [];
  #queues: readonly Virtqueue[] = [];
  #paused = true;
  #givenBack = false;

  constructor(host: DeviceHost, ram: HostileMemory, vector: IoVector) {
    this.#host = host;
    this.#ram = ram;
    this.#vector = vector;
  }

  get writesMemory(): boolean {
    return this.inFlight > 0;
  }

  get inFlight(): number {
    return this.#held.length;
  }

  activate(queues: readonly Virtqueue[]): void {
    this.#queues = queues;
    this.#paused = false;
  }

  kicked(index: number): void {
    if (!this.#paused) this.#drain(index);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    for (let index = 0; index < this.#queues.length; index++) this.#drain(index);
  }

  reset(): void {
    if (this.#held.length > 0) throw new Error('reset with requests in flight');
    this.#queues = [];
  }

  save(_active: boolean): EchoState {
    return { kind: 'echo', version: 1 };
  }

  prepareLoad(state: DeviceState, { config, active }: LoadSetting): () => void {
    ofKind<EchoState>(state, 'echo');
    checkConfig(config, shape.config, { first: 0 }, shape.writableConfig ?? [0, 0]);
    checkNothingTaken(active?.queues ?? []);
    return () => {
      this.#queues = active?.queues ?? [];
      this.#paused = true;
    };
  }

  close(): void {}

  /** One of the held requests finishes. */
  finishOne(): void {
    const request = this.#held.shift();
    if (request === undefined) return;
    const queue = this.#queue(request.queue);
    queue.push(request.head, 0);
    if (queue.publish()) this.#host.interruptQueue();
  }

  #drain(index: number): void {
    const queue = this.#queue(index);
    do {
      queue.disableKicks();
      while (!this.#paused && queue.pop(this.#chain)) this.#serve(index, queue);
      if (queue.publish()) this.#host.interruptQueue();
    } while (!this.#paused && queue.enableKicks());
    if (queue.fault !== undefined) this.#host.fail(queue.fault);
  }

  #serve(index: number, queue: Virtqueue): void {
    const chain = this.#chain;
    const read = chain.read(this.#ram.memory, 0, this.#bytes);
    switch (kinds[(this.#bytes[0] as number) % kinds.length]) {
      case 'hold':
        this.#held.push({ queue: index, head: chain.head });
        return;
      case 'give back':
        this.#givenBack = !this.#givenBack;
        if (this.#givenBack) {
          queue.undoPop(1);
          return;
        }
        break;
      case 'gather': {
        const { memory } = this.#ram;
        const rest = Math.max(0, chain.writableBytes - 1);
        this.#call('read', chain.gatherReadable(memory, 0, Math.min(chain.readableBytes, echoBytes), this.#vector));
        if (this.#call('write', chain.gatherWritable(memory, 1, rest, this.#vector)))
          chain.markWritten(memory, 1, rest);
        break;
      }
      default:
        break;
    }
    queue.push(chain.head, chain.write(this.#ram.memory, 0, this.#bytes.subarray(0, read)));
  }

  /** What was gathered whole is for the kernel. False if there were too many buffers. */
  #call(what: 'read' | 'write', whole: boolean): boolean {
    const vector = this.#vector;
    if (!whole && vector.count < vector.capacity) throw new Error('a stream ended before its length');
    for (let range = 0; whole && range < vector.count; range++) {
      this.#ram.callKernel(vector.addressOf(range), vector.lengthOf(range), what);
    }
    vector.clear();
    return whole;
  }

  #queue(index: number): Virtqueue {
    const queue = this.#queues[index];
    if (queue === undefined) throw new Error(`there is no queue ${index}`);
    return queue;
  }
}

export function echoTarget(): FuzzTarget {
  const vectors = new IoVectors(1, 16);
  let device: EchoTarget | undefined;
  return {
    name: 'echo',
    shape,
    kinds,
    lifetimeCases: 1,
    device: (host, _config, ram) => {
      device = new EchoTarget(host, ram, vectors.vectors[0] as IoVector);
      return device;
    },
    poll: () => device?.finishOne(),
    hostile: (random) => {
      const kind = random(kinds.length);
      const readable = new Uint8Array(1 + random(60)).fill(kind);
      return {
        queue: random(shape.queueSizes.length),
        kind: kinds[kind] as string,
        readable,
        writableBytes: random(100),
      };
    },
    request: (driver) => {
      const queue = 1;
      const head = driver.queues[queue]?.add([{ read: Uint8Array.of(0, 7, 9) }, { write: 8 }]) ?? -1;
      return {
        queue,
        head,
        check: ({ bytes }) => {
          if (String(bytes) !== '0,7,9') throw new Error(`the echo of 0,7,9 is ${bytes}`);
        },
      };
    },
    close: () => vectors.close(),
  };
}
