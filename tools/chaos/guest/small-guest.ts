import { blockFeature } from '../../../src/devices/block/block-shape.ts';
import { netFeature } from '../../../src/devices/net/net-shape.ts';
import { port } from '../../../test/support/assembler.ts';
import { register as mmio } from '../../../test/support/mock-driver.ts';
import { tinyElf, tinyElfBase } from '../../../test/support/tiny-elf.ts';
import { deviceBase, setDescriptor } from '../../../test/support/virtio-guests.ts';
import { MachineCode, type Place } from './machine-code.ts';
import {
  clientPlaces,
  mostPages,
  orderMagic,
  orders,
  recordAt,
  recordMagic,
  requestAt,
  requestBytes,
  requestMagic,
} from './service.ts';

/**
 * The small guest: machine code that drives a virtio disk (device 0) and a virtio network card (the device behind the disks), and answers
 * requests of `service.ts`, ARP for its address, and ICMP echo. It sleeps (HLT) until an interrupt comes, so that it costs a
 * host nothing while nobody asks. It powers off when its power button is pressed, and resets, crashes or powers off by order.
 *
 * It takes what packets there are, up to {@link batchPackets}; writes a record for each new request; waits for all of them, then
 * for a flush; then answers all. An answer is made in the request's own buffer, which is of the transmit queue's until it is used:
 * addresses are exchanged, so that checksums stay right, and UDP goes without.
 *
 *     0x10_0000  code                 0x11_3000  headers and status bytes of disk requests
 *     0x11_0000  disk's queue         0x11_4000  records on their way
 *     0x11_1000  receive queue        0x11_8000  variables, clients
 *     0x11_2000  transmit queue       0x11_a000  interrupt table     0x12_0000  packets' buffers
 *     0x40_0000  pages that requests have touched
 */
const at = {
  disk: 0x11_0000,
  receive: 0x11_1000,
  transmit: 0x11_2000,
  headers: 0x11_3000,
  statuses: 0x11_3800,
  records: 0x11_4000,
  variables: 0x11_8000,
  batch: 0x11_8100,
  clients: 0x11_9000,
  interrupts: 0x11_a000,
  buffers: 0x12_0000,
  end: 0x14_0000,
  touched: 0x40_0000,
} as const;

/** RAM that it needs, in MiB, as `--memory` takes it. */
export const smallGuestMemory = '16M';

const diskEntries = 128;
const netEntries = 64;
const bufferBytes = 2048;
const batchPackets = 32;
/** Three descriptors for each write, then two for the flush. */
const flushHead = batchPackets * 3;

/** Offsets in a queue's page. */
const queueAt = { avail: 0x800, used: 0xa00 } as const;
const ring = 4;
const usedEntry = 8;
const index = 2;

const variable = {
  /** Of the queues: what was made available, and what was seen of what was used. 16 bits, and never wrapped otherwise. */
  diskAvail: at.variables,
  receiveAvail: at.variables + 4,
  receiveSeen: at.variables + 8,
  transmitAvail: at.variables + 12,
  transmitSeen: at.variables + 16,
  /** Buffers went back to the receive queue, and the device does not know yet. */
  receiveGrew: at.variables + 20,
  /** Packets that will be answered, and records that are written before. */
  packets: at.variables + 24,
  writes: at.variables + 28,
  /** The packet at hand. */
  id: at.variables + 32,
  length: at.variables + 36,
  counter: at.variables + 40,
  sectors: at.variables + 48,
  mac: at.variables + 56,
} as const;

/** Offsets in a packet's buffer: virtio header, Ethernet, then ARP or IPv4, then UDP or ICMP. */
const virtioHeader = 12;
const ethernet = { target: 12, source: 18, type: 24 } as const;
const arp = { operation: 32, senderMac: 34, sender: 40, targetMac: 44, target: 50, end: 54 } as const;
const ipv4 = { version: 26, fragment: 32, protocol: 35, source: 38, target: 42, end: 46 } as const;
const udp = { source: 46, target: 48, length: 50, checksum: 52, end: 54 } as const;
const icmp = { type: 46, checksum: 48, end: 54 } as const;
const udpPacketBytes = udp.end + requestBytes;
const padded = virtioHeader + 60;

