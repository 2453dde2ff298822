import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { MachineConnection } from '../../../src/vmm/client/machine-connection.ts';
import { pairStatus } from '../../../src/vmm/client/pair-answers.ts';
import type { ColoEvent, ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import { bundle } from '../../../test/support/vmm-process.ts';
import type { Holding } from '../flatness.ts';
import type { Namespace } from '../net/namespace.ts';

export interface VmmOptions {
  /** What it is called in files and messages. */
  readonly name: string;
  /** Where its log, its control socket and its history are. */
  readonly folder: string;
  readonly namespace: Namespace;
  readonly args: readonly string[];
}

/** A colo-vmm process on one of the hosts. It ends with us, whatever happens to us. */
export class Vmm {
  readonly name: string;
  readonly child: ChildProcess;
  readonly control: string;
  readonly #log: string;
  readonly #folder: string;
  readonly #ended: Promise<unknown>;
  #connection: Promise<MachineConnection> | undefined;
  #frozen = false;
  #killed = false;
  #mayEndWith: number | undefined;

  constructor({ name, folder, namespace, args }: VmmOptions) {
    this.name = name;
    this.#folder = folder;
    this.control = join(folder, `${name}.sock`);
    this.#log = join(folder, `${name}.log`);
    const log = openSync(this.#log, 'a');
    try {
      const [program, given] = namespace.command(
        ...['setpriv', '--pdeathsig', 'KILL', process.execPath, bundle, ...args, '--control', this.control],
      );
      this.child = spawn(program, given, { stdio: ['ignore', log, log], detached: true });
    } finally {
      closeSync(log);
    }
    this.#ended = once(this.child, 'exit');
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** What it holds now; undefined if it is gone. */
  get holding(): Holding | undefined {
    const of = `/proc/${this.pid}`;
    try {
      const rollup = readFileSync(`${of}/smaps_rollup`, 'latin1');
      const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0);
      return { mib: (kib('Anonymous') + kib('Pss_Shmem')) / 1024, files: readdirSync(`${of}/fd`).length };
    } catch {
      return undefined;
    }
  }

  /** Not by us. */
  get endedByItself(): boolean {
    return !this.isAlive && !this.#killed && this.child.exitCode !== this.#mayEndWith;
  }

  /** It may end by itself, with this exit code. */
  mayEndWith(exitCode: number): void {
    this.#mayEndWith = exitCode;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  /** What it told its operator, and how it ended. */
  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  freeze(): void {
    this.child.kill('SIGSTOP');
    this.#frozen = true;
  }

  thaw(): void {
    this.child.kill('SIGCONT');
    this.#frozen = false;
  }

  /** Of the pair, as this side sees it; undefined if it does not answer (yet). */
  async status(): Promise<ColoStatus | undefined> {
    const answer = await this.#ask('x-colo-status');
    return answer === undefined ? undefined : v.parse(pairStatus, answer);
  }

  /** All that it remembers, the oldest first; nothing if it does not answer. */
  async events(): Promise<readonly ColoEvent[]> {
    return ((await this.#ask('x-colo-events', { all: true })) ?? []) as readonly ColoEvent[];
  }

  /** Writes all events that it remembers into its folder. */
  async keepHistory(): Promise<void> {
    const events = await this.events();
    const lines = events.map(
      ({ at, topic, text }) => `${new Date(at).toISOString().slice(11, 23)} ${topic}: ${text}\n`,
    );
    if (lines.length > 0) writeFileSync(join(this.#folder, `${this.name}.events`), lines.join(''));
  }

  /** @throws Error if it is refused */
  async command(name: string): Promise<void> {
    this.#connection ??= MachineConnection.open(this.control);
    await (await this.#connection).ask(name);
  }

  /** Gone, at once. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** As {@link kill}, so many ms later, by another process: at a moment that has nothing to do with what this one does. */
  killIn(ms: number): Promise<void> {
    this.#killed = true;
    spawn('sh', ['-c', `sleep ${ms / 1000}; kill -KILL ${this.child.pid}`]);
    return this.#gone();
  }

  /** Gone, in order. */
  end(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.isAlive) {
      this.#killed = true;
      this.child.kill(signal);
    }
    await this.#gone();
  }

  async #gone(): Promise<void> {
    await this.#ended;
    (await this.#connection?.catch(() => undefined))?.close();
  }

  async #ask(command: string, given?: object): Promise<unknown> {
    if (!this.isAlive || this.#frozen) return undefined;
    this.#connection ??= MachineConnection.open(this.control, () => {}, 1000);
    try {
      return await (await this.#connection).ask(command, given);
    } catch {
      // Not there yet, or it has just gone.
      (await this.#connection?.catch(() => undefined))?.close();
      this.#connection = undefined;
      return undefined;
    }
  }
}
