import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

interface Cleanup {
  teardown(clean: () => void): void;
}

/** A client of a control socket that reads and writes lines, right or wrong. */
export class RawClient {
  readonly socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(t: Cleanup, path: string) {
    this.socket = connect(path);
    this.socket.on('error', () => {});
    this.#lines = createInterface({ input: this.socket })[Symbol.asyncIterator]();
    t.teardown(() => this.socket.destroy());
  }

  /** The next message; undefined at the end. */
  async next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : JSON.parse(value);
  }

  async ask(line: string): Promise<unknown> {
    this.socket.write(`${line}\n`);
    return this.next();
  }

  /** Greeting and negotiation. */
  async begin(): Promise<this> {
    await this.next();
    await this.ask('{"execute":"qmp_capabilities"}');
    return this;
  }
}
