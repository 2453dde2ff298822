/**
 * The program inside every host that runs the lab's commands. It is bundled into one file and started there by Node
 * with the channel as its argument: a virtio-serial port's path, or `fd:3` in a namespace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { openChannel } from './agent-channel.ts';
import {
  type ExitStatus,
  encodeFrame,
  type Frame,
  FrameReader,
  type FrameType,
  jsonPayload,
  type PullOrder,
  type PushOrder,
  type SpawnOrder,
} from './protocol.ts';

/** What a task does with the frames that come for it. */
interface Task {
  input(bytes: Uint8Array): void;
  inputEnd(): void;
  kill(signal: string): void;
}

const tasks = new Map<number, Task>();
const channel = openChannel(process.argv[2] ?? '');
/** After a command's end, how long its output may still come; a process it left behind may hold the pipe for ever. */
const lateOutputMs = 1000;
const pullChunkBytes = 256 * 1024;

function send(type: FrameType, task: number, payload?: Uint8Array | object): Promise<void> {
  return channel.write(encodeFrame(type, task, payload));
}

function finish(task: number, status: ExitStatus): void {
  tasks.delete(task);
  void send('exit', task, status);
}

function fail(task: number, error: unknown): void {
  tasks.delete(task);
  void send('failed', task, Buffer.from(error instanceof Error ? error.message : String(error)));
}

function startCommand(id: number, order: SpawnOrder): void {
  const [program = '', ...args] = order.argv;
  let child: ChildProcess;
  try {
    child = spawn(program, args, {
      cwd: order.cwd ?? '/',
      env: { ...process.env, ...order.env },
      // Its own process group, so that a kill reaches what the command started.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  } catch (error) {
    fail(id, error);
    return;
  }
  forward(child.stdout, 'output', id);
  forward(child.stderr, 'errors', id);
  // A command may close its input before we are done writing.
  child.stdin?.on('error', () => {});
  let ended = false;
  const end = (status: number | null, signal: string | null) => {
    if (ended) return;
    ended = true;
    finish(id, { status, signal });
  };
  child.on('error', (error) => {
    if (ended) return;
    ended = true;
    fail(id, error);
  });
  child.on('close', end);
  child.on('exit', (status, signal) => setTimeout(() => end(status, signal), lateOutputMs).unref());
  tasks.set(id, {
    input: (bytes) => void child.stdin?.write(Buffer.from(bytes)),
    inputEnd: () => void child.stdin?.end(),
    kill: (name) => {
      const signal = constants.signals[name as NodeJS.Signals];
      try {
        if (child.pid !== undefined) process.kill(-child.pid, signal);
      } catch {
        // It ended by itself a moment ago.
      }
    },
  });
}

/** Sends what a stream gives, reading no faster than the channel takes it. */
function forward(stream: ChildProcess['stdout'], type: 'output' | 'errors', id: number): void {
  stream?.on('data', (bytes: Buffer) => {
    stream.pause();
    void send(type, id, bytes).then(() => stream.resume());
  });
}

/** Receives a file beside its place and renames it there when it is whole. */
function startPush(id: number, order: PushOrder): void {
  const partial = `${order.path}.${process.pid}.${id}.part`;
  let file: FileHandle | undefined;
  let failed = false;
  let last = Promise.resolve();
  /** Queues a step; after the first that fails the rest are left out. */
  const next = (step: () => Promise<void>) => {
    last = last.then(async () => {
      if (failed) return;
      try {
        await step();
      } catch (error) {
        failed = true;
        await file?.close();
        fail(id, error);
      }
    });
  };
  next(async () => {
    await mkdir(dirname(order.path), { recursive: true });
    file = await open(partial, 'w');
  });
  tasks.set(id, {
    input: (bytes) =>
      next(async () => {
        await file?.writeFile(bytes);
      }),
    inputEnd: () =>
      next(async () => {
        await file?.close();
        file = undefined;
        await chmod(partial, order.mode);
        await rename(partial, order.path);
        finish(id, { status: 0, signal: null });
      }),
    kill: () => {},
  });
}

async function sendFile(id: number, order: PullOrder): Promise<void> {
  try {
    const file = await open(order.path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(pullChunkBytes);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length);
        if (bytesRead === 0) break;
        await send('output', id, buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
    finish(id, { status: 0, signal: null });
  } catch (error) {
    fail(id, error);
  }
}

function take(frame: Frame): void {
  switch (frame.type) {
    case 'spawn':
      startCommand(frame.task, jsonPayload<SpawnOrder>(frame));
      break;
    case 'push':
      startPush(frame.task, jsonPayload<PushOrder>(frame));
      break;
    case 'pull':
      void sendFile(frame.task, jsonPayload<PullOrder>(frame));
      break;
    case 'input':
      tasks.get(frame.task)?.input(frame.payload);
      break;
    case 'inputEnd':
      tasks.get(frame.task)?.inputEnd();
      break;
    case 'kill':
      tasks.get(frame.task)?.kill(Buffer.from(frame.payload).toString());
      break;
    case 'nudge':
      break;
    case 'hello':
    case 'output':
    case 'errors':
    case 'exit':
    case 'failed':
      throw new Error(`the lab sent a ${frame.type} frame, which only the agent sends`);
  }
}

/** Node would wait for the thread that reads the port before it ends, for ever. */
function endNow(): void {
  process.kill(process.pid, 'SIGKILL');
}

process.on('uncaughtException', (error) => {
  console.error(error);
  endNow();
});

void send('hello', 0, { pid: process.pid });
const reader = new FrameReader();
for await (const bytes of channel.chunks()) for (const frame of reader.feed(bytes)) take(frame);
endNow();
