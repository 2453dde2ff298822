import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { Etcd } from './etcd.ts';
import { runVmm, temporaryFolder, VmmProcess } from './vmm-process.ts';

export interface PairParts {
  /** Value of `--arbiter`; default a real etcd, which is started. */
  readonly arbiter?: string;
  /** What runs the VMMs, such as nsenter with its arguments. */
  readonly under?: readonly string[];
}

/** What a command of `--on-event` is given. */
export interface ToldEvent {
  readonly event: string;
  readonly pair: string;
  readonly role: string;
  readonly sequence: number;
  readonly at: string;
  readonly text: string;
}

/** Two real VMMs on loopback that are a pair: what a test starts of them. */
export class Pair {
  readonly folder: string;
  /** Where a standby waits on each of the hosts. */
  readonly ports: Readonly<Record<'a' | 'b', number>>;
  readonly #etcd: Etcd | undefined;
  readonly #parts: PairParts;
  readonly #processes: VmmProcess[] = [];

  private constructor(folder: string, ports: Readonly<Record<'a' | 'b', number>>, parts: PairParts, etcd?: Etcd) {
    this.folder = folder;
    this.ports = ports;
    this.#parts = parts;
    this.#etcd = etcd;
  }

  /** Its arbiter, if no other one was given. */
  get etcd(): Etcd {
    if (this.#etcd === undefined) throw new Error('this pair has another arbiter');
    return this.#etcd;
  }

  get port(): number {
    return this.ports.b;
  }

  /** All that it starts is gone after the test. */
  static async make(t: { teardown(clean: () => unknown): void }, parts: PairParts = {}): Promise<Pair> {
    const etcd = parts.arbiter === undefined ? await Etcd.start() : undefined;
    const pair = new Pair(temporaryFolder(t), { a: await freePort(), b: await freePort() }, parts, etcd);
    t.teardown(async () => {
      for (const vmm of pair.#processes) vmm.child.kill('SIGKILL');
      await Promise.all(pair.#processes.map((vmm) => vmm.ended));
      await etcd?.close();
    });
    const { code, stderr } = await runVmm(['keys', '--pair', 'web', '--hosts', 'a,b', pair.keys()]);
    if (code !== 0) throw new Error(stderr);
    return pair;
  }

  keys(host = ''): string {
    return join(this.folder, 'keys', host);
  }

  /** Path of the control socket of that side. */
  control(side: 'a' | 'b'): string {
    return join(this.folder, `${side}.sock`);
  }

  /** Flags of both sides. Detection is generous: a busy machine is no dead one. */
  #flags(side: 'a' | 'b', more: readonly string[]): string[] {
    const own = {
      '--tls': `dir=${this.keys(side)}`,
      '--arbiter': this.#parts.arbiter ?? `etcd:${this.etcd.url}`,
      '--detection': '1000',
    };
    const flags = Object.entries(own).flatMap(([flag, value]) => (more.includes(flag) ? [] : [flag, value]));
    const insecure = more.includes('--insecure') ? flags.filter((_, index) => index !== 0 && index !== 1) : flags;
    return [
      ...['--name', 'web', '--control', this.control(side), '--state', join(this.folder, `${side}.state`)],
      ...insecure,
      ...more,
    ];
  }

  standby(...more: readonly string[]): VmmProcess {
    return this.#start(['standby', '--listen', `127.0.0.1:${this.port}`, ...this.#flags('b', more)]);
  }

  /** A standby on that host, which looks for a survivor on the other one. */
  seeking(side: 'a' | 'b', ...more: readonly string[]): VmmProcess {
    const other = this.ports[side === 'a' ? 'b' : 'a'];
    const places = ['--listen', `127.0.0.1:${this.ports[side]}`, '--peer', `127.0.0.1:${other}`];
    return this.#start(['standby', ...places, ...this.#flags(side, more)]);
  }

  /** In buffered mode, unless another one is asked for. */
  primary(kernel: string, ...more: readonly string[]): VmmProcess {
    const mode = more.includes('--mode') ? [] : ['--mode', 'buffered'];
    const place = ['--standby', `127.0.0.1:${this.port}`];
    return this.#start(['run', '--kernel', kernel, ...place, ...mode, ...this.#flags('a', more)]);
  }

  /** Its status, once that is as wanted. @throws if the process ends before */
  async status(side: 'a' | 'b', wanted: (status: ColoStatus) => boolean): Promise<ColoStatus> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const { stdout, stderr } = await runVmm(['status', '--control', this.control(side), '--json']);
      const colo = stdout === '' ? undefined : (JSON.parse(stdout) as { colo?: ColoStatus }).colo;
      if (colo !== undefined && wanted(colo)) return colo;
      if (Date.now() > deadline) throw new Error(`${side} is not as wanted: ${JSON.stringify(colo)} ${stderr}`);
    }
  }

  async protected(primary: 'a' | 'b' = 'a'): Promise<void> {
    await this.status(primary, ({ headline }) => headline === 'PROTECTED');
    await this.status(primary === 'a' ? 'b' : 'a', ({ headline }) => headline === 'PROTECTING');
  }

  /** Flags for {@link Pair.told}. */
  telling(side: 'a' | 'b'): readonly string[] {
    return ['--on-event', `cat >> ${join(this.folder, `${side}.told`)}`];
  }

  /** What that side's command was given, in order, once `event` has come since it was protected; of arbiters only if asked for. */
  async told(side: 'a' | 'b', event: string): Promise<readonly ToldEvent[]> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      let text = '';
      try {
        text = readFileSync(join(this.folder, `${side}.told`), 'utf8');
      } catch {
        // There was nothing to tell yet.
      }
      // The last line may be on its way.
      const lines = text.split('\n').slice(0, -1);
      const events = lines.map((line) => JSON.parse(line) as ToldEvent).sort((one, two) => one.sequence - two.sequence);
      const ofArbiter = event.startsWith('arbiter');
      const wanted = events.filter((told) => told.event.startsWith('arbiter') === ofArbiter);
      const since = wanted.findLastIndex((told) => told.event === 'protected');
      if (wanted.slice(Math.max(0, since)).some((told) => told.event === event)) return wanted;
      if (Date.now() > deadline) throw new Error(`${side} was not told of ${event}: ${text}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  #start(args: readonly string[]): VmmProcess {
    const { under } = this.#parts;
    const vmm = new VmmProcess(args, under === undefined ? {} : { under });
    this.#processes.push(vmm);
    return vmm;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
