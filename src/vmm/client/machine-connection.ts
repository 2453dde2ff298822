import { connect, type Socket } from 'node:net';
import { inTime, Patience } from '../thread/patience.ts';
import { type EventListener, MonitorError, QmpClient } from './qmp-client.ts';

/** A VMM that does not answer a question within this time hangs. */
export const patienceMs = 5000;

/**
 * A VMM whose machine has ended only gives back what it had: memory, files, threads. It takes a moment, on a host that is starved far
 * longer, and nothing is lost by waiting for it.
 */
const endPatienceMs = 30_000;

/** How long all that is asked of a machine may take together. */
export interface TotalLimit {
  readonly totalMs: number;
}

/** A machine's monitor on its control socket, negotiated. */
export class MachineConnection {
  readonly path: string;
  readonly client: QmpClient;
  readonly #socket: Socket;
  readonly #limitMs: number;
  /** Of all that is asked together; absent: each answer may take as long as the limit says. */
  readonly #patience: Patience | undefined;

  private constructor(path: string, socket: Socket, limit: number | TotalLimit, onEvent: EventListener) {
    this.path = path;
    this.#socket = socket;
    this.#limitMs = typeof limit === 'number' ? limit : limit.totalMs;
    this.#patience = typeof limit === 'number' ? undefined : new Patience(limit.totalMs);
    this.client = new QmpClient(socket, socket, onEvent);
  }

  /**
   * @param limit how long an answer may take, in ms, or all answers together
   * @throws MonitorError if nobody answers there
   */
  static async open(
    path: string,
    onEvent: EventListener = () => {},
    limit: number | TotalLimit = patienceMs,
  ): Promise<MachineConnection> {
    const socket = await connected(path);
    const connection = new MachineConnection(path, socket, limit, onEvent);
    try {
      await connection.#inTime(connection.client.greeting);
      await connection.ask('qmp_capabilities');
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Runs a command. @throws MonitorError if it fails, or there is no answer in time */
  ask(command: string, given?: object, limitMs: number = this.#limitMs): Promise<unknown> {
    return this.#inTime(this.client.execute(command, given), limitMs);
  }

  /** Resolves when the VMM has let go of the connection; false if it did not in time. */
  async ended(limitMs = endPatienceMs): Promise<boolean> {
    const ended = this.client.ended.then(() => true);
    return (await within(ended, limitMs)) === true;
  }

  /** What `answer` gives; undefined if there is none because the VMM let go of the connection. @throws as `answer` */
  async unlessEnded<T>(answer: Promise<T>): Promise<T | undefined> {
    try {
      return await answer;
    } catch (error) {
      const ended = this.client.ended.then(() => true);
      // It is told of that at once, or not at all.
      if ((await within(ended, 100)) === true) return undefined;
      throw error;
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  async #inTime(answer: Promise<unknown>, limitMs: number = this.#limitMs): Promise<unknown> {
    const patience = this.#patience ?? new Patience(limitMs);
    const found = await inTime(answer, patience).catch((error: Error) => {
      throw new MonitorError(`${this.path}: ${error.message}`, { cause: error });
    });
    if (found === undefined) {
      throw new MonitorError(
        `${this.path}: no answer within ${limitMs / 1000} s; its VMM hangs, waits for its disks, or was stopped (SIGSTOP)`,
      );
    }
    return found.value;
  }
}

/** What `promise` gives; undefined if that takes too long. */
export async function within<T>(promise: Promise<T>, limitMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Why nobody can be reached at a socket. */
const failures: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket; has the machine ended, or another name?',
  ECONNREFUSED: 'nobody serves this socket; its VMM was killed, or this is no socket of one',
  EACCES: 'no permission; the machine belongs to another user',
  EPERM: 'no permission; the machine belongs to another user',
  ENOTSOCK: 'this is no socket',
  EAGAIN: 'its VMM takes no more clients; it hangs, or is very busy',
};

export class ConnectError extends MonitorError {
  readonly reason: string;

  constructor(path: string, cause: NodeJS.ErrnoException) {
    super(`${path}: ${failures[cause.code ?? ''] ?? cause.message}`, { cause });
    this.reason = cause.code ?? '';
  }
}

/** @throws ConnectError */
export function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', (error: NodeJS.ErrnoException) => reject(new ConnectError(path, error)));
    socket.once('connect', () => {
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}
