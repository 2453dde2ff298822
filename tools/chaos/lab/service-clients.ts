import { get } from 'node:http';
import { connect, type Socket } from 'node:net';

/**
 * Clients of one service each, with one request on its way at a time, who believe nothing. Nobody asks again: a connection that ends,
 * or an answer that is not the one that must come, is a line of `violations`.
 */
export interface ServiceClient {
  readonly name: string;
  readonly answers: number;
  readonly isWaiting: boolean;
  readonly violations: readonly string[];
  /** Asks once, if nobody waits. */
  ask(): void;
  close(): void;
}

/** A connection that stays open, on which each line is answered by `expected`. */
class LineClient implements ServiceClient {
  readonly name: string;
  readonly violations: string[] = [];
  answers = 0;
  isWaiting = false;
  readonly #socket: Socket;
  readonly #request: (number: number) => string;
  readonly #expected: (number: number) => string;
  #heard = '';
  #isClosed = false;

  constructor(
    name: string,
    place: { host: string; port: number },
    request: (number: number) => string,
    expected: (number: number) => string,
  ) {
    this.name = name;
    this.#request = request;
    this.#expected = expected;
    this.#socket = connect(place).setNoDelay(true).setEncoding('utf8');
    this.#socket.on('data', (text: string) => this.#hear(text));
    this.#socket.on('error', (error) => this.#violate(`the connection failed: ${error.message}`));
    this.#socket.on('close', () => {
      if (!this.#isClosed) this.#violate('the connection ended');
    });
  }

  ask(): void {
    if (this.isWaiting) return;
    this.isWaiting = true;
    this.#socket.write(this.#request(this.answers + 1));
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.destroy();
  }

  #hear(text: string): void {
    this.#heard += text;
    for (let end = this.#heard.indexOf('\n'); end >= 0; end = this.#heard.indexOf('\n')) {
      const line = this.#heard.slice(0, end).trimEnd();
      this.#heard = this.#heard.slice(end + 1);
      const number = this.answers + 1;
      const expected = this.#expected(number);
      if (!this.isWaiting) this.#violate(`an answer to what nobody asked: "${line.slice(0, 80)}"`);
      else if (line !== expected)
        this.#violate(`request ${number} was answered by "${line.slice(0, 80)}", not "${expected}"`);
      this.isWaiting = false;
      this.answers = number;
    }
  }

  #violate(text: string): void {
    if (this.violations.length < 10) this.violations.push(`${this.name}: ${text}`);
  }
}

/** Increments a key: each value is the one before and one more, over one connection. */
export function redisClient(host: string, port: number): ServiceClient {
  return new LineClient(
    'redis',
    { host, port },
    () => 'INCR counter\r\n',
    (number) => `:${number}`,
  );
}

/** Lines that come back with how many the guest has had on this connection. */
export function openConnection(host: string, port: number): ServiceClient {
  return new LineClient(
    'connection',
    { host, port },
    (number) => `line-${number}\n`,
    (number) => `line-${number} ${number}`,
  );
}

/**
 * What a connection fails with that nobody has answered yet: not even who has the guest's address. Linux asks for that three times, a
 * second apart, and here it takes longer than that already to find a host silent.
 */
const unanswered: ReadonlySet<string | undefined> = new Set(['EHOSTUNREACH', 'ETIMEDOUT']);
const againMs = 300;

/** Gets a page, over a new connection each time. One that nobody answered is made again, as the counter's requests are. */
export class PageClient implements ServiceClient {
  readonly name = 'page';
  readonly violations: string[] = [];
  answers = 0;
  isWaiting = false;
  readonly #url: string;
  readonly #expected: string;
  #isClosed = false;

  constructor(url: string, expected: string) {
    this.#url = url;
    this.#expected = expected;
  }

  ask(): void {
    if (this.isWaiting || this.#isClosed) return;
    this.isWaiting = true;
    this.#get();
  }

  #get(): void {
    let isConnected = false;
    const request = get(this.#url, { agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('error', (error) => this.#failed(error.message));
      response.on('end', () => {
        this.isWaiting = false;
        this.answers++;
        if (response.statusCode !== 200 || body !== this.#expected) {
          this.#violate(
            `status ${response.statusCode} and ${body.length} characters, not the page of ${this.#expected.length}`,
          );
        }
      });
    });
    request.on('socket', (socket) => {
      socket.on('connect', () => {
        isConnected = true;
      });
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (!isConnected && unanswered.has(error.code) && !this.#isClosed) setTimeout(() => this.#get(), againMs);
      else this.#failed(error.message);
    });
  }

  close(): void {
    this.#isClosed = true;
  }

  #failed(why: string): void {
    this.isWaiting = false;
    if (!this.#isClosed) this.#violate(why);
  }

  #violate(text: string): void {
    if (this.violations.length < 10) this.violations.push(`page: ${text}`);
  }
}
