import {
  at,
  batchPackets,
  bufferBytes,
  client,
  clientBits,
  index,
  NO_INTERRUPT,
  netEntries,
  queueAt,
  ring,
  usedEntry,
  variable,
} from './guest-memory.ts';
import type { MachineCode, Place } from './machine-code.ts';
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

/** Offsets in a packet's buffer: virtio header, Ethernet, then ARP or IPv4, then UDP or ICMP. */
const virtioHeader = 12;
const ethernet = { target: 12, source: 18, type: 24 } as const;
const arp = { operation: 32, senderMac: 34, sender: 40, targetMac: 44, target: 50, end: 54 } as const;
const ipv4 = { version: 26, fragment: 32, protocol: 35, source: 38, target: 42, end: 46 } as const;
const udp = { source: 46, target: 48, length: 50, checksum: 52, end: 54 } as const;
const icmp = { type: 46, checksum: 48, end: 54 } as const;
const udpPacketBytes = udp.end + requestBytes;
const padded = virtioHeader + 60;

/** What has been used for sending goes back to the receive queue, then all packets are looked at that came. */
export function takePackets(code: MachineCode): void {
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
export function sortOut(
  code: MachineCode,
  { address, port: udpPort }: { readonly address: string; readonly port: number },
): void {
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
export function countRequest(code: MachineCode): void {
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
