import { once } from 'node:events';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { threadMs } from '../../host/system/clock.ts';
import { Patience } from './patience.ts';
import { sendNumbered, takeNumbered } from './questions.ts';
import { type Phase, phase, request, type ThreadControl } from './thread-control.ts';

/** A thread that does not stop or end within this time is broken, unless its kind allows itself longer. */
const patienceMs = 900;
/** A thread may take this long to load its program: far more than it does on the slowest host. */
const startPatienceMs = 30_000;
/** The call is repeated this often, for a thread that was just about to enter the kernel. */
const callPeriodMs = 5;

/** Which program a thread runs: the launcher's `<kind>.cjs`. */
export type ThreadKind = 'vcpu' | 'io' | 'colo' | 'web';

/** What every thread is born with; its kind adds more. */
export interface ThreadBirth {
  readonly thread: ThreadKind;
  readonly control: SharedArrayBuffer;
  /** Where questions come in that the thread answers while it is parked. */
  readonly questions?: MessagePort;
}

export interface ThreadOptions<Report> {
  /** The file whose top leads to the main function of `birth.thread` when it is loaded in a worker. */
  readonly program: URL;
  /** Its name in ps and in messages. */
  readonly name: string;
  readonly birth: ThreadBirth;
  readonly control: ThreadControl;
  /** Interrupts whatever the thread waits in, so that it looks at its request. */
  readonly callOut: () => void;
  readonly reported: (report: Report) => void;
  /** The thread died: an exception in our own code. */
  readonly failed: (error: Error) => void;
  /** How long it may take to park, or to end, in ms. */
  readonly parkPatienceMs?: number;
  /** It answers questions while it is parked; default no. */
  readonly answers?: boolean;
  /** Ports in `birth` that become the thread's. */
  readonly transfer?: readonly MessagePort[];
}

/** A worker thread of the machine, seen from the thread that controls it. It starts parked. */
export class ControlledThread<Report> {
  readonly #options: ThreadOptions<Report>;
  readonly #control: ThreadControl;
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #questions: MessagePort | undefined;

