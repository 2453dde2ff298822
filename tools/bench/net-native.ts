import { NetDevice } from '../../src/devices/net/net-device.ts';
import { netFeature, netQueue, netShape } from '../../src/devices/net/net-shape.ts';
import type { PacketPort } from '../../src/devices/net/packet-port.ts';
import { feature } from '../../src/devices/virtio/mmio-state.ts';
import { Virtqueue } from '../../src/devices/virtio/virtqueue.ts';
import { EAGAIN } from '../../src/host/errno.ts';
import { close, open, tryWritev } from '../../src/host/libc/descriptors.ts';
import { gpa, MiB } from '../../src/memory/address.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Ram } from '../../src/memory/ram.ts';
import { median, rounded } from './statistics.ts';

/** What a packet costs the real network card between a driver that does next to nothing and a port that does nothing. */
export interface NetNativeRow {
  readonly name: string;
  readonly packetsPerSecond: number;
  readonly nsPerPacket: number;
  /** Of V8's heap; there should be none. */
  readonly bytesAllocatedPerPacket: number;
}

const queueSize = 256;
const packetsPerBurst = 64;
const burstsPerRound = 4000;
/** Few enough that V8 seldom collects garbage meanwhile, which would hide what was allocated. */
const burstsPerWindow = 4;
const windows = 101;
/** Buffers of a receive queue, as Linux makes them for an MTU of 1500. */
const receiveBufferBytes = 1530;
const pageBytes = 4096;

/** How a row's packets look. */
interface Traffic {
  readonly name: string;
  readonly direction: 'receive' | 'send';
  readonly packetBytes: number;
  /** Offloads agreed on: the card makes room for long packets. */
  readonly offload: boolean;
  /** The port makes a system call for each packet. */
  readonly systemCall: boolean;
}

const traffics: readonly Traffic[] = [
  { name: 'receive 60', direction: 'receive', packetBytes: 72, offload: false, systemCall: false },
  { name: 'receive 60, offloads', direction: 'receive', packetBytes: 72, offload: true, systemCall: false },
  { name: 'receive 60, offloads, system call', direction: 'receive', packetBytes: 72, offload: true, systemCall: true },
  { name: 'receive 64 KiB, offloads', direction: 'receive', packetBytes: 65_562, offload: true, systemCall: false },
  { name: 'send 60', direction: 'send', packetBytes: 72, offload: true, systemCall: false },
  { name: 'send 60, system call', direction: 'send', packetBytes: 72, offload: true, systemCall: true },
  { name: 'send 64 KiB, offloads', direction: 'send', packetBytes: 65_562, offload: true, systemCall: false },
];

/** Medians over `rounds`, after one that does not count. */
export function benchNetNative(rounds: number, progress: (line: string) => void): NetNativeRow[] {
  return traffics.map((traffic) => {
    const row = runTraffic(traffic, rounds);
    progress(`${row.name}: ${row.nsPerPacket} ns, ${row.bytesAllocatedPerPacket} bytes a packet`);
    return row;
  });
}

function runTraffic(traffic: Traffic, rounds: number): NetNativeRow {
  const ram = new Ram(64 * MiB);
  const nullFile = open('/dev/null', 2);
  try {
    const port = new NullPort(
      traffic.packetBytes,
      traffic.systemCall ? (address, count) => tryWritev(nullFile, address, count) : undefined,
    );
    const bench = new Bench(ram.memory, traffic, port);
    bench.round();
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const start = performance.now();
      bench.round();
      times.push(((performance.now() - start) * 1e6) / (burstsPerRound * packetsPerBurst));
    }
    const allocated = heapGrowth(() => bench.bursts(burstsPerWindow)) - heapGrowth(() => bench.bursts(0));
    bench.close();
    const ns = median(times);
    return {
      name: traffic.name,
      packetsPerSecond: Math.round(1e9 / ns),
      nsPerPacket: rounded(ns, 0),
      bytesAllocatedPerPacket: rounded(allocated / (burstsPerWindow * packetsPerBurst), 1),
    };
  } finally {
    close(nullFile);
    ram.close();
  }
}

/** Bytes of heap that are taken during an action; the median of many times. */
export function heapGrowth(action: () => void): number {
  return median(
    Array.from({ length: windows }, () => {
      const before = process.memoryUsage().heapUsed;
      action();
      return process.memoryUsage().heapUsed - before;
    }),
  );
}

/** A port that takes everything and has as many packets as it is told to. */
class NullPort implements PacketPort {
  readonly #packetBytes: number;
  readonly #call: ((address: number, count: number) => number) | undefined;
  waiting = 0;
  sent = 0;

  constructor(packetBytes: number, call: ((address: number, count: number) => number) | undefined) {
    this.#packetBytes = packetBytes;
    this.#call = call;
  }

  readv(address: number, count: number): number {
    if (this.waiting === 0) return -EAGAIN;
    this.waiting--;
    this.#call?.(address, count);
    return this.#packetBytes;
  }

  writev(address: number, count: number): number {
    this.sent++;
    this.#call?.(address, count);
    return this.#packetBytes;
  }

  listen(): void {}

  setOffload(): number {
    return 0;
  }
}

/** A card with the traffic of one row. */
class Bench {
  readonly #device: NetDevice;
  readonly #port: NullPort;
  readonly #driver: RingDriver;
  readonly #sends: boolean;

