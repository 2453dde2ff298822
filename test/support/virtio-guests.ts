import { virtioMmioAddress, virtioMmioBytes } from '../../src/memory/layout.ts';
import { Assembler, port } from './assembler.ts';
import { register } from './mock-driver.ts';
import { tinyElfBase } from './tiny-elf.ts';

/** Machine-code guests that drive virtio devices over MMIO. They poll, with interrupts off. */

/** Registers of the machine's virtio device `index`. */
export function deviceBase(index: number): number {
  return virtioMmioAddress + index * virtioMmioBytes;
}

/**
 * A queue of 16 entries as part of the guest's image, one page, and pages for its data behind it.
 *
 *     0x000 descriptors   0x100 avail ring   0x200 used ring   0x300 headers, 16 bytes each   0x3f0 status bytes
 */
export const queueAt = { descriptors: 0, avail: 0x100, used: 0x200, headers: 0x300, status: 0x3f0 } as const;
const queueEntries = 16;
const pageBytes = 0x1000;

/** Where images have their queue; code lies before it. */
const queueOffset = 0x1_0000;
export const queueAddress = tinyElfBase + queueOffset;
/** Page `index` of data. */
export function dataAddress(index: number): number {
  return queueAddress + pageBytes * (1 + index);
}

/** Pages that are there for data, whether they hold anything at first or not. */
const leastPages = 2;

export interface DiskRequest {
  readonly type: 'read' | 'write' | 'flush';
  readonly sector?: number;
  /** Page of data. */
  readonly page?: number;
}

const requestTypes = { read: 0, write: 1, flush: 4 } as const;
const NEXT = 1;
const WRITE = 2;

/** Code, a queue and pages of data as one image. */
function image(code: Assembler, queue: Uint8Array, pages: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(queueOffset + pageBytes * (1 + Math.max(leastPages, pages.length)));
  const assembled = code.assemble();
  if (assembled.length > queueOffset) throw new Error(`${assembled.length} bytes of code are too many`);
  bytes.set(assembled);
  bytes.set(queue, queueOffset);
  for (const [index, page] of pages.entries()) bytes.set(page, queueOffset + pageBytes * (1 + index));
  return bytes;
}

export interface Descriptor {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags: number;
  readonly next?: number;
}

export function setDescriptor(table: DataView, index: number, { address, length, flags, next }: Descriptor): void {
  table.setBigUint64(index * 16, BigInt(address), true);
  table.setUint32(index * 16 + 8, length, true);
  table.setUint16(index * 16 + 12, flags, true);
  table.setUint16(index * 16 + 14, next ?? 0, true);
}

/** A queue page with up to five requests to a disk, in this order in the avail ring, not shown to the device yet. */
function diskQueue(requests: readonly DiskRequest[]): Uint8Array {
  const page = new Uint8Array(pageBytes);
  const view = new DataView(page.buffer);
  requests.forEach(({ type, sector = 0, page: data }, index) => {
    const first = index * 3;
    const header = queueAt.headers + index * 16;
    view.setUint32(header, requestTypes[type], true);
    view.setUint32(header + 8, sector, true);
    const hasData = data !== undefined;
    setDescriptor(view, first, {
      address: queueAddress + header,
      length: 16,
      flags: NEXT,
      next: hasData ? first + 1 : first + 2,
    });
    if (hasData) {
      const flags = NEXT | (type === 'read' ? WRITE : 0);
      setDescriptor(view, first + 1, { address: dataAddress(data), length: pageBytes, flags, next: first + 2 });
    }
    setDescriptor(view, first + 2, { address: queueAddress + queueAt.status + index, length: 1, flags: WRITE });
    page[queueAt.status + index] = 0xff;
    view.setUint16(queueAt.avail + 4 + index * 2, first, true);
  });
  return page;
}

function register32(name: string): number {
  const offset = register[name];
  if (offset === undefined) throw new Error(`no register is called ${name}`);
  return offset;
}

/**
 * Resets a device, agrees on VERSION_1 alone, gives it the queue, says DRIVER_OK. Jumps to `bad` if it refuses.
 *
 * @param queues where its queues are, by their numbers
 */
