/**
 * A device as the buses see it: registers at offsets from wherever it is mapped, in port or memory space.
 *
 * Accesses are 1, 2 or 4 bytes wide and values are unsigned numbers below 2^32; a bus cuts wider ones. Both calls
 * happen on the vCPU thread that made the access, and several threads may call at once: a device takes its own lock.
 */
export interface IoDevice {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

/** An interrupt pin of a device. */
export interface InterruptPin {
  set(high: boolean): void;
}