  constructor(options: ThreadOptions<Report>) {
    this.#options = options;
    this.#control = options.control;
    const channel = options.answers === true ? new MessageChannel() : undefined;
    this.#questions = channel?.port1;
    this.#questions?.unref();
    this.#worker = new Worker(options.program, {
      workerData: channel === undefined ? options.birth : { ...options.birth, questions: channel.port2 },
      transferList: [...(options.transfer ?? []), ...(channel === undefined ? [] : [channel.port2])],
      name: options.name,
      // Not piped to ours, for which Node would make streams that nobody needs: these threads print nothing.
      stdout: true,
      stderr: true,
    });
    this.#worker.on('message', (report: Report) => options.reported(report));
    this.#worker.on('error', (error) => {
      // It may have died before its clean-up could say so, and others wait for it.
      this.#control.phase = phase.ended;
      options.failed(error);
    });
    this.#worker.on('exit', (code) => {
      if (this.#control.phase === phase.ended) return;
      // It went without a word, and without its clean-up: process.exit() in a library, or a call to terminate it.
      this.#control.phase = phase.ended;
      options.failed(new Error(`its thread ended with exit code ${code}`));
    });
    this.#exited = once(this.#worker, 'exit').catch(() => undefined);
  }

  /** As in ps and in messages. */
  get name(): string {
    return this.#options.name;
  }

  /** Kernel id of the thread; 0 until it runs. */
  get tid(): number {
    return this.#control.tid;
  }

  /** Milliseconds that it has run, in the kernel too; 0 before it began. */
  get ranMs(): number {
    return this.tid === 0 ? 0 : threadMs(this.tid);
  }

  /** Asks the thread to park; {@link waitUntilParked} makes sure that it did. */
  requestPark(): void {
    this.#control.request = request.park;
    this.#options.callOut();
  }

  /**
   * Blocks until the thread touches no guest state any more.
   *
   * @throws if it does not come to that, or if the thread has died: what it left half done nobody knows
   */
  waitUntilParked(): void {
    const limitMs = this.#options.parkPatienceMs ?? patienceMs;
    if (!this.parksWithin(limitMs)) throw new Error(`${this.#options.name} did not park within ${limitMs} ms`);
  }

  /** As {@link waitUntilParked}, but false if it takes longer. @throws if the thread has died */
  parksWithin(limitMs: number): boolean {
    // A thread that still loads its program parks first of all.
    const parks = this.#waitFor((now) => now !== phase.running && now !== phase.serving, limitMs);
    if (this.#control.phase === phase.ended) throw new Error(`${this.#options.name} has ended`);
    return parks;
  }

  /** Blocks until the thread has loaded its program, for it does nothing that it is told before. @throws if it does not */
  protected waitUntilStarted(): void {
    const started = this.#waitFor((now) => now !== phase.starting, startPatienceMs);
    if (!started) throw new Error(`${this.#options.name} did not start`);
  }

  resume(): void {
    this.#control.request = request.run;
  }

  /** It waits for what becomes of its report. */
  get held(): boolean {
    return this.#control.held;
  }

  /** Lets a thread go on that reported something and waits for what becomes of it (see ThreadControl.hold). */
  release(): void {
    this.#control.release();
  }

  /**
   * Has the thread, which is parked, answer a question; blocks until it did. Both go as structured clones.
   *
   * @throws if there comes no answer: the thread failed
   */
  ask(question: unknown): unknown {
    return this.askAhead(question)();
  }

  /** As {@link ask}, but the caller can do something else meanwhile: it must call what it gets, to take the answer. */
  askAhead(question: unknown): () => unknown {
    const questions = this.#questions;
    const { name } = this.#options;
    if (questions === undefined) throw new Error(`${name} answers no questions`);
    this.waitUntilStarted();
    const number = this.#control.nextQuestion;
    sendNumbered(questions, number, question);
    this.#control.requestAnswer(number);
    return () => {
      const answered = this.#waitForAnswer(number);
      // Withdrawn, if it was not answered.
      this.#control.request = request.park;
      const answer = answered ? takeNumbered(questions, number) : undefined;
      if (answer === undefined) throw new Error(`${name} did not answer (its phase: ${this.#control.phase})`);
      return answer.body;
    };
  }

  /**
   * Has the thread, if it is parked, do what it does for whoever controls it ({@link ThreadControl.park}), and does not wait
   * for that: it may come to it late, or not at all. It counts as parked again when it is done, and takes note of nothing else
   * until {@link resume} or {@link requestPark}.
   *
   * @returns false if it is not parked
   */
  serve(): boolean {
    if (this.#control.phase !== phase.parked) return false;
    this.#control.requestAnswer(this.#control.nextQuestion);
    return true;
  }

  /** It has died, or come to its end. */
  get hasEnded(): boolean {
    return this.#control.phase === phase.ended;
  }

  /** Asks the thread to end. */
  requestEnd(): void {
    this.#control.request = request.end;
    this.#options.callOut();
  }

  /** Resolves when the thread is gone; false if it did not go in time. */
  async joined(): Promise<boolean> {
    // A thread that still loads its program cannot be called, and sees the request before it does anything.
    const onItsWay = (now: Phase): boolean => now === phase.ended || now === phase.starting;
    if (!this.#waitFor(onItsWay, this.#options.parkPatienceMs ?? patienceMs)) return false;
    await this.#exited;
    return true;
  }

  /** On a busy host, code that runs for the first time takes its time: as long as parking may take is long enough. */
  #waitForAnswer(number: number): boolean {
    const patience = new Patience(this.#options.parkPatienceMs ?? patienceMs);
    while (!this.#control.waitForAnswer(number, callPeriodMs)) {
      if (this.#control.phase === phase.ended || patience.isOver()) return false;
    }
    return true;
  }

  #waitFor(reached: (now: Phase) => boolean, limitMs: number): boolean {
    const patience = new Patience(limitMs);
    for (;;) {
      const now = this.#control.phase;
      if (reached(now)) return true;
      if (patience.isOver()) return false;
      if (!this.#control.waitWhilePhase(now, callPeriodMs)) this.#options.callOut();
    }
  }
}
