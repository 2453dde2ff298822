import { gpa } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { checkNothingTaken, ofKind } from '../virtio/device-state.ts';
import type { TakesTurns } from '../virtio/takes-turns.ts';
import type { DeviceState } from '../virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice, VirtioShape } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { VmStateError } from '../vm-state-error.ts';
import type { RandomSource } from './random-source.ts';
import type { RngState } from './rng-state.ts';

/** An entropy device as its registers show it (Virtio 1.2, 5.4). */
export const rngShape: VirtioShape = {
  deviceId: 4,
  features: 0n,
  queueSizes: [64],
  config: new Uint8Array(0),
};

/** Most bytes of one answer: a driver that wants more asks again. */
const longestAnswer = 65_536;
/** Bytes after which a turn is over, about a millisecond's worth. */
const turnBytes = 262_144;
/** Requests of a turn, for those that are short. */
const turnRequests = 64;

export interface RngParts {
  readonly memory: GuestMemory;
  readonly source: RandomSource;
  readonly host: DeviceHost;
}

/** A virtio entropy device: fills what the driver gives it with random bytes. */
export class RngDevice implements VirtioDevice, TakesTurns {
  readonly #memory: GuestMemory;
  readonly #host: DeviceHost;
  readonly #chain = new DescriptorChain(rngShape.queueSizes[0] ?? 0);
  #source: RandomSource;
  #queue: Virtqueue | undefined;
  #paused = false;
  #more = false;
  /** Bytes given to drivers. */
  bytes = 0;
  /** Requests that the source failed, answered with fewer bytes or none. */
  failures = 0;

  constructor({ memory, source, host }: RngParts) {
    this.#memory = memory;
    this.#source = source;
    this.#host = host;
  }

  get inFlight(): number {
    return 0;
  }

  get writesMemory(): boolean {
    return false;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  /** Takes its bytes from elsewhere from now on. */
  set source(source: RandomSource) {
    this.#source = source;
  }

  activate(queues: readonly Virtqueue[], _features: bigint): void {
    this.#queue = queues[0];
    this.#paused = false;
  }

  kicked(_index: number): void {
    this.turn();
  }

  turn(): void {
    this.#more = this.#run();
  }

  pause(): void {
    this.#paused = true;
    this.#more = false;
  }

  resume(): void {
    this.#paused = false;
    this.turn();
  }

  reset(): void {
    this.#queue = undefined;
    this.#more = false;
  }

  save(_active: boolean): RngState {
    return { kind: 'rng', version: 1, seeded: this.#source.save?.() ?? null };
  }

  prepareLoad(state: DeviceState, { active }: LoadSetting): () => void {
    const { seeded } = ofKind<RngState>(state, 'rng');
    const source = this.#source;
    if ((seeded !== null) !== (source.load !== undefined)) {
      const [there, here] = seeded === null ? ["the host's", 'a seeded one'] : ['a seeded one', "the host's"];
      throw new VmStateError('device.seeded', `is of another source of entropy: ${there}, and here it is ${here}`);
    }
    checkNothingTaken(active?.queues ?? []);
    return () => {
      this.#queue = active?.queues[0];
      this.#paused = true;
      this.#more = false;
      if (seeded !== null) source.load?.(seeded);
    };
  }

  close(): void {
    this.reset();
  }

  /** Answers requests, one turn's worth. True: there may be more. */
  #run(): boolean {
    const queue = this.#queue;
    if (queue === undefined || this.#paused) return false;
    queue.disableKicks();
    let bytes = 0;
    for (let left = turnRequests; left > 0 && bytes < turnBytes; left--) {
      while (!queue.pop(this.#chain)) {
        this.#publish(queue);
        if (queue.fault !== undefined) {
          this.#host.fail(queue.fault);
          return false;
        }
        if (!queue.enableKicks()) return false;
        queue.disableKicks();
      }
      const filled = this.#fill();
      bytes += filled;
      queue.push(this.#chain.head, filled);
    }
    this.#publish(queue);
    return true;
  }

  /** Fills the chain's buffers, up to the longest answer; the bytes filled. */
  #fill(): number {
    const chain = this.#chain;
    const wanted = Math.min(chain.writableBytes, longestAnswer);
    let filled = 0;
    for (let index = chain.readable; index < chain.count && filled < wanted; index++) {
      const part = Math.min(chain.lengthOf(index), wanted - filled);
      const address = gpa(chain.addressOf(index));
      const count = this.#source.fill(this.#memory.addressForRead(address, part), part);
      // A call that failed may have written all the same.
      this.#memory.markWritten(address, part);
      if (count > 0) filled += count;
      if (count < part) {
        this.failures++;
        break;
      }
    }
    this.bytes += filled;
    return filled;
  }

  #publish(queue: Virtqueue): void {
    if (queue.publish()) this.#host.interruptQueue();
  }
}
