import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { createDoorbellPipe, type DoorbellPipe } from '../../host/threads/doorbell.ts';
import { inTime, Patience } from '../../vmm/thread/patience.ts';
import { Calls, CallsClosedError, type CallTable, type Handlers } from '../side/calls.ts';
import type { ColoCalls } from '../side/machine-calls.ts';
import { TurnCounter } from '../side/signs-of-life.ts';
import type { ColoBirth } from './colo-birth.ts';

const recordingPatienceMs = 1000;

/**
 * Bells of threads that have ended. Somebody may ring there yet, so they are not closed, but are those of threads to come, whom a ring
 * for nothing does no harm.
 */
const idleBells: DoorbellPipe[] = [];

/** The colo thread, seen from the thread that owns the machine. */
export class ColoThread<In extends CallTable> {
  readonly calls: Calls<ColoCalls, In>;
  readonly #worker: Worker;
  readonly #turns: TurnCounter;
  readonly #exited: Promise<unknown>;
  #closed = false;
  #records: boolean;

  /**
   * @param program the file whose top runs the process's threads when it is loaded in a worker
   * @param died the thread is gone: a defect of ours
   */
  constructor(
    program: URL,
    birth:
      | Omit<Extract<ColoBirth, { role: 'primary' }>, 'thread' | 'turns' | 'bell'>
      | Omit<Extract<ColoBirth, { role: 'secondary' }>, 'thread' | 'turns' | 'bell'>,
    handlers: Handlers<In>,
    died: (reason: string) => void,
  ) {
    this.#records = birth.config.pcap !== undefined;
    this.#turns = new TurnCounter(birth.config.settings.heartbeatMs / 3);
    const bell = idleBells.pop() ?? createDoorbellPipe();
    this.#worker = new Worker(program, {
      workerData: { ...birth, thread: 'colo', bell, turns: this.#turns.storage } satisfies ColoBirth,
      name: 'colo',
      stdout: true,
      stderr: true,
    });
    // Node's warnings (of TLS, say) are for developers, and would stand in the middle of the guest's console.
    this.#worker.stdout.resume();
    this.#worker.stderr.resume();
    this.calls = new Calls(this.#worker, handlers);
    const gone = (reason: string): void => {
      this.#turns.close();
      this.calls.close();
      if (!this.#closed) died(reason);
      this.#closed = true;
    };
    this.#worker.on('error', (error) => {
      // What an operator can mend is said in a line.
      gone(error.name === 'ConfigError' ? error.message : (error.stack ?? error.message));
    });
    this.#worker.on('exit', (code) => {
      idleBells.push(bell);
      gone(`its thread ended with exit code ${code}`);
    });
    this.#exited = once(this.#worker, 'exit').catch(() => undefined);
  }

  /** Resolves when it does nothing more. */
  get ended(): Promise<unknown> {
    return this.#exited;
  }

  /** What is recorded is in its file when this resolves; a file that takes too long is not waited for. */
  async endRecording(): Promise<void> {
    if (!this.#records || this.#closed) return;
    this.#records = false;
    await inTime(this.calls.call('endRecording', undefined).catch(unlessClosed), new Patience(recordingPatienceMs));
  }

  /** Ends the thread, which lets its connections go. */
  async close(): Promise<void> {
    await this.endRecording();
    this.#closed = true;
    this.#turns.close();
    this.calls.close();
    await this.#worker.terminate();
    await this.#exited;
  }
}

/** What there is to say when the colo thread does not answer any more; other errors are thrown again. */
export function unlessClosed(error: unknown): undefined {
  if (error instanceof CallsClosedError) return undefined;
  throw error;
}
