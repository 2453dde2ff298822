import type { IoDevice } from './io-device.ts';

/** What a guest can ask for through the power register. */
export interface PowerRequests {
  powerOff(): void;
  reset(): void;
}

/** Sleep type of S5 in the `_S5` package of the DSDT. */
export const sleepTypeS5 = 5;
const SLP_EN = 1 << 5;
const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 7;

/** Value the FADT tells the guest to write for a reset. */
export const resetValue = 1;

/**
 * The hardware-reduced ACPI power register (ACPI 6.4, 4.8.3.7): sleep control, sleep status and reset register in
 * one byte of port space. It has no state: status always reads as awake.
 */
export class PowerRegister implements IoDevice {
  readonly #requests: PowerRequests;

  constructor(requests: PowerRequests) {
    this.#requests = requests;
  }

  read(): number {
    return 0;
  }

  write(_offset: number, _size: number, value: number): void {
    if (value === resetValue) this.#requests.reset();
    else if ((value & SLP_EN) !== 0 && ((value >> SLP_TYP_SHIFT) & SLP_TYP_MASK) === sleepTypeS5) {
      this.#requests.powerOff();
    }
  }
}
