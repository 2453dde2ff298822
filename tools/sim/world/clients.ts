import type { Agenda } from './agenda.ts';
import { type Answer, clientCount, type Request } from './fake-guest.ts';
import type { RandomStream } from './random.ts';
import { Violation } from './violation.ts';

const retransmitMs = 120;

interface Client {
  /** The question that waits for its answer. */
  asking: number;
  /** Its clock in the last answer: a smaller one would be dropped (PAWS). */
  clock: number;
  askedAt: number;
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
  answered = 0;
  repeated = 0;
  lastAnswerAt = 0;
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
      this.#clients.push({ asking: 0, clock: Number.NEGATIVE_INFINITY, askedAt: 0, answers: new Map() });
      this.#agenda.after(this.#random.between(0, 20), () => this.#next(client));
    }
  }

  /** An answer reached its client. */
  hear(answer: Answer): void {
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
    client.clock = answer.clock;
    client.answers.set(answer.number, answer.hash);
    this.answered++;
    const now = this.#agenda.now;
    this.longestSilence = Math.max(this.longestSilence, now - this.lastAnswerAt);
    this.lastAnswerAt = now;
    this.#agenda.after(this.#random.between(12, 40), () => this.#next(answer.client));
  }

  #next(client: number): void {
    const one = this.#clients[client] as Client;
    one.asking++;
    this.#send(client, one.asking);
  }

  #send(client: number, number: number): void {
    if (this.#clients[client]?.asking !== number || this.#clients[client]?.answers.has(number) === true) return;
    this.#ask({ client, number });
    this.#agenda.after(retransmitMs, () => this.#send(client, number));
  }
}
