import { pageSize } from '../../src/memory/address.ts';
import { Assembler, port } from './assembler.ts';

/** Machine-code guests, each for one thing a real one does. They run where KVM only interprets, too. */

/** Prints, then powers off. */
export function printing(text: string): Uint8Array {
  return new Assembler().print(text).powerOff().assemble();
}

/** Prints by one string instruction (REP OUTSB), then powers off. */
export function printingByString(text: string): Uint8Array {
  return new Assembler()
    .set('esi', { label: 'text' })
    .set('ecx', text.length)
    .setDx(port.serial)
    .bytes(0xfc, 0xf3, 0x6e) // CLD; REP OUTSB
    .powerOff()
    .label('text')
    .text(text)
    .assemble();
}

/** Sends back what it receives; a `q` powers it off. `announce` is printed first. */
export function echoing(announce = ''): Uint8Array {
  return new Assembler()
    .print(announce)
    .label('next')
    .readSerial()
    .compareAl('q'.charCodeAt(0))
    .jumpIfZero('off')
    .out()
    .jump('next')
    .label('off')
    .powerOff()
    .assemble();
}

/** A jump to itself: no exit, ever. `announce` is printed first. */
export function spinning(announce = ''): Uint8Array {
  return new Assembler().print(announce).label('here').jump('here').assemble();
}

/** HLT with interrupts off: nothing of its own will wake it. */
export function halted(announce = ''): Uint8Array {
  return new Assembler().print(announce).halt().assemble();
}

/** Port writes without end. */
export function storming(announce = ''): Uint8Array {
  return new Assembler().print(announce).setDx(port.delay).label('here').out().jump('here').assemble();
}

/** Prints a to z again and again, without end. */
export function reciting(): Uint8Array {
  return new Assembler()
    .setDx(port.serial)
    .label('alphabet')
    .setAl('a'.charCodeAt(0))
    .label('letter')
    .out()
    .bytes(0xfe, 0xc0) // INC AL
    .compareAl('z'.charCodeAt(0) + 1)
    .jumpIfNotZero('letter')
    .jump('alphabet')
    .assemble();
}

/** As {@link reciting}, but each letter waits until the serial port has room for it. */
export function recitingPatiently(): Uint8Array {
  return new Assembler()
    .label('alphabet')
    .set('ebx', 'a'.charCodeAt(0))
    .label('letter')
    .setDx(port.lineStatus)
    .label('wait')
    .in()
    .testAl(0x20)
    .jumpIfZero('wait')
    .bytes(0x88, 0xd8) // MOV AL, BL
    .setDx(port.serial)
    .out()
    .bytes(0xfe, 0xc3) // INC BL
    .bytes(0x80, 0xfb, 'z'.charCodeAt(0) + 1) // CMP BL, imm8
    .jumpIfNotZero('letter')
    .jump('alphabet')
    .assemble();
}

/** One write to a port, then still: `value` to `to`. */
export function writingPort(to: number, value: number): Uint8Array {
  return new Assembler().outByte(to, value).halt().assemble();
}

/** Crashes for good: an invalid instruction with no handlers for it. Prints first. */
export function tripleFaulting(lastWords: string): Uint8Array {
  return new Assembler().print(lastWords).set('ebx', 0x1234_5678).bytes(0x0f, 0x0b).assemble();
}

/** Jumps to where there is no memory: KVM cannot fetch the instruction and gives up. */
export function jumpingIntoNothing(): Uint8Array {
  return new Assembler().set('eax', 0xd000_0000).bytes(0xff, 0xe0).assemble();
}

/** What every vCPU prints in {@link crowd}, unless it is told otherwise. */
export const crowdBytesPerCpu = 3000;

/**
 * Wakes `cpus - 1` others by INIT and start-up IPIs; all print at once, each its own letter, vCPU 0 `a`. Powers off,
 * or does `end`, when the last one is done.
 *
 * The others begin in real mode at 0x8000, count themselves at 0x9000 and, when done, at 0x9004.
 */
