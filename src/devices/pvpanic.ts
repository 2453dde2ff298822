import type { IoDevice } from './io-device.ts';

/** Bit 0 of what it reads and what is written: the kernel has panicked. */
const PANICKED = 1;

/**
 * The device by which a kernel says that it has panicked (QEMU's docs/specs/pvpanic): one byte of port space, which reads
 * as the events that it takes. A crash for which a second kernel is loaded is not among them: that one deals with it.
 */
export class PvPanic implements IoDevice {
  readonly #panicked: () => void;

  constructor(panicked: () => void) {
    this.#panicked = panicked;
  }

  read(): number {
    return PANICKED;
  }

  write(_offset: number, _size: number, value: number): void {
    if ((value & PANICKED) !== 0) this.#panicked();
  }
}