  constructor(memory: GuestMemory, traffic: Traffic, port: NullPort) {
    this.#port = port;
    this.#sends = traffic.direction === 'send';
    const shape = netShape({ mac: Uint8Array.of(2, 0, 0, 0, 0, 1), offload: traffic.offload });
    const host = { interruptQueue: () => {}, interruptConfig: () => {}, fail: (reason: string) => fail(reason) };
    this.#device = new NetDevice({ shape, config: new Uint8Array(shape.config), memory, port, host });
    const drivers = [0, 1, 2].map((index) => new RingDriver(memory, (1 + index) * 65_536));
    const queues = drivers.map((driver) => driver.queue);
    this.#device.activate(queues, shape.features | feature.eventIndex | feature.version1 | netFeature.mergeableBuffers);
    const driver = drivers[this.#sends ? netQueue.transmit : netQueue.receive] as RingDriver;
    this.#driver = driver;
    if (this.#sends) driver.describePackets(4 * MiB, traffic.packetBytes);
    else driver.describeBuffers(4 * MiB, receiveBufferBytes);
  }

  round(): void {
    this.bursts(burstsPerRound);
  }

  bursts(bursts: number): void {
    const wanted = this.packetsSeen + bursts * packetsPerBurst;
    for (let burst = 0; burst < bursts; burst++) {
      if (this.#sends) this.#send();
      else this.#receive();
    }
    if (this.packetsSeen !== wanted) fail(`${this.packetsSeen} packets of ${wanted}`);
  }

  get packetsSeen(): number {
    return this.#sends ? this.#port.sent : (this.#device.counters[0] as number);
  }

  close(): void {
    this.#device.close();
  }

  #receive(): void {
    this.#port.waiting = packetsPerBurst;
    this.#device.portReady();
    do {
      this.#driver.recycle();
      this.#device.kicked(netQueue.receive);
      if (this.#device.hasMore) this.#device.turn();
    } while (this.#port.waiting > 0 || this.#device.hasMore);
    this.#driver.recycle();
  }

  #send(): void {
    const wanted = this.#port.sent + packetsPerBurst;
    do {
      this.#driver.offer(Math.min(this.#driver.chains, wanted - this.#port.sent));
      this.#device.kicked(netQueue.transmit);
      while (this.#device.hasMore) this.#device.turn();
    } while (this.#port.sent < wanted);
  }
}

/** A driver that gives the same chains again and again, and allocates nothing. */
class RingDriver {
  readonly queue: Virtqueue;
  /** Chains that there are. */
  chains = 0;
  readonly #words: Uint16Array;
  readonly #descriptors: Uint32Array;
  /** Where the avail ring and the used ring begin, in units of 16 bits. */
  readonly #avail = 8 * queueSize;
  readonly #used: number;
  #heads = new Uint16Array(0);
  #availIndex = 0;
  #usedIndex = 0;

  constructor(memory: GuestMemory, base: number) {
    const driver = base + 16 * queueSize;
    const device = driver + 2048;
    const bytes = memory.writableSlice(gpa(base), device + 6 + 8 * queueSize + 2 - base);
    this.#words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    this.#descriptors = new Uint32Array(bytes.buffer, bytes.byteOffset, 4 * queueSize);
    this.#used = (device - base) / 2;
    const setup = { size: queueSize, descriptors: gpa(base), driver: gpa(driver), device: gpa(device) };
    this.queue = new Virtqueue(memory, setup, { indirect: false, eventIndex: true });
  }

  /** A chain of one writable buffer for each descriptor, all of them offered. */
  describeBuffers(start: number, bytes: number): void {
    for (let index = 0; index < queueSize; index++) this.#describe(index, start + index * bytes, bytes, 2);
    this.#heads = Uint16Array.from({ length: queueSize }, (_, index) => index);
    this.chains = queueSize;
    this.offer(queueSize);
  }

  /** Chains of readable pages, as Linux makes them of a packet's fragments. */
  describePackets(start: number, bytes: number): void {
    const pieces = Math.ceil(bytes / pageBytes);
    this.chains = Math.floor(queueSize / pieces);
    this.#heads = Uint16Array.from({ length: this.chains }, (_, chain) => chain * pieces);
    for (const head of this.#heads) {
      for (let piece = 0; piece < pieces; piece++) {
        const index = head + piece;
        const length = Math.min(pageBytes, bytes - piece * pageBytes);
        this.#describe(index, start + index * 2 * pageBytes, length, piece + 1 < pieces ? 1 : 0, index + 1);
      }
    }
  }

  /** Offers the next `count` chains, whose turn it is. */
  offer(count: number): void {
    for (let left = count; left > 0; left--) {
      this.#give(this.#heads[this.#availIndex % this.chains] as number);
    }
    this.#show();
  }

  /** Offers again what the device has used. */
  recycle(): void {
    const used = this.#words[this.#used + 1] as number;
    while (this.#usedIndex !== used) {
      const entry = this.#used + 2 + 4 * (this.#usedIndex & (queueSize - 1));
      this.#give(this.#words[entry] as number);
      this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    }
    this.#show();
  }

  #give(head: number): void {
    this.#words[this.#avail + 2 + (this.#availIndex & (queueSize - 1))] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  #show(): void {
    this.#words[this.#avail + 1] = this.#availIndex;
  }

  #describe(index: number, address: number, length: number, flags: number, next = 0): void {
    this.#descriptors[4 * index] = address;
    this.#descriptors[4 * index + 1] = 0;
    this.#descriptors[4 * index + 2] = length;
    this.#descriptors[4 * index + 3] = flags | (next << 16);
  }
}

function fail(reason: string): never {
  throw new Error(`the network card failed: ${reason}`);
}
