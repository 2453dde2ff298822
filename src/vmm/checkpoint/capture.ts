import type { PageCopier } from '../../memory/page-copy.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { IoThread } from '../io/io-thread.ts';
import type { ClockState } from '../vmstate/clock-state.ts';
import type { OwnDevices } from '../vmstate/image-state.ts';
import type { PauseTimes } from '../vmstate/pause-times.ts';
import type { StateAccess } from '../vmstate/state-access.ts';
import type { Checkpoint, CheckpointArea } from './checkpoint.ts';

/** What a machine's state is read from. */
export interface CapturedParts {
  readonly access: StateAccess;
  /** Absent in a machine without virtio devices. */
  readonly io: Pick<IoThread, 'wantedStates' | 'saveDevices'> | undefined;
  /** Copies pages while all vCPUs are parked. */
  readonly pageCopier: PageCopier;
}

/** What stops and resumes a machine. */
export interface CapturedRun {
  readonly isRunning: boolean;
  /** Where the time of the stop goes. */
  readonly times: PauseTimes;
  /** What time it was for the guest when it was stopped. @throws RunStateError if it is not */
  readonly stoppedClocks: ClockState;
  /** With true, the devices are saved before they park. */
  stop(next: 'paused', forCheckpoint: true): void;
  resume(): void;
}

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
  { access, io, pageCopier }: CapturedParts,
  control: CapturedRun,
  area: CheckpointArea,
  closeEpoch: () => void,
): Checkpoint {
  const { times } = control;
  const wasRunning = control.isRunning;
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
