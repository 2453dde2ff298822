import type { MessagePort } from 'node:worker_threads';

/** Of each call that one thread takes of the other: what it is given and what it answers. Both go as structured clones. */
export type CallTable = Readonly<Record<string, { readonly given: unknown; readonly answer: unknown }>>;

/** Answers calls, each by its name. What it throws reaches the caller as an Error with the same message. */
export type Handlers<T extends CallTable> = {
  readonly [K in keyof T]: (given: T[K]['given']) => T[K]['answer'] | Promise<T[K]['answer']>;
};

type Parcel =
  | { readonly call: string; readonly number: number; readonly given: unknown }
  | { readonly answers: number; readonly value: unknown }
  | { readonly answers: number; readonly error: string };

/** The other thread is gone, or this end was closed: no answer comes. */
export class CallsClosedError extends Error {
  readonly code = 'COLO_CALLS_CLOSED';

  constructor() {
    super('the other thread is gone');
    this.name = 'CallsClosedError';
  }
}

/** What both a MessagePort and a Worker are. */
export type CallPort = Pick<MessagePort, 'postMessage'> & {
  on(event: 'message', listener: (value: unknown) => void): unknown;
};

/**
 * Calls in both directions between two threads with event loops: `Out` of the other thread, `In` of this one. Calls arrive in
 * the order in which they were made.
 */
export class Calls<Out extends CallTable, In extends CallTable> {
  readonly #port: CallPort;
  readonly #handlers: Handlers<In>;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #next = 0;
  #closed = false;

  constructor(port: CallPort, handlers: Handlers<In>) {
    this.#port = port;
    this.#handlers = handlers;
    port.on('message', (parcel) => this.#take(parcel as Parcel));
  }

  /** @throws what the other thread's handler threw, by its message; CallsClosedError */
  call<K extends keyof Out & string>(name: K, given: Out[K]['given']): Promise<Out[K]['answer']> {
    if (this.#closed) return Promise.reject(new CallsClosedError());
    const number = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#port.postMessage({ call: name, number, given } satisfies Parcel);
    });
  }

  /** As {@link call}, for what nobody waits for. */
  tell<K extends keyof Out & string>(name: K, given: Out[K]['given']): void {
    this.call(name, given).catch(() => {});
  }

  /** The other thread is gone: whoever waits for it is told. */
  close(): void {
    this.#closed = true;
    for (const { reject } of this.#waiting.values()) reject(new CallsClosedError());
    this.#waiting.clear();
  }

  #take(parcel: Parcel): void {
    if ('call' in parcel) {
      void this.#serve(parcel.call, parcel.number, parcel.given);
      return;
    }
    const waiting = this.#waiting.get(parcel.answers);
    this.#waiting.delete(parcel.answers);
    if ('error' in parcel) waiting?.reject(new Error(parcel.error));
    else waiting?.resolve(parcel.value as never);
  }

  async #serve(name: string, number: number, given: unknown): Promise<void> {
    let parcel: Parcel;
    try {
      const handler = this.#handlers[name] as ((given: unknown) => unknown) | undefined;
      if (handler === undefined) throw new Error(`nobody answers ${name}`);
      // A handler that answers at once does so before the next call is looked at.
      const value = handler(given);
      parcel = { answers: number, value: value instanceof Promise ? await value : value };
    } catch (error) {
      parcel = { answers: number, error: error instanceof Error ? error.message : String(error) };
    }
    if (!this.#closed) this.#port.postMessage(parcel);
  }
}
