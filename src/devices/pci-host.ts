import type { IoDevice } from './io-device.ts';

/** Ports of configuration mechanism #1: an address register and a window of data, four bytes each. */
export const pciHostPortCount = 8;

const DATA = 4;
/** Reset control register (82371SB data sheet, RC at 0xcf9): a byte, between those of the address register. */
const RESET_CONTROL = 1;
/** Bit 2 set resets the machine, softly or hard by bit 1: to a guest it is the same. */
const RESET_CPU = 1 << 2;
const ENABLE = 0x8000_0000;
/** Bus, device, function and register in the address register. */
const FUNCTION_MASK = 0x00ff_ff00;
const REGISTER_MASK = 0xfc;

/** Registers that are not 0 (PCI 3.0, 6.1): the ids of a bridge that every system knows, and its class. */
const bridge: Readonly<Record<number, number>> = { 0: 0x1237_8086, 8: 0x0600_0000 };

/** The address register of one {@link PciHost}, in memory that all threads share. */
export function pciHostState(storage: SharedArrayBuffer = new SharedArrayBuffer(4)): Int32Array<SharedArrayBuffer> {
  return new Int32Array(storage);
}

/**
 * The way to PCI configuration space (PCI 3.0, 3.2.2.3.2), with nothing there but the bridge that leads to it. Without one,
 * Linux complains on the console of every boot, even a `quiet` one; with a bridge it is content, and since the ACPI tables
 * tell of no bus it does not look for devices.
 *
 * The chipset's reset register is in the same ports: `reboot=p` is a write there. It keeps nothing, and reads as 0.
 *
 * The bridge's registers cannot be written. Threads of a guest that use the two registers at once need a lock of their own,
 * as on a real machine.
 */
export class PciHost implements IoDevice {
  readonly #address: Int32Array<SharedArrayBuffer>;

  readonly #reset: () => void;

  constructor(address: Int32Array<SharedArrayBuffer>, reset: () => void) {
    this.#address = address;
    this.#reset = reset;
  }

  read(offset: number, size: number): number {
    const address = this.address;
    const ones = size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
    if (offset === RESET_CONTROL && size === 1) return 0;
    if (offset < DATA) return offset === 0 && size === 4 ? address : ones;
    if (address < ENABLE || (address & FUNCTION_MASK) !== 0) return ones;
    return (((bridge[address & REGISTER_MASK] ?? 0) >>> ((offset - DATA) * 8)) & ones) >>> 0;
  }

  /** Narrow writes to the address register are not for this mechanism, but for the reset register. */
  write(offset: number, size: number, value: number): void {
    if (offset === 0 && size === 4) this.address = value;
    else if (offset === RESET_CONTROL && size === 1 && (value & RESET_CPU) !== 0) this.#reset();
  }

  /** What the address register holds. */
  get address(): number {
    return Atomics.load(this.#address, 0) >>> 0;
  }

  set address(value: number) {
    Atomics.store(this.#address, 0, value | 0);
  }
}
