import { virtioMmioAddress, virtioMmioBytes } from '../../src/memory/layout.ts';
import { type Assembler, port } from './assembler.ts';
import { register } from './mock-driver.ts';
import { randomNumbers } from './random.ts';
import { setDescriptor, writingDiskAfter } from './virtio-guests.ts';

/**
 * A guest whose two vCPUs do to its virtio devices what no driver should, both at once and to the same devices. When
 * they have done enough, vCPU 0 prints what it is told to, waits for a byte, and then is a well-behaved driver of disk 0.
 *
 *     0x8000     first instructions of vCPU 1, copied there
 *     0x20_0000  a page for each device: its queues, over which hostile ones are copied again and again
 *     0x40_0000  4 MiB for devices to write to
 */
const queues = 0x20_0000;
const scratch = 0x40_0000;
const scratchBytes = 0x40_0000;
/** Counts vCPUs that are done. */
const doneCount = 0x1f_0000;
const stackTops = [0x1e_0000, 0x1e_8000] as const;

const variants = 32;
const variantBytes = 0x400;
const [descriptorsAt, availAt, usedAt, indirectAt] = [0, 0x100, 0x200, 0x300];
const entries = 16;

export interface Attack {
  readonly seed: number;
  /** Virtio devices of the machine, the first of which is a disk. */
  readonly devices: number;
  /** Rounds of each vCPU, each of some 60 register accesses. */
  readonly rounds: number;
  /** Printed when they are done. */
  readonly announce: string;
}

/** The guest. While it attacks, vCPU 0 sends back what it receives, now and then. */
export function attacking(attack: Attack, sector: number, data: Uint8Array): Uint8Array {
  const { seed, devices, rounds, announce } = attack;
  const random = randomNumbers(seed);
  const hostile = Array.from({ length: variants }, (_, index) =>
    hostileQueue(random, queues + (index % devices) * 0x1000),
  );
  return writingDiskAfter(
    (code, addressOfPage) => {
      code.set('esp', stackTops[0]).store(doneCount, 0);
      wakeOther(code);
      assault(code, 'a', { seed, devices, rounds, hostile: addressOfPage(1), echoes: true });
      code.bytes(0xf0, 0xff, 0x05).word(doneCount); // LOCK INC [doneCount]
      code.label('both').loadEax(doneCount).compareAl(2).jumpIfNotZero('both');
      code.print(announce).readSerial().jump('behave');

      code.label('second').bytes(0x66, 0xb8, 0x10, 0x00); // MOV AX, 0x10
      code.bytes(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0); // MOV DS, ES, SS
      code.set('esp', stackTops[1]);
      assault(code, 'b', { seed: seed + 1000, devices, rounds, hostile: addressOfPage(1), echoes: false });
      code.bytes(0xf0, 0xff, 0x05).word(doneCount).halt();
      subroutines(code);
      code.label('behave');
    },
    sector,
    [data, ...pagesOf(hostile)],
  );
}

/** Wakes vCPU 1, which goes from real mode straight to `second` in flat 32-bit mode. */
function wakeOther(code: Assembler): void {
  const icrLow = 0xfee0_0300;
  const allButSelf = 0xc_0000;
  const gdt = 0x8050;
  code.jump('wake').label('start');
  code.bytes(0xfa, 0x31, 0xc0, 0x8e, 0xd8); // CLI; XOR AX, AX; MOV DS, AX
  code.bytes(0x66, 0x0f, 0x01, 0x16, 0x40, 0x80); // LGDT [0x8040]
  code.bytes(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0); // MOV EAX, CR0; OR AL, 1; MOV CR0, EAX
  code.bytes(0x66, 0xea).address('second').bytes(0x08, 0x00); // JMP 8:second
  code.label('wake').set('esi', { label: 'start' }).set('edi', 0x8000).set('ecx', 64).bytes(0xfc, 0xf3, 0xa4); // CLD; REP MOVSB
  code
    .storeWord(0x8040, 23)
    .store(0x8042, gdt)
    .store(gdt, 0)
    .store(gdt + 4, 0);
  code.store(gdt + 8, 0x0000_ffff).store(gdt + 12, 0x00cf_9a00); // flat code
  code.store(gdt + 16, 0x0000_ffff).store(gdt + 20, 0x00cf_9200); // flat data
  code
    .store(0xfee0_00f0, 0x1ff)
    .store(icrLow, allButSelf | 0x4500)
    .store(icrLow, allButSelf | 0x4608);
}

