import type { GuestMemory } from '../../memory/guest-memory.ts';
import { checkConfig, checkNothingTaken, ofKind } from '../virtio/device-state.ts';
import type { TakesTurns } from '../virtio/takes-turns.ts';
import type { DeviceState } from '../virtio/transport-state.ts';
import type { DeviceHost, LoadSetting, VirtioDevice, VirtioShape } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { VmStateError } from '../vm-state-error.ts';
import { ControlQueue } from './control-queue.ts';
import { count, type NetCounters, netCounter, netCounters } from './net-counters.ts';
import {
  ANNOUNCE,
  guestOffloads,
  LINK_UP,
  macBytes,
  netConfig,
  netFeature,
  netQueue,
  tapOffloads,
} from './net-shape.ts';
import type { NetState } from './net-state.ts';
import { longestPacket, longestPlainPacket, type PacketPort, shortestPacket } from './packet-port.ts';
import type { TapPoint } from './packet-tap.ts';
import { ReceiveQueue } from './receive-queue.ts';
import { TransmitQueue } from './transmit-queue.ts';

export interface NetParts {
  readonly shape: VirtioShape;
  /** The live configuration, which the registers show. */
  readonly config: Uint8Array;
  readonly memory: GuestMemory;
  readonly port: PacketPort;
  readonly host: DeviceHost;
  /** Default: fresh ones. */
  readonly counters?: NetCounters;
}

/**
 * A virtio network card (Virtio 1.2, 5.1).
 *
 *     port --readv--> receive queue --> driver      a packet that nobody holds is never copied
 *     port <-writev-- transmit queue <- driver
 *
 * Its thread waits for the port by edges (EPOLLIN | EPOLLOUT | EPOLLET, once and for all) and calls {@link portReady} for
 * each. By level, a port whose packets the driver has no room for would wake the thread without end, or be taken in and
 * out of the set for every burst. By edge, such a port wakes it once, and then is not listened to until it is read again.
 */
export class NetDevice implements VirtioDevice, TakesTurns {
  readonly counters: NetCounters;
  readonly #shape: VirtioShape;
  readonly #config: Uint8Array;
  readonly #status: DataView;
  readonly #port: PacketPort;
  readonly #host: DeviceHost;
  readonly #receive: ReceiveQueue;
  readonly #transmit: TransmitQueue;
  readonly #control: ControlQueue;
  #features = 0n;
  #guestOffloads = 0n;
  /** What the port was told last that it took: TUN_F bits. */
  #portOffloads = -1;
  /** The driver runs us and nobody paused us. */
  #running = false;
  #active = false;
  #moreToReceive = false;
  #moreToSend = false;
  #moreToControl = false;

  constructor({ shape, config, memory, port, host, counters = netCounters() }: NetParts) {
    this.counters = counters;
    this.#shape = shape;
    this.#config = config;
    this.#status = new DataView(config.buffer, config.byteOffset + netConfig.status, 2);
    this.#port = port;
    this.#host = host;
    const sizes = shape.queueSizes;
    this.#receive = new ReceiveQueue(memory, port, host, counters);
    try {
      this.#transmit = new TransmitQueue(memory, port, host, counters, sizes[netQueue.transmit] ?? 0);
    } catch (error) {
      this.#receive.close();
      throw error;
    }
    this.#control = new ControlQueue(memory, host, counters, this, sizes[netQueue.control] ?? 0);
  }

  /** Packets on their way to the driver. */
  get toGuest(): TapPoint {
    return this.#receive.tap;
  }

  /** Packets on their way to the port. */
  get toWire(): TapPoint {
    return this.#transmit.tap;
  }

  /** Nothing: reads and writes are over when a call returns, and what stands ready can go back at any time. */
  get inFlight(): number {
    return 0;
  }

  get writesMemory(): boolean {
    return false;
  }