const client = { id: 0, number: 8, counter: 16 } as const;
const clientBits = 5;

const vectors = { disk: 0x40, net: 0x41, button: 0x42, spurious: 0xff } as const;
const firstGsi = 6;
const buttonGsi = 5;
const apic = {
  io: 0xfec0_0000,
  endOfInterrupt: 0xfee0_00b0,
  spurious: 0xfee0_00f0,
  oldController: 0xfee0_0350,
} as const;
const codeSelector = 0x10;
const diskDevice = deviceBase(0);

const NEXT = 1;
const WRITE = 2;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
const FLUSH = 4;

export interface SmallGuestOptions {
  /** IPv4 address. */
  readonly address: string;
  /** UDP port. */
  readonly port: number;
  /** Of its machine, which has its first one as device 0 and its first card behind the last; default 1. */
  readonly disks?: number;
}

/** Where its card is: its registers, and its interrupt. */
interface Card {
  readonly base: number;
  readonly gsi: number;
}

/** Printed on the serial port when it is ready for packets, and when its disk failed, after which it does nothing more. */
export const announcement = { ready: 'ready\n', diskFailed: 'disk failed\n' } as const;

/** The small guest as a kernel: ELF with a PVH entry. */
export function smallGuest(options: SmallGuestOptions): Uint8Array {
  const image = new Uint8Array(at.end - tinyElfBase);
  const code = program(options).assemble();
  if (code.length > at.disk - tinyElfBase) throw new Error(`${code.length} bytes of code are too many`);
  image.set(code);
  const view = (address: number): DataView => new DataView(image.buffer, address - tinyElfBase);
  describeDisk(view(at.disk), view(at.headers));
  for (const [queue, flags] of [
    [at.receive, WRITE],
    [at.transmit, 0],
  ] as const) {
    for (let entry = 0; entry < netEntries; entry++) {
      const address = at.buffers + entry * bufferBytes;
      setDescriptor(view(queue), entry, { address, length: bufferBytes, flags });
    }
  }
  for (let entry = 0; entry < netEntries; entry++) {
    view(at.receive).setUint16(queueAt.avail + ring + entry * 2, entry, true);
  }
  view(at.receive).setUint16(queueAt.avail + index, netEntries, true);
  view(variable.receiveAvail).setUint16(0, netEntries, true);
  return tinyElf(image);
}

/** A chain for each write of a batch and one for the flush; only the sectors change. */
function describeDisk(table: DataView, headers: DataView): void {
  const header = (request: number): { address: number; length: number; flags: number; next: number } => ({
    address: at.headers + request * 16,
    length: 16,
    flags: NEXT,
    next: request * 3 + 1,
  });
  const status = (request: number): { address: number; length: number; flags: number } => ({
    address: at.statuses + request,
    length: 1,
    flags: WRITE,
  });
  for (let request = 0; request < batchPackets; request++) {
    const record = { address: at.records + request * 512, length: 512, flags: NEXT, next: request * 3 + 2 };
    headers.setUint32(request * 16, 1, true); // VIRTIO_BLK_T_OUT
    setDescriptor(table, request * 3, header(request));
    setDescriptor(table, request * 3 + 1, record);
    setDescriptor(table, request * 3 + 2, status(request));
  }
  headers.setUint32(batchPackets * 16, FLUSH, true);
  setDescriptor(table, flushHead, header(batchPackets));
  setDescriptor(table, flushHead + 1, status(batchPackets));
}

function program(options: SmallGuestOptions): MachineCode {
  const code = new MachineCode();
  const { disks = 1 } = options;
  const card = { base: deviceBase(disks), gsi: firstGsi + disks };
  setUpInterrupts(code, card);
  setUpDevice(code, diskDevice, Number(blockFeature.flush), [[at.disk, diskEntries]]);
  setUpDevice(code, card.base, Number(netFeature.mac), [
    [at.receive, netEntries],
    [at.transmit, netEntries],
  ]);
  code.load('eax', diskDevice + 0x100).put(variable.sectors, 'eax');
  for (let byte = 0; byte < 6; byte++) {
    code
      .loadByte('eax', card.base + 0x100 + byte)
      .bytes(0xa2)
      .word(variable.mac + byte); // MOV [address], AL
  }
  code.putWordValue(at.transmit + queueAt.avail, NO_INTERRUPT);
  code.putValue(card.base + offset('QueueNotify'), 0).print(announcement.ready);
  takePackets(code);
  sortOut(code, options);
  countRequest(code);
  answerAll(code, card);
  subroutines(code, card);
  sleepFunction(code, card);
  obeyOrders(code);
  return code;
}

