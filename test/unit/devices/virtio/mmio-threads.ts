import { configOffset, MmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';

function meet(gate: SharedArrayBuffer, threads: number): void {
  const cells = new Int32Array(gate);
  Atomics.add(cells, 0, 1);
  Atomics.notify(cells, 0);
  for (let met = 1; met < threads && met !== 0; met = Atomics.load(cells, 0)) Atomics.wait(cells, 0, met);
}

/** Raises both interrupts in turn as the io thread does, so many times; how often that was news. */
export function raiseMany(
  shape: VirtioShape,
  storage: SharedArrayBuffer,
  gate: SharedArrayBuffer,
  times: number,
): number {
  const { cells } = mmioState(shape, storage);
  meet(gate, 2);
  let raised = 0;
  for (let time = 0; time < times; time++) {
    const bit = 1 + (time & 1);
    if ((Atomics.or(cells, cell.interruptStatus, bit) & bit) === 0) raised++;
  }
  Atomics.store(new Int32Array(gate), 0, 0);
  return raised;
}

/** Acknowledges one after the other until no more will come; how many. */
export function acknowledgeMany(shape: VirtioShape, storage: SharedArrayBuffer, gate: SharedArrayBuffer): number {
  const registers = new MmioRegisters(mmioState(shape, storage), shape, { synchronize() {}, notify() {} });
  const running = new Int32Array(gate);
  meet(gate, 2);
  for (let found = 0; ; ) {
    const last = Atomics.load(running, 0) === 0;
    const bits = registers.read(0x60, 4);
    if (bits === 0 && last) return found;
    if (bits === 0) continue;
    registers.write(0x64, 4, bits === 3 ? 1 + (found & 1) : bits);
    found++;
  }
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