  get hasMore(): boolean {
    if (this.#moreToReceive || this.#moreToSend || this.#moreToControl) return true;
    return this.#running && (this.#receive.isDue || this.#transmit.isDue);
  }

  activate(queues: readonly Virtqueue[], features: bigint): void {
    const [receive, transmit, control] = three(queues);
    this.#features = features;
    this.#active = true;
    this.#running = true;
    this.#receive.start(receive, (features & netFeature.mergeableBuffers) !== 0n);
    this.#transmit.start(transmit);
    this.#control.start(control, features);
    if (!this.setGuestOffloads(features & guestOffloads)) this.setGuestOffloads(0n);
  }

  kicked(index: number): void {
    if (!this.#running) return;
    if (index === netQueue.transmit) this.#moreToSend = this.#transmit.run();
    else if (index === netQueue.receive) {
      if (this.#receive.awaitsBuffers) this.#moreToReceive = this.#receive.run();
    } else if (index === netQueue.control) this.#moreToControl = this.#control.run();
  }

  /** The port said by an edge that it has packets or takes them again. Hot path. */
  portReady(): void {
    this.#receive.portReadable();
    this.#transmit.portWritable();
    if (!this.#running) return;
    this.#moreToReceive = this.#receive.run();
    if (this.#running && this.#transmit.isBlocked) this.#moreToSend = this.#transmit.run();
  }

  turn(): void {
    if (this.#running) this.#moreToSend = this.#transmit.run();
    if (this.#running) this.#moreToReceive = this.#receive.run();
    if (this.#running) this.#moreToControl = this.#control.run();
  }

  pause(): void {
    if (!this.#running) return;
    this.#stop();
    this.#receive.pause();
    this.#transmit.pause();
  }

  resume(): void {
    if (!this.#active || this.#running) return;
    this.#running = true;
    this.#receive.resume();
    this.turn();
  }

  reset(): void {
    this.#stop();
    this.#active = false;
    this.#receive.stop();
    this.#transmit.stop();
    this.#control.stop();
    this.#features = 0n;
    this.setGuestOffloads(0n);
    this.setMac(this.#shape.config.subarray(netConfig.mac, netConfig.mac + macBytes));
    this.acknowledgeAnnounce();
  }

  save(active: boolean): NetState {
    return {
      kind: 'net',
      version: 1,
      guestOffloads: active ? this.#guestOffloads : 0n,
      waiting: active ? this.#receive.waiting : new Uint8Array(0),
      nextIsSeen: false,
    };
  }

  prepareLoad(state: DeviceState, { config, active }: LoadSetting): () => void {
    const saved = ofKind<NetState>(state, 'net');
    const told = new DataView(config.buffer, config.byteOffset);
    checkMtu(told, this.#shape.config);
    checkConfig(config, this.#shape.config, netConfig, [netConfig.mac, netConfig.status + 2]);
    const status = told.getUint16(netConfig.status, true);
    if ((status & ~(LINK_UP | ANNOUNCE)) !== 0)
      throw new VmStateError('registers.config.status', `cannot be ${status}`);
    const queues = active === undefined ? undefined : three(active.queues);
    checkNothingTaken(queues ?? []);
    const features = active?.features ?? 0n;
    checkNetState(saved, features, active !== undefined);
    return () => {
      this.#stop();
      this.#active = queues !== undefined;
      this.#features = features;
      if (queues === undefined) {
        this.#receive.stop();
        this.#transmit.stop();
        this.#control.stop();
      } else {
        const [receive, transmit, control] = queues;
        this.#receive.load(receive, (features & netFeature.mergeableBuffers) !== 0n, saved.waiting);
        this.#transmit.start(transmit);
        this.#control.start(control, features);
      }
      this.#receive.linkUp = this.#transmit.linkUp = (status & LINK_UP) !== 0;
      this.setGuestOffloads(saved.guestOffloads);
    };
  }

  /** Takes a packet that waits for the driver's buffers, while paused; empty if none does. It does not enter the guest then. */
  takeWaiting(): Uint8Array {
    return this.#receive.takeWaiting();
  }

  close(): void {
    this.#stop();
    this.#active = false;
    this.#receive.close();
    this.#transmit.close();
  }

  /** Plugs the cable in, or out. Packets of both directions are dropped while it is out. */
  setLink(isUp: boolean): void {
    if (this.#receive.linkUp === isUp) return;
    this.#receive.linkUp = isUp;
    this.#transmit.linkUp = isUp;
    this.#changeStatus(LINK_UP, isUp);
    if (this.#active) this.#host.interruptConfig();
  }

  /** Has the driver tell its neighbours where it is now (5.1.6.5.4). False if it cannot do that. */
  announce(): boolean {
    if (!this.#active || (this.#features & netFeature.guestAnnounce) === 0n) return false;
    this.#changeStatus(ANNOUNCE, true);
    this.#host.interruptConfig();
    return true;
  }

  acknowledgeAnnounce(): void {
    this.#changeStatus(ANNOUNCE, false);
  }

  setMac(mac: Uint8Array): void {
    this.#config.set(mac, netConfig.mac);
  }

  setGuestOffloads(bits: bigint): boolean {
    if ((bits & ~(this.#features & guestOffloads)) !== 0n) return false;
    const offloads = tapOffloads(bits);
    if (offloads === undefined) return false;
    this.#guestOffloads = bits;
    // A port that cannot do it sends plain packets, which every driver takes.
    if (offloads !== this.#portOffloads) {
      const isTaken = this.#port.setOffload(offloads) >= 0;
      this.#portOffloads = isTaken ? offloads : -1;
      if (!isTaken) count(this.counters, netCounter.offloadErrors, 1);
    }
    const segments = (bits & (netFeature.guestTso4 | netFeature.guestTso6)) !== 0n;
    this.#receive.wanted = segments ? longestPacket : longestPlainPacket(this.#mtu);
    return true;
  }

  get #mtu(): number | undefined {
    const offersMtu = (this.#shape.features & netFeature.mtu) !== 0n;
    return offersMtu ? new DataView(this.#shape.config.buffer).getUint16(netConfig.mtu, true) : undefined;
  }

  #changeStatus(bit: number, isSet: boolean): void {
    const before = this.#status.getUint16(0, true);
    this.#status.setUint16(0, isSet ? before | bit : before & ~bit, true);
  }

  #stop(): void {
    this.#running = false;
    this.#moreToReceive = false;
    this.#moreToSend = false;
    this.#moreToControl = false;
  }
}

function three(queues: readonly Virtqueue[]): [receive: Virtqueue, transmit: Virtqueue, control: Virtqueue] {
  const [receive, transmit, control] = queues;
  if (receive === undefined || transmit === undefined || control === undefined) {
    throw new RangeError(`a network card has three queues, not ${queues.length}`);
  }
  return [receive, transmit, control];
}

/** Whether the driver was told of the MTU here, which it never learns anew. @throws VmStateError in the words of who configures cards */
function checkMtu(saved: DataView, config: Uint8Array): void {
  const told = saved.getUint16(netConfig.mtu, true);
  const here = new DataView(config.buffer, config.byteOffset).getUint16(netConfig.mtu, true);
  if (told === here) return;
  const rest = `the guest was told of an MTU of ${told}: give mtu=${told}, or start the guest anew`;
  throw new VmStateError(`mtu=${here}`, `cannot be: ${rest}`);
}

/** Whether a card can have come to its state with what its driver agreed on. @throws VmStateError */
function checkNetState(
  { guestOffloads: wanted, waiting, nextIsSeen }: NetState,
  features: bigint,
  active: boolean,
): void {
  if ((wanted & ~(features & guestOffloads)) !== 0n || tapOffloads(wanted) === undefined) {
    throw new VmStateError('device.guestOffloads', `cannot be 0x${wanted.toString(16)} with what was agreed on`);
  }
  if (waiting.length > 0 && (!active || waiting.length < shortestPacket || waiting.length > longestPacket)) {
    throw new VmStateError('device.waiting', `cannot be a packet of ${waiting.length} bytes`);
  }
  if (nextIsSeen && !active) throw new VmStateError('device.nextIsSeen', 'cannot be while no driver sends');
}