export function crowd(
  cpus: number,
  bytesPerCpu = crowdBytesPerCpu,
  end: (guest: Assembler) => void = (guest) => guest.powerOff(),
): Uint8Array {
  const icrLow = 0xfee0_0300;
  const allButSelf = 0xc_0000;
  const init = 0x4500;
  const startAt8000 = 0x4608;
  const guest = new Assembler()
    .set('esi', { label: 'other' })
    .set('edi', 0x8000)
    .set('ecx', 64)
    .bytes(0xfc, 0xf3, 0xa4) // CLD; REP MOVSB
    .set('ebx', 0x9000)
    .bytes(0xc7, 0x03)
    .word(0) // MOV [EBX], 0
    .bytes(0xc7, 0x43, 0x04)
    .word(0); // MOV [EBX+4], 0
  // The local APIC must be on (spurious vector register, bit 8) to send.
  guest.set('edi', 0xfee0_00f0).bytes(0xc7, 0x07).word(0x1ff);
  guest.set('edi', icrLow);
  for (const command of [init, startAt8000]) guest.bytes(0xc7, 0x07).word(allButSelf | command); // MOV [EDI], imm32
  guest
    .label('gather') // until all others are there
    .bytes(0x83, 0x3b, cpus - 1) // CMP [EBX], imm8
    .jumpIfNotZero('gather')
    .bytes(0xc7, 0x43, 0x08)
    .word(1) // MOV [EBX+8], 1: go
    .set('ecx', bytesPerCpu)
    .setDx(port.serial)
    .setAl('a'.charCodeAt(0))
    .label('print')
    .out()
    .repeatEcx('print')
    .label('wait')
    .bytes(0x83, 0x7b, 0x04, cpus - 1) // CMP [EBX+4], imm8
    .jumpIfNotZero('wait');
  end(guest);
  // 16-bit code from here.
  guest
    .label('other')
    .bytes(0x31, 0xc0, 0x8e, 0xd8) // XOR AX, AX; MOV DS, AX
    .bytes(0xb0, 0x01) // MOV AL, 1
    .bytes(0xf0, 0x0f, 0xc0, 0x06, 0x00, 0x90) // LOCK XADD [0x9000], AL
    .bytes(0x04, 'b'.charCodeAt(0)) // ADD AL, 'b'
    .bytes(0x80, 0x3e, 0x08, 0x90, 0x01) // CMP BYTE [0x9008], 1
    .bytes(0x75, 0xf9) // JNE back to it
    .bytes(0xb9, bytesPerCpu & 0xff, bytesPerCpu >> 8) // MOV CX
    .bytes(0xba, port.serial & 0xff, port.serial >> 8) // MOV DX
    .bytes(0xee, 0x49, 0x75, 0xfc) // OUT DX, AL; DEC CX; JNZ
    .bytes(0xf0, 0xfe, 0x06, 0x04, 0x90) // LOCK INC BYTE [0x9004]
    .bytes(0xfa, 0xf4, 0xeb, 0xfd); // CLI; HLT
  return guest.assemble();
}

/** Where {@link counting} counts. */
export const counterAddress = 0x20_0000;

/** Counts in memory without end; after each step a write to a port if `exits`. */
export function counting(exits: boolean): Uint8Array {
  const guest = new Assembler().set('ebx', counterAddress).setDx(port.delay).label('step').bytes(0xff, 0x03); // INC [EBX]
  if (exits) guest.out();
  return guest.jump('step').assemble();
}

/**
 * Counts in the first word of so many pages, one after the other, and then in {@link counterAddress}; powers off when that is `end`,
 * or goes on without end.
 */
export function sweeping(firstPage: number, pages: number, end?: number): Uint8Array {
  const guest = new Assembler()
    .label('sweep')
    .set('ebx', firstPage * pageSize)
    .set('ecx', pages)
    .label('page')
    .bytes(0xff, 0x03) // INC [EBX]
    .bytes(0x81, 0xc3)
    .word(pageSize) // ADD EBX, 4096
    .repeatEcx('page')
    .set('ebx', counterAddress)
    .bytes(0xff, 0x03)
    .setDx(port.delay)
    .out();
  if (end === undefined) return guest.jump('sweep').assemble();
  return guest.loadEax(counterAddress).compareEax(end).jumpIfNotZero('sweep').powerOff().assemble();
}

/** What {@link obedient} does once that number stands at {@link orderAddress}. */
export const orders = { reset: 1, tripleFault: 2, panic: 3, powerOff: 4 } as const;
export const orderAddress = counterAddress + pageSize;

/** Counts in {@link counterAddress}, and does what it is told to by whoever can write its memory. A panic ends with a reboot. */
export function obedient(): Uint8Array {
  return new Assembler()
    .label('next')
    .set('ebx', counterAddress)
    .bytes(0xff, 0x03) // INC [EBX]
    .setDx(port.delay)
    .out()
    .loadEax(orderAddress)
    .compareEax(0)
    .jumpIfZero('next')
    .compareEax(orders.reset)
    .jumpIfZero('reset')
    .compareEax(orders.tripleFault)
    .jumpIfZero('fault')
    .compareEax(orders.panic)
    .jumpIfZero('panic')
    .powerOff()
    .label('panic')
    .outByte(port.pvpanic, 1)
    .label('reset')
    .outByte(port.power, 1)
    .halt()
    .label('fault')
    .store(0xfec0_0000, 0x10) // I/O APIC: low half of pin 0 ...
    .store(0xfec0_0010, 0x30) // ... to deliver vector 0x30
    .bytes(0x0f, 0x0b) // UD2
    .assemble();
}

/** Where {@link rewriting} begins to write. */
const rewrittenFrom = 0x40_0000;

/** Writes to each page from 4 MiB up to `end`, again and again without end. Prints `announce` after the first round. */
export function rewriting(end: number, announce: string): Uint8Array {
  const sweep = (name: string): void => {
    code
      .set('edi', rewrittenFrom)
      .label(name)
      .bytes(0xff, 0x07) // INC dword [EDI]
      .bytes(0x81, 0xc7)
      .word(0x1000) // ADD EDI, imm32
      .bytes(0x81, 0xff)
      .word(end) // CMP EDI, imm32
      .jumpIf('below', name);
  };
  const code = new Assembler();
  sweep('first');
  code.print(announce).label('again');
  sweep('round');
  return code.jump('again').assemble();
}
