import { Serial } from '../../../src/devices/serial.ts';
import { serialState } from '../../../src/devices/serial-state.ts';

const LSR_TRANSMITTER_EMPTY = 0x20;

/**
 * A vCPU that prints: numbers 0 to 63 in turn, under its own number in the two highest bits. It waits as drivers do.
 * It begins when all `writers` are there, which they count in `gate`.
 */
export function writeMany(
  storage: SharedArrayBuffer,
  gate: SharedArrayBuffer,
  writer: number,
  writers: number,
  times: number,
): number {
  const serial = new Serial(serialState(storage), { set: () => {} }, { ring: () => {} });
  const arrived = new Int32Array(gate);
  Atomics.add(arrived, 0, 1);
  while (Atomics.load(arrived, 0) < writers);
  for (let count = 0; count < times; count++) {
    while ((serial.read(5) & LSR_TRANSMITTER_EMPTY) === 0);
    serial.write(0, 1, (writer << 6) | (count % 64));
  }
  return times;
}
