import { DiskEngines } from '../../block/disk-engines.ts';
import { Overlay } from '../../block/overlay.ts';
import { RawFile } from '../../block/raw-file.ts';
import type { SharedChanges } from '../../block/replicated/activity-log.ts';
import { BlockDevice } from '../../devices/block/block-device.ts';
import type { BlockOperation } from '../../devices/block/file-failures.ts';
import { NetDevice } from '../../devices/net/net-device.ts';
import type { RandomSource } from '../../devices/rng/random-source.ts';
import { RngDevice } from '../../devices/rng/rng-device.ts';
import { SeededRandom } from '../../devices/rng/seeded-random.ts';
import { cell, type MmioState, mmioState } from '../../devices/virtio/mmio-state.ts';
import type { TakesTurns } from '../../devices/virtio/takes-turns.ts';
import type { DeviceHost, VirtioDevice } from '../../devices/virtio/virtio-device.ts';
import { VirtioTransport } from '../../devices/virtio/virtio-transport.ts';
import { VmStateError, within } from '../../devices/vm-state-error.ts';
import { EPOLLERR, EPOLLET, EPOLLIN } from '../../host/epoll.ts';
import { ENOSPC, errnoName } from '../../host/errno.ts';
import type { EventLoop, ReadyHandler } from '../../host/event-loop.ts';
import { Handshake } from '../../host/handshake.ts';
import { InterruptEdge } from '../../host/kvm/interrupt-edge.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { kernelRandom } from '../../host/random.ts';
import { TapPort } from '../../host/tap.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import { viewRam } from '../../memory/ram.ts';
import { resetPatienceMs, settlePatienceMs } from '../platform/io-control.ts';
import type { ReplayedPackets } from '../platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../platform/shared-protection.ts';
import type { DeviceOrder, DiskOrder } from './device-orders.ts';
import { DiskSettling } from './disk-settling.ts';
import { type IoDeviceState, lastingNames } from './io-device-state.ts';
import type { DrivenDevices } from './io-loop.ts';
import type { DiskFailure, IoReport } from './io-report.ts';
import { CardPort } from './protection/card-port.ts';
import { IoProtection } from './protection/io-protection.ts';
import type { MakeTranslation, PacketTranslation } from './protection/translation.ts';

/** What the devices of the io thread work with. */
export interface IoSurroundings {
  readonly memory: GuestMemory;
  readonly loop: EventLoop;
  readonly report: (report: IoReport) => void;
  /** Engines of the thread's disks, made when the first one asks. */
  readonly engines: () => DiskEngines;
  /** Knows every disk. */
  readonly settling: DiskSettling;
  /** Knows every card, and stands in front of every disk. */
  readonly protection: IoProtection;
  /** How packets of a guest that has taken over are translated; absent: they cannot be. */
  readonly makeTranslation?: MakeTranslation | undefined;
}

/** While it settles disks, the thread looks this often how long that takes. */
const settlingTurnMs = 100;

