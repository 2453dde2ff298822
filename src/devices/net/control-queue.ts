import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DescriptorChain } from '../virtio/descriptor-chain.ts';
import { turnRequests } from '../virtio/takes-turns.ts';
import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import { count, type NetCounters, netCounter } from './net-counters.ts';
import { macBytes, netFeature } from './net-shape.ts';

// Classes and their commands (Virtio 1.2, 5.1.6.5).
const RX_MODE = 0;
const RX_MODE_PROMISCUOUS = 0;
const RX_MODE_ALL_MULTICAST = 1;
const MAC = 1;
const MAC_TABLE_SET = 0;
const MAC_ADDRESS_SET = 1;
const ANNOUNCE = 3;
const ANNOUNCE_ACKNOWLEDGE = 0;
const GUEST_OFFLOADS = 5;
const GUEST_OFFLOADS_SET = 0;

const OK = 0;
const ERROR = 1;

const commandBytes = 2;
/** Longest command that is looked at: two tables with as many addresses as anyone has. */
const longestCommand = 4096;

/** What control commands change. */
export interface Controlled {
  setMac(mac: Uint8Array): void;
  /** False: not agreed on, or one without another that it needs. */
  setGuestOffloads(bits: bigint): boolean;
  acknowledgeAnnounce(): void;
}

/**
 * Commands from the driver (Virtio 1.2, 5.1.6.5): { class u8, command u8, data } to read, { ack u8 } to write.
 *
 * What the driver says of packets it would like (modes, address tables) is taken note of and changes nothing: it gets
 * all that the port has, as from a real card with an imperfect filter.
 */
export class ControlQueue {
  readonly #memory: GuestMemory;
  readonly #host: DeviceHost;
  readonly #counters: NetCounters;
  readonly #controlled: Controlled;
  readonly #chain: DescriptorChain;
  readonly #command = new Uint8Array(longestCommand);
  readonly #view = new DataView(this.#command.buffer);
  readonly #answer = new Uint8Array(1);
  #queue: Virtqueue | undefined;
  #features = 0n;

  constructor(
    memory: GuestMemory,
    host: DeviceHost,
    counters: NetCounters,
    controlled: Controlled,
    largestQueue: number,
  ) {
    this.#memory = memory;
    this.#host = host;
    this.#counters = counters;
    this.#controlled = controlled;
    this.#chain = new DescriptorChain(largestQueue);
  }

  start(queue: Virtqueue, features: bigint): void {
    this.#queue = queue;
    this.#features = features;
  }

  stop(): void {
    this.#queue = undefined;
  }

  /** Carries commands out, one turn's worth. True: there may be more. */
  run(): boolean {
    const queue = this.#queue;
    if (queue === undefined) return false;
    queue.disableKicks();
    for (let left = turnRequests; left > 0; left--) {
      while (!queue.pop(this.#chain)) {
        this.#publish(queue);
        if (queue.fault !== undefined) {
          this.#host.fail(queue.fault);
          return false;
        }
        if (!queue.enableKicks()) return false;
        queue.disableKicks();
      }
      const length = this.#chain.read(this.#memory, 0, this.#command);
      const isDone = this.#chain.writableBytes > 0 && this.#carryOut(length);
      count(this.#counters, isDone ? netCounter.controlCommands : netCounter.controlRefused, 1);
      this.#answer[0] = isDone ? OK : ERROR;
      queue.push(this.#chain.head, this.#chain.write(this.#memory, 0, this.#answer));
    }
    this.#publish(queue);
    return true;
  }

  #publish(queue: Virtqueue): void {
    if (queue.publish()) this.#host.interruptQueue();
  }

  /** Carries out the command in the first `length` bytes. False: it is refused. */
  #carryOut(length: number): boolean {
    if (length < commandBytes || this.#chain.readableBytes > longestCommand) return false;
    const data = this.#command.subarray(commandBytes, length);
    const command = this.#command[1] as number;
    switch (this.#command[0]) {
      case RX_MODE:
        return this.#agreed(netFeature.controlReceive) && isReceiveMode(command, data);
      case MAC:
        if (command === MAC_TABLE_SET) return this.#agreed(netFeature.controlReceive) && this.#areTables(length);
        return this.#agreed(netFeature.controlMac) && command === MAC_ADDRESS_SET && this.#setMac(data);
      case ANNOUNCE:
        if (!this.#agreed(netFeature.guestAnnounce) || command !== ANNOUNCE_ACKNOWLEDGE) return false;
        this.#controlled.acknowledgeAnnounce();
        return true;
      case GUEST_OFFLOADS:
        if (!this.#agreed(netFeature.controlGuestOffloads) || command !== GUEST_OFFLOADS_SET) return false;
        return data.length === 8 && this.#controlled.setGuestOffloads(this.#view.getBigUint64(commandBytes, true));
      default:
        return false;
    }
  }

  #agreed(feature: bigint): boolean {
    return (this.#features & feature) !== 0n;
  }

  /** Two tables, of addresses and of multicast addresses: { count u32, address [count] }. */
  #areTables(length: number): boolean {
    let at = commandBytes;
    for (let table = 0; table < 2; table++) {
      if (at + 4 > length) return false;
      at += 4 + this.#view.getUint32(at, true) * macBytes;
    }
    return at === length;
  }

  #setMac(mac: Uint8Array): boolean {
    const isMulticast = ((mac[0] as number) & 1) !== 0;
    if (mac.length !== macBytes || isMulticast) return false;
    this.#controlled.setMac(mac);
    return true;
  }
}

function isReceiveMode(command: number, data: Uint8Array): boolean {
  return (command === RX_MODE_PROMISCUOUS || command === RX_MODE_ALL_MULTICAST) && data.length === 1;
}