function setUpDevice(
  code: Assembler,
  base: number,
  bad: string,
  features = 0,
  queues: readonly number[] = [queueAddress],
): Assembler {
  const write = (name: string, value: number): Assembler => code.store(base + register32(name), value);
  write('Status', 0);
  write('Status', 1);
  write('Status', 3);
  write('DriverFeaturesSel', 0);
  write('DriverFeatures', features);
  write('DriverFeaturesSel', 1);
  write('DriverFeatures', 1);
  write('Status', 0x0b);
  for (const [queue, address] of queues.entries()) {
    write('QueueSel', queue);
    write('QueueNum', queueEntries);
    for (const [name, offset] of [
      ['QueueDesc', queueAt.descriptors],
      ['QueueDriver', queueAt.avail],
      ['QueueDevice', queueAt.used],
    ] as const) {
      write(`${name}Low`, address + offset);
      write(`${name}High`, 0);
    }
    write('QueueReady', 1);
  }
  write('Status', 0x0f);
  return code
    .loadEax(base + register32('Status'))
    .compareAl(0x0f)
    .jumpIfNotZero(bad);
}

/** Shows the device requests up to number `index`, kicks it, and waits until it has used as many. */
function submit(code: Assembler, base: number, index: number): Assembler {
  const wait = `used ${index}`;
  return code
    .storeWord(queueAddress + queueAt.avail + 2, index + 1)
    .store(base + register32('QueueNotify'), 0)
    .label(wait)
    .loadAx(queueAddress + queueAt.used + 2)
    .compareAx(index + 1)
    .jumpIfNotZero(wait)
    .loadEax(base + register32('InterruptStatus'))
    .storeEax(base + register32('InterruptACK'));
}

/** Makes requests to a disk, one after another; jumps to `bad` if one fails. */
function driveDisk(code: Assembler, base: number, requests: readonly DiskRequest[], bad: string): Assembler {
  setUpDevice(code, base, bad);
  for (const index of requests.keys()) {
    submit(code, base, index)
      .loadAl(queueAddress + queueAt.status + index)
      .compareAl(0)
      .jumpIfNotZero(bad);
  }
  return code;
}

/** Jumps to `bad` unless two pages of data are the same. */
function comparePages(code: Assembler, first: number, second: number, bad: string): Assembler {
  return code
    .set('esi', dataAddress(first))
    .set('edi', dataAddress(second))
    .set('ecx', pageBytes / 4)
    .bytes(0xfc, 0xf3, 0xa7) // CLD; REPE CMPSD
    .jumpIfNotZero(bad);
}

/** Prints OK, or BAD where `bad` is, then powers off. */
function verdict(code: Assembler, bad: string): Assembler {
  return code.print('OK').powerOff().label(bad).print('BAD').powerOff();
}

/** Writes `data` (a page) to a sector of disk 0, flushes, reads it back, and prints OK if it is the same. */
export function writingDisk(sector: number, data: Uint8Array): Uint8Array {
  return writingDiskAfter(() => {}, sector, [data]);
}

/**
 * As {@link writingDisk}, of the first page, but `before` comes first. Other pages are for that, from page 1 on, where
 * what is read goes in the end.
 */
export function writingDiskAfter(
  before: (code: Assembler, addressOfPage: (index: number) => number) => void,
  sector: number,
  pages: readonly Uint8Array[],
): Uint8Array {
  const requests: DiskRequest[] = [
    { type: 'write', sector, page: 0 },
    { type: 'flush' },
    { type: 'read', sector, page: 1 },
  ];
  const code = new Assembler();
  before(code, dataAddress);
  driveDisk(code, deviceBase(0), requests, 'bad');
  return image(verdict(comparePages(code, 0, 1, 'bad'), 'bad'), diskQueue(requests), pages);
}

/** Writes a page to a sector of disk 0, flushes, prints `announce`, and spins. */
export function flushingDisk(sector: number, data: Uint8Array, announce: string): Uint8Array {
  const requests: DiskRequest[] = [{ type: 'write', sector, page: 0 }, { type: 'flush' }];
  const code = driveDisk(new Assembler(), deviceBase(0), requests, 'bad');
  code.print(announce).label('here').jump('here').label('bad').print('BAD').powerOff();
  return image(code, diskQueue(requests), [data]);
}

/** Prints OK if a sector of disk 0 begins with this page. */
export function checkingDisk(sector: number, data: Uint8Array): Uint8Array {
  const requests: DiskRequest[] = [{ type: 'read', sector, page: 1 }];
  const code = driveDisk(new Assembler(), deviceBase(0), requests, 'bad');
  return image(verdict(comparePages(code, 0, 1, 'bad'), 'bad'), diskQueue(requests), [data]);
}

