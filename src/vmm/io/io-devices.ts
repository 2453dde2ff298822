import { DiskEngines } from '../../block/disk-engines.ts';
import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import { VirtioTransport } from '../../devices/virtio/virtio-transport.ts';
import { VmStateError, within } from '../../devices/vm-state-error.ts';
import { EPOLLET, EPOLLIN } from '../../host/events/epoll.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import { viewRam } from '../../memory/ram.ts';
import { resetPatienceMs, settlePatienceMs } from '../platform/io-control.ts';
import type { ReplayedPackets } from '../platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../platform/shared-protection.ts';
import type { DeviceOrder } from './device-orders.ts';
import { DiskSettling } from './disk-settling.ts';
import { type IoDeviceState, lastingNames } from './io-device-state.ts';
import type { DrivenDevices } from './io-loop.ts';
import { IoSlot } from './io-slot.ts';
import type { IoSurroundings } from './made-device.ts';
import { IoProtection } from './protection/io-protection.ts';
import type { PacketTranslation } from './protection/translation.ts';

/** While it settles disks, the thread looks this often how long that takes. */
const settlingTurnMs = 100;
/** A takeover waits no longer for the marks of what a replica's guest wrote, and no longer than that again until their log is given up. */
const markingMs = 250;

/** All virtio devices of the machine, on the io thread. */
export class IoDevices implements DrivenDevices, Closable {
  readonly #owner = new Owner();
  readonly #slots: IoSlot[] = [];
  readonly #names: readonly string[];
  readonly #settling: DiskSettling;
  readonly #parts: IoParts;
  readonly #surroundings: IoSurroundings;
  readonly #protection = new IoProtection();
  #engines: DiskEngines | undefined;
  /** The move of guest memory whose end is to be reported. */
  #drainedMove: number | undefined;

