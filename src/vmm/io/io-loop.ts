import type { EventLoop } from '../../host/events/event-loop.ts';
import { request, type ThreadControl } from '../thread/thread-control.ts';

/** The devices as the loop drives them. */
export interface DrivenDevices {
  /** Carries out what drivers want: activation and resets. */
  settle(): void;
  /** A device stopped so that others get their turn, though there is more for it to do. */
  readonly hasMore: boolean;
  /** Goes on with those, and with what has waited for long enough. */
  takeTurns(): void;
  /** How long nobody waits for long enough, ms; undefined: until something else happens. */
  readonly waitMs: number | undefined;
  /** Takes nothing more from any queue. */
  pause(): void;
  resume(): void;
  /** Nothing that is in flight writes guest memory. */
  readonly isQuiet: boolean;
  /** Nothing is in flight. */
  readonly idle: boolean;
}

/** While the loop waits for requests in flight, it looks this often whether it is told something else. */
const lookAgainMs = 100;
/** At the end, requests in flight get this long: a disk that hangs must not hold up the end. */
const endPatienceMs = 500;

/**
 * Serves devices until the controller wants the thread to end. Every call that the thread gets wakes the event loop.
 *
 * To park, reads are finished first: parked means that no system call writes guest memory. Writes and flushes stay in flight
 * for as long as their disk takes, see {@link waitUntilIdle}. Devices are paused as well when the thread parks for the first time.
 *
 * @param givesUp reads are not waited for any more: their guest is gone
 * @param serve answers the controller's question of that number, while all is parked
 * @param parking called when all has stopped, right before the thread parks
 */
export function runIoLoop(
  control: ThreadControl,
  loop: EventLoop,
  devices: DrivenDevices,
  serve?: (number: number) => void,
  parking?: () => void,
  givesUp: () => boolean = () => false,
): void {
  pauseAndPark(control, loop, devices, serve, parking, givesUp);
  for (;;) {
    switch (control.request) {
      case request.end: {
        devices.pause();
        waitUntilIdle(loop, devices, endPatienceMs);
        return;
      }
      case request.park:
        pauseAndPark(control, loop, devices, serve, parking, givesUp);
        break;
      default:
        devices.settle();
        loop.turn(devices.hasMore ? 0 : (devices.waitMs ?? -1));
        devices.takeTurns();
    }
  }
}

/**
 * Waits until disks have finished all that is in flight, of devices that are paused: from then on nothing changes their files.
 * What the driver is to hear of it waits until they go on. False: it takes longer than `patienceMs`.
 */
export function waitUntilIdle(loop: EventLoop, devices: Pick<DrivenDevices, 'idle'>, patienceMs: number): boolean {
  const deadline = performance.now() + patienceMs;
  while (!devices.idle) {
    if (performance.now() >= deadline) return false;
    loop.turn(lookAgainMs);
  }
  return true;
}

function pauseAndPark(
  control: ThreadControl,
  loop: EventLoop,
  devices: DrivenDevices,
  serve: ((number: number) => void) | undefined,
  parking: (() => void) | undefined,
  givesUp: () => boolean,
): void {
  devices.pause();
  while (control.request === request.park && !devices.isQuiet && !givesUp()) {
    devices.settle();
    loop.turn(lookAgainMs);
  }
  if (control.request === request.park) parking?.();
  // Also when it is to run again by now: parking is what tells the controller that this thread is past its beginning.
  control.park(serve);
  // A machine that ends while it is paused stays as it is.
  if (control.request !== request.end) devices.resume();
}
