import type { ChildProcess } from 'node:child_process';
import { type Arbiter, ArbiterError, type TermClaim, type TermRecord, type Verdict } from './arbiter.ts';
import type { TermAnswer, TermQuestion } from './term-messages.ts';
import { beginTermProcess, termCommand } from './term-program.ts';

export interface FileArbiterOptions {
  /** An absolute path, the same file system on both hosts. */
  readonly folder: string;
  /** How long a question may take, in ms. */
  readonly patienceMs: number;
  /** Begins the process that answers; default that of {@link termCommand}. */
  readonly begin?: (folder: string) => ChildProcess;
}

/** So many processes may wait for a file system that hangs, before no other one is begun. */
const mostStuck = 2;

/** A question that has no answer yet. */
interface Asked {
  readonly resolve: (answer: TermAnswer) => void;
  readonly reject: (error: ArbiterError) => void;
  readonly patience: NodeJS.Timeout;
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/**
 * A folder on a file system that both hosts mount, as arbiter: see TermFolder for the rule.
 *
 * A call on a file system whose server is gone may not return before the server does, and nothing ends a thread that is in
 * one: a VMM that made it could not even exit. So another process makes the calls. One that is late is killed and left to the
 * kernel, and the next question begins a new one.
 */
export class FileArbiter implements Arbiter {
  readonly name: string;
  readonly #options: FileArbiterOptions;
  readonly #asked = new Map<number, Asked>();
  #process: ChildProcess | undefined;
  #questions = 0;
  /** Processes that were killed and have not ended. */
  #stuck = 0;
  #closed = false;

  constructor(options: FileArbiterOptions) {
    this.#options = options;
    this.name = `file ${options.folder}`;
  }

  register(claim: TermClaim): Promise<Verdict> {
    return this.#verdict({ ask: 'register', claim });
  }

  claim(claim: TermClaim): Promise<Verdict> {
    return this.#verdict({ ask: 'claim', claim });
  }

  async check(pair: string): Promise<TermRecord | undefined> {
    const answer = await this.#ask({ ask: 'check', pair });
    return 'last' in answer ? (answer.last ?? undefined) : undefined;
  }

  close(): void {
    this.#closed = true;
    this.#abandon('it was closed');
  }

  async #verdict(question: WithoutId<TermQuestion>): Promise<Verdict> {
    const answer = await this.#ask(question);
    if ('verdict' in answer) return answer.verdict;
    throw new ArbiterError(`the arbiter ${this.name} gave no verdict`);
  }

  #ask(question: WithoutId<TermQuestion>): Promise<TermAnswer> {
    const { patienceMs } = this.#options;
    return new Promise<TermAnswer>((resolve, reject) => {
      if (this.#closed) throw this.#failure('it was closed');
      if (this.#process === undefined && this.#stuck >= mostStuck) {
        throw this.#failure('calls on its file system do not return; is the server there?');
      }
      this.#process ??= this.#begin();
      const id = ++this.#questions;
      const patience = setTimeout(
        () => this.#abandon(`no answer within ${patienceMs} ms; is the server there?`),
        patienceMs,
      );
      this.#asked.set(id, { resolve, reject, patience });
      // That it cannot be sent is that the process ends, of which another event tells.
      this.#process.send({ id, ...question } satisfies TermQuestion, () => {});
    }).then((answer) => {
      if ('problem' in answer) throw new ArbiterError(answer.problem);
      return answer;
    });
  }

  #begin(): ChildProcess {
    const { folder, begin = (path: string) => beginTermProcess(termCommand(path)) } = this.#options;
    const child = begin(folder);
    child.on('message', (answer: TermAnswer) => {
      if (this.#process !== child) return;
      const asked = this.#asked.get(answer.id);
      if (asked === undefined) return;
      this.#asked.delete(answer.id);
      clearTimeout(asked.patience);
      asked.resolve(answer);
    });
    const ended = (reason: string): void => {
      if (this.#process === child) this.#abandon(reason);
    };
    child.once('error', (error) => ended(`its process fails: ${error.message}`));
    child.once('exit', (code, signal) => ended(`its process ended (${signal ?? `exit code ${code}`})`));
    // A question has a timer that keeps its owner awake; without one there is nothing to wait for.
    child.unref();
    child.channel?.unref();
    return child;
  }

  /** Lets the process go, whatever it does, and with it what it was asked. */
  #abandon(reason: string): void {
    const child = this.#process;
    this.#process = undefined;
    if (child !== undefined && child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      this.#stuck++;
      child.once('exit', () => {
        this.#stuck--;
      });
      child.kill('SIGKILL');
      if (child.connected) child.disconnect();
    }
    for (const { reject, patience } of this.#asked.values()) {
      clearTimeout(patience);
      reject(this.#failure(reason));
    }
    this.#asked.clear();
  }

  #failure(reason: string): ArbiterError {
    return new ArbiterError(`the arbiter ${this.name} does not answer: ${reason}`);
  }
}
