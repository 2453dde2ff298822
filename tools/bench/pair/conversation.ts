import { connect, type Socket } from 'node:net';

/** Where the first whole answer in a text ends; -1: it is not whole yet. */
export type EndOf = (text: string) => number;

/** One connection with one request on its way at a time. */
export class Conversation {
  readonly #socket: Socket;
  #heard = '';
  #waiting: { readonly endOf: EndOf; resolve(answer: string): void; reject(error: Error): void } | undefined;
  #lost: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true).setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#heard += text;
      this.#look();
    });
    socket.on('error', (error) => this.#lose(error));
    socket.on('close', () => this.#lose(new Error('the connection ended')));
  }

  /** @throws Error if nobody answers there */
  static open(host: string, port: number): Promise<Conversation> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new Conversation(socket));
      });
    });
  }

  /** What is answered. @throws Error if the connection ends first, or more was said than was asked for */
  async ask(request: string, endOf: EndOf): Promise<string> {
    if (this.#lost !== undefined) throw this.#lost;
    if (this.#heard !== '')
      throw new Error(`an answer to what nobody asked: ${JSON.stringify(this.#heard.slice(0, 80))}`);
    return new Promise((resolve, reject) => {
      this.#waiting = { endOf, resolve, reject };
      this.#socket.write(request, 'latin1');
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #look(): void {
    const end = this.#waiting?.endOf(this.#heard) ?? -1;
    if (end < 0) return;
    const answer = this.#heard.slice(0, end);
    this.#heard = this.#heard.slice(end);
    const { resolve } = this.#waiting ?? {};
    this.#waiting = undefined;
    resolve?.(answer);
  }

  #lose(error: Error): void {
    this.#lost ??= error;
    this.#waiting?.reject(this.#lost);
    this.#waiting = undefined;
  }
}

/** Of a response of HTTP/1.1 that says how long it is (RFC 9112, section 6). */
export const httpEnd: EndOf = (text) => {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return -1;
  const [, length = '0'] = /^content-length: *(\d+)/im.exec(text.slice(0, head)) ?? [];
  const end = head + 4 + Number(length);
  return text.length < end ? -1 : end;
};

/** Of a reply of redis: a line, a string of bytes, or an array of replies. */
export const redisEnd: EndOf = (text) => {
  let at = 0;
  for (let replies = 1; replies > 0; replies--) {
    const kind = text[at];
    const line = text.indexOf('\r\n', at);
    if (line < 0) return -1;
    const count = Math.max(0, Number(text.slice(at + 1, line)));
    const isNull = text[at + 1] === '-';
    at = line + 2;
    if (kind === '*') replies += count;
    else if (kind === '$' && !isNull) at += count + 2;
    if (at > text.length) return -1;
  }
  return at;
};
