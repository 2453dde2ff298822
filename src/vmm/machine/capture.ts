import type { IoDeviceState } from '../io/io-device-state.ts';
import type { OwnDevices } from '../vmstate/image-state.ts';
import type { Checkpoint, CheckpointArea } from './checkpoint.ts';
import type { MachineParts } from './machine-parts.ts';
import type { RunControl } from './run-control.ts';

/**
 * Takes a checkpoint, all of it before this returns.
 *
 *     stop | registers | interrupts, clocks | devices | dirty pages: collect, copy | close the epoch | resume
 *
 * A machine that is stopped stays so. The io thread saves its devices while it parks, and what it saved is taken from it when
 * the guest runs again.
 *
 * @param closeEpoch called last, while nothing of the guest runs
 * @throws RunStateError if the machine neither runs nor is stopped
 */
export function capture(
  { access, io, pageCopier }: MachineParts,
  control: RunControl,
  area: CheckpointArea,
  closeEpoch: () => void,
): Checkpoint {
  const { times } = control;
  const wasRunning = control.state === 'running';
  area.clear();
  if (wasRunning) control.stop('paused', true);
  else times.restart();
  let own: OwnDevices;
  let takeDevices: () => readonly IoDeviceState[];
  try {
    const clocks = control.stoppedClocks;
    times.begin();
    if (!wasRunning) access.readRegisters();
    access.readRest(clocks);
    times.done('interrupts');
    own = access.readOwnDevices();
    takeDevices = (wasRunning ? io?.wantedStates() : io?.saveDevices()) ?? (() => []);
    times.done('devices');
    area.collect();
    times.done('collect');
    // A vCPU that serves is parked again when it is resumed.
    area.copy(wasRunning ? pageCopier : undefined);
    closeEpoch();
    times.done('copy');
  } finally {
    if (wasRunning) control.resume();
  }
  return { pages: area.staging, image: access.image, own, devices: takeDevices() };
}