interface Assault {
  readonly seed: number;
  readonly devices: number;
  readonly rounds: number;
  /** Where the hostile queues lie. */
  readonly hostile: number;
  readonly echoes: boolean;
}

/** One vCPU's rounds. EBP: state of the random numbers. EDI: the device's registers. */
function assault(code: Assembler, name: string, { seed, devices, rounds, hostile, echoes }: Assault): void {
  const toQueues = (queues - virtioMmioAddress) | 0;
  const write = (register: string, value: number): Assembler => code.bytes(0xc7, 0x87).word(at(register)).word(value);
  const writeEax = (register: string): Assembler => code.bytes(0x89, 0x87).word(at(register));
  /** EAX = address in this device's queues. */
  const queueAddress = (offset: number): Assembler => code.bytes(0x8d, 0x87).word(toQueues + offset);
  let labels = 0;
  /** Does `what` one time in `times`, a power of two. */
  const sometimes = (times: number, what: () => void): void => {
    const skip = `${name} skip ${labels++}`;
    code
      .call('random')
      .bytes(0xa9)
      .word(times - 1)
      .jumpIfNotZero(skip); // TEST EAX, imm32
    what();
    code.label(skip);
  };
  const status = (value: number): Assembler => write('Status', value);

  code
    .set('ebp', seed | 1)
    .bytes(0x68)
    .word(rounds)
    .label(`${name} round`); // PUSH rounds
  code.call('random').bytes(0x31, 0xd2).set('ecx', devices).bytes(0xf7, 0xf1); // XOR EDX, EDX; DIV ECX
  code.bytes(0x69, 0xd2).word(virtioMmioBytes); // IMUL EDX, EDX, imm32
  code.bytes(0x8d, 0xba).word(virtioMmioAddress); // LEA EDI, [EDX + registers]

  // A hostile queue over the one that the device may be using.
  code
    .call('random')
    .bytes(0x83, 0xe0, variants - 1)
    .bytes(0xc1, 0xe0, Math.log2(variantBytes)); // AND, SHL EAX
  code.bytes(0x8d, 0xb0).word(hostile); // LEA ESI, [EAX + hostile]
  code.bytes(0x57, 0x8d, 0xbf).word(toQueues); // PUSH EDI; LEA EDI, [EDI + toQueues]
  code.set('ecx', variantBytes / 4).bytes(0xfc, 0xf3, 0xa5, 0x5f); // CLD; REP MOVSD; POP EDI

  status(0);
  status(1);
  status(3);
  write('DriverFeaturesSel', 1);
  write('DriverFeatures', 1);
  write('DriverFeaturesSel', 0);
  code.call('random').bytes(0x25).word(0x3000_0000); // AND EAX: event index, indirect descriptors
  writeEax('DriverFeatures');
  status(0x0b);
  for (const index of [0, 1]) {
    write('QueueSel', index);
    write('QueueNum', entries);
    queueAddress(descriptorsAt);
    writeEax('QueueDescLow');
    queueAddress(availAt);
    writeEax('QueueDriverLow');
    queueAddress(usedAt);
    writeEax('QueueDeviceLow');
    sometimes(4, () => {
      queueAddress(availAt); // used over avail
      writeEax('QueueDeviceLow');
    });
    write('QueueReady', 1);
  }
  sometimes(4, () => code.call('scribble').call('scribble'));
  status(0x0f);
  for (let kick = 0; kick < 6; kick++) {
    write('QueueNotify', kick & 1);
    code.bytes(0x66, 0xff, 0x87).word(toQueues + availAt + 2); // INC word [avail index]
    sometimes(2, () => code.call('scribble'));
  }
  sometimes(2, () => status(0));
  for (let count = 0; count < 4; count++) code.call('scribble');
  if (echoes) {
    const nothing = `${name} nothing`;
    code.setDx(port.lineStatus).in().testAl(1).jumpIfZero(nothing);
    code.setDx(port.serial).in().out().label(nothing);
  }
  code.bytes(0xff, 0x0c, 0x24).jumpIfNotZero(`${name} round`).bytes(0x58); // DEC [ESP]; POP EAX
}

function at(name: string): number {
  const offset = register[name];
  if (offset === undefined) throw new Error(`no register is called ${name}`);
  return offset;
}

