import type { EventLoop } from '../../host/event-loop.ts';
import { request, type ThreadControl } from '../thread/thread-control.ts';

/** The devices as the loop drives them. */
export interface DrivenDevices {
  /** Carries out what drivers want: activation and resets. */
  settle(): void;
  /** A device stopped so that others get their turn, though there is more for it to do. */
  readonly hasMore: boolean;
  /** Goes on with those. */
  takeTurns(): void;
  /** Takes nothing more from any queue. */
  pause(): void;
  resume(): void;
  /** Nothing is in flight. */
  readonly idle: boolean;
}

/** While the machine waits for requests in flight, the loop looks this often whether it is told something else. */
const lookAgainMs = 100;
/** At the end, requests in flight get this long: a disk that hangs must not hold up the end. */
const endPatienceMs = 500;

/**
 * Serves devices until the controller wants the thread to end. Every call that the thread gets wakes the event loop.
 *
 * To park, requests that were taken are finished first: parked means that no system call writes guest memory. Devices are
 * paused as well when the thread parks for the first time.
 *
 * @param serve answers the controller's question of that number, while all is parked
 */
export function runIoLoop(
  control: ThreadControl,
  loop: EventLoop,
  devices: DrivenDevices,
  serve?: (number: number) => void,
): void {
  standStill(control, loop, devices, serve);
  for (;;) {
    switch (control.request) {
      case request.end: {
        devices.pause();
        const deadline = performance.now() + endPatienceMs;
        while (!devices.idle && performance.now() < deadline) loop.turn(lookAgainMs);
        return;
      }
      case request.park:
        standStill(control, loop, devices, serve);
        break;
      default:
        devices.settle();
        loop.turn(devices.hasMore ? 0 : -1);
        devices.takeTurns();
    }
  }
}

function standStill(
  control: ThreadControl,
  loop: EventLoop,
  devices: DrivenDevices,
  serve?: (number: number) => void,
): void {
  devices.pause();
  while (control.request === request.park && !devices.idle) {
    devices.settle();
    loop.turn(lookAgainMs);
  }
  // Also when it is to run again by now: parking is what tells the controller that this thread is past its beginning.
  control.park(serve);
  // A machine that ends while it is paused stays as it is.
  if (control.request !== request.end) devices.resume();
}
