import { Worker } from 'node:worker_threads';
import { test } from 'tap';
import { phase, request, ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';
import { until } from '../../../support/machines.ts';
import { inThread } from '../../../support/thread.ts';

/** In place of a request: the thread is released. */
const release = -1;

/** Another thread that makes these requests, a while after each other. */
function setLater(t: { teardown(clean: () => unknown): unknown }, control: ThreadControl, values: number[]): void {
  const source = `
    const { workerData: { storage, values } } = require('node:worker_threads');
    const cells = new Int32Array(storage);
    const idle = new Int32Array(new SharedArrayBuffer(4));
    for (const value of values) {
      Atomics.wait(idle, 0, 0, 50);
      const [cell, stored] = value === ${release} ? [4, 0] : [0, value];
      Atomics.store(cells, cell, stored);
      Atomics.notify(cells, cell);
    }
  `;
  const worker = new Worker(source, { eval: true, workerData: { storage: control.storage, values } });
  t.teardown(() => worker.terminate());
}

test('begins with a request to park, in a thread that starts', async (t) => {
  const control = new ThreadControl();
  t.equal(control.request, request.park);
  t.equal(control.phase, phase.starting);
  t.equal(control.tid, 0);
});

test('is the same from both sides', async (t) => {
  const controller = new ThreadControl();
  const thread = new ThreadControl(controller.storage);
  controller.request = request.end;
  thread.phase = phase.ended;
  thread.tid = 4711;
  t.equal(thread.request, request.end);
  t.equal(controller.phase, phase.ended);
  t.equal(controller.tid, 4711);
});

test('a thread does not park unless it is asked to', async (t) => {
  const control = new ThreadControl();
  control.request = request.run;
  control.park();
  t.equal(control.phase, phase.running);
});

for (const next of [request.run, request.end]) {
  test(`a parked thread goes on when the request becomes ${next}`, { timeout: 20_000 }, async (t) => {
    const control = new ThreadControl();
    setLater(t, control, [next]);
    control.park();
    t.equal(control.phase, phase.running);
    t.equal(control.request, next);
  });
}

test('a thread that is held runs for no request, and ends', { timeout: 20_000 }, async (t) => {
  const control = new ThreadControl();
  control.hold();
  setLater(t, control, [request.run, request.park, request.run, release, request.end]);
  // Released while the request is to run; the thread of this test would hang if a request alone let it go.
  control.parkWhileHeld();
  t.equal(control.phase, phase.running);
  control.hold();
  control.request = request.end;
  control.parkWhileHeld();
  t.equal(control.request, request.end);
});

test('a thread that is to end already is not held', { timeout: 20_000 }, async (t) => {
  const control = new ThreadControl();
  control.request = request.end;
  control.hold();
  control.parkWhileHeld();
  t.equal(control.request, request.end);
});

test('a thread that is released stays parked while it is to park', { timeout: 20_000 }, async (t) => {
  const control = new ThreadControl();
  control.request = request.park;
  control.hold();
  setLater(t, control, [release, request.run]);
  control.parkWhileHeld();
  t.equal(control.request, request.run);
});

test('tells at once of a phase that has passed, and in time of one that stays', { timeout: 20_000 }, async (t) => {
  const control = new ThreadControl();
  control.phase = phase.running;
  t.equal(control.waitWhilePhase(phase.starting, 1_000_000), true);
  t.equal(control.waitWhilePhase(phase.running, 10), false);
});

test('a parked thread answers each question and stays parked, however often it is woken', {
  timeout: 60_000,
}, async (t) => {
  const rounds = 20_000;
  const control = new ThreadControl();
  const counted = inThread(new URL('./parked-thread.ts', import.meta.url), 'countQuestions', control.storage);
  // A thread can be woken late, by the call that told of a request which it has seen by then: here all the time.
  const waker = new Worker(
    `const { workerData: cells } = require('node:worker_threads');
     while (Atomics.load(cells, 0) !== ${request.end}) Atomics.notify(cells, 0);`,
    { eval: true, workerData: new Int32Array(control.storage) },
  );
  t.teardown(() => waker.terminate());
  await until(() => control.phase === phase.parked);
  let answered = 0;
  for (; answered < rounds; answered++) {
    const question = control.nextQuestion;
    control.requestAnswer(question);
    const deadline = performance.now() + 5000;
    while (!control.waitForAnswer(question, 1) && performance.now() < deadline);
    if (control.answered !== question || control.phase !== phase.parked) break;
    control.request = request.park;
  }
  control.request = request.end;
  t.equal(answered, rounds);
  t.equal(await counted, rounds);
});

test('a thread is not parked while it answers', async (t) => {
  const control = new ThreadControl();
  const phases: number[] = [];
  control.requestAnswer(control.nextQuestion);
  control.park((number) => {
    phases.push(control.phase);
    t.equal(number, 1);
    control.request = request.run;
  });
  t.strictSame(phases, [phase.serving]);
  t.equal(control.answered, 1);
});

test('a question that is withdrawn is not answered; the next one has a number of its own', async (t) => {
  const control = new ThreadControl();
  const withdrawn = control.nextQuestion;
  control.requestAnswer(withdrawn);
  control.request = request.park;
  const next = control.nextQuestion;
  control.requestAnswer(next);
  const asked: number[] = [];
  control.park((number) => {
    asked.push(number);
    control.request = request.end;
  });
  t.not(next, withdrawn);
  t.strictSame(asked, [next]);
});

test('numbers of questions begin anew when they have all been used', async (t) => {
  const control = new ThreadControl();
  control.requestAnswer(0x3fff_ffff);
  t.equal(control.request, request.serve);
  control.park((number) => {
    t.equal(number, 0x3fff_ffff);
    control.request = request.run;
  });
  t.equal(control.answered, 0x3fff_ffff);
  t.equal(control.nextQuestion, 0);
});
