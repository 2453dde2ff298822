import { type ChildProcess, spawn } from 'node:child_process';
import { printable, tell } from '../../host/console/tell.ts';
import type { ColoEvent, ColoListener } from '../../vmm/monitor/colo-control.ts';

/** What an `--on-event` command is, and what its owner hears of it. */
export interface HookOptions {
  /** For `/bin/sh -c`. */
  readonly command: string;
  /** Of the machine, if it has one: what it is told by while it is in no pair. */
  readonly name?: string | undefined;
  readonly role: 'primary' | 'secondary';
  /** Takes a line for the operator. */
  readonly notice: (text: string) => void;
  /** A command that takes longer is killed, with its children. */
  readonly patienceMs?: number;
  /** So long the commands of the last events may go on when the VMM ends. */
  readonly endPatienceMs?: number;
  /** Starts a command. One without pipes did not start, and its `error` is to come: Node has it so where too many files are open. */
  readonly start?: (command: string) => ChildProcess;
}

/** So many commands run at a time, and so many events wait for one. */
const mostAtOnce = 4;
const mostWaiting = 64;
/** Of what a command prints, as much goes into the log. */
const shownBytes = 2000;
/** What a command printed is in the pipe when it has ended, unless something that it left holds the pipe open. */
const lingerMs = 1000;

/**
 * Runs a command for each milestone of a pair, with the event as one line of JSON on standard input:
 *
 *     {"event":"failover","pair":"web","role":"secondary","sequence":3,"at":"2026-12-01T16:12:39.918Z","topic":"takeover","text":"..."}
 *
 * Events begin in order, several at a time if the commands are slow: `sequence` says which was first. Nobody waits for any.
 */
export class EventHook implements ColoListener {
  readonly #options: HookOptions;
  readonly #waiting: string[] = [];
  readonly #running = new Set<ChildProcess>();
  #sequence = 0;
  #dropped = 0;
  #idle: (() => void) | undefined;
  #closed = false;

  constructor(options: HookOptions) {
    this.#options = options;
  }

  happened({ event, at, topic, text }: ColoEvent, pair: string | undefined): void {
    if (event === undefined || this.#closed) return;
    const { name, role } = this.#options;
    this.#sequence++;
    if (this.#waiting.length >= mostWaiting) {
      // The oldest says least about what is now.
      this.#waiting.shift();
      this.#dropped++;
    }
    const when = new Date(at).toISOString();
    this.#waiting.push(
      JSON.stringify({ event, pair: pair ?? name, role, sequence: this.#sequence, at: when, topic, text }),
    );
    this.#work();
  }

  exited(): void {}

  /** Lets the commands of the last events end, for a short time; then none of them is there any more. */
  async close(): Promise<void> {
    if (this.#running.size > 0 || this.#waiting.length > 0) {
      const { endPatienceMs = 2000 } = this.#options;
      let patience: NodeJS.Timeout | undefined;
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#idle = resolve;
        }),
        new Promise<void>((resolve) => {
          patience = setTimeout(resolve, endPatienceMs);
        }),
      ]);
      clearTimeout(patience);
    }
    this.#closed = true;
    this.#waiting.length = 0;
    for (const child of this.#running) killGroup(child);
  }

  #work(): void {
    if (this.#dropped > 0 && this.#running.size < mostAtOnce) {
      this.#say(`${this.#dropped} events were not told: the commands before them took too long`);
      this.#dropped = 0;
    }
    while (this.#running.size < mostAtOnce && this.#waiting.length > 0) this.#run(this.#waiting.shift() as string);
    if (this.#running.size === 0) this.#idle?.();
  }

  #run(line: string): void {
    const { command, patienceMs = 30_000, start = startInShell } = this.#options;
    const { event: about } = JSON.parse(line) as { readonly event: string };
    const notRun = (error: Error): void => this.#say(`for ${about} cannot be run: ${error.message}`);
    let child: ChildProcess;
    try {
      child = start(command);
    } catch (error) {
      notRun(error as Error);
      return;
    }
    const { stdin, stdout, stderr } = child;
    if (!stdin || !stdout || !stderr) {
      child.once('error', notRun);
      return;
    }
    this.#running.add(child);
    const printed: Buffer[] = [];
    let bytes = 0;
    const take = (chunk: Buffer): void => {
      // What is beyond is read, for otherwise the command would wait, and forgotten.
      if (bytes < shownBytes) printed.push(chunk.subarray(0, shownBytes - bytes));
      bytes += chunk.length;
    };
    stdout.on('data', take);
    stderr.on('data', take);
    // A command need not read what it is given.
    stdin.on('error', () => {});
    stdin.end(`${line}\n`);
    let late = false;
    const patience = setTimeout(() => {
      late = true;
      killGroup(child);
    }, patienceMs);
    let failure: string | undefined;
    let over = false;
    const end = (): void => {
      if (over) return;
      over = true;
      clearTimeout(patience);
      clearTimeout(lingering);
      stdout.destroy();
      stderr.destroy();
      this.#running.delete(child);
      const said = Buffer.concat(printed).toString('utf8').trim();
      if (failure !== undefined) this.#say(`for ${about} ${failure}${said === '' ? '' : `: ${said}`}`);
      else if (said !== '') this.#say(`for ${about}: ${said}`);
      this.#work();
    };
    let lingering: NodeJS.Timeout | undefined;
    child.once('error', (error) => {
      failure = `cannot be run: ${error.message}`;
      end();
    });
    child.once('exit', (code, signal) => {
      if (late) failure = `took longer than ${patienceMs / 1000} s and was killed`;
      else if (signal !== null) failure = `was ended by ${signal}`;
      else if (code !== 0) failure = `failed with exit code ${code}`;
      clearTimeout(patience);
      // What it left running in the background ends too, and with it the pipes; but for what made a session of its own.
      killGroup(child);
      lingering = setTimeout(end, lingerMs);
    });
    child.once('close', end);
  }

  #say(text: string): void {
    this.#options.notice(`--on-event ${printable(text)}`);
  }
}

/** The hook of a command line, if it has one; it speaks on standard error. @param name of the machine, if it has one */
export function hookOf(
  command: string | undefined,
  name: string | undefined,
  role: HookOptions['role'],
): EventHook | undefined {
  if (command === undefined) return undefined;
  const named = name === undefined ? '' : `${name}: `;
  return new EventHook({ command, name, role, notice: (text) => tell(`colo-vmm: ${named}${text}\n`) });
}

/** In a group of its own, so that its children end with it. */
function startInShell(command: string): ChildProcess {
  return spawn('/bin/sh', ['-c', command], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // None of it is there any more.
  }
}