/** Notices of one device that the operator sees: a guest can cause as many as it likes. */
const mostNotices = 10;
/** The monitor hears of failures of one disk this often at most, for the same reason. */
const failurePeriodMs = 1000;

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
    for (const slot of this.#slots) slot.takeTurn();
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
    this.#protection.keepChanges(changes, this.#surroundings.engines);
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

/** One device with its transport, and everything of it that the event loop watches. */
class IoSlot implements Closable {
  readonly transport: VirtioTransport;
  readonly #handshake: Handshake;
  readonly #turns: TakesTurns | undefined;
  readonly #announce: (() => void) | undefined;
  readonly #restart: (() => void) | undefined;
  readonly #name: string;
  readonly #report: (report: IoReport) => void;
  readonly #owner = new Owner();
  #changes: () => number = () => 0;
  #noticesLeft = mostNotices;
  #nextFailure = 0;

  constructor(order: DeviceOrder, surroundings: IoSurroundings) {
    const { memory, loop } = surroundings;
    const { shape, state: storage, kicks } = order.virtio;
    const state = mmioState(shape, storage);
    this.#name = order.name;
    this.#report = surroundings.report;
    this.#handshake = new Handshake(state.cells, cell.asked, cell.answered);
    try {
      let turns: TakesTurns | undefined;
      let announce: (() => void) | undefined;
      let restart: (() => void) | undefined;
      const transport = new VirtioTransport({
        memory,
        state,
        shape,
        interrupt: this.#owner.own(new InterruptEdge(order.interrupt)),
        onFail: (reason) => this.#notice(`the guest's driver broke the rules, and the device has stopped: ${reason}`),
        device: (host) => {
          const made = this.#makeDevice(order, state, host, surroundings);
          turns = made.takesTurns;
          announce = made.announce;
          restart = made.restart;
          return made.device;
        },
      });
      this.transport = this.#owner.own(transport);
      this.#turns = turns;
      this.#announce = announce;
      this.#restart = restart;
      kicks.forEach((kick, queue) => {
        this.#owner.own(loop.watch(kick, EPOLLIN | EPOLLET, { ready: () => transport.kicked(queue) }));
      });
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  powerCycle(): boolean {
    const { question } = this.#handshake;
    const strands = this.transport.powerCycle();
    this.#restart?.();
    // A vCPU may be waiting for what its guest wanted of the device.
    if (question !== undefined) this.#handshake.answer(question);
    return strands;
  }

  settle(): void {
    const { question } = this.#handshake;
    if (question !== undefined && this.transport.settle()) this.#handshake.answer(question);
  }

  announce(): void {
    this.#announce?.();
  }

  /** Requests of a disk that are in flight and no reads. */
  get changesInFlight(): number {
    return this.#changes();
  }

  get hasMore(): boolean {
    return this.#turns?.hasMore ?? false;
  }

  takeTurn(): void {
    if (this.hasMore) this.#turns?.turn();
  }

  close(): void {
    this.#owner.close();
  }

  #notice(text: string): void {
    if (this.#noticesLeft-- > 0) this.#report({ kind: 'notice', text: `${this.#name}: ${text}` });
  }

  #tapIsGone(tap: string): void {
    const text = `${this.#name}: the TAP ${tap} was removed; the guest's cable is unplugged until the machine is started anew`;
    this.#report({ kind: 'tap-gone', tap, text });
  }

  #diskFailed(failure: DiskFailure): void {
    const now = performance.now();
    if (now < this.#nextFailure) return;
    this.#nextFailure = now + failurePeriodMs;
    this.#report({ kind: 'disk-failure', failure });
  }

  #makeDevice(
    order: DeviceOrder,
    state: MmioState,
    host: DeviceHost,
    surroundings: IoSurroundings,
  ): { device: VirtioDevice; takesTurns?: TakesTurns; announce?: () => void; restart?: () => void } {
    const { memory, loop } = surroundings;
    switch (order.device.kind) {
      case 'net': {
        const { tap, name } = order.device;
        const tapPort = new TapPort(tap);
        const { protection } = surroundings;
        const port = new CardPort(tapPort, protection.cards, protection.translation);
        const device = new NetDevice({ shape: order.virtio.shape, config: state.config, memory, port, host });
        protection.addCard({ device, port });
        const readiness = new TapReadiness(device, () => this.#tapIsGone(name));
        this.#owner.own(tapPort.watch(loop, readiness));
        const restart = (): void => port.forgetReplay();
        return { device, takesTurns: device, announce: () => readiness.announce(), restart };
      }
      case 'rng': {
        const { seed } = order.device;
        const source: RandomSource = seed === undefined ? kernelRandom : this.#owner.own(new SeededRandom(seed));
        const device = new RngDevice({ memory, source, host });
        // The same bytes at every start of the guest.
        const atFirst = source.save?.();
        const restart = (): void => {
          if (atFirst !== undefined) source.load?.(atFirst);
        };
        return { device, takesTurns: device, restart };
      }
      case 'disk': {
        const device = this.#disk(order.device, state, host, surroundings);
        this.#changes = () => device.changesInFlight;
        return { device, takesTurns: device };
      }
      default:
        return order.device satisfies never;
    }
  }

  #disk(order: DiskOrder, state: MmioState, host: DeviceHost, surroundings: IoSurroundings): BlockDevice {
    const engines = surroundings.engines();
    const file = new RawFile(order.file, engines);
    const own = order.overlay === undefined ? file : new Overlay(order.overlay, file, engines, ownerOf(file));
    const { alignment } = order.overlay?.file ?? order.file;
    const backend = surroundings.protection.disks.add(own, alignment);
    const device = new BlockDevice({
      backend,
      memory: surroundings.memory,
      host,
      config: state.config,
      id: order.id,
      werror: order.writeErrors,
      sector: order.sector,
      events: {
        onError: (operation, errno) => {
          const lasting =
            operation === 'flush' ? '; data may be lost, and every flush fails until the machine ends' : '';
          this.#notice(`a ${operation} failed with ${errnoName(errno)}, as the guest was told${lasting}`);
          this.#diskFailed(diskFailure(order.id, operation, errno, false));
        },
        onStop: (errno) =>
          this.#report({
            kind: 'stop',
            failure: diskFailure(order.id, 'write', errno, true),
            text: `${this.#name}: a write failed with ${errnoName(errno)}; the machine is paused until it is resumed`,
          }),
      },
    });
    engines.listen(device);
    surroundings.settling.add(this.#name, own);
    return device;
  }
}

/** What a TAP's descriptor tells: packets, room for packets, or that the TAP is gone. */
class TapReadiness implements ReadyHandler {
  readonly #device: NetDevice;
  readonly #gone: () => void;
  #isGone = false;

  constructor(device: NetDevice, gone: () => void) {
    this.#device = device;
    this.#gone = gone;
  }

  /** The card is plugged in here, whatever it was where its state was saved, and its driver is to say so. */
  announce(): void {
    if (this.#isGone) return;
    this.#device.setLink(true);
    this.#device.announce();
  }

  /** Hot path. */
  ready(events: number): void {
    if ((events & EPOLLERR) === 0) this.#device.portReady();
    else if (!this.#isGone) {
      this.#isGone = true;
      this.#device.setLink(false);
      this.#gone();
    }
  }
}

function diskFailure(disk: string, operation: BlockOperation, errno: number, stops: boolean): DiskFailure {
  return { disk, operation, stops, noSpace: errno === ENOSPC, reason: errnoName(errno) };
}

function ownerOf(closable: Closable): Owner {
  const owner = new Owner();
  owner.own(closable);
  return owner;
}
