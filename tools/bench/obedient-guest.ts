import { gpa, pageSize } from '../../src/memory/address.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Assembler } from '../../test/support/assembler.ts';

/** Where the guest finds what to do, and says what it did. All on page 0. */
const cell = { first: 0x500, count: 0x504, step: 0x508, order: 0x50c, done: 0x510, alive: 0x514 } as const;

/** Where the other vCPUs begin, in real mode, and where they count themselves. */
const startAddress = 0x8000;
const startedAddress = 0x9000;

/** First page that {@link obey} may name: behind the guest's own code. */
export const firstFreePage = 512;

/** Besides those it is told, the guest writes one page: that with its orders, where it shows that it is alive. */
export const pagesOfItsOwn = 1;

/**
 * Machine code whose first vCPU writes to the pages that it is told, and else counts, without an exit. The others are
 * halted, as most vCPUs are: had they all work to do, hosts with fewer CPUs would show how their scheduler shares them.
 */
export function obedientGuest(cpus: number): Uint8Array {
  const guest = new Assembler();
  if (cpus > 1) wakeOthers(guest, cpus);
  guest
    .label('wait')
    .bytes(0xff, 0x05)
    .word(cell.alive) // INC [alive]
    .loadEax(cell.order)
    .bytes(0x3b, 0x05)
    .word(cell.done) // CMP EAX, [done]
    .jumpIfZero('wait')
    .bytes(0x8b, 0x1d)
    .word(cell.first) // MOV EBX, [first]
    .bytes(0x8b, 0x0d)
    .word(cell.count) // MOV ECX, [count]
    .bytes(0x8b, 0x15)
    .word(cell.step) // MOV EDX, [step]
    .label('page')
    .bytes(0x85, 0xc9) // TEST ECX, ECX
    .jumpIfZero('done')
    .bytes(0xff, 0x03) // INC [EBX]
    .bytes(0x01, 0xd3) // ADD EBX, EDX
    .bytes(0x49) // DEC ECX
    .jump('page')
    .label('done')
    .storeEax(cell.done)
    .jump('wait');
  if (cpus > 1) {
    guest
      .label('other')
      .bytes(0x31, 0xc0, 0x8e, 0xd8) // XOR AX, AX; MOV DS, AX
      .bytes(0xf0, 0xfe, 0x06, startedAddress & 0xff, startedAddress >> 8) // LOCK INC BYTE [started]
      .bytes(0xfa, 0xf4, 0xeb, 0xfd); // CLI; HLT; JMP to it
  }
  return guest.assemble();
}

/** The others are woken by INIT and a start-up IPI. */
function wakeOthers(guest: Assembler, cpus: number): void {
  const spuriousVector = 0xfee0_00f0;
  const icrLow = 0xfee0_0300;
  const allButSelf = 0xc_0000;
  const init = 0x4500;
  const startUp = 0x4600 | (startAddress >> 12);
  guest
    .set('esi', { label: 'other' })
    .set('edi', startAddress)
    .set('ecx', 16)
    .bytes(0xfc, 0xf3, 0xa4) // CLD; REP MOVSB
    .store(startedAddress, 0)
    // The local APIC must be on (spurious vector register, bit 8) to send.
    .store(spuriousVector, 0x1ff);
  for (const command of [init, startUp]) guest.store(icrLow, allButSelf | command);
  guest
    .label('gather')
    .bytes(0x80, 0x3d)
    .word(startedAddress)
    .bytes(cpus - 1) // CMP BYTE [started], imm8
    .jumpIfNotZero('gather');
}

/** Has the guest write to `count` pages below 3 GiB, `step` pages from one to the next; resolves when it did. */
export async function obey(memory: GuestMemory, firstPage: number, count: number, step: number): Promise<void> {
  memory.writeU32(gpa(cell.first), firstPage * pageSize);
  memory.writeU32(gpa(cell.count), count);
  memory.writeU32(gpa(cell.step), step * pageSize);
  const order = memory.readU32(gpa(cell.order)) + 1;
  memory.writeU32(gpa(cell.order), order);
  while (memory.readU32(gpa(cell.done)) !== order) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** What shows that the guest runs: it changes as long as it does. */
export function signOfLife(memory: GuestMemory): number {
  return memory.readU32(gpa(cell.alive));
}
