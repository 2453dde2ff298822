import { Assembler } from '../../../test/support/assembler.ts';

/** General registers, by their numbers. */
export const register = { eax: 0, ecx: 1, edx: 2, ebx: 3, ebp: 5, esi: 6, edi: 7 } as const;
export type Register = keyof typeof register;

/** Memory that an instruction names: an address, or an offset to a register. */
export type Place = number | { readonly base: Register; readonly offset: number };

/** Instructions of 32-bit registers with memory, by what they do. The opcode is that of `register, memory`. */
const withMemory = { load: 0x8b, add: 0x03, subtract: 0x2b, subtractWithBorrow: 0x1b, compare: 0x3b } as const;

/** The digit of group 1: an immediate value to a register or memory. */
const withValue = { add: 0, addWithCarry: 2, and: 4, compare: 7 } as const;

/** The tests' assembler with operands in memory, which a guest with data structures needs. */
export class MachineCode extends Assembler {
  /** Register from or with memory, 32 bits. */
  with(action: keyof typeof withMemory, to: Register, place: Place): this {
    return this.bytes(withMemory[action]).#operand(register[to], place);
  }

  /** MOV r32, m32. */
  load(to: Register, place: Place): this {
    return this.with('load', to, place);
  }

  /** MOVZX r32, m16. */
  loadWord(to: Register, place: Place): this {
    return this.bytes(0x0f, 0xb7).#operand(register[to], place);
  }

  /** MOVZX r32, m8. */
  loadByte(to: Register, place: Place): this {
    return this.bytes(0x0f, 0xb6).#operand(register[to], place);
  }

  /** MOV m32, r32. */
  put(place: Place, from: Register): this {
    return this.bytes(0x89).#operand(register[from], place);
  }

  /** MOV m16, r16. */
  putWord(place: Place, from: Register): this {
    return this.bytes(0x66, 0x89).#operand(register[from], place);
  }

  /** MOV m32, imm32. */
  putValue(place: Place, value: number): this {
    return this.bytes(0xc7).#operand(0, place).word(value);
  }

  /** MOV m16, imm16. */
  putWordValue(place: Place, value: number): this {
    return this.bytes(0x66, 0xc7)
      .#operand(0, place)
      .bytes(value & 0xff, value >> 8);
  }

  /** MOV m8, imm8. */
  putByteValue(place: Place, value: number): this {
    return this.bytes(0xc6).#operand(0, place).bytes(value);
  }

  /** An immediate value with memory, 32 bits. */
  valueWith(action: keyof typeof withValue, place: Place, value: number): this {
    return this.bytes(0x81).#operand(withValue[action], place).word(value);
  }

  /** CMP m16, imm16. */
  compareWord(place: Place, value: number): this {
    return this.bytes(0x66, 0x81)
      .#operand(withValue.compare, place)
      .bytes(value & 0xff, value >> 8);
  }

  /** CMP m8, imm8. */
  compareByte(place: Place, value: number): this {
    return this.bytes(0x80).#operand(withValue.compare, place).bytes(value);
  }

  /** CMP m16, r16. */
  compareWordWith(place: Place, from: Register): this {
    return this.bytes(0x66, 0x39).#operand(register[from], place);
  }

  /** INC m16. */
  countWord(place: Place): this {
    return this.bytes(0x66, 0xff).#operand(0, place);
  }

  /** INC m32. */
  count(place: Place): this {
    return this.bytes(0xff).#operand(0, place);
  }

  /** An immediate value with a register. */
  registerWith(action: keyof typeof withValue, to: Register, value: number): this {
    return this.bytes(0x81, 0xc0 | (withValue[action] << 3) | register[to]).word(value);
  }

  /** MOV r32, r32. */
  copy(to: Register, from: Register): this {
    return this.bytes(0x89, 0xc0 | (register[from] << 3) | register[to]);
  }

  /** SHL r32, imm8. */
  shiftLeft(to: Register, bits: number): this {
    return this.bytes(0xc1, 0xe0 | register[to], bits);
  }

  /** EDX := EDX:EAX modulo m32. */
  divide(place: Place): this {
    return this.bytes(0xf7).#operand(6, place);
  }

  /** What was stored before is seen by the device before what follows is loaded: LOCK OR [ESP], 0. */
  fence(): this {
    return this.bytes(0xf0, 0x83, 0x0c, 0x24, 0x00);
  }

  /** ModRM: a register or a digit, and the place. ESP, which would need a SIB byte, is none of {@link Register}. */
  #operand(digit: number, place: Place): this {
    if (typeof place === 'number') return this.bytes((digit << 3) | 5).word(place);
    return this.bytes(0x80 | (digit << 3) | register[place.base]).word(place.offset);
  }
}
