import { type MessagePort, workerData } from 'node:worker_threads';
import { sendNumbered, takeNumbered } from '../../../../src/vmm/thread/questions.ts';
import { phase, request, ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';

/** Body of a thread that parks, and counts what it is asked, until it is to go on. Gives the count. */
export function countQuestions(storage: SharedArrayBuffer): number {
  let questions = 0;
  new ThreadControl(storage).park(() => {
    questions++;
  });
  return questions;
}

/** Cells that a test holds a thread by: `reached` counts where it is held, `released` lets it go on so often. */
export const gate = { reached: 0, released: 1 } as const;

function passGate(cells: Int32Array): void {
  const number = Atomics.add(cells, gate.reached, 1) + 1;
  Atomics.notify(cells, gate.reached);
  for (let now = Atomics.load(cells, gate.released); now < number; now = Atomics.load(cells, gate.released)) {
    Atomics.wait(cells, gate.released, now);
  }
}

/** Body of a thread that echoes questions. Those with `held` wait at the gate first. */
export function echoThroughGate(cells: Int32Array): void {
  const { control: storage, questions } = workerData as { control: SharedArrayBuffer; questions: MessagePort };
  new ThreadControl(storage).park((number) => {
    const question = takeNumbered(questions, number)?.body as { held?: boolean } | undefined;
    if (question?.held === true) passGate(cells);
    sendNumbered(questions, number, question);
  });
}

/** Body of a thread that waits at the gate when it serves, and ends when it is to run. */
export function serveAtGate(cells: Int32Array): void {
  const control = new ThreadControl((workerData as { control: SharedArrayBuffer }).control);
  control.park(() => passGate(cells));
  control.phase = phase.ended;
}

/** Body of a thread that stops the whole process before it answers, or parks; when that goes on it takes a while. `reached` says that it runs. */
export function freezeAll(cells: Int32Array): void {
  const { control: storage, questions } = workerData as { control: SharedArrayBuffer; questions: MessagePort };
  const control = new ThreadControl(storage);
  const sleep = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const freeze = (): void => {
    let before = performance.now();
    process.kill(process.pid, 'SIGSTOP');
    // Each thread stops when the kernel comes to it, on a busy machine not at once.
    while (performance.now() - before < 500) {
      before = performance.now();
      sleep(5);
    }
    sleep(100);
  };
  control.park((number) => {
    freeze();
    sendNumbered(questions, number, takeNumbered(questions, number)?.body);
  });
  Atomics.store(cells, gate.reached, 1);
  while (control.request === request.run) sleep(1);
  freeze();
  control.park();
  control.phase = phase.ended;
}

/** Body of a thread that ends as soon as it has parked and is to run. */
export function endWhenItRuns(): void {
  const control = new ThreadControl((workerData as { control: SharedArrayBuffer }).control);
  control.park();
  control.phase = phase.ended;
}

/** Body of a thread that takes a while to end when it is told to. */
export function endLate(ms: number): void {
  const control = new ThreadControl((workerData as { control: SharedArrayBuffer }).control);
  control.park();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  control.phase = phase.ended;
}
