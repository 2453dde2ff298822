import { ReadStream } from 'node:tty';
import { tellRaw } from '../../host/console/tell.ts';
import { Terminal } from '../../host/console/terminal.ts';
import { ignoreSignal } from '../../host/libc/process.ts';

/** In the background a terminal is looked at again after this time: a shell tells nobody who runs already of `fg`. */
const lookAgainMs = 200;

const SIGTTIN = 21;
const SIGTTOU = 22;

/**
 * Standard input that is a terminal: raw while the machine is in its foreground, and left alone otherwise. A machine in
 * the background of a shell runs on without its keys.
 */
export class TerminalInput {
  readonly #terminal = new Terminal(0);
  readonly #take: (data: Buffer) => void;
  readonly #closed: () => void;
  readonly #look = (): void => this.#follow();
  #stream: ReadStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPaused = false;

  /**
   * @param take gets what is typed
   * @param closed is told that the terminal has gone
   */
  constructor(take: (data: Buffer) => void, closed: () => void) {
    this.#take = take;
    this.#closed = closed;
    // They would stop the machine: at a read, and with `stty tostop` at a write.
    ignoreSignal(SIGTTIN);
    ignoreSignal(SIGTTOU);
    // Whoever stopped us may have changed the terminal, or the shell has sent us to the background.
    process.on('SIGCONT', this.#look);
    this.#follow();
  }

  pause(): void {
    this.#isPaused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#stream?.resume();
  }

  isPaused(): boolean {
    return this.#isPaused;
  }

  /** Gives the terminal back as it was, if it is ours to give. */
  close(): void {
    process.off('SIGCONT', this.#look);
    clearTimeout(this.#timer);
    this.#leave();
    if (this.#terminal.isOurs) this.#terminal.restore();
  }

  #follow(): void {
    if (this.#terminal.isOurs) this.#enter();
    else {
      this.#leave();
      this.#lookLater();
    }
  }

  #enter(): void {
    this.#terminal.makeRaw();
    tellRaw(true);
    if (this.#stream !== undefined) return;
    try {
      this.#stream = new ReadStream(0);
    } catch {
      this.#closed();
      return;
    }
    if (this.#isPaused) this.#stream.pause();
    this.#stream.on('data', this.#take);
    this.#stream.on('end', () => this.#closed());
    this.#stream.on('error', () => this.#failed());
  }

  #leave(): void {
    tellRaw(false);
    // An error that is on its way has nobody to tell any more, and must not end the process.
    this.#stream
      ?.removeAllListeners()
      .on('error', () => {})
      .destroy();
    this.#stream = undefined;
  }

  /** A read in the background fails as one at a terminal that has gone. */
  #failed(): void {
    if (this.#terminal.isGone) {
      this.#closed();
      return;
    }
    this.#leave();
    this.#lookLater();
  }

  #lookLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, lookAgainMs);
  }
}
