import type { Readable, Writable } from 'node:stream';
import { JsonSplitter } from '../monitor/json-splitter.ts';
import type { Json } from '../monitor/qmp-protocol.ts';

/** The other side failed, or does not do as QMP says. The message is a sentence about it. */
export class MonitorError extends Error {
  readonly code = 'MONITOR';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MonitorError';
  }
}

/** More than any answer has: QEMU's schema is 200 KiB. */
const messageLimitBytes = 16 * 1024 * 1024;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** @param atMs when the other side says that it was, in milliseconds since 1970; NaN if it does not say */
export type EventListener = (name: string, data: unknown, atMs: number) => void;

/** The client's side of QMP, on any pair of streams: our own monitor's, or QEMU's. */
export class QmpClient {
  /** What the other side said first. */
  readonly greeting: Promise<Json>;
  /** Resolves when nothing more comes. */
  readonly ended: Promise<void>;
  readonly #input: Writable;
  readonly #onEvent: EventListener;
  readonly #waiting = new Map<number, Waiting>();
  #greeting: Waiting;
  #commands = 0;
  #failure: MonitorError | undefined;

  constructor(output: Readable, input: Writable, onEvent: EventListener = () => {}) {
    this.#input = input;
    this.#onEvent = onEvent;
    const greeting = promised();
    this.#greeting = greeting;
    this.greeting = greeting.promise as Promise<Json>;
    this.greeting.catch(() => {}); // not everyone asks for it
    const ended = promised();
    this.ended = ended.promise as Promise<void>;
    const end = (why: string): void => {
      this.#fail(why);
      ended.resolve(undefined);
    };
    const splitter = new JsonSplitter(messageLimitBytes);
    output.on('data', (chunk: Buffer) => {
      splitter.push(chunk);
      for (let piece = splitter.next(); piece !== undefined; piece = splitter.next()) {
        if (this.#failure !== undefined || 'error' in piece || !this.#take(piece.text)) {
          this.#fail('the other side does not speak QMP');
          return;
        }
      }
    });
    for (const event of ['end', 'close', 'error']) output.on(event, () => end('the QMP connection ended'));
  }

  /** Runs a command; `qmp_capabilities` must be the first. @throws MonitorError with the other side's reason */
  execute(command: string, given?: object): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = ++this.#commands;
    const { promise, resolve, reject } = promised();
    this.#waiting.set(id, { resolve, reject });
    this.#input.write(`${JSON.stringify({ execute: command, id, ...(given && { arguments: given }) })}\n`);
    return promise;
  }

  /** Takes a message; false if it is none of QMP's. */
  #take(text: string): boolean {
    const message = parse(text);
    if (message === undefined) return false;
    if ('QMP' in message) this.#greeting.resolve(message);
    else if (typeof message.event === 'string') {
      this.#onEvent(message.event, message.data, timeOf(message.timestamp));
    } else if (typeof message.id === 'number') this.#answer(message.id, message);
    else return 'error' in message || 'return' in message;
    return true;
  }

  #answer(id: number, { error, return: value }: Json): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else {
      const { class: errorClass, desc } = error as Json;
      // What has a class of its own is about the protocol; all others are sentences for a person.
      waiting?.reject(new MonitorError(errorClass === 'GenericError' ? String(desc) : `QMP: ${errorClass}: ${desc}`));
    }
  }

  #fail(why: string): void {
    this.#failure ??= new MonitorError(why);
    this.#greeting.reject(this.#failure);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

/** Of QMP's seconds and microseconds. */
function timeOf(timestamp: unknown): number {
  const { seconds, microseconds } = (timestamp ?? {}) as Json;
  return Number(seconds) * 1000 + Number(microseconds) / 1000;
}

function parse(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

function promised(): Waiting & { readonly promise: Promise<unknown> } {
  let waiting: Waiting | undefined;
  const promise = new Promise<unknown>((resolve, reject) => {
    waiting = { resolve, reject };
  });
  return { promise, ...(waiting as unknown as Waiting) };
}
