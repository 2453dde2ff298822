import { Violation } from '../invariants/violation.ts';
import type { Agenda } from './agenda.ts';
import { type Answer, clientCount, opensConnection, type Request } from './fake-guest.ts';
import type { RandomStream } from './random.ts';

const retransmitMs = 120;
/** What is acknowledged is asked again only when there is no answer for so long. */
const patienceMs = 450;

interface Client {
  /** The question that waits for its answer. */
  asking: number;
  /** Its clock in the last answer: a smaller one would be dropped (PAWS). */
  clock: number;
  askedAt: number;
  /** The guest has said that it has the question. */
  acknowledged: number;
  /** From what on its connection is numbered. */
  base: number;
  readonly answers: Map<number, number>;
}

/** Clients, with their own view of what they were told. */
export class Clients {
  readonly #agenda: Agenda;
  readonly #random: RandomStream;
  readonly #ask: (request: Request) => void;
  readonly #clients: Client[] = [];
  /** Every answer that a client saw, by its index: hashes. */
  readonly #seen = new Map<number, number>();
  highestSeen = -1;
  #resets = 0;
  answered = 0;
  repeated = 0;
  lastAnswerAt = 0;
  /** Those that have their answers ask nothing more until then. */
  quietUntil = 0;
  longestSilence = 0;
  /** Clocks that are only compared where nobody tampers with them. */
  readonly clocksCount: () => boolean;

  constructor(agenda: Agenda, random: RandomStream, ask: (request: Request) => void, clocksCount: () => boolean) {
    this.#agenda = agenda;
    this.#random = random;
    this.#ask = ask;
    this.clocksCount = clocksCount;
  }

  start(): void {
    for (let client = 0; client < clientCount; client++) {
      this.#clients.push({
        asking: 0,
        clock: Number.NEGATIVE_INFINITY,
        askedAt: 0,
        acknowledged: 0,
        base: 0,
        answers: new Map(),
      });
      this.#agenda.after(this.#random.between(0, 20), () => this.#next(client));
    }
  }

  /** Questions of which clients were told that they were received, and which were not answered yet. */
  acknowledged(): { readonly client: number; readonly number: number }[] {
    return this.#clients.flatMap(({ acknowledged, asking, answers }, client) =>
      acknowledged === asking && !answers.has(asking) ? [{ client, number: asking }] : [],
    );
  }

  /** The guest was reset: what it said that it had received is gone, and the client hears of that. */
  connectionsLost(): void {
    this.#resets++;
    for (const client of this.#clients) client.acknowledged = 0;
  }

  /** Hashes of the answers that clients saw, by their index. */
  get seen(): ReadonlyMap<number, number> {
    return this.#seen;
  }

  /** An answer reached its client. */
  hear(answer: Answer): void {
    if (answer.ack === 1) {
      const client = this.#clients[answer.client] as Client;
      if (answer.number === client.asking && answer.sequence >= this.#resets) client.acknowledged = answer.number;
      return;
    }
    const seen = this.#seen.get(answer.index);
    if (seen !== undefined && seen !== answer.hash) {
      throw new Violation('C.2', `answer ${answer.index} has two meanings: a client was told two histories`);
    }
    this.#seen.set(answer.index, answer.hash);
    this.highestSeen = Math.max(this.highestSeen, answer.index);
    const client = this.#clients[answer.client] as Client;
    const before = client.answers.get(answer.number);
    if (before !== undefined) {
      this.repeated++;
      if (before !== answer.hash) {
        throw new Violation('C.2', `client ${answer.client} got two answers to question ${answer.number}`);
      }
      return;
    }
    if (answer.number !== client.asking) {
      throw new Violation('C.2', `client ${answer.client} got an answer to question ${answer.number}, never asked`);
    }
    if (answer.clock < client.clock && this.clocksCount()) {
      throw new Violation('B.12', `the guest's clock went back by ${client.clock - answer.clock} ms for a client`);
    }
    const base = answer.sequence - answer.number;
    if (opensConnection(answer.number)) client.base = base;
    else if (base !== client.base) {
      throw new Violation(
        'A.6',
        `client ${answer.client}'s connection is numbered from ${client.base}, then from ${base}`,
      );
    }
    client.clock = answer.clock;
    client.answers.set(answer.number, answer.hash);
    this.answered++;
    const now = this.#agenda.now;
    this.longestSilence = Math.max(this.longestSilence, now - this.lastAnswerAt);
    this.lastAnswerAt = now;
    this.#agenda.after(this.#random.between(12, 40), () => this.#next(answer.client));
  }

  #next(client: number): void {
    if (this.#agenda.now < this.quietUntil) {
      this.#agenda.at(this.quietUntil, () => this.#next(client));
      return;
    }
    const one = this.#clients[client] as Client;
    one.asking++;
    this.#send(client, one.asking);
  }

  /** Nobody asks again, for a while, what he was told is received. */
  #again(client: number, number: number): void {
    if (this.#clients[client]?.acknowledged !== number) this.#send(client, number);
    else this.#agenda.after(patienceMs, () => this.#send(client, number));
  }

  #send(client: number, number: number): void {
    if (this.#clients[client]?.asking !== number || this.#clients[client]?.answers.has(number) === true) return;
    const one = this.#clients[client] as Client;
    const base = opensConnection(number) ? 0 : one.base;
    const echo = Math.max(0, one.clock);
    this.#ask({ client, number, base, echo });
    this.#agenda.after(retransmitMs, () => this.#again(client, number));
  }
}
