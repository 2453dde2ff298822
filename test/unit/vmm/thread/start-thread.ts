import { ControlledThread } from '../../../../src/vmm/thread/controlled-thread.ts';
import { ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';

type Teardown = { teardown(clean: () => unknown): unknown };

type Started = { control: ThreadControl; thread: ControlledThread<void> };

/** A thread whose body is a function of parked-thread.ts. */
export function start(t: Teardown, name: string, ...args: unknown[]): Started {
  // Of which most is spent in vain: a busy machine must not make a thread miss it that does answer.
  return startWithin(t, 2000, name, ...args);
}

/** As {@link start}, of a thread that may take so long to park. */
export function startWithin(t: Teardown, parkPatienceMs: number, name: string, ...args: unknown[]): Started {
  const control = new ThreadControl();
  const birth = {
    thread: 'io' as const,
    control: control.storage,
    module: new URL('./parked-thread.ts', import.meta.url).href,
    name,
    args,
  };
  const thread = new ControlledThread<void>({
    program: new URL('../../../support/thread-main.mjs', import.meta.url),
    name: 'tested',
    birth,
    control,
    callOut: () => {},
    reported: () => {},
    failed: () => {},
    answers: true,
    parkPatienceMs,
  });
  t.teardown(() => thread.requestEnd());
  return { control, thread };
}

/** For {@link gate}. */
export function gateCells(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(8));
}
