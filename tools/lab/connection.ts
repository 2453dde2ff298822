import { type Duplex, Readable, Writable } from 'node:stream';
import { LabError } from './errors.ts';
import { type ExitStatus, encodeFrame, type Frame, FrameReader, jsonPayload, type SpawnOrder } from './protocol.ts';

/** A command running inside a host. */
export interface RemoteProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it ended; rejects if it could not start or its host went away. */
  readonly exit: Promise<ExitStatus>;
  /** Sends a signal to it and to what it started; SIGTERM unless another is named. */
  kill(signal?: NodeJS.Signals): void;
}

interface Task {
  /** Stands before the agent's reason when it fails. */
  readonly name: string;
  output(bytes: Buffer): void;
  errors(bytes: Buffer): void;
  exit(status: ExitStatus): void;
  fail(error: Error): void;
}

const chunkBytes = 256 * 1024;

/** The lab's end of the stream to one host's agent. Many tasks share it. */
export class AgentConnection {
  /** Resolves at the agent's first word; rejects if the stream ends before. */
  readonly ready: Promise<void>;
  readonly #stream: Duplex;
  readonly #tasks = new Map<number, Task>();
  #nextTask = 1;
  #gone: Error | undefined;
  #settleReady: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    // Whoever waits sees it; nobody waiting is no crash.
    this.ready.catch(() => {});
    const reader = new FrameReader();
    stream.on('data', (bytes: Buffer) => {
      try {
        for (const frame of reader.feed(bytes)) this.#take(frame);
      } catch (cause) {
        this.abandon(new LabError('the agent and the lab lost step', { cause }));
      }
    });
    stream.on('error', () => {});
  }

  #take(frame: Frame): void {
    if (frame.type === 'hello') {
      this.#settleReady?.resolve();
      return;
    }
    const task = this.#tasks.get(frame.task);
    if (task === undefined) return;
    switch (frame.type) {
      case 'output':
        task.output(Buffer.from(frame.payload));
        break;
      case 'errors':
        task.errors(Buffer.from(frame.payload));
        break;
      case 'exit':
        this.#tasks.delete(frame.task);
        task.exit(jsonPayload<ExitStatus>(frame));
        break;
      case 'failed':
        this.#tasks.delete(frame.task);
        task.fail(new Error(`${task.name}: ${Buffer.from(frame.payload).toString('utf8')}`));
        break;
      case 'spawn':
      case 'push':
      case 'pull':
      case 'input':
      case 'inputEnd':
      case 'kill':
      case 'nudge':
        throw new LabError(`the agent sent a ${frame.type} frame, which only the lab sends`);
    }
  }

  /** Interrupts the host once. */
  nudge(): void {
    // What a host that hangs has not read would pile up.
    if (this.#gone === undefined && this.#stream.writableLength === 0) this.#stream.write(encodeFrame('nudge', 0));
  }

  /** Ends every task with `error`: the host is no more. */
  abandon(error: Error): void {
    if (this.#gone !== undefined) return;
    this.#gone = error;
    this.#settleReady?.reject(error);
    for (const task of this.#tasks.values()) task.fail(error);
    this.#tasks.clear();
    this.#stream.destroy();
  }

  #start(task: Task): number {
    if (this.#gone !== undefined) throw this.#gone;
    const id = this.#nextTask++;
    this.#tasks.set(id, task);
    return id;
  }

  #write(frame: Buffer): Promise<void> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    return new Promise((resolve) => this.#stream.write(frame, () => resolve()));
  }

  async #writeInput(id: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      await this.#write(encodeFrame('input', id, bytes.subarray(at, at + chunkBytes)));
    }
  }

  spawn(order: SpawnOrder): RemoteProcess {
    const stdout = new Readable({ read() {} });
    const stderr = new Readable({ read() {} });
    const endStreams = () => {
      stdout.push(null);
      stderr.push(null);
    };
    let id = 0;
    const exit = new Promise<ExitStatus>((resolve, reject) => {
      id = this.#start({
        name: order.argv[0] ?? '',
        output: (bytes) => stdout.push(bytes),
        errors: (bytes) => stderr.push(bytes),
        exit: (status) => {
          endStreams();
          resolve(status);
        },
        fail: (error) => {
          endStreams();
          reject(error);
        },
      });
    });
    // A caller that only reads the streams must not be killed by a host's death.
    exit.catch(() => {});
    const stdin = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.#writeInput(id, chunk).then(() => done(), done);
      },
      final: (done) => {
        this.#write(encodeFrame('inputEnd', id)).then(() => done(), done);
      },
    });
    stdin.on('error', () => {});
    void this.#write(encodeFrame('spawn', id, order)).catch(() => {});
    return {
      stdin,
      stdout,
      stderr,
      exit,
      kill: (signal = 'SIGTERM') => void this.#write(encodeFrame('kill', id, Buffer.from(signal))).catch(() => {}),
    };
  }

  /** Writes `bytes` to the file `path` inside the host, its folders made as needed. */
  async push(bytes: Uint8Array, path: string, mode: number): Promise<void> {
    const done = this.#transfer(`${path} could not be written`, () => {});
    await this.#write(encodeFrame('push', done.id, { path, mode }));
    await this.#writeInput(done.id, bytes);
    await this.#write(encodeFrame('inputEnd', done.id));
    await done.end;
  }

  /** The content of the file `path` inside the host. */
  async pull(path: string): Promise<Buffer> {
    const parts: Buffer[] = [];
    const done = this.#transfer(`${path} could not be read`, (bytes) => parts.push(bytes));
    await this.#write(encodeFrame('pull', done.id, { path }));
    await done.end;
    return Buffer.concat(parts);
  }

  #transfer(name: string, output: (bytes: Buffer) => void): { id: number; end: Promise<void> } {
    let id = 0;
    const end = new Promise<void>((resolve, reject) => {
      id = this.#start({
        name,
        output,
        errors: () => {},
        exit: () => resolve(),
        fail: reject,
      });
    });
    end.catch(() => {});
    return { id, end };
  }
}