/** What has been used for sending goes back to the receive queue, then all packets are looked at that came. */
function takePackets(code: MachineCode): void {
  code
    .label('idle')
    .putValue(variable.packets, 0)
    .putValue(variable.writes, 0)
    .label('reclaim')
    .load('eax', variable.transmitSeen)
    .compareWordWith(at.transmit + queueAt.used + index, 'eax')
    .jumpIfZero('take')
    .registerWith('and', 'eax', netEntries - 1)
    .shiftLeft('eax', 3)
    .load('eax', { base: 'eax', offset: at.transmit + queueAt.used + ring })
    .countWord(variable.transmitSeen)
    .call('give back')
    .jump('reclaim')

    .label('take')
    .valueWith('compare', variable.packets, batchPackets)
    .jumpIfZero('taken')
    .load('eax', variable.receiveSeen)
    .compareWordWith(at.receive + queueAt.used + index, 'eax')
    .jumpIfZero('taken')
    .registerWith('and', 'eax', netEntries - 1)
    .shiftLeft('eax', Math.log2(usedEntry))
    .load('edx', { base: 'eax', offset: at.receive + queueAt.used + ring })
    .load('ecx', { base: 'eax', offset: at.receive + queueAt.used + ring + 4 })
    .countWord(variable.receiveSeen)
    .put(variable.id, 'edx')
    .put(variable.length, 'ecx')
    .copy('esi', 'edx')
    .shiftLeft('esi', Math.log2(bufferBytes))
    .registerWith('add', 'esi', at.buffers)
    .jump('sort out')

    .label('drop')
    .load('eax', variable.id)
    .call('give back')
    .jump('take')

    // The packet in ESI has become its answer, but for its Ethernet addresses.
    .label('answer');
  for (let word = 0; word < virtioHeader; word += 4) code.putValue({ base: 'esi', offset: word }, 0);
  copyField(code, ethernet.source, ethernet.target, 6);
  ownMac(code, ethernet.source);
  code
    .load('edx', variable.id)
    .load('eax', variable.packets)
    .shiftLeft('eax', 2)
    .put({ base: 'eax', offset: at.batch }, 'edx')
    .shiftLeft('edx', 4)
    .load('ecx', variable.length)
    .put({ base: 'edx', offset: at.transmit + 8 }, 'ecx')
    .count(variable.packets)
    .jump('take')

    .label('taken')
    .call('tell of buffers')
    .valueWith('compare', variable.packets, 0)
    .jumpIfNotZero('write')
    // Few buffers are left: what is on its way out has to wake us.
    .load('eax', variable.receiveAvail)
    .with('subtract', 'eax', variable.receiveSeen)
    .bytes(0x0f, 0xb7, 0xc0) // MOVZX EAX, AX
    .compareEax(batchPackets)
    .putWordValue(at.transmit + queueAt.avail, NO_INTERRUPT)
    .jumpIf('not below', 'enough')
    .putWordValue(at.transmit + queueAt.avail, 0)
    .label('enough')
    .fence()
    .load('eax', variable.receiveSeen)
    .compareWordWith(at.receive + queueAt.used + index, 'eax')
    .jumpIfNotZero('idle')
    .load('eax', variable.transmitSeen)
    .compareWordWith(at.transmit + queueAt.used + index, 'eax')
    .jumpIfNotZero('idle')
    .call('sleep')
    .jump('idle');
}

