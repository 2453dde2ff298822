import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { type Answer, decodeAnswer, encodeRequest } from './guest/service.ts';

export interface ClientsOptions {
  /** Where the service is. */
  readonly address: string;
  readonly port: number;
  /** How many ask at the same time; each has one request on its way. */
  readonly clients: number;
  /** A request without an answer is asked again after so long. Default 20. */
  readonly retransmitMs?: number;
  /** Pages that each request has the guest write to. Default 0. */
  readonly pages?: number;
  /** How long a client waits between an answer and its next request. Default 0. */
  readonly thinkMs?: number;
  /** Of each client's requests the first has the next number. Default 0: a guest takes no older one than it knows. */
  readonly numberedFrom?: number;
}

/** What clients were told, summed up. Times in ms. */
export interface ClientsSummary {
  readonly asked: number;
  readonly answers: number;
  readonly retransmissions: number;
  /** The longest time in which somebody waited and nobody was answered. */
  readonly longestSilenceMs: number;
  readonly medianMs: number;
  readonly worstMs: number;
}

interface Client {
  readonly id: bigint;
  number: bigint;
  askedAt: number;
  sentAt: number;
  /** The greatest counter that anybody had been told when it asked. */
  floor: bigint;
  waiting: boolean;
  resumeAt: number;
}

/** How often it is looked whether somebody has to ask again, ms. */
const lookMs = 5;

/**
 * Clients of the small guest's service, who ask all the time and believe nothing: each answer is held against all that anybody was
 * told before. What is wrong is a line of {@link violations}.
 */
export class Clients {
  readonly violations: string[] = [];
  /** Each counter that was told, with whom. */
  readonly told = new Map<bigint, Answer>();
  readonly #options: ClientsOptions;
  readonly #socket: Socket;
  readonly #clients: readonly Client[];
  readonly #byRequest = new Map<string, bigint>();
  readonly #latencies: number[] = [];
  readonly #timer: NodeJS.Timeout;
  #received = 0;
  #greatest = 0n;
  #asking = false;
  #retransmissions = 0;
  #asked = 0;
  #lastAnswerAt = 0;
  #longestSilenceMs = 0;

