import { MmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { cell, type MmioState, mmioState, status } from '../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { MockDriver } from '../../test/support/mock-driver.ts';
import { randomNumbers } from '../../test/support/random.ts';
import type { Coverage } from './coverage.ts';
import type { FuzzTarget } from './fuzz-target.ts';
import { HostileDriver } from './hostile-driver.ts';
import { HostileMemory } from './hostile-memory.ts';

/** A case that went wrong, and how to see it again. */
export class FuzzFailure extends Error {
  readonly code = 'FUZZ';

  constructor(target: string, seed: number, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `${target}, seed ${seed}: ${why}\n  again: npm run fuzz -- virtio --device ${target} --seed ${seed} --runs 1 --log`,
    );
    this.name = 'FuzzFailure';
    this.cause = cause;
  }
}

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
  const ram = new HostileMemory();
  const state = mmioState(target.shape);
  const pops = new PopCounter(target.shape);
  try {
    for (let run = 0; run < options.runs; run++) {
      const seed = options.seed + run;
      options.started?.(seed);
      try {
        state.cells.fill(0);
        state.config.set(target.shape.config);
        runCase(target, { ram, state, pops }, seed, options);
      } catch (error) {
        throw new FuzzFailure(target.name, seed, error);
      }
    }
  } finally {
    pops.close();
    ram.close();
  }
}

/** What cases share, because it is dear to make. */
interface Ground {
  readonly ram: HostileMemory;
  /** As it is at first. */
  readonly state: MmioState;
  readonly pops: PopCounter;
}

function runCase(target: FuzzTarget, { ram, state, pops }: Ground, seed: number, options: FuzzOptions): void {
  const { coverage, log } = options;
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  ram.clear();
  let failed = false;
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
    device: (host) => target.device(host, state.config, ram),
  });
  const registers = new MmioRegisters(state, target.shape, {
    synchronize: () => {
      for (let left = patience; !transport.settle(); left--) {
        if (left === 0) throw new Error('a reset does not come to an end');
        target.poll(random);
      }
      if (Atomics.load(state.cells, cell.status) === 0) failed = false;
    },
    notify: (index) => {
      pops.begin();
      transport.kicked(index);
    },
  });
  try {
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
    recover(target, ram, transport, registers, pops, random);
    ram.checkGuards();
  } finally {
    ram.memory.meddle = undefined;
    transport.close();
  }
}

/** Whatever was before, a good driver can reset the device and work with it. */
function recover(
  target: FuzzTarget,
  ram: HostileMemory,
  transport: VirtioTransport,
  registers: MmioRegisters,
  pops: PopCounter,
  random: (limit: number) => number,
): void {
  ram.memory.meddle = undefined;
  transport.resume();
  pops.begin();
  const driver = new MockDriver(registers, ram.memory);
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
    target.poll(random);
  }
  if (driver.status !== 0xf) throw new Error(`after a reset the status is 0x${driver.status.toString(16)}`);
}

/**
 * Counts the calls of pop between two operations, in every queue: a driver can make a device take as many requests as
 * its queues hold, and those that it adds meanwhile, but not more.
 */
class PopCounter {
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
