import { MmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { cell, type MmioState, mmioState, status } from '../../src/devices/virtio/mmio-state.ts';
import type { DeviceHost, VirtioDevice, VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { type Closable, Owner } from '../../src/host/ownership.ts';
import { MockDriver } from '../../test/support/mock-driver.ts';
import { randomNumbers } from '../../test/support/random.ts';
import type { Coverage } from './coverage.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';
import { HostileDriver } from './hostile-driver.ts';
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

/** Most operations of a case. */
const mostOperations = 24;
/** Calls of a target's poll after which a request must be through. */
const patience = 100_000;

/** Runs cases against one target. @throws FuzzFailure at the first that fails */
export function fuzzVirtio(target: FuzzTarget, options: FuzzOptions): void {
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
      state.cells.fill(0);
      state.config.set(target.shape.config);
      try {
        if (device === undefined || seed % target.lifetimeCases === 0) {
          device?.close();
          device = target.device(host, state.config, ram);
          first = seed;
        }
        runCase(target, { ram, state, pops, host, device }, seed, options);
      } catch (error) {
        const again = `virtio --device ${target.name} --seed ${first} --runs ${seed - first + 1}`;
        throw new FuzzFailure(target.name, seed, again, error);
      }
    }
    device?.close();
  } finally {
    owner.close();
  }
}

/** What cases share, because it is dear to make. */
interface Ground {
  readonly ram: HostileMemory;
  /** As it is at first. */
  readonly state: MmioState;
  readonly pops: PopCounter;
  readonly host: PassedOnHost;
  readonly device: VirtioDevice;
}

function runCase(target: FuzzTarget, ground: Ground, seed: number, options: FuzzOptions): void {
  const { ram, state, pops, host, device } = ground;
  const { coverage, log } = options;
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  log?.(`seed ${seed}`);
  ram.clear();
  let failed = false;
  let calm = false;
  const transport: VirtioTransport = new VirtioTransport({
    memory: ram.memory,
    state,
    shape: target.shape,
    interrupt: { signal: () => coverage.count('interrupt') },
    onFail: (reason) => {
      log?.(`  FAILED: ${reason}`);
      coverage.count(`fault ${reason.replaceAll(/(0x[0-9a-f]+|\d[\d.e+]*)/g, 'N')}`);
      if (failed) throw new Error('the device failed twice without a reset between');
      failed = true;
    },
    device: (to) => {
      host.to = to;
      return device;
    },
  });
  const registers = new MmioRegisters(state, target.shape, {
    synchronize: () => {
      for (let left = patience; !transport.settle(); left--) {
        if (left === 0) throw new Error('a reset does not come to an end');
        pops.begin();
        target.poll(random, calm);
      }
      if (Atomics.load(state.cells, cell.status) === 0) failed = false;
    },
    notify: (index) => {
      pops.begin();
      transport.kicked(index);
    },
  });
  const driver = new HostileDriver({ registers, transport, ram, target, random, coverage, log });
  if (random(8) !== 0) driver.start();
  const watched = random(4) === 0;
  if (watched) ram.watch();
  for (let left = 1 + random(mostOperations); left > 0; left--) {
    pops.begin();
    driver.act();
    const needsReset = (Atomics.load(state.cells, cell.status) & status.needsReset) !== 0;
    if (needsReset !== failed) throw new Error(`NEEDS_RESET is ${needsReset}, and the device failed: ${failed}`);
  }
  ram.checkGuards();
  if (watched) ram.checkMarks();
  ram.memory.meddle = undefined;
  calm = true;
  transport.resume();
  serveOne(target, new MockDriver(registers, ram.memory), pops, random);
  registers.write(0x70, 4, 0);
  if (failed) throw new Error('the device failed a good driver');
  ram.checkGuards();
}

/** Whatever was before, a good driver can reset the device and work with it. */
function serveOne(target: FuzzTarget, driver: MockDriver, pops: PopCounter, random: Random): void {
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
class PassedOnHost implements DeviceHost {
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
class PopCounter implements Closable {
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
