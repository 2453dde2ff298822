import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { spinning } from './guests.ts';
import { RawClient } from './qmp-client.ts';
import { type Ending, kernelFile, runVmm, temporaryFolder, VmmProcess } from './vmm-process.ts';

/** Detection is generous: a busy machine is no dead one. */
export const common = ['--arbiter', 'manual', '--detection', '2000'];

/** Two hosts on loopback, and what the command line says there. */
export class Hosts {
  readonly folder: string;
  readonly port: number;
  readonly #test: Test;

  private constructor(t: Test, port: number) {
    this.#test = t;
    this.folder = temporaryFolder(t);
    this.port = port;
  }

  static async make(t: Test): Promise<Hosts> {
    return new Hosts(t, await freePort());
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  disk(name: string, bytes = 1 << 20): string {
    const path = this.file(name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return `path=${path},id=root`;
  }

  /** What the command of --on-event was given on that side, in order. */
  told(side: 'a' | 'b'): unknown[] {
    const lines = readFileSync(this.file(`${side}.told`), 'utf8')
      .trimEnd()
      .split('\n');
    const events = lines.map((line) => JSON.parse(line) as { readonly sequence: number });
    return events.sort((one, other) => one.sequence - other.sequence);
  }

  /** A standby that waits. */
  async standby(...flags: readonly string[]): Promise<VmmProcess> {
    const vmm = this.#start([
      ...['standby', '--name', 'web', '--listen', `127.0.0.1:${this.port}`, '--serial', 'none'],
      ...['--control', this.file('b'), '--state', this.file('b.state'), ...common, ...flags],
    ]);
    while (!vmm.stderr.includes('waiting for a primary')) {
      await Promise.race([once(vmm.child.stderr as never, 'data'), vmm.ended.then(failIfEnded)]);
    }
    return vmm;
  }

  /** A standby that has something to complain of. */
  failingStandby(...flags: readonly string[]): Promise<Ending> {
    return runVmm([
      ...['standby', '--name', 'web', '--listen', '127.0.0.1:1', '--serial', 'none', '--insecure'],
      ...['--control', this.file('c'), '--state', this.file('c.state'), ...common, ...flags],
    ]);
  }

  /** A guest that runs, and of whose protection nobody has spoken yet. */
  guest(...flags: readonly string[]): Promise<VmmProcess> {
    return this.guestOf(spinning('ready'), '16M', ...flags);
  }

  /** The same of a guest that says `ready`. */
  async guestOf(code: Uint8Array, memory: string, ...flags: readonly string[]): Promise<VmmProcess> {
    const kernel = kernelFile(this.folder, code);
    const vmm = this.#start([
      ...['run', '--kernel', kernel, '--memory', memory, '--name', 'web', '--control', this.file('a'), ...flags],
    ]);
    await vmm.printed('ready');
    return vmm;
  }

  /** A command about side a or b. */
  say(side: 'a' | 'b', command: string, ...flags: readonly string[]): Promise<Ending> {
    return runVmm([command, '--control', this.file(side), ...flags]);
  }

  protect(...flags: readonly string[]): Promise<Ending> {
    const standby = ['--standby', `127.0.0.1:${this.port}`, '--state', this.file('a.state'), ...common];
    const mode = flags.includes('--mode') ? [] : ['--mode', 'buffered'];
    return this.say('a', 'protect', ...standby, ...mode, ...flags);
  }

  /** What QMP's query-colo-status says of that side. */
  modes(side: 'a' | 'b'): Promise<unknown> {
    return this.qmp(side, 'query-colo-status');
  }

  /** What a QMP command gives back there; undefined: an error. */
  async qmp(side: 'a' | 'b', execute: string, given: object = {}): Promise<unknown> {
    const client = await new RawClient(this.#test, this.file(side)).begin();
    client.socket.write(`${JSON.stringify({ execute, arguments: given })}\n`);
    for (;;) {
      const answer = (await client.next()) as { readonly return?: unknown } | undefined;
      if (answer !== undefined && 'event' in answer) continue;
      client.socket.destroy();
      return answer?.return;
    }
  }

  /** Waits until that side's headline is this one. */
  async headline(side: 'a' | 'b', wanted: string): Promise<ColoStatus> {
    for (let last = ''; ; ) {
      const { stdout } = await this.say(side, 'status', '--json');
      const { colo } = JSON.parse(stdout || '{}') as { colo?: ColoStatus };
      if (colo?.headline === wanted) return colo;
      if (colo !== undefined && colo.headline !== last) this.#test.comment(`${side} is ${colo.headline}: ${colo.why}`);
      last = colo?.headline ?? last;
    }
  }

  /** Ends with the test. */
  #start(args: readonly string[]): VmmProcess {
    const vmm = new VmmProcess(args);
    this.#test.teardown(async () => {
      vmm.child.kill('SIGKILL');
      await vmm.ended;
    });
    return vmm;
  }
}

function failIfEnded({ stderr }: Ending): never {
  throw new Error(`ended: ${stderr}`);
}

/** One that nobody has in this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return (address as { port: number }).port;
}

/** One sentence on standard error. */
export function complains(t: Test, { code, stderr }: Ending, says: RegExp): void {
  t.equal(code, 1);
  t.match(stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
  t.match(stderr, says);
}