function subroutines(code: Assembler): void {
  // xorshift32 over EBP, also in EAX.
  code.label('random');
  code.bytes(0x89, 0xe8, 0xc1, 0xe0, 13, 0x31, 0xc5); // MOV EAX, EBP; SHL EAX, 13; XOR EBP, EAX
  code.bytes(0x89, 0xe8, 0xc1, 0xe8, 17, 0x31, 0xc5); // MOV EAX, EBP; SHR EAX, 17; XOR EBP, EAX
  code.bytes(0x89, 0xe8, 0xc1, 0xe0, 5, 0x31, 0xc5, 0x89, 0xe8).return(); // ... SHL EAX, 5 ...; MOV EAX, EBP
  // Some value of 0 to 32 bits to some register or configuration field of the device at EDI; a byte and a read as well.
  code.label('scribble').call('random').bytes(0x25).word(0x1fc).bytes(0x89, 0xc3); // AND EAX, imm32; MOV EBX, EAX
  code.call('random').bytes(0x89, 0xc1).call('random').bytes(0xd3, 0xe8); // MOV ECX, EAX; SHR EAX, CL
  code.bytes(0x89, 0x04, 0x1f); // MOV [EDI + EBX], EAX
  code.bytes(0x88, 0x44, 0x1f, 0x01); // MOV [EDI + EBX + 1], AL
  code.bytes(0x66, 0x8b, 0x44, 0x1f, 0x02); // MOV AX, [EDI + EBX + 2]
  code.return();
}

function pagesOf(queues: readonly Uint8Array[]): Uint8Array[] {
  const perPage = 0x1000 / variantBytes;
  return Array.from({ length: Math.ceil(queues.length / perPage) }, (_, page) =>
    Uint8Array.from(queues.slice(page * perPage, (page + 1) * perPage).flatMap((queue) => [...queue])),
  );
}

/** A queue, made for address `own`, that breaks rules. */
function hostileQueue(random: (limit: number) => number, own: number): Uint8Array {
  const bytes = new Uint8Array(variantBytes);
  const view = new DataView(bytes.buffer);
  const pick = <Value>(...values: readonly Value[]): Value => values[random(values.length)] as Value;
  const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
  const inScratch = (): number => scratch + random(scratchBytes / 2);
  const descriptor = (count: number, deeper: boolean) => {
    const indirect = random(5) === 0;
    return {
      address: indirect
        ? own + pick(indirectAt, descriptorsAt, indirectAt + 3, 0xd000_0000)
        : pick<number | bigint>(
            ...[inScratch(), inScratch(), inScratch(), inScratch()],
            ...[own + availAt, own + usedAt, own, 0xff_f000, 0x100_0000, 0xd000_0000, 0xffff_ffff],
            ...[2n ** 63n, 2n ** 64n - 1n, 2n ** 53n + 1n],
          ),
      length: indirect
        ? pick(16, 64, 256, 0, 17, 0xffff_fff0)
        : pick(16, 16, 512, 4096, 4097, 1, 0, 65_536, 0x1f_0000, 0x7fff_ffff, 0xffff_ffff),
      flags: (random(2) * NEXT) | (random(2) * WRITE) | (indirect && (deeper || random(2) === 0) ? INDIRECT : 0),
      next: random(8) === 0 ? random(0x1_0000) : random(count),
    };
  };
  for (let index = 0; index < entries; index++) setDescriptor(view, index, descriptor(entries, true));
  const table = new DataView(bytes.buffer, indirectAt);
  for (let index = 0; index < 15; index++) setDescriptor(table, index, descriptor(16, random(4) === 0));
  // Some of the first are in order, so that a device gets as far as to work on what it was given.
  if (random(2) === 0) {
    const header = indirectAt + 0xf0;
    view.setUint32(header, pick(0, 1, 4, 8, 11, 13, 5, 0xffff_ffff), true);
    view.setBigUint64(header + 8, BigInt(pick(0, 1, 100, 2047, 0x7fff_ffff, Number.MAX_SAFE_INTEGER)), true);
    const write = random(2) * WRITE;
    setDescriptor(view, 0, { address: own + header, length: 16, flags: NEXT, next: 1 });
    setDescriptor(view, 1, { address: inScratch(), length: pick(16, 512, 65_536), flags: NEXT | write, next: 2 });
    setDescriptor(view, 2, { address: inScratch(), length: pick(1, 1, 513), flags: WRITE });
  }
  view.setUint16(availAt, random(2), true);
  view.setUint16(availAt + 2, pick(1, 1, 2, entries, entries + 1, 0xffff), true);
  for (let index = 0; index < entries; index++) {
    view.setUint16(availAt + 4 + index * 2, random(6) === 0 ? random(0x1_0000) : random(4), true);
  }
  view.setUint16(availAt + 4 + entries * 2, random(0x1_0000), true);
  return bytes;
}
