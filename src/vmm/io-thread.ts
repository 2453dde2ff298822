import { EventFd } from '../host/eventfd.ts';
import type { SharedRam } from '../memory/ram.ts';
import { ControlledThread } from './controlled-thread.ts';
import type { DeviceOrder } from './device-orders.ts';
import { ioPatienceMs, type SharedIoControl } from './io-control.ts';
import type { IoReport } from './io-report.ts';
import type { IoBirth } from './io-worker.ts';
import type { ThreadControl } from './thread-control.ts';

export interface IoListener {
  reported(report: IoReport): void;
  failed(error: Error): void;
}

/** The io thread seen from the thread that controls it. */
export class IoThread extends ControlledThread<IoReport> {
  /** Starts the thread, parked. `io` is made by the caller, who gives it to the vCPU threads as well. */
  constructor(
    program: URL,
    io: SharedIoControl,
    parts: { ram: SharedRam; devices: readonly DeviceOrder[]; control: ThreadControl },
    listener: IoListener,
  ) {
    const wake = new EventFd(io.wake);
    const birth: IoBirth = { thread: 'io', control: io.control, ram: parts.ram, wake: io.wake, devices: parts.devices };
    super({
      program,
      name: 'io',
      birth,
      control: parts.control,
      callOut: () => wake.signal(),
      reported: (report) => listener.reported(report),
      failed: (error) => listener.failed(error),
      parkPatienceMs: ioPatienceMs,
    });
  }
}
