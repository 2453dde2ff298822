import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { endProcess } from '../../lab/end-process.ts';
import { execute } from '../../packages/execute.ts';

/** A network namespace, held by a process that lives no longer than this one. */
export class Namespace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<Namespace> {
    const holder = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', '--net', 'sh', '-c', 'echo ready; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true, // no Ctrl-C: it is ended last
    });
    const ready = await Promise.race([
      once(holder.stdout as never, 'data').then(() => true),
      once(holder, 'exit').then(() => false),
    ]);
    if (!ready) throw new Error('no right to make network namespaces: run as root');
    const namespace = new Namespace(holder);
    await namespace.run('ip', 'link', 'set', 'lo', 'up');
    await quiet(namespace);
    return namespace;
  }

  /** Of the process that holds it. */
  get pid(): number {
    return this.#holder.pid as number;
  }

  /** The command line of a program that runs in it. */
  command(program: string, ...args: readonly string[]): readonly [program: string, args: readonly string[]] {
    return ['nsenter', [`--net=/proc/${this.pid}/ns/net`, program, ...args]];
  }

  async run(program: string, ...args: readonly string[]): Promise<string> {
    const [command, given] = this.command(program, ...args);
    return execute(command, given);
  }

  close(): Promise<void> {
    return endProcess(this.#holder);
  }
}

/** The namespace that this process is in. */
export const here = {
  run: (program: string, ...args: readonly string[]): Promise<string> => execute(program, args),
} as const;

/** No IPv6: its neighbours and routers are looked for where nothing should be said. */
export async function quiet(namespace: { run(program: string, ...args: string[]): Promise<string> }): Promise<void> {
  for (const which of ['all', 'default']) {
    await namespace.run('sh', '-c', `echo 1 > /proc/sys/net/ipv6/conf/${which}/disable_ipv6`);
  }
}
