import type { IoDevice } from './io-device.ts';

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly device: IoDevice;
}

/** Devices by address: one bus for ports, one for memory-mapped registers. Nobody there: reads give all ones. */
export class IoBus {
  readonly #mappings: Mapping[] = [];

  /** @throws RangeError if the range overlaps one that is taken */
  map(start: number, length: number, device: IoDevice): void {
    const end = start + length;
    if (this.#mappings.some((other) => start < other.end && other.start < end)) {
      throw new RangeError(`[0x${start.toString(16)}, +${length}) is taken on this bus`);
    }
    this.#mappings.push({ start, end, device });
  }

  /** Hot path. A machine has few devices, so a walk is as good as a table. */
  read(address: number, size: number): number {
    for (const mapping of this.#mappings) {
      if (address >= mapping.start && address < mapping.end) return mapping.device.read(address - mapping.start, size);
    }
    return allOnes(size);
  }

  write(address: number, size: number, value: number): void {
    for (const mapping of this.#mappings) {
      if (address >= mapping.start && address < mapping.end) {
        mapping.device.write(address - mapping.start, size, value);
        return;
      }
    }
  }
}

function allOnes(size: number): number {
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}
