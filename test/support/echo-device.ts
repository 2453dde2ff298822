import * as v from 'valibot';
import { checkState, record } from '../../src/devices/state-schema.ts';
import { DescriptorChain } from '../../src/devices/virtio/descriptor-chain.ts';
import { checkConfig, checkNothingTaken, ofKind } from '../../src/devices/virtio/device-state.ts';
import type { DeviceState } from '../../src/devices/virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import type { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';

/** What the echo device looks like: two queues, and a configuration whose bytes 4 to 6 a driver may write. */
export const echoShape: VirtioShape = {
  deviceId: 42,
  features: 1n << 5n,
  queueSizes: [16, 8],
  config: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  writableConfig: [4, 6],
};

export interface EchoState extends DeviceState {
  readonly kind: 'echo';
  readonly version: 1;
}

const echoState = record({ kind: v.literal('echo', 'is not echo'), version: v.literal(1, 'is no version') });

/** @throws VmStateError */
export function checkEchoState(value: unknown): EchoState {
  return checkState('device', 1, echoState, value);
}

/** Longest request that is answered whole. */
const echoBytes = 256;

/**
 * A device that writes into a request what it reads from it, for tests of all that is around a device. On queue 0 at
 * once; on queue 1 it holds requests until {@link release}.
 */
export class EchoDevice implements VirtioDevice {
  readonly #host: DeviceHost;
  readonly #memory: GuestMemory;
  readonly #shape: VirtioShape;
  readonly #chain: DescriptorChain;
  readonly #bytes = new Uint8Array(echoBytes);
  readonly #held: { readonly head: number; readonly room: number }[] = [];
  #queues: readonly Virtqueue[] = [];
  #paused = false;
  /** What happened to it, in order. */
  readonly calls: string[] = [];
  features = 0n;
  /** Requests taken from queues since it was made. */
  popped = 0;
  /** Kicks that reached it. */
  kicks = 0;

  constructor(host: DeviceHost, memory: GuestMemory, shape: VirtioShape = echoShape) {
    this.#host = host;
    this.#memory = memory;
    this.#shape = shape;
    this.#chain = new DescriptorChain(Math.max(...shape.queueSizes));
  }

  get writesMemory(): boolean {
    return this.inFlight > 0;
  }

  get inFlight(): number {
    return this.#held.length;
  }

  activate(queues: readonly Virtqueue[], features: bigint): void {
    this.calls.push('activate');
    this.#queues = queues;
    this.features = features;
    this.#paused = false;
  }

  kicked(index: number): void {
    this.kicks++;
    const queue = this.#queues[index];
    if (queue === undefined || this.#paused) return;
    do {
      queue.disableKicks();
      while (queue.pop(this.#chain)) {
        this.popped++;
        if (index === 1) this.#held.push({ head: this.#chain.head, room: this.#chain.writableBytes });
        else queue.push(this.#chain.head, this.#echo());
      }
      if (queue.publish()) this.#host.interruptQueue();
    } while (queue.enableKicks());
    if (queue.fault !== undefined) this.#host.fail(queue.fault);
  }

  /** Gives the held requests back, with nothing written. */
  release(): void {
    const queue = this.#queues[1];
    if (queue === undefined) return;
    for (const { head } of this.#held.splice(0)) queue.push(head, 0);
    if (queue.publish()) this.#host.interruptQueue();
  }

  pause(): void {
    this.calls.push('pause');
    this.#paused = true;
  }

  resume(): void {
    this.calls.push('resume');
    this.#paused = false;
    for (let index = 0; index < this.#queues.length; index++) this.kicked(index);
  }

  reset(): void {
    this.calls.push('reset');
    this.#queues = [];
  }

  save(_active: boolean): EchoState {
    this.calls.push('save');
    return { kind: 'echo', version: 1 };
  }

  prepareLoad(state: DeviceState, { config, active }: LoadSetting): () => void {
    ofKind<EchoState>(state, 'echo');
    checkConfig(config, this.#shape.config, { first: 0 }, this.#shape.writableConfig ?? [0, 0]);
    checkNothingTaken(active?.queues ?? []);
    return () => {
      this.calls.push('load');
      this.#queues = active?.queues ?? [];
      this.features = active?.features ?? 0n;
      this.#paused = true;
    };
  }

  close(): void {
    this.calls.push('close');
  }

  #echo(): number {
    const count = this.#chain.read(this.#memory, 0, this.#bytes);
    return this.#chain.write(this.#memory, 0, this.#bytes.subarray(0, count));
  }
}
