import type { Closable } from '../../host/ownership.ts';
import { type Gpa, gpa } from '../../memory/address.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../memory/guest-memory.ts';
import { VmStateError } from '../vm-state-error.ts';
import { cell, feature, interrupt, type MmioState, status, wish } from './mmio-state.ts';
import { checkAlike, checkReachable, loadRegisters, queueRegisters, saveRegisters } from './registers-state.ts';
import type { QueueRegisters, TransportState } from './transport-state.ts';
import type { DeviceHost, VirtioDevice, VirtioShape } from './virtio-device.ts';
import { type QueueFeatures, Virtqueue, VirtqueueError } from './virtqueue.ts';

/** An interrupt that is raised by an edge. */
export interface InterruptSignal {
  signal(): void;
}

export interface TransportParts {
  readonly memory: GuestMemory;
  readonly state: MmioState;
  readonly shape: VirtioShape;
  readonly interrupt: InterruptSignal;
  /** Told why the device has stopped; at most once between two resets. */
  readonly onFail: (reason: string) => void;
  /** Makes the device. It belongs to the transport. */
  readonly device: (host: DeviceHost) => VirtioDevice;
}

/**
 * What there is of the device.
 *
 *     inactive --> active --> failed          failed: the driver broke a rule that the device relies on
 *        |           |          |             refused: it did so before the device saw anything
 *        +-> refused |          |             resetting: the device still has requests in flight
 *        ^      |    v          v
 *        +------+-- resetting <-+
 */
type Phase = 'inactive' | 'active' | 'failed' | 'refused' | 'resetting';

/**
 * The io thread's side of a virtio device over MMIO: brings the device what its driver wrote into the registers
 * (see {@link MmioState}) and its driver what the device says.
 */
export class VirtioTransport implements DeviceHost, Closable {
  readonly device: VirtioDevice;
  readonly #memory: GuestMemory;
  readonly #state: MmioState;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #shape: VirtioShape;
  readonly #interrupt: InterruptSignal;
  readonly #onFail: (reason: string) => void;
  #phase: Phase = 'inactive';
  #paused = false;
  #queues: readonly Virtqueue[] = [];
  #failures = 0;

  constructor(parts: TransportParts) {
    this.#memory = parts.memory;
    this.#state = parts.state;
    this.#cells = parts.state.cells;
    this.#shape = parts.shape;
    this.#interrupt = parts.interrupt;
    this.#onFail = parts.onFail;
    this.device = parts.device(this);
  }

  /** The device's queues while it is active. */
  get queues(): readonly Virtqueue[] {
    return this.#queues;
  }

  /** How often a driver broke the rules. */
  get failures(): number {
    return this.#failures;
  }

  /** True if the device has nothing in flight. */
  get idle(): boolean {
    return this.device.inFlight === 0;
  }

  /** True if nothing that is in flight writes guest memory. */
  get isQuiet(): boolean {
    return !this.device.writesMemory;
  }

