import { Agent as HttpAgent, get as httpGet } from 'node:http';
import { Agent as HttpsAgent, get as httpsGet } from 'node:https';
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

/** Where a service is. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

export interface LineTalk {
  readonly name: string;
  readonly request: (number: number) => string | Uint8Array;
  readonly expected: (number: number) => string;
  /** Lines that are answers; others are passed over. Default: all are. */
  readonly isAnswer?: (line: string) => boolean;
}

/** A connection that stays open, on which each request is answered by the line `expected`. */
export class LineClient implements ServiceClient {
  readonly name: string;
  readonly violations: string[] = [];
  answers = 0;
  isWaiting = false;
  readonly #socket: Socket;
  readonly #talk: LineTalk;
  #heard = '';
  #isClosed = false;

  constructor(place: Place, talk: LineTalk) {
    this.name = talk.name;
    this.#talk = talk;
    this.#socket = connect(place).setNoDelay(true).setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#hear(text));
    this.#socket.on('error', (error) => this.#violate(`the connection failed: ${error.message}`));
    this.#socket.on('close', () => {
      if (!this.#isClosed) this.#violate('the connection ended');
    });
  }

  ask(): void {
    if (this.isWaiting) return;
    this.isWaiting = true;
    this.#socket.write(this.#talk.request(this.answers + 1));
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
      const { expected: expectedOf, isAnswer } = this.#talk;
      if (isAnswer?.(line) === false) continue;
      const number = this.answers + 1;
      const expected = expectedOf(number);
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
export function redisClient(place: Place, key = 'counter'): ServiceClient {
  return new LineClient(place, {
    name: 'redis',
    request: () => `INCR ${key}\r\n`,
    expected: (number) => `:${number}`,
  });
}

/** Lines that come back with how many the guest has had on this connection. */
export function openConnection(place: Place): ServiceClient {
  return new LineClient(place, {
    name: 'connection',
    request: (number) => `line-${number}\n`,
    expected: (number) => `line-${number} ${number}`,
  });
}

/** A shell on a terminal, which shows what is typed before it answers: what it counts is in a variable of its own. */
export function shellClient(place: Place): ServiceClient {
  return new LineClient(place, {
    name: 'shell',
    request: () => 'echo =$((n=n+1))=\r\n',
    expected: (number) => `=${number}=`,
    isAnswer: (line) => /^=.*=$/.test(line),
  });
}

/** Clients of one service at the same time, each with a request on its way, as one. */
export function together(clients: readonly [ServiceClient, ...ServiceClient[]]): ServiceClient {
  return {
    name: clients[0].name,
    get answers() {
      return clients.reduce((sum, { answers }) => sum + answers, 0);
    },
    get isWaiting() {
      return clients.some(({ isWaiting }) => isWaiting);
    },
    get violations() {
      return clients.flatMap(({ violations }) => violations);
    },
    ask: () => {
      for (const client of clients) client.ask();
    },
    close: () => {
      for (const client of clients) client.close();
    },
  };
}

/**
 * What a connection fails with that nobody has answered yet: not even who has the guest's address. Linux asks for that three times, a
 * second apart, and here it takes longer than that already to find a host silent.
 */
const unanswered: ReadonlySet<string | undefined> = new Set(['EHOSTUNREACH', 'ETIMEDOUT']);
const againMs = 300;
/** Node would have the kernel ask after a second whether a kept connection is still there, and give it up ten seconds later. */
const unaskedMs = 3_600_000;

export interface PageOptions {
  readonly name: string;
  readonly page: string;
  /** All requests over one connection; else each has its own. */
  readonly isKept?: boolean;
  /** The service is asked over TLS, and must be who this authority says. */
  readonly tls?: { readonly ca: string; readonly servername: string };
}

/** Gets a page. A connection that nobody answered is made again, as the counter's requests are. */
export class PageClient implements ServiceClient {
  readonly name: string;
  readonly violations: string[] = [];
  answers = 0;
  isWaiting = false;
  readonly #place: Place;
  readonly #options: PageOptions;
  readonly #agent: HttpAgent;
  #isClosed = false;

  constructor(place: Place, options: PageOptions) {
    this.name = options.name;
    this.#place = place;
    this.#options = options;
    const { isKept = false, tls } = options;
    const kept = { keepAlive: isKept, keepAliveMsecs: unaskedMs, maxSockets: 1 };
    // Without a session to come back to: each connection has all of a handshake.
    this.#agent = tls === undefined ? new HttpAgent(kept) : new HttpsAgent({ ...kept, ...tls, maxCachedSessions: 0 });
  }

  ask(): void {
    if (this.isWaiting || this.#isClosed) return;
    this.isWaiting = true;
    this.#get();
  }

  close(): void {
    this.#isClosed = true;
    this.#agent.destroy();
  }

  #get(): void {
    const { page, isKept, tls } = this.#options;
    let isConnected = false;
    const get = tls === undefined ? httpGet : httpsGet;
    const request = get({ ...this.#place, path: '/', agent: this.#agent }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('error', (error) => this.#failed(error.message));
      response.on('end', () => {
        this.isWaiting = false;
        this.answers++;
        if (response.statusCode !== 200 || body !== page) {
          this.#violate(`status ${response.statusCode} and ${body.length} characters, not the page of ${page.length}`);
        }
      });
    });
    request.on('socket', (socket) => {
      isConnected = !socket.connecting;
      if (socket.connecting && isKept === true && this.answers > 0) this.#violate('the connection ended');
      socket.once('connect', () => {
        isConnected = true;
      });
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (!isConnected && unanswered.has(error.code) && !this.#isClosed) setTimeout(() => this.#get(), againMs);
      else this.#failed(error.message);
    });
  }

  #failed(why: string): void {
    this.isWaiting = false;
    if (!this.#isClosed) this.#violate(why);
  }

  #violate(text: string): void {
    if (this.violations.length < 10) this.violations.push(`${this.name}: ${text}`);
  }
}
