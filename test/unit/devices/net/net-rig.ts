import { type NetCounter, namedCounters } from '../../../../src/devices/net/net-counters.ts';
import { NetDevice } from '../../../../src/devices/net/net-device.ts';
import { netShape } from '../../../../src/devices/net/net-shape.ts';
import type { PacketPort } from '../../../../src/devices/net/packet-port.ts';
import type { DeviceHost } from '../../../../src/devices/virtio/virtio-device.ts';
import { EAGAIN } from '../../../../src/host/errno.ts';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { MiB } from '../../../../src/memory/address.ts';
import type { GuestMemory } from '../../../../src/memory/guest-memory.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { type MockDriver, type VirtioRig, virtioRig } from '../../../support/mock-driver.ts';
import type { MockQueue } from '../../../support/mock-queue.ts';

export const mac = Uint8Array.of(0x02, 0x12, 0x34, 0x56, 0x78, 0x9a);

/** A port that a test fills and looks into. As a TAP, it leaves num_buffers alone and cuts what does not fit. */
export class FakePort implements PacketPort {
  /** Packets that come in next. */
  readonly incoming: Uint8Array[] = [];
  readonly sent: Uint8Array[] = [];
  /** Given to setOffload, in order. */
  readonly offloads: number[] = [];
  /** Calls of readv. */
  reads = 0;
  /** Ranges that the last readv was given. */
  ranges = 0;
  /** It is to tell of packets. */
  listening = true;
  /** What writev returns instead of sending; 0: it sends. */
  writeResult = 0;
  /** What readv returns when there is nothing. */
  emptyResult = -EAGAIN;
  offloadResult = 0;

  readv(iovAddress: number, count: number): number {
    this.reads++;
    this.ranges = count;
    const packet = this.incoming.shift();
    if (packet === undefined) return this.emptyResult;
    let at = 0;
    for (const range of ranges(iovAddress, count)) {
      for (let byte = 0; byte < range.length && at < packet.length; byte++, at++) {
        if (at !== 10 && at !== 11) range[byte] = packet[at] as number;
      }
    }
    return at;
  }

  writev(iovAddress: number, count: number): number {
    if (this.writeResult !== 0) return this.writeResult;
    const packet = Buffer.concat(ranges(iovAddress, count));
    this.sent.push(new Uint8Array(packet));
    return packet.length;
  }

  listen(isWanted: boolean): void {
    this.listening = isWanted;
  }

  setOffload(bits: number): number {
    this.offloads.push(bits);
    return this.offloadResult;
  }
}

function ranges(iovAddress: number, count: number): Uint8Array[] {
  const words = new DataView(viewMemory(iovAddress, count * 16));
  return Array.from({ length: count }, (_, index) => {
    const address = Number(words.getBigUint64(index * 16, true));
    return new Uint8Array(viewMemory(address, Number(words.getBigUint64(index * 16 + 8, true))));
  });
}

/** A packet with an empty header and bytes that differ by `seed`. */
export function packet(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index < 12 ? 0 : (index * 7 + seed) & 0xff));
}

export interface NetRig extends VirtioRig {
  readonly port: FakePort;
  readonly device: NetDevice;
  readonly driver: MockDriver;
  readonly receive: MockQueue;
  readonly transmit: MockQueue;
  readonly control: MockQueue;
  /** A counter's value. */
  counted(name: NetCounter): number;
  /** All drops and errors there were. */
  troubles(): Partial<Record<NetCounter, number>>;
  /** The device thread, until there is no more to do; the turns it took. */
  work(): number;
  /** Packets come into the port, which tells. */
  arrive(...packets: Uint8Array[]): void;
}

export interface NetRigOptions {
  readonly offload?: boolean;
  readonly mtu?: number;
  /** Features accepted; default all. Without it the driver is left to the test. */
  readonly accept?: bigint;
  readonly start?: false;
  /** What stands between the card and its port, if anything does. */
  readonly before?: (port: PacketPort) => PacketPort;
}

/** A network card behind its registers, with a driver before it and a port behind. */
export function netRig(t: { teardown(clean: () => unknown): unknown }, options: NetRigOptions = {}): NetRig {
  const ram = new Ram(8 * MiB);
  const port = new FakePort();
  const { offload = true, mtu, before = (behind) => behind } = options;
  const shape = netShape({ mac, offload, ...(mtu === undefined ? {} : { mtu }) });
  let device: NetDevice | undefined;
  const make = (host: DeviceHost, config: Uint8Array, memory: GuestMemory): NetDevice => {
    device = new NetDevice({ shape, config, memory, port: before(port), host });
    return device;
  };
  const rig = virtioRig({ shape, device: make, memory: ram.memory });
  t.teardown(() => {
    rig.transport.close();
    ram.close();
  });
  const card = device as unknown as NetDevice;
  if (options.start !== false) rig.driver.start(options.accept);
  const queue = (index: number): MockQueue => rig.driver.queues[index] as MockQueue;
  const counters = () => namedCounters(card.counters);
  const good = /^(received|sent)|controlCommands/;
  const work = (): number => {
    let turns = 0;
    for (; card.hasMore; turns++) card.turn();
    return turns;
  };
  return {
    ...rig,
    get interrupts() {
      return rig.interrupts;
    },
    port,
    device: card,
    get receive() {
      return queue(0);
    },
    get transmit() {
      return queue(1);
    },
    get control() {
      return queue(2);
    },
    counted: (name) => counters()[name],
    troubles: () => Object.fromEntries(Object.entries(counters()).filter(([name, n]) => n > 0 && !good.test(name))),
    work,
    arrive: (...packets) => {
      port.incoming.push(...packets);
      card.portReady();
      work();
    },
  };
}