/** Asks the entropy device, number `device` of the machine, for bytes and prints them as they are. Prints `announce` before. */
export function printingEntropy(device: number, bytes: number, announce = ''): Uint8Array {
  const queue = new Uint8Array(pageBytes);
  setDescriptor(new DataView(queue.buffer), 0, { address: dataAddress(0), length: bytes, flags: WRITE });
  const code = setUpDevice(new Assembler(), deviceBase(device), 'bad').print(announce);
  submit(code, deviceBase(device), 0)
    .set('esi', dataAddress(0))
    .set('ecx', bytes)
    .setDx(port.serial)
    .bytes(0xfc, 0xf3, 0x6e) // CLD; REP OUTSB
    .powerOff()
    .label('bad')
    .print('BAD')
    .powerOff();
  return image(code, queue, []);
}

/** What {@link drawing} works with: how often it is to have drawn, how often it has, and what. */
export const drawn = { limit: 0x20_0000, count: 0x20_0004, bytes: 0x30_0000, eachBytes: 64, most: 0x4000 } as const;

/** Draws from the entropy device, number `device`, one piece behind the other, as often as it is told in memory. */
export function drawing(device: number): Uint8Array {
  const base = deviceBase(device);
  const queue = new Uint8Array(pageBytes); // avail entries are all 0: the same descriptor each time
  setDescriptor(new DataView(queue.buffer), 0, { address: drawn.bytes, length: drawn.eachBytes, flags: WRITE });
  const code = setUpDevice(new Assembler(), base, 'bad')
    .set('ebx', 0)
    .label('next')
    .loadEax(drawn.limit)
    .bytes(0x39, 0xd8) // CMP EAX, EBX
    .jumpIfZero('next')
    .bytes(0x89, 0xd8) // MOV EAX, EBX
    .bytes(0x25)
    .word(drawn.most - 1) // AND EAX, imm32
    .bytes(0xc1, 0xe0, Math.log2(drawn.eachBytes)) // SHL EAX, imm8
    .bytes(0x05)
    .word(drawn.bytes) // ADD EAX, imm32
    .storeEax(queueAddress + queueAt.descriptors)
    .bytes(0x43, 0x89, 0xd8) // INC EBX; MOV EAX, EBX
    .bytes(0x66, 0xa3)
    .word(queueAddress + queueAt.avail + 2) // MOV [avail index], AX
    .store(base + register32('QueueNotify'), 0)
    .label('wait')
    .loadAx(queueAddress + queueAt.used + 2)
    .bytes(0x66, 0x39, 0xd8) // CMP AX, BX
    .jumpIfNotZero('wait')
    .bytes(0x89, 0xd8)
    .storeEax(drawn.count)
    .jump('next')
    .label('bad')
    .print('BAD')
    .powerOff();
  return image(code, queue, []);
}

/** Pages of the disk that {@link hammering} writes, one after another and over again. */
export const hammeredPages = 64;
const sectorsPerPage = pageBytes / 512;

/**
 * Writes pages to disk 0 without end, each stamped with its number in the first four bytes: page n goes to place
 * n mod {@link hammeredPages}. Prints `announce` after the first round, BAD if a write fails.
 *
 * @param features that it accepts besides VERSION_1, the lower 32 bits; a disk writes through to a driver without FLUSH
 */
export function hammering(announce: string, features = 0): Uint8Array {
  const base = deviceBase(0);
  const request: DiskRequest = { type: 'write', page: 0 };
  const queue = diskQueue([request]); // avail entries are all 0: the same request each time
  const code = setUpDevice(new Assembler(), base, 'bad', features)
    .set('ebx', 0)
    .label('next')
    .bytes(0x89, 0xd8) // MOV EAX, EBX
    .storeEax(dataAddress(0))
    .bytes(0x83, 0xe0, hammeredPages - 1) // AND EAX, imm8
    .bytes(0xc1, 0xe0, Math.log2(sectorsPerPage)) // SHL EAX, imm8
    .storeEax(queueAddress + queueAt.headers + 8)
    .bytes(0x43, 0x89, 0xd8) // INC EBX; MOV EAX, EBX
    .bytes(0x66, 0xa3)
    .word(queueAddress + queueAt.avail + 2) // MOV [avail index], AX
    .store(base + register32('QueueNotify'), 0)
    .label('wait')
    .loadAx(queueAddress + queueAt.used + 2)
    .bytes(0x66, 0x39, 0xd8) // CMP AX, BX
    .jumpIfNotZero('wait')
    .loadAl(queueAddress + queueAt.status)
    .compareAl(0)
    .jumpIfNotZero('bad')
    .bytes(0x81, 0xfb)
    .word(hammeredPages) // CMP EBX, imm32
    .jumpIfNotZero('next')
    .print(announce)
    .jump('next')
    .label('bad')
    .print('BAD')
    .powerOff();
  return image(code, queue, []);
}

