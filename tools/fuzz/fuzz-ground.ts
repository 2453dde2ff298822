import { type MmioState, makeFresh, mmioState } from '../../src/devices/virtio/mmio-state.ts';
import type { DeviceHost, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { type Closable, Owner } from '../../src/host/ownership.ts';
import type { MockDriver } from '../../test/support/mock-driver.ts';
import type { Coverage } from './coverage.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';
import { HostileMemory } from './hostile-memory.ts';

export interface FuzzOptions {
  /** Of the first case; each further one has the next number. */
  readonly seed: number;
  readonly runs: number;
  readonly coverage: Coverage;
  /** Told of every operation. */
  readonly log?: ((line: string) => void) | undefined;
  /** Told of each case before it runs. */
  readonly started?: (seed: number) => void;
}

/** Calls of a target's poll after which a request must be through. */
export const patience = 100_000;

/** What cases share, because it is dear to make. */
export interface Ground {
  readonly ram: HostileMemory;
  /** As it is at first. */
  readonly state: MmioState;
  readonly pops: PopCounter;
  readonly host: PassedOnHost;
  readonly device: VirtioDevice;
}

/**
 * Runs cases against one target.
 *
 * @param command as the command line calls it
 * @throws FuzzFailure at the first that fails
 */
export function runCases(
  command: string,
  target: FuzzTarget,
  options: FuzzOptions,
  runCase: (ground: Ground, seed: number) => void,
): void {
  const owner = new Owner();
  const ram = owner.own(new HostileMemory());
  const pops = owner.own(new PopCounter(target.shape));
  const state = mmioState(target.shape);
  const host = new PassedOnHost();
  let device: VirtioDevice | undefined;
  let first = options.seed;
  try {
    for (let seed = options.seed; seed < options.seed + options.runs; seed++) {
      options.started?.(seed);
      makeFresh(state, target.shape);
      try {
        if (device === undefined || seed % target.lifetimeCases === 0) {
          device?.close();
          device = target.device(host, state.config, ram);
          first = seed;
        }
        runCase({ ram, state, pops, host, device }, seed);
      } catch (error) {
        const again = `${command} --device ${target.name} --seed ${first} --runs ${seed - first + 1}`;
        throw new FuzzFailure(target.name, seed, again, error);
      }
    }
    device?.close();
  } finally {
    owner.close();
  }
}

/** Whatever was before, a good driver can reset the device and work with it. */
export function serveOne(target: FuzzTarget, driver: MockDriver, pops: PopCounter, random: Random): void {
  pops.begin();
  driver.start();
  if (driver.read('InterruptStatus') !== 0) throw new Error('an interrupt is left after a reset');
  const request = target.request(driver);
  driver.kick(request.queue);
  for (let left = patience; ; left--) {
    const answer = driver.queues[request.queue]?.collect().find(({ head }) => head === request.head);
    if (answer !== undefined) {
      request.check(answer);
      break;
    }
    if (left === 0) throw new Error('after a reset a request gets no answer');
    pops.begin();
    target.poll(random, true);
  }
  if (driver.status !== 0xf) throw new Error(`after a reset the status is 0x${driver.status.toString(16)}`);
}

/** The host of a device that outlives a case. */
export class PassedOnHost implements DeviceHost {
  to: DeviceHost | undefined;

  interruptQueue(): void {
    this.to?.interruptQueue();
  }

  interruptConfig(): void {
    this.to?.interruptConfig();
  }

  fail(reason: string): void {
    this.to?.fail(reason);
  }
}

/**
 * Counts the calls of pop between two operations, in every queue: a driver can make a device take as many requests as
 * its queues hold, and those that it adds meanwhile, but not more.
 */
export class PopCounter implements Closable {
  readonly #limit: number;
  readonly #pop = Virtqueue.prototype.pop;
  #count = 0;

  constructor(shape: VirtioShape) {
    this.#limit = 100 + 4 * shape.queueSizes.reduce((sum, size) => sum + size, 0);
    const { pop } = Virtqueue.prototype;
    const counter = this;
    Virtqueue.prototype.pop = function (chain): boolean {
      if (++counter.#count > counter.#limit)
        throw new Error(`more than ${counter.#limit} requests are taken at a kick`);
      return pop.call(this, chain);
    };
  }

  begin(): void {
    this.#count = 0;
  }

  close(): void {
    Virtqueue.prototype.pop = this.#pop;
  }
}
