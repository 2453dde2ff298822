import { readFile, stat } from 'node:fs/promises';
import { AgentConnection, type RemoteProcess } from './connection.ts';
import { CommandTimeoutError, HostGoneError, LabError } from './errors.ts';
import type { Machine } from './machine.ts';
import { type ExitStatus, nudgePeriodMs, type SpawnOrder } from './protocol.ts';

/** A command: its arguments, or one line for the host's shell. */
export type Command = readonly string[] | string;

export interface SpawnOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Give it a terminal: what it writes comes out of `stdout` as a terminal would show it. */
  readonly terminal?: boolean;
}

export interface RunOptions extends SpawnOptions {
  /** Default {@link defaultTimeoutMs}. Emulated hosts are 10 to 30 times slower than this machine. */
  readonly timeoutMs?: number;
  readonly stdin?: string | Uint8Array;
  /** Sees the output as it comes. */
  readonly onOutput?: (text: string, from: 'stdout' | 'stderr') => void;
}

export interface RunResult extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

export const defaultTimeoutMs = 60_000;
/** Far more than a boot takes (5 s), for machines that do other work too. */
const startTimeoutMs = 120_000;
const shownConsoleLines = 40;

type HostState = 'off' | 'running' | 'hung' | 'failed';

/** One host of the lab, emulated or native. */
export class Host {
  readonly name: string;
  /** Its address in the lab's network; undefined in a lab of one. */
  readonly address: string | undefined;
  /** Paths, inside it, of the disks the lab was asked for. They keep their content over a power loss. */
  readonly disks: readonly string[];
  readonly #boot: () => Promise<Machine>;
  readonly #prepare: (host: Host) => Promise<void>;
  readonly #onFailure: (error: LabError) => void;
  #machine: Machine | undefined;
  #connection: AgentConnection | undefined;
  #state: HostState = 'off';

  constructor(options: {
    name: string;
    address: string | undefined;
    disks: readonly string[];
    /** Switches the machine on. */
    boot: () => Promise<Machine>;
    /** What every start of this host needs before it is handed out. */
    prepare: (host: Host) => Promise<void>;
    onFailure: (error: LabError) => void;
  }) {
    this.name = options.name;
    this.address = options.address;
    this.disks = options.disks;
    this.#boot = options.boot;
    this.#prepare = options.prepare;
    this.#onFailure = options.onFailure;
  }

  get state(): HostState {
    return this.#state;
  }

  /** The end of what its kernel said on its console. */
  get console(): string {
    return this.#machine?.consoleTail() ?? '';
  }

  /** Switches the host on; resolves when commands can run. Nothing it held before is there, but on its disks. */
  async powerOn(): Promise<void> {
    if (this.#state !== 'off') throw new LabError(`${this.name} is ${this.#state} and cannot be switched on`);
    const machine = await this.#boot();
    const connection = new AgentConnection(machine.channel);
    this.#machine = machine;
    this.#connection = connection;
    this.#state = 'running';
    const nudges = machine.losesInterrupts ? setInterval(() => connection.nudge(), nudgePeriodMs).unref() : undefined;
    void machine.ended.then((how) => {
      clearInterval(nudges);
      if (this.#machine !== machine || this.#state === 'off') return;
      this.#state = 'failed';
      this.#fail(`${this.name} ended by itself: ${how}`);
    });
    const timer = setTimeout(
      () => this.#fail(`${this.name} did not start within ${startTimeoutMs / 1000} s`),
      startTimeoutMs,
    );
    try {
      await connection.ready;
    } finally {
      clearTimeout(timer);
    }
    await this.#prepare(this);
  }

  #fail(what: string): void {
    const tail = this.console.trimEnd().split('\n').slice(-shownConsoleLines).join('\n');
    const error = new LabError(tail === '' ? what : `${what}\n${tail}`);
    this.#connection?.abandon(error);
    this.#onFailure(error);
  }

  #agent(): AgentConnection {
    if (this.#connection === undefined) throw new HostGoneError(`${this.name} is off`);
    return this.#connection;
  }

  /** Starts a command; its streams are live, several may run at a time. */
  spawn(command: Command, options: SpawnOptions = {}): RemoteProcess {
    const argv = typeof command === 'string' ? ['sh', '-c', command] : command;
    const order: SpawnOrder = {
      argv: options.terminal ? ['script', '-qec', argv.map(quoted).join(' '), '/dev/null'] : argv,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    };
    return this.#agent().spawn(order);
  }

  /**
   * Runs a command to its end. A command that fails is a result, not an error. Throws {@link CommandTimeoutError}
   * (it is killed), {@link HostGoneError} after a power loss, {@link LabError} if the host failed.
   */
  async run(command: Command, options: RunOptions = {}): Promise<RunResult> {
    const child = this.spawn(command, options);
    const text = { stdout: '', stderr: '' };
    for (const from of ['stdout', 'stderr'] as const) {
      child[from].setEncoding('utf8').on('data', (part: string) => {
        text[from] += part;
        options.onOutput?.(part, from);
      });
    }
    child.stdin.end(options.stdin);
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        child.kill('SIGKILL');
        const shown = typeof command === 'string' ? command : command.join(' ');
        const said = `${text.stdout}${text.stderr}`.slice(-2000);
        const message = `"${shown}" on ${this.name} did not end within ${timeoutMs / 1000} s; it said last: ${said}`;
        reject(new CommandTimeoutError(message, text.stdout, text.stderr));
      }, timeoutMs);
    });
    try {
      const status = await Promise.race([child.exit, late]);
      await Promise.all([ended(child.stdout), ended(child.stderr)]);
      return { ...status, ...text };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Writes a file of this machine, or bytes, to `path` inside the host, making its folders. */
  async push(source: string | Uint8Array, path: string, mode?: number): Promise<void> {
    const bytes = typeof source === 'string' ? await readFile(source) : source;
    const bits = mode ?? (typeof source === 'string' ? (await stat(source)).mode & 0o777 : 0o644);
    await this.#agent().push(bytes, path, bits);
  }

  /** The content of a file inside the host. */
  async pull(path: string): Promise<Buffer> {
    return this.#agent().pull(path);
  }

  /** Takes the power away. What ran there ends with {@link HostGoneError}. */
  async powerLoss(): Promise<void> {
    if (this.#state === 'off') return;
    this.#state = 'off';
    await this.#machine?.kill();
    this.#connection?.abandon(new HostGoneError(`${this.name} lost its power`));
    this.#connection = undefined;
  }

  /** Stops everything in the host at once, without a word to anyone, as a machine that hangs. */
  async hang(): Promise<void> {
    if (this.#state !== 'running') throw new LabError(`${this.name} is ${this.#state} and cannot hang`);
    await this.#machine?.hang();
    this.#state = 'hung';
  }

  async unhang(): Promise<void> {
    if (this.#state !== 'hung') throw new LabError(`${this.name} is ${this.#state}, not hung`);
    await this.#machine?.unhang();
    this.#state = 'running';
  }
}

function ended(stream: NodeJS.ReadableStream & { readableEnded?: boolean }): Promise<void> {
  return stream.readableEnded ? Promise.resolve() : new Promise((resolve) => stream.once('end', resolve));
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
