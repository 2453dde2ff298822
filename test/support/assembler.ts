import { tinyElfBase } from './tiny-elf.ts';

/** Ports of the machine that guests of the tests use. */
export const port = {
  serial: 0x3f8,
  lineStatus: 0x3fd,
  i8042: 0x64,
  delay: 0x80,
  power: 0x600,
  resetControl: 0xcf9,
  pvpanic: 0x505,
  pciAddress: 0xcf8,
} as const;

/**
 * Puts machine code together for flat 32-bit mode: the few instructions that the tests' guests need, by names that
 * say what they do. A guest begins at its first byte.
 */
export class Assembler {
  readonly #code: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: { readonly at: number; readonly label: string; readonly kind: 'relative' | 'absolute' }[] = [];

  /** Raw machine code. */
  bytes(...code: number[]): this {
    this.#code.push(...code);
    return this;
  }

  text(text: string): this {
    return this.bytes(...Buffer.from(text, 'latin1'));
  }

  label(name: string): this {
    this.#labels.set(name, this.#code.length);
    return this;
  }

  jump(label: string): this {
    return this.bytes(0xe9).#reference(label, 'relative');
  }

  jumpIfZero(label: string): this {
    return this.bytes(0x0f, 0x84).#reference(label, 'relative');
  }

  jumpIfNotZero(label: string): this {
    return this.bytes(0x0f, 0x85).#reference(label, 'relative');
  }

  /** After a comparison of unsigned numbers: the first one is below the second, or not. */
  jumpIf(condition: 'below' | 'not below', label: string): this {
    return this.bytes(0x0f, condition === 'below' ? 0x82 : 0x83).#reference(label, 'relative');
  }

  /** DEC ECX, and on until it is zero. */
  repeatEcx(label: string): this {
    return this.bytes(0x49).jumpIfNotZero(label);
  }

  /** MOV r32, imm32. */
  set(register: Register, value: number | { readonly label: string }): this {
    this.bytes(0xb8 + registers.indexOf(register));
    return typeof value === 'number' ? this.word(value) : this.#reference(value.label, 'absolute');
  }

  setAl(value: number): this {
    return this.bytes(0xb0, value);
  }

  setDx(value: number): this {
    return this.bytes(0x66, 0xba, value & 0xff, value >> 8);
  }

  /** MOV [address], imm32. */
  store(address: number, value: number): this {
    return this.bytes(0xc7, 0x05).word(address).word(value);
  }

  /** MOV word [address], imm16. */
  storeWord(address: number, value: number): this {
    return this.bytes(0x66, 0xc7, 0x05)
      .word(address)
      .bytes(value & 0xff, (value >> 8) & 0xff);
  }

  /** MOV EAX, [address]. */
  loadEax(address: number): this {
    return this.bytes(0xa1).word(address);
  }

  /** MOV [address], EAX. */
  storeEax(address: number): this {
    return this.bytes(0xa3).word(address);
  }

  /** MOV AX, [address]. */
  loadAx(address: number): this {
    return this.bytes(0x66, 0xa1).word(address);
  }

  /** MOV AL, [address]. */
  loadAl(address: number): this {
    return this.bytes(0xa0).word(address);
  }

  compareEax(value: number): this {
    return this.bytes(0x3d).word(value);
  }

  compareAx(value: number): this {
    return this.bytes(0x66, 0x3d, value & 0xff, (value >> 8) & 0xff);
  }

  /** A subroutine; needs a stack. */
  call(label: string): this {
    return this.bytes(0xe8).#reference(label, 'relative');
  }

  return(): this {
    return this.bytes(0xc3);
  }

  /** OUT DX, AL */
  out(): this {
    return this.bytes(0xee);
  }

  /** IN AL, DX */
  in(): this {
    return this.bytes(0xec);
  }

  testAl(mask: number): this {
    return this.bytes(0xa8, mask);
  }

  compareAl(value: number): this {
    return this.bytes(0x3c, value);
  }

  outByte(to: number, value: number): this {
    return this.setDx(to).setAl(value).out();
  }

  /** Every character by an OUT of its own. */
  print(text: string): this {
    this.setDx(port.serial);
    for (const byte of Buffer.from(text, 'latin1')) this.setAl(byte).out();
    return this;
  }

  /** Waits for a byte from the serial port, in AL. */
  readSerial(): this {
    const again = `read ${this.#code.length}`;
    this.label(again).setDx(port.lineStatus).in().testAl(1).jumpIfZero(again);
    return this.setDx(port.serial).in();
  }

  powerOff(): this {
    return this.outByte(port.power, 0x34).halt();
  }

  /** Interrupts off, and still. */
  halt(): this {
    return this.bytes(0xfa, 0xf4, 0xeb, 0xfd);
  }

  /** A little-endian 32-bit word. */
  word(value: number): this {
    return this.bytes(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);
  }

  /** The address of a label, as a word. */
  address(label: string): this {
    return this.#reference(label, 'absolute');
  }

  /** The finished code, to be loaded at `base`. */
  assemble(base: number = tinyElfBase): Uint8Array {
    const code = Uint8Array.from(this.#code);
    const view = new DataView(code.buffer);
    for (const { at, label, kind } of this.#fixups) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new Error(`no label is called ${label}`);
      view.setInt32(at, kind === 'relative' ? target - (at + 4) : base + target, true);
    }
    return code;
  }

  #reference(label: string, kind: 'relative' | 'absolute'): this {
    this.#fixups.push({ at: this.#code.length, label, kind });
    return this.word(0);
  }
}

const registers = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const;
type Register = (typeof registers)[number];
