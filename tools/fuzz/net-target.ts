import { NetDevice } from '../../src/devices/net/net-device.ts';
import { netQueue, netShape } from '../../src/devices/net/net-shape.ts';
import { headerBytes, longestPacket, type PacketPort, shortestPacket } from '../../src/devices/net/packet-port.ts';
import { EAGAIN, EINVAL } from '../../src/host/errno.ts';
import { viewMemory } from '../../src/host/libc/memory.ts';
import { maxIoVectorEntries } from '../../src/host/mappings/io-vector.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';
import type { HostileMemory } from './hostile-memory.ts';

/** A port that looks well at what it is given. Packets are nothing but lengths. */
class FuzzPort implements PacketPort {
  ram: HostileMemory | undefined;
  /** Lengths of packets that come in next. */
  readonly incoming: number[] = [];
  sent = 0;
  /** What writes give instead of sending; 0: they send. */
  writeResult = 0;
  readonly #vectors = new Map<number, Uint32Array>();

  readv(iovAddress: number, count: number): number {
    const packet = this.incoming.shift();
    return packet === undefined ? -EAGAIN : this.#transfer(iovAddress, count, packet, 'write');
  }

  writev(iovAddress: number, count: number): number {
    const length = this.#transfer(iovAddress, count, Number.POSITIVE_INFINITY, 'read');
    if (length < shortestPacket || length > longestPacket) throw new Error(`a packet of ${length} bytes is sent`);
    if (this.writeResult !== 0) return this.writeResult;
    this.sent++;
    return length;
  }

  listen(): void {}

  setOffload(): number {
    return 0;
  }

  /** The vectors of the device before lie elsewhere. */
  forget(): void {
    this.#vectors.clear();
    this.incoming.length = 0;
    this.writeResult = 0;
  }

  #transfer(iovAddress: number, count: number, limit: number, what: 'read' | 'write'): number {
    if (count < 1 || count > maxIoVectorEntries) throw new Error(`a vector of ${count} ranges`);
    const words = this.#words(iovAddress, count);
    let done = 0;
    for (let range = 0; range < count; range++) {
      const at = range * 4;
      const address = (words[at] as number) + (words[at + 1] as number) * 0x1_0000_0000;
      const length = (words[at + 2] as number) + (words[at + 3] as number) * 0x1_0000_0000;
      const part = Math.min(length, limit - done);
      // Besides RAM there is memory of the device's own, for packets that do not fit or are put in.
      if (!this.ram?.isElsewhere(address, length)) {
        this.ram?.callKernel(address, length, 'read');
        this.ram?.callKernel(address, part, what);
      } else if (length > longestPacket + 1) throw new Error(`${length} bytes of memory that is not RAM`);
      done += part;
    }
    return done;
  }

  #words(address: number, count: number): Uint32Array {
    let words = this.#vectors.get(address);
    if (words === undefined || words.length < count * 4) {
      words = new Uint32Array(viewMemory(address, count * 16));
      this.#vectors.set(address, words);
    }
    return words;
  }
}

const kinds = ['receive', 'transmit', 'mode', 'mac', 'announce', 'offloads', 'unknown'] as const;
const classes: Readonly<Record<string, number>> = { mode: 0, mac: 1, announce: 3, offloads: 5, unknown: 77 };

function packetOf(random: Random): Uint8Array {
  const bytes = new Uint8Array(random(30) === 0 ? random(20) : shortestPacket + random(300));
  for (let at = 0; at < headerBytes && random(2) === 0; at++) bytes[at] = random(256);
  return bytes;
}

function command(random: Random, kind: string): Uint8Array {
  const bytes = new Uint8Array(random(10) === 0 ? random(3) : 2 + random(20));
  for (let at = 2; at < bytes.length; at++) bytes[at] = random(3) === 0 ? random(256) : 0;
  if (bytes.length > 0) bytes[0] = classes[kind] ?? 0;
  if (bytes.length > 1) bytes[1] = random(3);
  return bytes;
}

/** A listener that holds some packets back. */
function moodyListener(random: Random): { packet(): 'hold' | 'pass'; room(): void } {
  return { packet: () => (random(3) === 0 ? 'hold' : 'pass'), room: () => {} };
}

export function netTarget(): FuzzTarget {
  const port = new FuzzPort();
  const shape = netShape({ mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500, offload: true });
  const put = new Uint8Array(longestPacket);
  let device: NetDevice | undefined;

  const calmDown = (card: NetDevice): void => {
    card.setLink(true);
    card.toGuest.listener = undefined;
    card.toWire.listener = undefined;
    port.writeResult = 0;
  };
  const disturb = (card: NetDevice, random: Random): void => {
    const length = random(8) === 0 ? random(longestPacket + 10) : shortestPacket + random(1500);
    switch (random(12)) {
      case 0:
        card.setLink(random(3) !== 0);
        break;
      case 1:
        card.announce();
        break;
      case 2:
        card.toGuest.listener = random(2) === 0 ? undefined : moodyListener(random);
        break;
      case 3:
        card.toWire.listener = random(2) === 0 ? undefined : moodyListener(random);
        break;
      case 4:
        card.toGuest.put(put.subarray(0, Math.min(Math.max(length, shortestPacket), longestPacket)));
        break;
      case 5:
        card.toWire.put(put.subarray(0, shortestPacket + random(1500)));
        break;
      case 6:
        port.writeResult = -(random(2) === 0 ? EAGAIN : EINVAL);
        break;
      case 7:
        port.writeResult = 0;
        break;
      default:
        for (let count = random(6); count > 0; count--) port.incoming.push(length);
        break;
    }
  };

  return {
    name: 'net',
    shape,
    kinds,
    lifetimeCases: 256,
    device: (host, config, ram) => {
      port.forget();
      port.ram = ram;
      device = new NetDevice({ shape, config, memory: ram.memory, port, host });
      return device;
    },
    poll: (random, calm) => {
      if (device === undefined) return;
      if (calm) calmDown(device);
      else disturb(device, random);
      device.portReady();
      if (device.hasMore) device.turn();
    },
    hostile: (random) => {
      const kind = kinds[random(10) < 7 ? random(2) : random(kinds.length)] as string;
      if (kind === 'receive') {
        const writableBytes = random(20) === 0 ? random(70_000) : 1 + random(2000);
        return { queue: netQueue.receive, kind, readable: new Uint8Array(random(50) === 0 ? 4 : 0), writableBytes };
      }
      if (kind === 'transmit') {
        return { queue: netQueue.transmit, kind, readable: packetOf(random), writableBytes: random(50) === 0 ? 8 : 0 };
      }
      return {
        queue: netQueue.control,
        kind,
        readable: command(random, kind),
        writableBytes: random(10) === 0 ? 0 : 1,
      };
    },
    request: (driver) => {
      if (device !== undefined) calmDown(device);
      const before = port.sent;
      return {
        queue: netQueue.transmit,
        head: driver.queues[netQueue.transmit]?.add([{ read: new Uint8Array(headerBytes + 60) }]) ?? -1,
        check: () => {
          if (port.sent === before) throw new Error('a packet is not sent');
        },
      };
    },
    close: () => {},
  };
}
