import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Serial } from '../../devices/serial.ts';
import { ConsoleOutput } from '../../host/console/console-output.ts';
import type { FifoOutput } from '../../host/console/fifo-output.ts';
import { tell } from '../../host/console/tell.ts';
import type { Doorbell } from '../../host/threads/doorbell.ts';
import { EscapeKeys, type KeyRequests } from './escape-keys.ts';
import { TerminalInput } from './terminal-input.ts';

/** Bytes of output that a crash report can show. */
const tailBytes = 4096;
/** Once there is output the console waits this long for more, again and again, instead of being woken for each byte. */
const flowPeriodMs = 4;
/** A full pipe or stopped terminal is tried again after this time. */
const retryPeriodMs = 20;
/** Input held here while the guest does not read; beyond it the source is not read. */
const inputLimitBytes = 65536;
/** At the end, a reader that is slow gets this long to take the guest's last words. */
const flushLimitMs = 500;

/** What a person at the console can ask for. */
export interface ConsoleRequests extends KeyRequests {
  /** The other end of standard input went away. */
  inputClosed(): void;
}

/**
 * Connects a serial port with descriptors of this process. It never blocks: neither the guest nor a signal has to
 * wait for a reader that is slow.
 */
export class SerialConsole {
  readonly #serial: Serial;
  readonly #bell: Doorbell;
  readonly #isHeld: () => boolean;
  readonly #output: ConsoleOutput | FifoOutput;
  readonly #chunk = new Uint8Array(4096);
  readonly #tail = new Uint8Array(tailBytes);
  #tailEnd = 0;
  #pending = this.#chunk.subarray(0, 0);
  #input: Uint8Array[] = [];
  #inputBytes = 0;
  #closed = false;
  #source: typeof process.stdin | TerminalInput | undefined;

  /**
   * @param bell rings when the port has something to do, and when the machine goes on
   * @param output a descriptor stays open, and belongs to the caller
   * @param isHeld whether the machine is paused: then nothing of the port may change
   */
  constructor(serial: Serial, bell: Doorbell, output: number | FifoOutput, isHeld: () => boolean = () => false) {
    this.#serial = serial;
    this.#bell = bell;
    this.#isHeld = isHeld;
    this.#output = typeof output === 'number' ? new ConsoleOutput(output) : output;
    void this.#pump();
  }

  /** The last bytes the guest printed. */
  get tail(): string {
    const start = this.#tailEnd % tailBytes;
    const bytes =
      this.#tailEnd < tailBytes
        ? [this.#tail.subarray(0, start)]
        : [this.#tail.subarray(start), this.#tail.subarray(0, start)];
    return Buffer.concat(bytes).toString('latin1');
  }

  /**
   * Brings standard input to the guest. A terminal becomes raw, and Ctrl-A is ours. A pipe, socket or terminal that
   * closes is reported; a file that ends, or /dev/null, is nobody who could go away.
   */
  attachInput(requests: ConsoleRequests): void {
    const stat = fstatSync(0);
    if (stat.isCharacterDevice()) {
      // Before process.stdin is made, which takes a while.
      if (!isatty(0)) return;
      const keys = new EscapeKeys(requests, tell);
      this.#source = new TerminalInput(
        (data) => this.#take(keys.filter(data)),
        () => requests.inputClosed(),
      );
      return;
    }
    const { stdin } = process;
    stdin.on('data', (data: Buffer) => this.#take(data));
    if (!stat.isFile()) {
      stdin.on('end', () => requests.inputClosed());
      stdin.on('error', () => requests.inputClosed());
    }
    this.#source = stdin;
  }

  /** Prints what can be printed at once, of a machine that was just stopped: it need not be saved with it then. */
  settle(): void {
    this.#move();
  }

  /**
   * Prints what is left, gives the terminal back.
   *
   * @param takesRest false: what is still with the port stays there, for it was saved with it
   */
  close(takesRest = true): void {
    this.#closed = true;
    if (this.#source instanceof TerminalInput) this.#source.close();
    else this.#source?.pause().removeAllListeners();
    const deadline = performance.now() + flushLimitMs;
    while (this.#move(takesRest) && performance.now() < deadline) {
      if (this.#pending.length > 0) Atomics.wait(pause, 0, 0, retryPeriodMs);
    }
    this.#output.close();
  }

  /** Sleeps until the doorbell rings; then moves bytes as long as there are any. */
  async #pump(): Promise<void> {
    while (!this.#closed) {
      await this.#bell.next();
      this.#feed();
      do {
        const wait = this.#pending.length > 0 ? retryPeriodMs : flowPeriodMs;
        await new Promise((resolve) => setTimeout(resolve, wait));
        this.#feed();
      } while (!this.#closed && !this.#isHeld() && this.#move());
    }
  }

  /** Moves output until there is none or no room; false if there was none. `takesMore`: also what is still with the port. */
  #move(takesMore = true): boolean {
    let moved = false;
    for (;;) {
      if (this.#pending.length === 0 && takesMore) {
        this.#pending = this.#chunk.subarray(0, this.#serial.takeSent(this.#chunk));
        this.#remember(this.#pending);
      }
      if (this.#pending.length === 0) return moved;
      moved = true;
      const count = this.#output.write(this.#pending);
      this.#pending = this.#pending.subarray(count);
      if (count === 0) return true;
    }
  }

  #remember(bytes: Uint8Array): void {
    for (const byte of bytes) this.#tail[this.#tailEnd++ % tailBytes] = byte;
  }

  #take(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#input.push(data);
    this.#inputBytes += data.length;
    this.#feed();
  }

  /** Gives the guest what it has room for. */
  #feed(): void {
    if (this.#isHeld()) return;
    for (let first = this.#input[0]; first !== undefined; first = this.#input[0]) {
      const count = this.#serial.receive(first);
      this.#inputBytes -= count;
      if (count < first.length) {
        this.#input[0] = first.subarray(count);
        break;
      }
      this.#input.shift();
    }
    if (this.#inputBytes > inputLimitBytes) this.#source?.pause();
    else if (this.#source?.isPaused()) this.#source.resume();
  }
}

/** A cell nobody notifies: waiting on it is sleeping. */
const pause = new Int32Array(new SharedArrayBuffer(4));