/** The packet in ESI: dropped, turned into its answer, or a request that is counted. */
function sortOut(code: MachineCode, { address, port: udpPort }: SmallGuestOptions): void {
  const ownAddress = Buffer.from(address.split('.').map(Number)).readUInt32LE();
  const field = (offset: number): Place => ({ base: 'esi', offset });
  const has32 = (offset: number, value: number): MachineCode =>
    code.valueWith('compare', field(offset), value).jumpIfNotZero('drop');
  const has16 = (offset: number, value: number): MachineCode =>
    code.compareWord(field(offset), swapped(value)).jumpIfNotZero('drop');
  const has8 = (offset: number, value: number): MachineCode =>
    code.compareByte(field(offset), value).jumpIfNotZero('drop');
  const hasBytes = (least: number): MachineCode =>
    code.valueWith('compare', variable.length, least).jumpIf('below', 'drop');

  code.label('sort out');
  hasBytes(arp.end);
  code.compareWord(field(ethernet.type), swapped(0x0806)).jumpIfNotZero('not ARP');
  has16(arp.operation, 1);
  has32(arp.target, ownAddress);
  code.putWordValue(field(arp.operation), swapped(2));
  copyField(code, arp.senderMac, arp.targetMac, 6);
  copyField(code, arp.sender, arp.target, 4);
  ownMac(code, arp.senderMac);
  code.putValue(field(arp.sender), ownAddress).putValue(variable.length, padded).jump('answer');

  code.label('not ARP');
  has16(ethernet.type, 0x0800);
  // A bridge floods what is for others, too.
  code.load('eax', field(ethernet.target)).with('compare', 'eax', variable.mac).jumpIfNotZero('drop');
  code
    .loadWord('eax', field(ethernet.target + 4))
    .compareWordWith(variable.mac + 4, 'eax')
    .jumpIfNotZero('drop');
  has8(ipv4.version, 0x45);
  has32(ipv4.target, ownAddress);
  code
    .loadWord('eax', field(ipv4.fragment))
    .registerWith('and', 'eax', swapped(0x3fff)) // not a fragment: no offset, no more to come
    .jumpIfNotZero('drop');
  code.compareByte(field(ipv4.protocol), 1).jumpIfZero('ICMP');
  has8(ipv4.protocol, 17);
  hasBytes(udpPacketBytes);
  has16(udp.target, udpPort);
  has16(udp.length, 8 + requestBytes);
  code.valueWith('compare', field(udp.end + requestAt.magic), orderMagic).jumpIfZero('order');
  has32(udp.end + requestAt.magic, requestMagic);
  code.jump('request');

  code.label('order').load('eax', field(udp.end + requestAt.pages));
  for (const [order, number] of Object.entries(orders)) code.compareEax(number).jumpIfZero(order);
  code.jump('drop');

  code.label('ICMP');
  hasBytes(icmp.end);
  has8(icmp.type, 8);
  code.putByteValue(field(icmp.type), 0);
  // The checksum of what has 0x0800 less: that much more, in ones' complement.
  code
    .loadWord('eax', field(icmp.checksum))
    .bytes(0x66, 0x05, 0x08, 0x00) // ADD AX, 8
    .bytes(0x66, 0x15, 0x00, 0x00) // ADC AX, 0
    .putWord(field(icmp.checksum), 'eax');
  exchange(code, ipv4.source, ipv4.target);
  code.jump('answer');
}

