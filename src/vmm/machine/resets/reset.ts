import { cpuidOf } from '../../../host/kvm/cpuid-rows.ts';
import type { ClockState } from '../../vmstate/clock-state.ts';
import { freshState } from '../../vmstate/fresh-state.ts';
import { loadImages } from '../boot.ts';
import type { MachineParts } from '../machine-parts.ts';
import type { BootSource } from '../machine-shape.ts';

/**
 * Makes a machine, which is stopped, what it was before it ran first: devices as they are made, RAM of zeros with the images
 * loaded again, vCPUs, interrupt controllers, timers and clocks of a new VM. The console keeps what it has not printed yet.
 *
 * @param stoppedClocks what time it is for the guest that ends here
 * @returns what time it is for the one that begins
 * @throws Error with one line that says why it cannot be; nothing is left of the guest then
 */
export function beginAnew(parts: MachineParts, source: BootSource, stoppedClocks: ClockState): ClockState {
  const images = source.open();
  try {
    const { states: devices, strands } = parts.io?.powerCycle() ?? { states: [], strands: false };
    // A read that is on its way would write into the RAM of the next guest, and a write take its zeros to the disk.
    if (strands) parts.moveRam();
    else parts.zeroRam();
    const boot = loadImages(parts, images);
    const fresh = freshState({
      kvm: parts.kvm,
      cpuid: parts.handles.map(cpuidOf),
      boot,
      memory: parts.ram.memory,
    });
    const { sent } = parts.serial.save();
    parts.access.load({ ...fresh, serial: { ...fresh.serial, sent }, devices }, stoppedClocks);
    return fresh.clock;
  } finally {
    images.close();
  }
}