/**
 * Writes pages to disk 0 whenever it is told to by a byte on its serial port, `strideSectors` from one to the next, other ones each time.
 * Then it prints `announce`; BAD if a write fails.
 */
export function writingWhenTold(pages: number, strideSectors: number, announce: string): Uint8Array {
  const code = setUpDevice(new Assembler(), deviceBase(0), 'bad')
    .set('edi', 0)
    .print('ready')
    .label('told')
    .readSerial();
  writePages(code, pages, strideSectors).print(announce).jump('told').label('bad').print('BAD').powerOff();
  return image(code, pageWritingQueue(), []);
}

/** avail entries are all 0: the same request each time. */
function pageWritingQueue(): Uint8Array {
  return diskQueue([{ type: 'write', page: 0 }]);
}

/** Writes pages to disk 0, which is set up, one after the other; EDI has the number of those before. Jumps to `bad` if it fails. */
function writePages(code: Assembler, pages: number, strideSectors: number): Assembler {
  return code
    .set('ebx', 0)
    .label('next')
    .bytes(0x89, 0xf8) // MOV EAX, EDI
    .storeEax(dataAddress(0))
    .bytes(0x69, 0xc3) // IMUL EAX, EBX, imm32
    .word(strideSectors)
    .storeEax(queueAddress + queueAt.headers + 8)
    .bytes(0x47, 0x89, 0xf8) // INC EDI; MOV EAX, EDI
    .bytes(0x66, 0xa3)
    .word(queueAddress + queueAt.avail + 2) // MOV [avail index], AX
    .store(deviceBase(0) + register32('QueueNotify'), 0)
    .label('wait')
    .loadAx(queueAddress + queueAt.used + 2)
    .bytes(0x66, 0x39, 0xf8) // CMP AX, DI
    .jumpIfNotZero('wait')
    .loadAl(queueAddress + queueAt.status)
    .compareAl(0)
    .jumpIfNotZero('bad')
    .bytes(0x43) // INC EBX
    .bytes(0x81, 0xfb)
    .word(pages) // CMP EBX, imm32
    .jumpIfNotZero('next');
}

/** What {@link working} does for each byte that it is told. */
export interface Work {
  /** Bytes of RAM, from 16 MiB on, that it fills when it is told `f`, a word in each page. */
  readonly bytes: number;
  /** `m`: writes to those bytes, far from each other, so many times all over them. */
  readonly passes: number;
  /** `n`: writes a word in each of so many bytes behind those, other ones each time. */
  readonly newBytes: number;
  /** `d`: writes so many pages to disk 0. */
  readonly diskPages: number;
}

/** Does work when it is told to by a byte on its serial port, and prints `done`; `ready` at first. BAD if a write to its disk fails. */
export function working({ bytes, passes, newBytes, diskPages }: Work): Uint8Array {
  const start = 16 * 2 ** 20;
  const next = 0x500;
  // A page and a line, so that neither the same lines of a cache nor the same page tables are met soon.
  const stride = pageBytes + 64;
  const code = setUpDevice(new Assembler(), deviceBase(0), 'bad')
    .set('edi', 0)
    .store(next, start + bytes)
    .print('ready');
  /** INC [EBX]; ADD EBX, step; as often as ECX says. */
  const touch = (label: string, step: number): Assembler =>
    code.label(label).bytes(0xff, 0x03, 0x81, 0xc3).word(step).repeatEcx(label);
  code.label('told').readSerial();
  for (const order of 'fmnd') code.compareAl(order.charCodeAt(0)).jumpIfZero(order);
  code
    .jump('told')
    .label('f')
    .set('ebx', start)
    .set('ecx', bytes / pageBytes);
  touch('fill', pageBytes).jump('done').label('m').set('edx', passes).label('pass').set('ebx', start);
  code.set('ecx', Math.floor(bytes / stride));
  touch('write', stride).bytes(0x4a).jumpIfNotZero('pass').jump('done'); // DEC EDX
  code.label('n').bytes(0x8b, 0x1d).word(next); // MOV EBX, [next]
  code.set('ecx', newBytes / pageBytes);
  touch('touch', pageBytes).bytes(0x89, 0x1d).word(next).jump('done'); // MOV [next], EBX
  writePages(code.label('d'), diskPages, 8).jump('done');
  code.label('done').print('done').jump('told').label('bad').print('BAD').powerOff();
  return image(code, pageWritingQueue(), []);
}