  private constructor(options: ClientsOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    this.#clients = Array.from({ length: options.clients }, (_, index) => ({
      id: BigInt(index + 1),
      number: BigInt(options.numberedFrom ?? 0),
      askedAt: 0,
      sentAt: 0,
      floor: 0n,
      waiting: false,
      resumeAt: 0,
    }));
    socket.on('message', (bytes, { address, port }) => {
      if (address === options.address && port === options.port) this.#hear(bytes);
    });
    socket.on('error', () => {}); // as a lost packet
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  static async open(options: ClientsOptions): Promise<Clients> {
    const socket = createSocket({ type: isIPv6(options.address) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
    socket.bind(0);
    await once(socket, 'listening');
    return new Clients(options, socket);
  }

  get answers(): number {
    return this.#latencies.length;
  }

  /** Requests that were asked, each counted once. */
  get asked(): number {
    return this.#asked;
  }

  /** The longest silence is looked for from now on. */
  forgetSilence(): void {
    this.#longestSilenceMs = 0;
    this.#lastAnswerAt = performance.now();
  }

  /** Packets that came, also those that said again what was known. */
  get received(): number {
    return this.#received;
  }

  /** Clients that wait for an answer. */
  get waiting(): number {
    return this.#clients.reduce((count, { waiting }) => count + Number(waiting), 0);
  }

  /** How long nobody has been answered while somebody waited, ms. */
  get silenceMs(): number {
    return this.waiting === 0 ? 0 : performance.now() - this.#lastAnswerAt;
  }

  /** Everybody asks, and asks on. */
  start(): void {
    this.#asking = true;
    for (const client of this.#clients) if (!client.waiting) this.#ask(client);
  }

  /** Nobody asks anything new. What was asked is asked again until it is answered. */
  stop(): void {
    this.#asking = false;
  }

  /** After {@link stop}: whether all that was asked is answered within `ms`. */
  async settled(ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (this.waiting > 0) {
      if (performance.now() > deadline) return false;
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
    return true;
  }

  /** Asks as client `id` what it asked before: an answer that comes is held against the first one. */
  repeat(id: bigint, number: bigint): void {
    this.#send(id, number);
  }

  /** Says that to the guest, once. Resolves when it is on its way. */
  async say(bytes: Buffer): Promise<void> {
    const { address, port } = this.#options;
    await new Promise<void>((resolve) => this.#socket.send(bytes, port, address, () => resolve()));
  }

  get summary(): ClientsSummary {
    const sorted = Float64Array.from(this.#latencies).sort();
    return {
      asked: this.#asked,
      answers: this.answers,
      retransmissions: this.#retransmissions,
      longestSilenceMs: Math.max(this.#longestSilenceMs, this.silenceMs),
      medianMs: sorted[sorted.length >> 1] ?? 0,
      worstMs: sorted.at(-1) ?? 0,
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }

  #ask(client: Client): void {
    if (this.waiting === 0) this.#lastAnswerAt = performance.now();
    client.number++;
    client.waiting = true;
    client.floor = this.#greatest;
    client.askedAt = performance.now();
    client.sentAt = client.askedAt;
    this.#asked++;
    this.#send(client.id, client.number);
  }

  #send(id: bigint, number: bigint): void {
    const { address, port, pages } = this.#options;
    this.#socket.send(encodeRequest(id, number, pages), port, address, () => {});
  }

  #look(): void {
    const now = performance.now();
    const { retransmitMs = 20 } = this.#options;
    for (const client of this.#clients) {
      if (client.waiting) {
        if (now - client.sentAt < retransmitMs) continue;
        client.sentAt = now;
        this.#retransmissions++;
        this.#send(client.id, client.number);
      } else if (this.#asking && now >= client.resumeAt) this.#ask(client);
    }
  }

  #hear(bytes: Buffer): void {
    this.#received++;
    const answer = decodeAnswer(bytes);
    if (answer === undefined) {
      this.violations.push(`an answer that is none: ${bytes.toString('hex')}`);
      return;
    }
    const client = this.#clients[Number(answer.client) - 1];
    if (client === undefined || answer.number > client.number || answer.number < 1n) {
      this.violations.push(`an answer to what nobody asked: ${inWords(answer)}`);
      return;
    }
    this.#compare(answer);
    if (!client.waiting || answer.number !== client.number) return; // said twice
    if (answer.counter <= client.floor) {
      this.violations.push(`${inWords(answer)}, and ${client.floor} had been told before it was asked`);
    }
    const now = performance.now();
    this.#longestSilenceMs = Math.max(this.#longestSilenceMs, now - this.#lastAnswerAt);
    this.#lastAnswerAt = now;
    this.#latencies.push(now - client.askedAt);
    if (answer.counter > this.#greatest) this.#greatest = answer.counter;
    client.waiting = false;
    const { thinkMs = 0 } = this.#options;
    client.resumeAt = now + thinkMs;
    if (this.#asking && thinkMs === 0) this.#ask(client);
  }

  /** No number has two meanings, and no request two numbers. */
  #compare(answer: Answer): void {
    const { client, number, counter } = answer;
    const request = `${client}/${number}`;
    const before = this.#byRequest.get(request);
    if (before !== undefined && before !== counter) {
      this.violations.push(`${inWords(answer)}, and ${before} before`);
    }
    const other = this.told.get(counter);
    if (other !== undefined && (other.client !== client || other.number !== number)) {
      this.violations.push(
        `${inWords(answer)}, which is also that of request ${other.number} of client ${other.client}`,
      );
    }
    this.#byRequest.set(request, counter);
    this.told.set(counter, answer);
  }
}

function inWords({ client, number, counter }: Answer): string {
  return `client ${client} was told ${counter} for its request ${number}`;
}