/** The request in ESI: counted and written down if it is new, answered again if it is the client's last. */
function countRequest(code: MachineCode): void {
  const field = (offset: number): Place => ({ base: 'esi', offset: udp.end + offset });
  const known = (offset: number): Place => ({ base: 'edi', offset });
  const counter = [variable.counter, variable.counter + 4] as const;
  code
    .label('request')
    .load('edi', field(requestAt.client))
    .registerWith('and', 'edi', clientPlaces - 1)
    .shiftLeft('edi', clientBits)
    .registerWith('add', 'edi', at.clients);
  for (const half of [0, 4]) {
    code.load('eax', field(requestAt.client + half)).with('compare', 'eax', known(client.id + half));
    code.jumpIfNotZero('new');
  }
  for (const half of [0, 4]) {
    code.load('eax', field(requestAt.number + half)).with('compare', 'eax', known(client.number + half));
    code.jumpIfNotZero('another');
  }
  code.jump('known');
  code
    .label('another')
    .load('eax', field(requestAt.number))
    .with('subtract', 'eax', known(client.number))
    .load('eax', field(requestAt.number + 4))
    .with('subtractWithBorrow', 'eax', known(client.number + 4))
    .jumpIf('below', 'drop');

  code.label('new').valueWith('add', counter[0], 1).valueWith('addWithCarry', counter[1], 0);
  for (const half of [0, 4]) {
    code.load('eax', field(requestAt.client + half)).put(known(client.id + half), 'eax');
    code.load('eax', field(requestAt.number + half)).put(known(client.number + half), 'eax');
    code.load('eax', variable.counter + half).put(known(client.counter + half), 'eax');
  }
  code
    .load('ebx', variable.writes)
    .putByteValue({ base: 'ebx', offset: at.statuses }, 0xff)
    .copy('ebp', 'ebx')
    .shiftLeft('ebp', 4)
    .load('eax', counter[0])
    .load('edx', counter[1])
    .divide(variable.sectors)
    .put({ base: 'ebp', offset: at.headers + 8 }, 'edx')
    .shiftLeft('ebx', 9)
    .registerWith('add', 'ebx', at.records)
    .count(variable.writes);
  const record = (offset: number): Place => ({ base: 'ebx', offset });
  code.putValue(record(recordAt.magic), recordMagic);
  for (const half of [0, 4]) {
    code.load('eax', field(requestAt.client + half)).put(record(recordAt.client + half), 'eax');
    code.load('eax', field(requestAt.number + half)).put(record(recordAt.number + half), 'eax');
    code.load('eax', variable.counter + half).put(record(recordAt.counter + half), 'eax');
    code.put(record(recordAt.counterAgain + half), 'eax');
  }
  code
    .load('ecx', field(requestAt.pages))
    .set('eax', at.touched)
    .registerWith('compare', 'ecx', mostPages)
    .jumpIf('below', 'touch')
    .set('ecx', mostPages)
    .label('touch')
    .bytes(0x85, 0xc9) // TEST ECX, ECX
    .jumpIfZero('known')
    .count({ base: 'eax', offset: 0 })
    .registerWith('add', 'eax', 4096)
    .bytes(0x49) // DEC ECX
    .jump('touch')

    .label('known');
  for (const half of [0, 4]) {
    code.load('eax', known(client.counter + half)).put(field(requestAt.counter + half), 'eax');
  }
  exchange(code, ipv4.source, ipv4.target);
  // The ports, by turning both as one word.
  code
    .load('eax', { base: 'esi', offset: udp.source })
    .bytes(0xc1, 0xc0, 16) // ROL EAX, 16
    .put({ base: 'esi', offset: udp.source }, 'eax')
    .putWordValue({ base: 'esi', offset: udp.checksum }, 0)
    .putValue(variable.length, udpPacketBytes)
    .jump('answer');
}

/** Records are written, then flushed, then all packets of the batch are sent. */
function answerAll(code: MachineCode, card: Card): void {
  const diskAvail = at.disk + queueAt.avail;
  const makeAvailable = (queue: number, entries: number, counter: number): MachineCode =>
    code
      .loadWord('edx', counter)
      .registerWith('and', 'edx', entries - 1)
      .bytes(0x01, 0xd2) // ADD EDX, EDX
      .putWord({ base: 'edx', offset: queue + queueAt.avail + ring }, 'eax')
      .countWord(counter);
  code.label('write').valueWith('compare', variable.writes, 0).jumpIfZero('send').set('ecx', 0).label('next write');
  code.copy('eax', 'ecx').bytes(0x01, 0xc8, 0x01, 0xc8); // ADD EAX, ECX, twice: the head of its chain
  makeAvailable(at.disk, diskEntries, variable.diskAvail)
    .bytes(0x41) // INC ECX
    .with('compare', 'ecx', variable.writes)
    .jumpIfNotZero('next write')
    .loadWord('eax', variable.diskAvail)
    .putWord(diskAvail + index, 'eax')
    .call('disk')
    .set('ecx', 0)
    .label('next status')
    .compareByte({ base: 'ecx', offset: at.statuses }, 0)
    .jumpIfNotZero('disk failed')
    .bytes(0x41) // INC ECX
    .with('compare', 'ecx', variable.writes)
    .jumpIfNotZero('next status')
    .putByteValue(at.statuses + batchPackets, 0xff)
    .set('eax', flushHead);
  makeAvailable(at.disk, diskEntries, variable.diskAvail)
    .loadWord('eax', variable.diskAvail)
    .putWord(diskAvail + index, 'eax')
    .call('disk')
    .compareByte(at.statuses + batchPackets, 0)
    .jumpIfNotZero('disk failed')

    .label('send')
    .set('ecx', 0)
    .label('next packet')
    .copy('eax', 'ecx')
    .shiftLeft('eax', 2)
    .load('eax', { base: 'eax', offset: at.batch });
  makeAvailable(at.transmit, netEntries, variable.transmitAvail)
    .bytes(0x41) // INC ECX
    .with('compare', 'ecx', variable.packets)
    .jumpIfNotZero('next packet')
    .loadWord('eax', variable.transmitAvail)
    .putWord(at.transmit + queueAt.avail + index, 'eax');
  notify(code, card.base, at.transmit, 1).jump('idle');

  code.label('disk failed').setDx(port.serial).print(announcement.diskFailed).halt();
}