/** What {@link hammering} has come to, read from RAM while the machine is paused. */
export const hammered = {
  /** Number of the page that is being written, or was last. */
  latest: dataAddress(0),
  /** Writes that are done, modulo 2^16. */
  used: queueAddress + queueAt.used + 2,
} as const;

/** Resets device 0 again and again while a request is on its way, without end. */
export function resetting(announce: string): Uint8Array {
  const base = deviceBase(0);
  const code = new Assembler().print(announce).label('again');
  setUpDevice(code, base, 'again')
    .storeWord(queueAddress + queueAt.used + 2, 0)
    .storeWord(queueAddress + queueAt.avail + 2, 1)
    .store(base + register32('QueueNotify'), 0)
    .jump('again');
  return image(code, diskQueue([{ type: 'write', page: 0 }]), []);
}

/** Sends a packet through the network card, number `device` of the machine, whenever the one before has left, without end. */
export function flooding(device: number, announce: string): Uint8Array {
  const base = deviceBase(device);
  const sendQueue = dataAddress(1);
  const send = new Uint8Array(pageBytes);
  setDescriptor(new DataView(send.buffer), 0, { address: dataAddress(0), length: echoed.bytes, flags: 0 });
  const code = setUpDevice(new Assembler(), base, 'bad', 0, [queueAddress, sendQueue])
    .print(announce)
    .set('ebx', 0)
    .label('next')
    .bytes(0x43, 0x89, 0xd8) // INC EBX; MOV EAX, EBX
    .bytes(0x66, 0xa3)
    .word(sendQueue + queueAt.avail + 2) // MOV [avail index], AX
    .store(base + register32('QueueNotify'), 1)
    .label('wait')
    .loadAx(sendQueue + queueAt.used + 2)
    .bytes(0x66, 0x39, 0xd8) // CMP AX, BX
    .jumpIfNotZero('wait')
    .jump('next')
    .label('bad')
    .print('BAD')
    .powerOff();
  return image(code, new Uint8Array(pageBytes), [new Uint8Array(0), send]);
}

/** Bytes of the packets that {@link echoing} sends, with their header, and where in them is what it prints. */
export const echoed = { bytes: 80, letter: 40 } as const;

/**
 * Sends every packet that comes in through the network card, number `device` of the machine, back as it is, and prints a letter
 * of each, without end. Prints `announce` when it has begun.
 */
export function echoing(device: number, announce: string): Uint8Array {
  const base = deviceBase(device);
  const sendQueue = dataAddress(1);
  const receive = new Uint8Array(pageBytes);
  setDescriptor(new DataView(receive.buffer), 0, { address: dataAddress(0), length: pageBytes, flags: WRITE });
  const send = new Uint8Array(pageBytes);
  setDescriptor(new DataView(send.buffer), 0, { address: dataAddress(0), length: echoed.bytes, flags: 0 });
  /** Shows queue `index` its descriptor once more, which is packet EBX, and waits until it is used. */
  const turn = (index: number, address: number): void => {
    code
      .bytes(0x89, 0xd8) // MOV EAX, EBX
      .bytes(0x66, 0xa3)
      .word(address + queueAt.avail + 2) // MOV [avail index], AX
      .store(base + register32('QueueNotify'), index)
      .label(`used ${index}`)
      .loadAx(address + queueAt.used + 2)
      .bytes(0x66, 0x39, 0xd8) // CMP AX, BX
      .jumpIfNotZero(`used ${index}`);
  };
  const code = setUpDevice(new Assembler(), base, 'bad', 0, [queueAddress, sendQueue])
    .print(announce)
    .set('ebx', 0)
    .label('next')
    .bytes(0x43); // INC EBX
  turn(0, queueAddress);
  code
    .setDx(port.serial)
    .loadAl(dataAddress(0) + echoed.letter)
    .out();
  turn(1, sendQueue);
  code.jump('next').label('bad').print('BAD').powerOff();
  return image(code, receive, [new Uint8Array(0), send]);
}

