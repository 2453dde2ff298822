import type { IoDevice } from './io-device.ts';

const COMMAND = 4;
const PULSE_RESET_LINE = 0xfe;

/** Ports 0x60 to 0x64. */
export const i8042PortCount = 5;

/**
 * As much of the keyboard controller as a reboot needs: `reboot=k` pulses its reset line. There is no keyboard, and
 * the ACPI tables say so; status reads as idle so that a driver which writes anyway never waits.
 */
export class I8042 implements IoDevice {
  readonly #reset: () => void;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  read(): number {
    return 0;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === COMMAND && value === PULSE_RESET_LINE) this.#reset();
  }
}