function subroutines(code: MachineCode, card: Card): void {
  // Buffer EAX goes back to the receive queue.
  code
    .label('give back')
    .loadWord('edx', variable.receiveAvail)
    .registerWith('and', 'edx', netEntries - 1)
    .bytes(0x01, 0xd2) // ADD EDX, EDX
    .putWord({ base: 'edx', offset: at.receive + queueAt.avail + ring }, 'eax')
    .countWord(variable.receiveAvail)
    .loadWord('eax', variable.receiveAvail)
    .putWord(at.receive + queueAt.avail + index, 'eax')
    .putValue(variable.receiveGrew, 1)
    .return();

  code.label('tell of buffers').valueWith('compare', variable.receiveGrew, 0).jumpIfZero('told');
  code.putValue(variable.receiveGrew, 0);
  notify(code, card.base, at.receive, 0).label('told').return();

  // Has the disk carry out what is available, and sleeps until all of it is done.
  code.label('disk');
  notify(code, diskDevice, at.disk, 0)
    .label('disk works')
    .loadWord('eax', variable.diskAvail)
    .compareWordWith(at.disk + queueAt.used + index, 'eax')
    .jumpIfZero('disk is done')
    .call('sleep')
    .jump('disk works')
    .label('disk is done')
    .return();
}

/** A table of interrupts, the local APIC, and the pins of both devices and the power button. */
function setUpInterrupts(code: MachineCode, card: Card): void {
  for (const [vector, label] of [
    [vectors.disk, 'disk interrupt'],
    [vectors.net, 'net interrupt'],
    [vectors.button, 'powerOff'],
    [vectors.spurious, 'slept'],
  ] as const) {
    const gate = at.interrupts + vector * 8;
    code
      .set('eax', { label })
      .putWord(gate, 'eax')
      .putWordValue(gate + 2, codeSelector)
      .putWordValue(gate + 4, 0x8e00) // present, 32-bit interrupt gate
      .bytes(0xc1, 0xe8, 16) // SHR EAX, 16
      .putWord(gate + 6, 'eax');
  }
  code.bytes(0x0f, 0x01, 0x1d).address('IDTR'); // LIDT
  // Pins reach the old controller, too, which nobody set up.
  code.putValue(apic.oldController, 0x1_0000).putValue(apic.spurious, 0x100 | vectors.spurious);
  for (const [pin, vector] of [
    [firstGsi, vectors.disk],
    [card.gsi, vectors.net],
    [buttonGsi, vectors.button],
  ] as const) {
    // Edge, fixed, to local APIC 0.
    for (const [register, value] of [
      [0x11 + 2 * pin, 0],
      [0x10 + 2 * pin, vector],
    ] as const) {
      code.putValue(apic.io, register).putValue(apic.io + 0x10, value);
    }
  }
}