/** UDP packets that {@link answering} takes, with their header, and what its answers have where. */
export const answered = { bytes: 80, payload: 54, count: 56, stamp: 60 } as const;

/**
 * Answers every UDP packet of 26 bytes of data that comes in through the network card, number `device` of the machine, without end:
 * with the same data, of which four bytes are the number of the answer. Asked by 'd', a byte of the answer is the processor's time,
 * which no other guest will say; by 'q', it powers off. Prints `announce` when it has begun.
 */
export function answering(device: number, mac: readonly number[], announce: string): Uint8Array {
  const base = deviceBase(device);
  const sendQueue = dataAddress(1);
  const packet = dataAddress(0);
  const receive = new Uint8Array(pageBytes);
  setDescriptor(new DataView(receive.buffer), 0, { address: packet, length: pageBytes, flags: WRITE });
  const send = new Uint8Array(pageBytes);
  setDescriptor(new DataView(send.buffer), 0, { address: packet, length: answered.bytes, flags: 0 });
  /** Shows queue `index` its descriptor once more, as the number in EBX or ESI, and waits until it is used. */
  const turn = (index: number, address: number, register: 'ebx' | 'esi'): void => {
    const source = register === 'ebx' ? 0xd8 : 0xf0;
    code
      .bytes(0x89, source) // MOV EAX, register
      .bytes(0x66, 0xa3)
      .word(address + queueAt.avail + 2) // MOV [avail index], AX
      .store(base + register32('QueueNotify'), index)
      .label(`used ${index}`)
      .loadAx(address + queueAt.used + 2)
      .bytes(0x66, 0x39, source) // CMP AX, register
      .jumpIfNotZero(`used ${index}`);
  };
  const storeAx = (address: number): Assembler => code.bytes(0x66, 0xa3).word(address);
  const [m0 = 0, m1 = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0] = mac;
  const code = setUpDevice(new Assembler(), base, 'bad', 0, [queueAddress, sendQueue])
    .print(announce)
    .set('ebx', 0)
    .bytes(0x31, 0xf6) // XOR ESI, ESI
    .label('next')
    .bytes(0x43); // INC EBX
  turn(0, queueAddress, 'ebx');
  code
    .loadAx(packet + 24)
    .compareAx(0x0008)
    .jumpIfNotZero('next'); // IPv4
  code
    .loadAl(packet + 35)
    .compareAl(17)
    .jumpIfNotZero('next'); // UDP
  code.bytes(0x46); // INC ESI
  code
    .loadEax(packet + 18)
    .storeEax(packet + 12)
    .loadAx(packet + 22);
  storeAx(packet + 16);
  code.store(packet + 18, (m0 | (m1 << 8) | (m2 << 16) | (m3 << 24)) >>> 0).storeWord(packet + 22, m4 | (m5 << 8));
  code
    .loadEax(packet + 38)
    .bytes(0x89, 0xc1)
    .loadEax(packet + 42)
    .storeEax(packet + 38); // MOV ECX, EAX
  code.bytes(0x89, 0xc8).storeEax(packet + 42); // MOV EAX, ECX
  code
    .loadEax(packet + 46)
    .bytes(0xc1, 0xc0, 0x10)
    .storeEax(packet + 46); // ROL EAX, 16
  code.storeWord(packet + 52, 0); // no checksum
  code.bytes(0x89, 0xf0).storeEax(packet + answered.count); // MOV EAX, ESI
  code
    .loadAl(packet + answered.payload)
    .compareAl('q'.charCodeAt(0))
    .jumpIfZero('off');
  code.compareAl('d'.charCodeAt(0)).jumpIfNotZero('same');
  code.bytes(0x0f, 0x31).storeEax(packet + answered.stamp); // RDTSC
  code.label('same');
  turn(1, sendQueue, 'esi');
  code.jump('next').label('off').powerOff().label('bad').print('BAD').powerOff();
  return image(code, receive, [new Uint8Array(0), send]);
}
