import { parentPort, workerData } from 'node:worker_threads';
import { EPOLLET, EPOLLIN } from '../../host/events/epoll.ts';
import { EventLoop } from '../../host/events/event-loop.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { Owner } from '../../host/ownership.ts';
import { compile } from '../../host/system/compiler.ts';
import { threadId } from '../../host/threads/kick.ts';
import { nameThread } from '../../host/threads/thread-name.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import { viewRam } from '../../memory/ram.ts';
import { IoControl } from '../platform/io-control.ts';
import type { ThreadBirth } from '../thread/controlled-thread.ts';
import { phase } from '../thread/thread-control.ts';
import type { DeviceOrder } from './device-orders.ts';
import { IoDevices } from './io-devices.ts';
import { runIoLoop } from './io-loop.ts';
import { answerQuestions } from './io-questions.ts';
import type { IoReport } from './io-report.ts';
import { type SharedIoStates, tellWantedStates } from './io-states.ts';
import type { MakeTranslation } from './protection/translation.ts';

/** What the io thread is born with. */
export interface IoBirth extends ThreadBirth {
  readonly ram: SharedRam;
  /** Eventfd that wakes it. */
  readonly wake: Fd;
  readonly devices: readonly DeviceOrder[];
  readonly states: SharedIoStates;
}

/**
 * Body of the io thread. Comes back when the controller wants the thread to end.
 *
 * @param makeTranslation how packets of a guest that has taken over are translated
 */
export function ioThreadMain(makeTranslation?: MakeTranslation): void {
  nameThread('io');
  const birth = workerData as IoBirth;
  const control = new IoControl(birth.control);
  control.tid = threadId();
  const owner = new Owner();
  try {
    const loop = owner.own(new EventLoop());
    const report = (report: IoReport): void => parentPort?.postMessage(report);
    const memory = viewRam(birth.ram);
    const devices = owner.own(new IoDevices(birth.devices, { memory, loop, report, makeTranslation }));
    // That the loop turns is all that most calls are for.
    const woken = (): void => {
      control.turned();
      devices.woken();
    };
    loop.watch(birth.wake, EPOLLIN | EPOLLET, { ready: woken });
    // Requests come by the thousand, through few functions.
    compile('soon');
    const { questions } = birth;
    const serve = questions === undefined ? undefined : answerQuestions(questions, devices);
    runIoLoop(control, loop, devices, serve, tellWantedStates(birth.states, devices), () => control.givesUp);
  } finally {
    owner.close();
    control.phase = phase.ended;
  }
}