  /**
   * Carries out what the driver wants. False: a reset waits for requests in flight, to be called again when one of them
   * has finished. A vCPU waits until this is true.
   */
  settle(): boolean {
    switch (Atomics.load(this.#cells, cell.wish)) {
      case wish.activate:
        if (this.#phase === 'inactive') this.#activate();
        break;
      case wish.reset:
        if (!this.#reset()) return false;
        break;
      default:
        return true;
    }
    Atomics.store(this.#cells, cell.wish, wish.none);
    return true;
  }

  /** The driver kicked queue `index`, which may be any number. Hot path. */
  kicked(index: number): void {
    if (this.#phase === 'active' && !this.#paused && this.#queues[index] !== undefined) this.device.kicked(index);
  }

  /** Takes nothing from the queues until {@link resume}. What is in flight goes on, see {@link isQuiet}. */
  pause(): void {
    this.#paused = true;
    if (this.#phase === 'active') this.device.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#phase === 'active') this.device.resume();
  }

  /** Registers, queues and device. Only while all of it is paused: {@link pause} was called and {@link isQuiet} is true. */
  save(): TransportState {
    this.#checkStandsStill();
    // No phase is `resetting` here: a reset that is not over is still wanted.
    const phase = this.#phase as TransportState['phase'];
    const isActive = phase === 'active';
    return {
      version: 1,
      phase,
      registers: saveRegisters(this.#state, this.#shape),
      positions: isActive ? this.#queues.map((queue) => queue.position) : [],
      device: this.device.save(isActive),
    };
  }

  /**
   * Checks a saved state and makes what it takes; changes nothing. What it returns cannot fail and makes all of this device
   * what it was, paused, whatever it was before. {@link resume} then goes on with all that waits in the queues, for kicks from
   * before may be lost. Interrupts are not: they were raised before it was saved, and are in the state of the controller that
   * they were raised at. None is raised that the driver did not get.
   *
   * Only while all of it is paused, from before this call until after that one. Guest memory may be loaded at any time
   * before {@link resume}.
   *
   * @param state checked for types and ranges, which are not looked at again
   * @throws VmStateError
   */
  prepareLoad(state: TransportState): () => void {
    this.#checkStandsStill();
    const { phase, registers, device } = state;
    checkAlike(registers, this.#shape);
    checkReachable(state);
    const { config, driverFeatures: features } = registers;
    const queues = this.#loadQueues(state);
    const loadDevice = this.device.prepareLoad(device, {
      config,
      ...(phase === 'active' ? { active: { queues, features } } : {}),
    });
    return () => {
      loadDevice();
      loadRegisters(this.#state, registers);
      this.#phase = phase;
      this.#queues = queues;
    };
  }

  /**
   * All is as it was at first, paused: the machine is reset. True: something is in flight all the same, and reads or writes
   * guest memory where that has been. The driver will not hear of it, and the device takes nothing before it has finished.
   */
  powerCycle(): boolean {
    if (!this.#paused) throw new Error('a device that is not paused is reset');
    const strands = this.device.inFlight > this.abandoned;
    if (this.#phase !== 'inactive' && this.#phase !== 'refused') this.device.reset();
    this.#phase = 'inactive';
    this.#queues = [];
    this.#clearRegisters();
    Atomics.store(this.#cells, cell.wish, wish.none);
    return strands;
  }

  /** Requests of a guest that is gone, which are still in flight. */
  get abandoned(): number {
    return this.device.abandoned ?? 0;
  }

  close(): void {
    this.device.close();
  }

  interruptQueue(): void {
    this.#raise(interrupt.queue);
  }

  interruptConfig(): void {
    Atomics.add(this.#cells, cell.configGeneration, 1);
    // Until DRIVER_OK the driver has no handler; it will read the configuration anyway (2.5.1, 3.1.1).
    if ((Atomics.load(this.#cells, cell.status) & status.driverOk) !== 0) this.#raise(interrupt.config);
  }

  fail(reason: string): void {
    if (this.#phase !== 'active') return;
    this.#phase = 'failed';
    this.#tellOfFailure(reason);
    this.device.pause();
  }

  /**
   * The status comes before the interrupt. A bit that is set already means nothing: where acknowledgements of used buffers
   * stay in the kernel, nobody takes it away.
   */
  #raise(bit: number): void {
    Atomics.or(this.#cells, cell.interruptStatus, bit);
    this.#interrupt.signal();
  }

  #tellOfFailure(reason: string): void {
    this.#failures++;
    Atomics.or(this.#cells, cell.status, status.needsReset);
    this.interruptConfig();
    this.#onFail(reason);
  }

  #activate(): void {
    const features = this.#driverFeatures();
    try {
      this.#queues = this.#buildQueues(queueRegisters(this.#state, this.#shape), features);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#phase = 'refused';
      this.#tellOfFailure(error.message);
      return;
    }
    this.#phase = 'active';
    this.device.activate(this.#queues, features);
    // Kicks from before found nobody. With the first failure the rest of these are nothing.
    if (this.#paused) this.pause();
    else for (let index = 0; index < this.#queues.length; index++) this.kicked(index);
  }

  /** True once all is as it was at first. */
  #reset(): boolean {
    if (this.#phase === 'active') this.device.pause();
    if (this.#phase === 'active' || this.#phase === 'failed') this.#phase = 'resetting';
    if (this.#phase === 'resetting') {
      if (!this.idle) return false;
      this.device.reset();
    }
    this.#phase = 'inactive';
    this.#queues = [];
    this.#clearRegisters();
    return true;
  }

  #clearRegisters(): void {
    const [start, end] = this.#shape.writableConfig ?? [0, 0];
    this.#state.config.set(this.#shape.config.subarray(start, end), start);
    const firstQueue = this.#state.queue(0);
    this.#cells.fill(0, firstQueue);
    for (const index of clearedCells) this.#cells[index] = 0;
    Atomics.store(this.#cells, cell.interruptStatus, 0);
    Atomics.store(this.#cells, cell.status, 0);
  }

  /** @throws VirtqueueError that names the queue */
  #buildQueues(registers: readonly QueueRegisters[], features: bigint): Virtqueue[] {
    const queueFeatures: QueueFeatures = {
      indirect: (features & feature.indirectDescriptors) !== 0n,
      eventIndex: (features & feature.eventIndex) !== 0n,
    };
    return registers.map(({ maxSize, size, ready, descriptors, driver, device }, index) => {
      if (!ready) return unusedQueue();
      try {
        if (size > maxSize) throw new VirtqueueError(`${size} entries are more than ${maxSize}`);
        // Addresses are exact below 2^53, and there is no RAM above.
        const places = { descriptors: gpaOf(descriptors), driver: gpaOf(driver), device: gpaOf(device) };
        return new Virtqueue(this.#memory, { size, ...places }, queueFeatures);
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        throw new VirtqueueError(`queue ${index}: ${error.message}`);
      }
    });
  }

  /** The queues of a state, at their places. @throws VmStateError */
  #loadQueues({ phase, registers, positions }: TransportState): Virtqueue[] {
    const count = phase === 'active' ? registers.queues.length : 0;
    if (positions.length !== count) {
      throw new VmStateError('positions', `are ${positions.length}, and ${count} queues are in use`);
    }
    if (phase !== 'active') return [];
    try {
      const queues = this.#buildQueues(registers.queues, registers.driverFeatures);
      for (const [index, queue] of queues.entries()) {
        const position = positions[index] ?? queue.position;
        if (registers.queues[index]?.ready || position.nextAvail === 0) queue.position = position;
        else throw new VirtqueueError(`queue ${index} was never used, and its avail is ${position.nextAvail}`);
      }
      return queues;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      throw new VmStateError('registers.queues', `do not make queues: ${error.message}`);
    }
  }

  /**
   * While a device is saved or loaded nothing writes guest memory and nothing is left that its driver wants. The latter cannot
   * be where vCPUs are parked first: the one that wanted it waited until it was carried out.
   */
  #checkStandsStill(): void {
    if (!this.#paused || !this.isQuiet) throw new Error('a device that is not paused and quiet is saved or loaded');
    if (Atomics.load(this.#cells, cell.wish) !== wish.none) {
      throw new Error('a device is saved or loaded whose driver waits for an activation or a reset');
    }
  }

  #driverFeatures(): bigint {
    const [low, high] = [this.#cells[cell.driverFeaturesLow] ?? 0, this.#cells[cell.driverFeaturesHigh] ?? 0];
    return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  }
}

function gpaOf(address: bigint): Gpa {
  return gpa(Number(address));
}

/** Device-wide registers that a reset clears, besides those that are atomic. */
const clearedCells = [
  cell.deviceFeaturesSelect,
  cell.driverFeaturesSelect,
  cell.driverFeaturesLow,
  cell.driverFeaturesHigh,
  cell.driverFeaturesBeyond,
  cell.queueSelect,
] as const;

/** What a device gets for a queue that its driver did not set up: one over a page of its own that stays empty. */
function unusedQueue(): Virtqueue {
  const page = bufferedGuestMemory([{ start: gpa(0), sizeBytes: 4096, offset: 0 }]);
  const setup = { size: 1, descriptors: gpa(0), driver: gpa(16), device: gpa(32) };
  return new Virtqueue(page, setup, { indirect: false, eventIndex: false });
}
