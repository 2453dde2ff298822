import { Serial } from '../../../src/devices/serial.ts';
import { serialState } from '../../../src/devices/serial-state.ts';

const LSR_TRANSMITTER_EMPTY = 0x20;

/** A vCPU that prints: numbers 0 to 63 in turn, under its own number in the two highest bits. It waits as drivers do. */
export function writeMany(storage: SharedArrayBuffer, writer: number, times: number): number {
  const serial = new Serial(serialState(storage), { set: () => {} });
  for (let count = 0; count < times; count++) {
    while ((serial.read(5) & LSR_TRANSMITTER_EMPTY) === 0);
    serial.write(0, 1, (writer << 6) | (count % 64));
  }
  return times;
}