/** None of these returns. */
function obeyOrders(code: MachineCode): void {
  code.label('keyboardReset').outByte(port.i8042, 0xfe).halt();
  code.label('panic').outByte(port.pvpanic, 1);
  code.label('acpiReset').outByte(port.power, 1).halt();
  // No exception has a handler, so that the first one is the last.
  code.label('tripleFault').bytes(0x0f, 0x01, 0x1d).address('no IDT').bytes(0x0f, 0x0b); // LIDT, UD2
  code.label('no IDT').bytes(0, 0).word(0);
  code.label('powerOff').powerOff();
}

/**
 * Sleeps until an interrupt comes, and acknowledges it. Interrupts are on only here, so that none is slept through, and a
 * handler returns to who wanted to sleep: KVM has no IRET for guests that it interprets.
 */
function sleepFunction(code: MachineCode, card: Card): void {
  const dropFrame = (): MachineCode => code.bytes(0x83, 0xc4, 12); // ADD ESP, imm8
  code.label('sleep').bytes(0xfb, 0xf4, 0xfa).return(); // STI; HLT; CLI
  for (const [name, device] of [
    ['disk', diskDevice],
    ['net', card.base],
  ] as const) {
    code.label(`${name} interrupt`);
    dropFrame()
      .load('eax', device + offset('InterruptStatus'))
      .put(device + offset('InterruptACK'), 'eax')
      .putValue(apic.endOfInterrupt, 0)
      .return();
  }
  code.label('slept');
  dropFrame().return();
  code.label('IDTR').bytes(0xff, 0x07).word(at.interrupts);
}

/** Resets a device, agrees on VERSION_1 and `features`, gives it its queues, says DRIVER_OK. */
function setUpDevice(
  code: MachineCode,
  base: number,
  features: number,
  queues: readonly (readonly [address: number, entries: number])[],
): void {
  const write = (name: string, value: number): MachineCode => code.putValue(base + offset(name), value);
  for (const status of [0, 1, 3]) write('Status', status);
  write('DriverFeaturesSel', 0);
  write('DriverFeatures', features);
  write('DriverFeaturesSel', 1);
  write('DriverFeatures', 1);
  write('Status', 0x0b);
  for (const [queue, [address, entries]] of queues.entries()) {
    write('QueueSel', queue);
    write('QueueNum', entries);
    for (const [name, part] of [
      ['QueueDesc', 0],
      ['QueueDriver', queueAt.avail],
      ['QueueDevice', queueAt.used],
    ] as const) {
      write(`${name}Low`, address + part);
      write(`${name}High`, 0);
    }
    write('QueueReady', 1);
  }
  write('Status', 0x0f);
}

/** Kicks the device, unless it does not want to be. */
function notify(code: MachineCode, device: number, queue: number, number: number): MachineCode {
  const label = `notified ${queue}`;
  return code
    .fence()
    .loadWord('eax', queue + queueAt.used)
    .registerWith('and', 'eax', NO_NOTIFY)
    .jumpIfNotZero(label)
    .putValue(device + offset('QueueNotify'), number)
    .label(label);
}

/** Copies four or six bytes within the packet in ESI. */
function copyField(code: MachineCode, from: number, to: number, bytes: 4 | 6): void {
  code.load('eax', { base: 'esi', offset: from }).put({ base: 'esi', offset: to }, 'eax');
  if (bytes === 4) return;
  code.loadWord('eax', { base: 'esi', offset: from + 4 }).putWord({ base: 'esi', offset: to + 4 }, 'eax');
}

/** Exchanges two words of the packet in ESI. */
function exchange(code: MachineCode, one: number, other: number): void {
  code
    .load('eax', { base: 'esi', offset: one })
    .load('edx', { base: 'esi', offset: other })
    .put({ base: 'esi', offset: one }, 'edx')
    .put({ base: 'esi', offset: other }, 'eax');
}

function ownMac(code: MachineCode, to: number): void {
  code.load('eax', variable.mac).put({ base: 'esi', offset: to }, 'eax');
  code.loadWord('eax', variable.mac + 4).putWord({ base: 'esi', offset: to + 4 }, 'eax');
}

/** A 16-bit number as it reads when its bytes are in the network's order. */
function swapped(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8);
}

function offset(name: string): number {
  const found = mmio[name];
  if (found === undefined) throw new Error(`no register is called ${name}`);
  return found;
}
