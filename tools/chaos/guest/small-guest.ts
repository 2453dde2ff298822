import { blockFeature } from '../../../src/devices/block/block-shape.ts';
import { netFeature } from '../../../src/devices/net/net-shape.ts';
import { port } from '../../../test/support/assembler.ts';
import { tinyElf, tinyElfBase } from '../../../test/support/tiny-elf.ts';
import { deviceBase, setDescriptor } from '../../../test/support/virtio-guests.ts';
import {
  type Card,
  diskDevice,
  firstGsi,
  notify,
  offset,
  setUpDevice,
  setUpInterrupts,
  sleepFunction,
} from './device-code.ts';
import {
  at,
  batchPackets,
  bufferBytes,
  diskEntries,
  FLUSH,
  flushHead,
  index,
  NEXT,
  NO_INTERRUPT,
  netEntries,
  queueAt,
  ring,
  variable,
  WRITE,
} from './guest-memory.ts';
import { MachineCode } from './machine-code.ts';
import { countRequest, sortOut, takePackets } from './packet-code.ts';

/**
 * The small guest: machine code that drives a virtio disk (device 0) and a virtio network card (the device behind the disks), and answers
 * requests of `service.ts`, ARP for its address, and ICMP echo. It sleeps (HLT) until an interrupt comes, so that it costs a
 * host nothing while nobody asks. It powers off when its power button is pressed, and resets, crashes or powers off by order.
 *
 * It takes what packets there are, up to {@link batchPackets}; writes a record for each new request; waits for all of them, then
 * for a flush; then answers all. An answer is made in the request's own buffer, which is of the transmit queue's until it is used:
 * addresses are exchanged, so that checksums stay right, and UDP goes without.
 */
export interface SmallGuestOptions {
  /** IPv4 address. */
  readonly address: string;
  /** UDP port. */
  readonly port: number;
  /** Of its machine, which has its first one as device 0 and its first card behind the last; default 1. */
  readonly disks?: number;
}

/** RAM that it needs, in MiB, as `--memory` takes it. */
export const smallGuestMemory = '16M';

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