  constructor(orders: readonly DeviceOrder[], parts: IoParts) {
    this.#settling = new DiskSettling({
      idle: () => this.idle,
      turn: () => parts.loop.turn(settlingTurnMs),
      now: () => performance.now(),
    });
    this.#surroundings = {
      ...parts,
      settling: this.#settling,
      protection: this.#protection,
      engines: () => {
        this.#engines ??= this.#makeEngines(parts);
        return this.#engines;
      },
    };
    this.#names = lastingNames(orders);
    this.#parts = parts;
    try {
      this.#owner.own(this.#protection);
      for (const order of orders) this.#slots.push(this.#owner.own(new IoSlot(order, this.#surroundings)));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  #makeEngines({ loop, report }: IoParts): DiskEngines {
    const engines = this.#owner.own(new DiskEngines());
    if (engines.withoutUring !== undefined) {
      const text = `disks are slow, and hold up the network: ${engines.withoutUring}`;
      report({ kind: 'notice', text });
    }
    this.#owner.own(loop.watch(engines.completions.fd, EPOLLIN | EPOLLET, { ready: () => engines.reap() }));
    return engines;
  }

  settle(): void {
    for (const slot of this.#slots) slot.settle();
    if (this.#drainedMove !== undefined) this.#tellIfDrained(this.#drainedMove);
  }

  get hasMore(): boolean {
    for (const slot of this.#slots) if (slot.hasMore) return true;
    return false;
  }

  takeTurns(): void {
    this.#protection.disks.look();
    for (const slot of this.#slots) slot.takeTurn();
  }

  get waitMs(): number | undefined {
    return this.#protection.disks.waitMs;
  }

  pause(): void {
    for (const slot of this.#slots) slot.transport.pause();
  }

  resume(): void {
    for (const slot of this.#slots) slot.transport.resume();
  }

  get isQuiet(): boolean {
    for (const slot of this.#slots) if (!slot.transport.isQuiet) return false;
    return true;
  }

  get idle(): boolean {
    return this.#slots.every((slot) => slot.transport.idle);
  }

  /** While the thread is parked: see {@link DiskSettling.settle}. */
  settleDisks(): string | undefined {
    return this.#settling.settle(settlePatienceMs);
  }

  /** All devices, while the thread is parked. */
  save(): IoDeviceState[] {
    return this.#slots.map(({ transport }, index) => ({ name: this.#names[index] ?? '', transport: transport.save() }));
  }

  /**
   * Checks the states of all devices, while the thread is parked; changes nothing. What it returns loads them and cannot
   * fail: see {@link VirtioTransport.prepareLoad}.
   *
   * @param states checked (see checkIoDeviceStates)
   * @throws VmStateError
   */
  prepareLoad(states: readonly IoDeviceState[]): () => void {
    const [there, here] = [states.map(({ name }) => name).join(', '), this.#names.join(', ')];
    if (there !== here)
      throw new VmStateError('devices', `are ${there || 'none'}; the machine here has ${here || 'none'}`);
    const commits = this.#slots.map(({ transport }, index) => {
      const { name, transport: state } = states[index] as IoDeviceState;
      return within(name, () => transport.prepareLoad(state));
    });
    return () => {
      for (const commit of commits) commit();
      this.#protection.loaded();
    };
  }

  announce(): void {
    for (const slot of this.#slots) slot.announce();
  }

  /** While the thread is parked: packets are mirrored and changes of disks forwarded from now on. */
  protect(shared: SharedProtection): void {
    const inFlight = (): number => this.#slots.reduce((sum, slot) => sum + slot.changesInFlight, 0);
    this.#protection.attach(shared, this.#surroundings.engines, inFlight);
  }

  /** While the thread is parked: see {@link IoProtection.keepChanges}. */
  keepChanges(changes: SharedChanges): void {
    this.#protection.keepChanges(changes, this.#surroundings.engines, (isDone) => {
      const deadline = performance.now() + markingMs;
      while (!isDone()) {
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) return false;
        this.#parts.loop.turn(Math.ceil(leftMs));
      }
      return true;
    });
  }

  /** While the thread is parked: undoes {@link protect}. */
  unprotect(): void {
    this.#protection.detach();
  }

  /** While the thread is parked: see {@link IoProtection.replicate}. */
  replicate(shared: SharedReplica): void {
    this.#protection.replicate(shared);
  }

  /** While the thread is parked: see {@link IoProtection.rollBack}. */
  rollBack(): void {
    this.#protection.rollBack();
  }

  /** While the thread is parked: see {@link IoProtection.emerge}. */
  emerge(translation: unknown): string | undefined {
    try {
      this.#protection.emerge(this.#madeOf(translation), () => this.#parts.loop.turn(settlingTurnMs));
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** While the thread is parked: packets are translated from now on. */
  translate(translation: unknown): string | undefined {
    try {
      this.#protection.translation.begin(this.#madeOf(translation));
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** While the thread is parked: what packets are translated with; undefined: they are not. */
  get translation(): unknown {
    return this.#protection.translation.save();
  }

  #madeOf(translation: unknown): PacketTranslation | undefined {
    return translation === undefined ? undefined : this.#parts.makeTranslation?.(translation);
  }

  /** While the thread is parked: these packets enter the guest before anything new. */
  replay(packets: ReplayedPackets): void {
    this.#protection.replay(packets);
  }

  /** The thread was woken. */
  woken(): void {
    this.#protection.woken();
  }

  /**
   * Makes all devices what they were at first, while the thread is parked: the machine is reset. True: requests of the guest
   * that is gone are in flight all the same, and reach guest memory where it has been.
   */
  powerCycle(): boolean {
    const deadline = performance.now() + resetPatienceMs;
    while (!this.idle && performance.now() < deadline) this.#parts.loop.turn(settlingTurnMs);
    let strands = false;
    for (const slot of this.#slots) if (slot.powerCycle()) strands = true;
    return strands;
  }

  /** Guest memory is there from now on. Reports once that nothing is in flight any more of guests that are gone. */
  moveMemory(ram: SharedRam, move: number): void {
    this.#parts.memory.adopt(viewRam(ram));
    this.#drainedMove = move;
  }

  close(): void {
    this.#owner.close();
  }

  #tellIfDrained(move: number): void {
    for (const { transport } of this.#slots) if (transport.abandoned > 0) return;
    this.#drainedMove = undefined;
    this.#parts.report({ kind: 'drained', move });
  }
}

/** What the machine gives its devices. */
type IoParts = Omit<IoSurroundings, 'engines' | 'settling' | 'protection'>;
