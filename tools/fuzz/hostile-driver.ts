import { configOffset, type MmioRegisters, mmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { offeredFeatures, status } from '../../src/devices/virtio/mmio-state.ts';
import type { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import type { Coverage } from './coverage.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';
import { type HostileMemory, ramEdges } from './hostile-memory.ts';

/** Where the driver thinks that a queue lies. */
interface PlacedQueue {
  size: number;
  descriptors: number;
  avail: number;
  used: number;
  /** The avail index that it wrote last. */
  index: number;
}

/** A descriptor before it is written, perhaps spoilt. Addresses are in two halves. */
interface Descriptor {
  low: number;
  high: number;
  length: number;
  flags: number;
  next: number;
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** Numbers at which something ends or wraps. */
const edges: readonly number[] = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 64, 255, 256, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000,
  0xffff_fff0, 0xffff_ffff,
];
const widths = [1, 2, 4] as const;

/** Changes of RAM in one operation, while the device looks. */
const mostMeddling = 4;

/**
 * A driver that means harm. It knows the protocol well enough to get far, and breaks it everywhere, by the numbers of a
 * seed. Each call of {@link act} is one operation.
 */
export class HostileDriver {
  readonly #registers: MmioRegisters;
  readonly #transport: VirtioTransport;
  readonly #ram: HostileMemory;
  readonly #target: FuzzTarget;
  readonly #random: Random;
  readonly #coverage: Coverage;
  readonly #log: ((line: string) => void) | undefined;
  readonly #queues: PlacedQueue[];
  readonly #offeredLow: number;
  readonly #offeredHigh: number;
  #meddling = 0;

  constructor(parts: {
    registers: MmioRegisters;
    transport: VirtioTransport;
    ram: HostileMemory;
    target: FuzzTarget;
    random: Random;
    coverage: Coverage;
    log?: ((line: string) => void) | undefined;
  }) {
    this.#registers = parts.registers;
    this.#transport = parts.transport;
    this.#ram = parts.ram;
    this.#target = parts.target;
    this.#random = parts.random;
    this.#coverage = parts.coverage;
    this.#log = parts.log;
    const offered = offeredFeatures(parts.target.shape);
    this.#offeredLow = Number(offered & 0xffff_ffffn);
    this.#offeredHigh = Number(offered >> 32n);
    this.#queues = parts.target.shape.queueSizes.map((size) => this.#place(size));
    if (this.#chance(3)) this.#ram.memory.meddle = () => this.#meddle();
  }

  /** Does one thing out of many. */
  act(): void {
    this.#meddling = 0;
    const pick = this.#random(100);
    if (pick < 35) this.#addChains();
    else if (pick < 50) this.#kick();
    else if (pick < 62) this.#touchRegister();
    else if (pick < 66) this.#touchConfig();
    else if (pick < 74) this.#scribble();
    else if (pick < 82) this.#do('poll', () => this.#target.poll(this.#random, false));
    else if (pick < 85) this.#storm();
    else if (pick < 88) this.#do('pause', () => this.#transport.pause());
    else if (pick < 92) this.#do('resume', () => this.#transport.resume());
    else if (pick < 95) this.#writeRegister('Status', this.#chance(2) ? 0 : this.#random(256));
    else this.start();
  }

  /** From reset to DRIVER_OK, mostly in the right way. */
  start(): void {
    this.#do('start', () => {
      this.#writeRegister('Status', 0);
      this.#addStatus(status.acknowledge);
      this.#addStatus(status.driver);
      this.#chooseFeatures();
      this.#addStatus(status.featuresOk);
      for (const index of this.#queues.keys()) if (!this.#chance(12)) this.#setUpQueue(index);
      if (this.#chance(4)) this.#addChains();
      this.#addStatus(status.driverOk);
    });
  }

  #do(name: string, body: () => void): void {
    this.#coverage.count(`act ${name}`);
    this.#log?.(name);
    body();
  }

  #chance(oneIn: number): boolean {
    return this.#random(oneIn) === 0;
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#random(of.length)] as T;
  }

  /** Some 32-bit number, rather one at which something ends. */
  #number(): number {
    if (this.#chance(2)) return this.#one(edges);
    return this.#chance(2) ? this.#random(300) : this.#random(0x1_0000_0000);
  }

  #writeRegister(name: string, value: number): void {
    const register = byName(name);
    this.#coverage.count(register.write);
    this.#log?.(`  ${name} = 0x${value.toString(16)}`);
    this.#registers.write(register.offset, 4, value);
  }

  #readRegister(name: string): number {
    const register = byName(name);
    this.#coverage.count(register.read);
    return this.#registers.read(register.offset, 4);
  }

  #addStatus(bit: number): void {
    this.#writeRegister('Status', this.#readRegister('Status') | bit);
  }

  #chooseFeatures(): void {
    let low = this.#offeredLow;
    let high = this.#offeredHigh;
    if (this.#chance(2)) low &= this.#random(0x1_0000_0000) | this.#random(0x1_0000_0000);
    if (this.#chance(3)) high &= this.#random(0x1_0000_0000) | 1;
    if (this.#chance(40)) low ^= 1 << this.#random(32);
    if (this.#chance(40)) high ^= 1 << this.#random(32);
    this.#writeRegister('DriverFeaturesSel', 1);
    this.#writeRegister('DriverFeatures', high >>> 0);
    this.#writeRegister('DriverFeaturesSel', 0);
    this.#writeRegister('DriverFeatures', low >>> 0);
  }

  /** A place for a queue in which nothing overlaps, most of the time. */
  #place(maxSize: number): PlacedQueue {
    let size = this.#chance(2) ? maxSize : 1 << this.#random(Math.log2(maxSize) + 1);
    if (this.#chance(100)) size = this.#number();
    const room = size <= 1024 ? 16 * size + 6 + 2 * size + 4 + 6 + 8 * size : 0;
    const at = Math.floor(this.#ramAddress(room) / 16) * 16;
    const avail = at + 16 * size;
    const placed = { size, descriptors: at, avail, used: Math.ceil((avail + 6 + 2 * size) / 4) * 4, index: 0 };
    if (this.#chance(20)) placed.used = this.#one([placed.descriptors, placed.avail, placed.used + this.#random(64)]);
    if (this.#chance(150)) placed.descriptors = this.#address();
    if (this.#chance(150)) placed.avail = this.#address();
    if (this.#chance(150)) placed.used = this.#address();
    return placed;
  }

  /** An address at which that many bytes are RAM. */
  #ramAddress(bytes: number): number {
    const region = this.#chance(4) ? 2 : 0;
    const [start, end] = [ramEdges[region] as number, ramEdges[region + 1] as number];
    return start + this.#random(Math.max(1, end - start - bytes + 1));
  }

  /** Any address; below 2^53, as this driver keeps it in a number. */
  #address(): number {
    switch (this.#random(4)) {
      case 0:
        return this.#ramAddress(0);
      case 1:
        return Math.max(0, this.#one(ramEdges) - this.#random(40));
      case 2:
        return this.#number();
      default:
        return this.#number() + this.#random(0x20_0000) * 0x1_0000_0000;
    }
  }

  #setUpQueue(index: number): void {
    const placed = this.#place(this.#target.shape.queueSizes[index] as number);
    this.#queues[index] = placed;
    // A good driver hands over rings that are empty.
    if (!this.#chance(10)) {
      this.#ram.put(placed.avail, 4, 0);
      this.#ram.put(placed.used, 4, 0);
    }
    this.#writeRegister('QueueSel', index);
    this.#writeRegister('QueueNum', placed.size);
    this.#writeAddress('QueueDesc', placed.descriptors);
    this.#writeAddress('QueueDriver', placed.avail);
    this.#writeAddress('QueueDevice', placed.used);
    this.#writeRegister('QueueReady', 1);
  }

  #writeAddress(name: string, address: number): void {
    this.#writeRegister(`${name}Low`, address % 0x1_0000_0000);
    const high = Math.floor(address / 0x1_0000_0000);
    this.#writeRegister(`${name}High`, this.#chance(1000) ? this.#number() : high);
  }

  #kick(): void {
    const index = this.#chance(10) ? this.#number() : this.#random(this.#queues.length);
    if (this.#chance(2)) this.#do('kick', () => this.#transport.kicked(index));
    else this.#do('kick by register', () => this.#writeRegister('QueueNotify', index));
  }

  #storm(): void {
    this.#do('storm', () => {
      for (let count = this.#random(30); count > 0; count--) {
        if (this.#chance(4)) this.#writeRegister('InterruptACK', this.#readRegister('InterruptStatus'));
        this.#writeRegister('QueueNotify', this.#random(this.#queues.length + 1));
      }
    });
  }

  /** Any access of any width, at a register or between two, at any time. */
  #touchRegister(): void {
    this.#do('register', () => {
      const register = this.#one(counted);
      const whole = !this.#chance(5);
      const offset = whole ? register.offset : this.#random(configOffset);
      const width = whole ? 4 : this.#one(widths);
      const write = this.#chance(2);
      if (whole) this.#coverage.count(write ? register.write : register.read);
      if (!write) {
        this.#registers.read(offset, width);
        return;
      }
      // Most random values are no move of the status; one that is one makes the rest of the case another.
      const value = register.name === 'QueueSel' ? this.#random(this.#queues.length + 1) : this.#number();
      this.#log?.(`  [0x${offset.toString(16)}] ${width} = 0x${value.toString(16)}`);
      this.#registers.write(offset, width, value);
    });
  }

  #touchConfig(): void {
    this.#do('config', () => {
      const offset = configOffset + (this.#chance(5) ? this.#random(0xf00) : this.#random(70));
      const width = this.#one(widths);
      if (this.#chance(2)) this.#registers.read(offset, width);
      else this.#registers.write(offset, width, this.#number());
    });
  }

  /** Adds some requests, most of them as the device expects them but for a detail. */
  #addChains(): void {
    this.#do('chain', () => {
      for (let count = this.#chance(30) ? this.#random(70) : 1 + this.#random(3); count > 0; count--) this.#addChain();
    });
  }

  #addChain(): void {
    const { queue, kind, readable, writableBytes } = this.#target.hostile(this.#random);
    const placed = this.#queues[queue];
    if (placed === undefined) return;
    this.#coverage.count(`request ${kind}`);
    const chain = [...this.#cut(readable), ...this.#cut(writableBytes)];
    if (chain.length === 0) chain.push(this.#buffer(0, false));
    if (this.#chance(3)) {
      const end = ramEdges[1] as number;
      const table = this.#chance(20) ? end - this.#random(32 * chain.length) : this.#ramAddress(16 * chain.length);
      this.#link(chain, 0, chain.length);
      this.#spoil(chain);
      for (const [at, entry] of chain.entries()) this.#writeDescriptor(table + 16 * at, entry);
      const [low, high] = [table % 0x1_0000_0000, Math.floor(table / 0x1_0000_0000)];
      const head: Descriptor = { low, high, length: 16 * chain.length, flags: INDIRECT, next: 0 };
      chain.splice(this.#chance(6) ? this.#random(3) : 0, chain.length, head); // at times behind buffers of its own
    }
    const first = this.#random(placed.size);
    this.#link(chain, first, placed.size);
    this.#spoil(chain);
    for (const [at, entry] of chain.entries()) {
      this.#writeDescriptor(placed.descriptors + 16 * ((first + at) % Math.max(1, placed.size)), entry);
    }
    this.#offer(placed, this.#chance(60) ? this.#number() : first);
  }

  #offer(placed: PlacedQueue, head: number): void {
    this.#ram.put(placed.avail + 4 + 2 * (placed.index % Math.max(1, placed.size)), 2, head);
    placed.index = this.#chance(100) ? this.#number() & 0xffff : (placed.index + 1) & 0xffff;
    this.#ram.put(placed.avail + 2, 2, placed.index);
  }

  /** Cuts bytes that the device reads, or room that it writes, into buffers somewhere in RAM. */
  #cut(stream: Uint8Array | number): Descriptor[] {
    const total = typeof stream === 'number' ? stream : stream.length;
    const parts: Descriptor[] = [];
    for (let done = 0; done < total; ) {
      const length = this.#chance(3) ? total - done : 1 + this.#random(total - done);
      const buffer = this.#buffer(length, typeof stream === 'number');
      if (typeof stream !== 'number') {
        this.#ram.putBytes(buffer.high * 0x1_0000_0000 + buffer.low, stream.subarray(done, done + length));
      }
      parts.push(buffer);
      done += length;
      if (parts.length > 8) break;
    }
    return parts;
  }

  #buffer(length: number, writable: boolean): Descriptor {
    const address = this.#ramAddress(length);
    const [low, high] = [address % 0x1_0000_0000, Math.floor(address / 0x1_0000_0000)];
    return { low, high, length, flags: writable ? WRITE : 0, next: 0 };
  }

  /** Links a chain that lies from index `first` of a table on, around its end. */
  #link(chain: readonly Descriptor[], first: number, entries: number): void {
    for (let at = 0; at + 1 < chain.length; at++) {
      const entry = chain[at] as Descriptor;
      entry.flags |= NEXT;
      entry.next = (first + at + 1) % Math.max(1, entries);
    }
  }

  /** Breaks a detail of a chain, every few chains. */
  #spoil(chain: readonly Descriptor[]): void {
    if (!this.#chance(8)) return;
    const entry = this.#one(chain);
    switch (this.#random(9)) {
      case 0:
        entry.length = this.#number();
        break;
      case 1:
        entry.low = this.#number();
        break;
      case 2:
        entry.high = this.#chance(2) ? 0xffff_ffff : this.#number();
        break;
      case 3:
        entry.next = this.#chance(2) ? this.#random(66) : this.#number();
        break;
      case 4:
        entry.flags ^= 1 << this.#random(4);
        break;
      case 5:
        entry.flags |= INDIRECT;
        break;
      case 6:
        entry.length = 0;
        break;
      case 7: {
        const edge = Math.max(0, this.#one(ramEdges) - this.#random(20));
        entry.low = edge % 0x1_0000_0000;
        entry.high = Math.floor(edge / 0x1_0000_0000);
        break;
      }
      default:
        for (const all of chain) all.flags |= NEXT; // the last leads on, to whatever is there
        break;
    }
  }

  #writeDescriptor(at: number, { low, high, length, flags, next }: Descriptor): void {
    this.#ram.put(at, 4, low);
    this.#ram.put(at + 4, 4, high);
    this.#ram.put(at + 8, 4, length);
    this.#ram.put(at + 12, 2, flags);
    this.#ram.put(at + 14, 2, next);
  }

  /** Writes somewhere in a queue's rings. */
  #scribble(): void {
    this.#do('scribble', () => {
      const placed = this.#one(this.#queues);
      for (let count = 1 + this.#random(4); count > 0; count--) {
        const part = this.#random(6);
        if (part === 0) this.#ram.put(placed.avail, 2, this.#random(2));
        else if (part === 1) this.#ram.put(placed.avail + 2, 2, placed.index + this.#random(5));
        else if (part === 2) this.#ram.put(placed.avail + 4 + 2 * placed.size, 2, this.#number());
        else if (part === 3) this.#ram.put(placed.used + this.#random(6 + 8 * placed.size), 1, this.#random(256));
        else if (part === 4) this.#ram.put(placed.descriptors + this.#random(16 * placed.size), 1, this.#random(256));
        else this.#ram.put(this.#ramAddress(4), 4, this.#number());
      }
    });
  }

  /** Called by the memory while the device looks: what it has checked may change before it is used. */
  #meddle(): void {
    if (this.#meddling >= mostMeddling || !this.#chance(6)) return;
    this.#meddling++;
    this.#coverage.count('act meddle');
    const placed = this.#one(this.#queues);
    const at = placed.descriptors + 16 * this.#random(placed.size);
    switch (this.#random(5)) {
      case 0:
        this.#ram.put(at + 8, 4, this.#number());
        break;
      case 1:
        this.#ram.put(at + 12, 4, this.#number());
        break;
      case 2:
        this.#ram.put(at + 4, 4, this.#number());
        break;
      case 3:
        this.#offer(placed, this.#random(placed.size));
        break;
      default:
        this.#ram.put(this.#ramAddress(4), 4, this.#number());
        break;
    }
  }
}

/** A register, and the names by which its accesses are counted. */
interface CountedRegister {
  readonly name: string;
  readonly offset: number;
  readonly read: string;
  readonly write: string;
}

const counted: readonly CountedRegister[] = mmioRegisters.map(({ name, offset }) => ({
  name,
  offset,
  read: `read ${name}`,
  write: `write ${name}`,
}));
const countedByName: ReadonlyMap<string, CountedRegister> = new Map(
  counted.map((register) => [register.name, register]),
);

function byName(name: string): CountedRegister {
  return countedByName.get(name) as CountedRegister;
}
