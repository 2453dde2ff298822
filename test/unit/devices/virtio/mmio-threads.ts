import { configOffset, MmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';

function meet(gate: SharedArrayBuffer, threads: number): void {
  const cells = new Int32Array(gate);
  Atomics.add(cells, 0, 1);
  Atomics.notify(cells, 0);
  for (let met = Atomics.load(cells, 0); met < threads; met = Atomics.load(cells, 0)) Atomics.wait(cells, 0, met);
}

/** Raises the queue interrupt as the io thread does, until it was raised anew so many times; how often that was. */
export function raiseMany(
  shape: VirtioShape,
  storage: SharedArrayBuffer,
  gate: SharedArrayBuffer,
  times: number,
): number {
  const { cells } = mmioState(shape, storage);
  meet(gate, 2);
  let raised = 0;
  while (raised < times) if ((Atomics.or(cells, cell.interruptStatus, 1) & 1) === 0) raised++;
  return raised;
}

/** Acknowledges what it finds, so many times; how often it found something. */
export function acknowledgeMany(
  shape: VirtioShape,
  storage: SharedArrayBuffer,
  gate: SharedArrayBuffer,
  times: number,
): number {
  const registers = new MmioRegisters(mmioState(shape, storage), shape, { synchronize() {}, notify() {} });
  meet(gate, 2);
  let found = 0;
  while (found < times) {
    const bits = registers.read(0x60, 4);
    if (bits === 0) continue;
    registers.write(0x64, 4, bits);
    found++;
  }
  return found;
}

/** Writes and reads registers that the other thread does too; how many reads gave what nobody can have written. */
export function hammer(
  shape: VirtioShape,
  storage: SharedArrayBuffer,
  gate: SharedArrayBuffer,
  thread: number,
  times: number,
): number {
  const registers = new MmioRegisters(mmioState(shape, storage), shape, { synchronize() {}, notify() {} });
  meet(gate, 2);
  let wrong = 0;
  for (let round = 0; round < times; round++) {
    registers.write(0x30, 4, round % 3);
    const max = registers.read(0x34, 4);
    if (max !== 0 && !shape.queueSizes.includes(max)) wrong++;
    registers.write(0x44, 4, thread & 1);
    if (registers.read(0x44, 4) > 1) wrong++;
    if (registers.read(configOffset, 4) !== 0x4433_2211) wrong++;
    if (registers.read(0x70, 4) !== 0xb) wrong++;
  }
  return wrong;
}
