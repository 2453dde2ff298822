import { basename } from 'node:path';
import { dynamicLinker, libraryFolder, programFiles } from '../../images/program-files.ts';
import type { RemoteProcess } from '../../lab/connection.ts';
import type { Host } from '../../lab/host.ts';
import type { Progress } from '../../packages/progress.ts';
import { guestPorts } from './guest.ts';

const programs = [
  { package: 'wrk', path: 'usr/bin/wrk' },
  { package: 'redis-tools', path: 'usr/bin/redis-benchmark' },
] as const;
/** Of the machine outside. */
const folder = '/opt/load';
const script = `${folder}/wait.lua`;
/** An emulated host has other things to do: a connection waits so long between an answer and its next request. */
const waitScript = 'function delay() return 20 end\n';
/** Longer than a loss takes to be noticed. */
const wrkSeconds = 15;
/** wrk has memory for each microsecond of it. */
const wrkTimeoutSeconds = 20;

/** Programs of others that ask as fast as they are answered, over several connections, while a fault happens. */
export class LoadTools {
  readonly #outside: Host;

  private constructor(outside: Host) {
    this.#outside = outside;
  }

  static async make(outside: Host, progress: Progress): Promise<LoadTools> {
    for (const { package: name, path } of programs) {
      for (const file of await programFiles({ package: name, path, progress })) {
        await outside.push(file.source, `${folder}/${basename(path)}/${file.path}`, file.mode);
      }
    }
    await outside.push(Buffer.from(waitScript), script);
    return new LoadTools(outside);
  }

  /** @param address of the guest, of either kind */
  start(address: string): RunningLoad {
    const host = address.includes(':') ? `[${address}]` : address;
    const url = `http://${host}:${guestPorts.web}/`;
    const how = [
      '--threads',
      '1',
      '--connections',
      '2',
      '--duration',
      `${wrkSeconds}s`,
      '--timeout',
      `${wrkTimeoutSeconds}s`,
    ];
    const wrk = this.#run('usr/bin/wrk', [...how, '--script', script, url]);
    const service = ['-h', address, '-p', String(guestPorts.redis)];
    // A write that redis makes durable, again and again.
    const redis = this.#run('usr/bin/redis-benchmark', [
      ...service,
      ...['-c', '2', '-n', '10', '-t', 'set', '-q', '-l'],
    ]);
    return new RunningLoad(wrk, redis);
  }

  #run(path: string, args: readonly string[]): RemoteProcess {
    const root = `${folder}/${basename(path)}`;
    const program = [`${root}/${dynamicLinker}`, '--library-path', `${root}/${libraryFolder}`, `${root}/${path}`];
    const child = this.#outside.spawn([...program, ...args]);
    child.stdin.end();
    return child;
  }
}

export class RunningLoad {
  readonly #wrk: Promise<string[]>;
  readonly #redis: RemoteProcess;
  readonly #redisEnded: Promise<string[]>;

  constructor(wrk: RemoteProcess, redis: RemoteProcess) {
    this.#wrk = wordsOf(wrk).then(wrkViolations);
    this.#redis = redis;
    this.#redisEnded = wordsOf(redis).then(redisViolations);
  }

  /** A line for each thing that went wrong. wrk is waited for; the other one asks until now. */
  async end(): Promise<string[]> {
    const wrong = await this.#wrk;
    this.#redis.kill('SIGKILL');
    return [...wrong, ...(await this.#redisEnded)];
  }
}

/** What a program said, and how it ended. */
export interface Words {
  readonly text: string;
  readonly status: number | null;
}

async function wordsOf(child: RemoteProcess): Promise<Words> {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text = (text + part).slice(-4096);
    });
  }
  const { status } = await child.exit;
  return { text, status };
}

/**
 * A connection that nobody answers is made again, as by any client that was not answered yet: that counts for nothing. All else that
 * wrk counts as an error is one.
 */
export function wrkViolations({ text, status }: Words): string[] {
  if (status !== 0) return [`wrk: it ended with ${status}: ${text.trim().slice(-200)}`];
  const [, read, write, timeout] = /Socket errors: .*read (\d+), write (\d+), timeout (\d+)/.exec(text) ?? [];
  const found: string[] = [];
  if ([read, write, timeout].some((count) => count !== undefined && count !== '0')) {
    found.push(`wrk: errors of connections: read ${read}, write ${write}, timeout ${timeout}`);
  }
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1];
  if (refused !== undefined) found.push(`wrk: ${refused} answers were not the page`);
  if (!/^\s*[1-9]\d* requests in /m.test(text)) found.push('wrk: nobody was answered');
  return found;
}

/** It asks on until it is ended by a signal; what it ends with by itself is an error. */
export function redisViolations({ text, status }: Words): string[] {
  if (status !== null) return [`redis-benchmark: it ended with ${status}: ${text.trim().slice(-200)}`];
  return [];
}
