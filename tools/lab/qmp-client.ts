import type { Readable, Writable } from 'node:stream';

interface QmpReply {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: unknown;
}

/** The client's side of QMP, QEMU's control protocol: one JSON object a line, on any pair of streams. */
export class QmpClient {
  readonly #input: Writable;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #onEvent: (name: string, data: unknown) => void;
  #commands = 0;
  #ended = false;

  constructor(output: Readable, input: Writable, onEvent: (name: string, data: unknown) => void = () => {}) {
    this.#input = input;
    this.#onEvent = onEvent;
    let rest = '';
    output.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') this.#take(JSON.parse(line) as QmpReply);
    });
    output.on('end', () => {
      this.#ended = true;
      for (const { reject } of this.#waiting.values()) reject(new Error('the QMP connection ended'));
      this.#waiting.clear();
    });
  }

  #take(reply: QmpReply): void {
    if (reply.event !== undefined) this.#onEvent(reply.event, reply.data);
    if (reply.id === undefined) return;
    const waiter = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (reply.error === undefined) waiter?.resolve(reply.return);
    else waiter?.reject(new Error(`QMP: ${reply.error.class}: ${reply.error.desc}`));
  }

  /** Runs a command; `qmp_capabilities` must be the first. */
  execute(command: string, args?: object): Promise<unknown> {
    if (this.#ended) return Promise.reject(new Error('the QMP connection ended'));
    const id = ++this.#commands;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#input.write(`${JSON.stringify({ execute: command, id, ...(args && { arguments: args }) })}\n`);
    });
  }
}
