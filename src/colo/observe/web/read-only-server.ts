import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP, type Socket } from 'node:net';
import type { HostPort } from '../../command/host-port.ts';

/** What is answered to a request. */
export interface Page {
  readonly type: string;
  readonly body: string | Uint8Array;
  /** Of a page with a program: what it may load and who may frame it. */
  readonly policy?: string;
}

/** Makes the page of a path, from what stands behind its question mark. */
export type Route = (query: URLSearchParams) => Page | Promise<Page>;

/** What strangers may take of this process; times in ms. */
export interface WebLimits {
  /** More make the one that has been silent longest go. */
  readonly connections: number;
  /** From a request's first byte, or from connecting, to its last byte. */
  readonly requestMs: number;
  /** Until an answer was taken by whoever asked. */
  readonly answerMs: number;
  /** Between requests. */
  readonly idleMs: number;
}

const defaultLimits: WebLimits = { connections: 32, requestMs: 5000, answerMs: 10_000, idleMs: 15_000 };
/** Browsers send one or two KiB, Prometheus less. */
const headerBytes = 8192;

/** Of every answer: nobody keeps it, guesses what it is, or gets it into a page of another origin. */
const fixedHeaders = {
  'Cache-Control': 'no-store',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
} as const;

/**
 * An HTTP server that only tells: GET and HEAD of a few paths, for clients of which each may be hostile. What all of them
 * together cost is bounded: by the number of connections, one request at a time on each, and times for each step.
 */
export class ReadOnlyServer {
  readonly #server: Server;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #limits: WebLimits;
  /** Those that have asked nothing for longest come first. */
  readonly #connections = new Set<Socket>();
  /** Whose request has no whole answer yet. */
  readonly #busy = new WeakSet<Socket>();
  #isOwnHost: (host: string | undefined) => boolean = () => false;

  private constructor(routes: ReadonlyMap<string, Route>, limits: WebLimits) {
    this.#routes = routes;
    this.#limits = limits;
    this.#server = createServer({
      maxHeaderSize: headerBytes,
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: Math.min(1000, limits.requestMs),
      noDelay: true,
    });
    this.#server.on('connection', (socket: Socket) => this.#connected(socket));
    this.#server.on('request', (request, response) => void this.#requested(request, response));
  }

  /** @throws NodeJS.ErrnoException if that address cannot be had */
  static async listen(
    at: HostPort,
    routes: ReadonlyMap<string, Route>,
    limits: WebLimits = defaultLimits,
  ): Promise<ReadOnlyServer> {
    const made = new ReadOnlyServer(routes, limits);
    const server = made.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(at.port, at.host, resolve);
    });
    // Such as too many open files: whoever came then was not let in, and the next one may be.
    server.removeAllListeners('error').on('error', () => {});
    const { address } = server.address() as AddressInfo;
    if (isLoopback(address)) made.#isOwnHost = namesLoopback(at.host);
    else made.#isOwnHost = () => true;
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Lets everybody go. */
  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #connected(socket: Socket): void {
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    if (this.#connections.size <= this.#limits.connections) return;
    for (const oldest of this.#connections) {
      this.#connections.delete(oldest);
      oldest.destroy();
      return;
    }
  }

  async #requested(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    // A burst of requests on one connection would have as many answers made before the first one is taken.
    if (this.#busy.has(socket)) socket.destroy();
    if (socket.destroyed) return;
    this.#busy.add(socket);
    this.#connections.delete(socket);
    this.#connections.add(socket);
    const patience = setTimeout(() => socket.destroy(), this.#limits.answerMs);
    response.once('close', () => {
      clearTimeout(patience);
      this.#busy.delete(socket);
    });
    try {
      await this.#answer(request, response);
    } catch (error) {
      // A defect of ours, which the next request may not have.
      refuse(response, 500, `this page cannot be made: ${(error as Error).message}`);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '', headers } = request;
    if (method !== 'GET' && method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      refuse(response, 405, 'nothing can be changed here: only GET and HEAD are answered');
      return;
    }
    if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0') {
      refuse(response, 413, 'a question has no body');
      return;
    }
    if (!this.#isOwnHost(headers.host)) {
      refuse(response, 421, `this is served to its own host only, as 127.0.0.1 or localhost`);
      return;
    }
    const [path = '', query = ''] = url.split('?', 2);
    const route = this.#routes.get(path);
    if (route === undefined) {
      refuse(response, 404, `there is nothing here; there are ${[...this.#routes.keys()].join(' ')}`);
      return;
    }
    const { type, body, policy } = await route(new URLSearchParams(query));
    if (response.destroyed) return;
    response.writeHead(200, {
      ...fixedHeaders,
      'Content-Type': type,
      'Content-Length': Buffer.byteLength(body),
      ...(policy === undefined ? {} : { 'Content-Security-Policy': policy, 'X-Frame-Options': 'DENY' }),
    });
    response.end(body);
  }
}

/** The connection ends with it: what else came on it is not read. */
function refuse(response: ServerResponse, status: number, why: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { socket } = response;
  response.once('finish', () => socket?.destroySoon());
  const body = `${why}\n`;
  response.writeHead(status, {
    ...fixedHeaders,
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  });
  response.end(body);
}

function isLoopback(address: string): boolean {
  return /^(?:::ffff:)?127\./i.test(address) || address === '::1';
}

/**
 * Whether a request's Host header is one of a server that only its own host reaches. A page of another origin can have its name lead
 * to 127.0.0.1, and would then read here what only its own host is to see (DNS rebinding); but its name stands in that header.
 *
 * @param given the name or address that was asked for
 */
function namesLoopback(given: string): (host: string | undefined) => boolean {
  return (host) => {
    // Clients of HTTP/1.0 need not say it, and no browser is one.
    if (host === undefined) return true;
    const name = host
      .replace(/:\d*$/, '')
      .toLowerCase()
      .replace(/^\[(.*)\]$/, '$1');
    return name === 'localhost' || name === given.toLowerCase() || (isIP(name) !== 0 && isLoopback(name));
  };
}
