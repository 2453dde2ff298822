import { mix, type RandomStream } from './random.ts';

export const clientCount = 2;
/** In a write's place for a client: the guest writes of itself, and says nothing about it. */
export const ownWrites = clientCount;
export const blockCount = 4;
export const pageCount = 6;
/** Questions of one connection; then the client makes another one. */
const perConnection = 8;
const allPages = Array.from({ length: pageCount }, (_, page) => page);

/** This question is the first one of its connection. */
export function opensConnection(number: number): boolean {
  return number % perConnection === 1;
}

/** A client's question; each client asks them in order. */
export interface Request {
  readonly client: number;
  readonly number: number;
  /** From what on the connection is numbered, for all that the client knows; 0: nothing yet. */
  readonly base: number;
  /** The guest's clock in the last answer that it saw, as TCP's timestamps echo it; 0: none. */
  readonly echo: number;
}

/** What the guest says to it. */
export interface Answer {
  readonly client: number;
  readonly number: number;
  /** How many answers the guest gave before. */
  readonly index: number;
  /** Of the guest's whole history: an answer that was lost or invented shows in every later one. */
  readonly hash: number;
  /** The guest's clock, ms: TCP timestamps follow it. */
  readonly clock: number;
  /** 1: it is no answer, and says only that the question was received. */
  readonly ack: number;
  /** In the connection, whose numbers begin where the guest likes. */
  readonly sequence: number;
}

/** The same as numbers, and back. */
export function toNumbers({ client, number, index, hash, clock, ack, sequence }: Answer): number[] {
  return [client, number, index, hash, clock, ack, sequence];
}

export function fromNumbers(numbers: ArrayLike<number>): Answer {
  const [client, number, index, hash, clock, ack, sequence] = numbers as unknown as readonly number[] &
    readonly [number, number, number, number, number, number, number];
  return { client, number, index, hash, clock, ack, sequence };
}

/** A request that waits for a disk: the descriptor chain stays in the queue until it is completed. */
export interface DiskRequest {
  readonly client: number;
  readonly number: number;
  readonly flush: boolean;
  readonly block: number;
  readonly value: number;
  /** The disk took it from the queue. */
  taken: boolean;
}

/**
 * A service whose every answer is a function of all that happened to it. It keeps a part of what it knows in RAM, a part in
 * device state and a part on its disk; questions with odd numbers are written to disk before they are answered, every fourth
 * is flushed too.
 */
export class FakeGuest {
  hash = 1;
  answers = 0;
  /** Last question answered, and that answer, for each client. */
  readonly last: (Answer | undefined)[] = new Array(clientCount).fill(undefined);
  pages: number[] = new Array(pageCount).fill(1);
  readonly dirty = new Set<number>(allPages);
  /** What the guest believes to be on its disk. */
  blocks: number[] = new Array(blockCount).fill(0);
  queue: DiskRequest[] = [];
  ended = false;
  /** From what on each client's connection is numbered. */
  readonly bases: number[] = new Array(clientCount).fill(1);
  /** The hash of each answer that it ever gave: no part of its state, but what an onlooker knows of its history. */
  said: number[] = [];
  /** It tells a client at once that a question was received which takes a disk to answer. */
  acknowledges = false;
  /** Its acknowledgements say in which life it gave them: with a reset, connections are gone. */
  #resets = 0;
  readonly #random: RandomStream;

  /** @param random what it takes its own decisions from */
  constructor(random: RandomStream) {
    this.#random = random;
  }

  /** A question that is not the next one: the guest does not know an answer that the client has. */
  static readonly gap = 'gap';

  /** Takes a question. An answer, if it can be given at once. */
  take({ client, number }: Request): Answer | 'disk' | 'gap' | 'ack' | undefined {
    if (this.ended) return undefined;
    const last = this.last[client];
    const lastNumber = last?.number ?? 0;
    if (number === lastNumber) return last;
    if (number < lastNumber) return undefined;
    if (number > lastNumber + 1) return FakeGuest.gap;
    if (this.queue.some((request) => request.client === client)) return this.acknowledges ? 'ack' : undefined;
    if (opensConnection(number)) this.bases[client] = 1000 + this.#random.below(1e6);
    if (number % 2 === 0) return this.#answer(client, number);
    const block = (number + client) % blockCount;
    this.queue.push({ client, number, flush: number % 4 === 3, block, value: mix(this.hash, number), taken: false });
    return 'disk';
  }

  /** It has the question, answered or not. */
  knows(client: number, number: number): boolean {
    return (
      (this.last[client]?.number ?? 0) >= number || this.queue.some((r) => r.client === client && r.number >= number)
    );
  }

  /** What it says at once to a question that takes a disk. */
  acknowledgement({ client, number }: Request): Answer {
    const clock = this.setClock?.() ?? 0;
    return { client, number, index: -1, hash: 0, clock, ack: 1, sequence: this.#resets };
  }

  /** From now on it says something else than an equal guest. */
  diverge(): void {
    this.hash = mix(this.hash, 0xd1);
  }

  /** The disk took a request from the queue: from now on the guest counts on it. */
  taken(request: DiskRequest): void {
    request.taken = true;
    this.blocks[request.block] = request.value;
  }

  /** The disk could not do it, and the guest is told: it does it again. */
  failed(request: DiskRequest): void {
    request.taken = false;
  }

  /** The disk is done with it. */
  completed(request: DiskRequest): Answer | undefined {
    const at = this.queue.indexOf(request);
    if (at < 0 || this.ended) return undefined;
    this.queue.splice(at, 1);
    if (request.client === ownWrites) return undefined;
    return this.#answer(request.client, request.number);
  }

  /** A reset: what it had in flight is gone; the service starts again from its disk. */
  reset(): void {
    this.queue = [];
    this.#resets++;
    this.hash = mix(this.hash, 0xdead);
    for (let page = 0; page < pageCount; page++) this.#touch(page, this.hash);
  }

  setClock: (() => number) | undefined;

  /** Device state as numbers. */
  save(clock: number): number[] {
    const state = [this.hash, this.answers, clock, this.ended ? 1 : 0, this.#resets];
    for (const last of this.last) {
      state.push(last?.number ?? 0, last?.index ?? 0, last?.hash ?? 0, last?.clock ?? 0, last?.sequence ?? 0);
    }
    state.push(...this.bases);
    state.push(...this.blocks);
    for (const { client, number, flush, block, value } of this.queue) {
      state.push(client, number, flush ? 1 : 0, block, value);
    }
    return state;
  }

  /** Takes the state; the clock it was saved at. Requests in flight are to be done again. */
  load(state: readonly number[]): number {
    let at = 0;
    const next = (): number => state[at++] ?? 0;
    this.hash = next();
    this.answers = next();
    const clock = next();
    this.ended = next() === 1;
    this.#resets = next();
    for (let client = 0; client < clientCount; client++) {
      const last = { client, number: next(), index: next(), hash: next(), clock: next(), ack: 0, sequence: next() };
      this.last[client] = last.number === 0 ? undefined : last;
    }
    for (let client = 0; client < clientCount; client++) this.bases[client] = next();
    this.blocks = Array.from({ length: blockCount }, next);
    this.queue = [];
    while (at < state.length) {
      const request = {
        client: next(),
        number: next(),
        flush: next() === 1,
        block: next(),
        value: next(),
        taken: false,
      };
      this.queue.push(request);
    }
    return clock;
  }

  #answer(client: number, number: number): Answer {
    const page = this.answers % pageCount;
    this.#touch(page, mix(this.hash, number * clientCount + client));
    this.hash = mix(this.hash, this.pages[page] as number);
    const clock = this.setClock?.() ?? 0;
    const sequence = (this.bases[client] as number) + number;
    const answer = { client, number, index: this.answers++, hash: this.hash, clock, ack: 0, sequence };
    this.said[answer.index] = this.hash;
    this.last[client] = answer;
    return answer;
  }

  #touch(page: number, value: number): void {
    this.pages[page] = mix(this.pages[page] as number, value);
    this.dirty.add(page);
  }
}

/** One number for many. */
export function hashOf(numbers: readonly number[]): number {
  let hash = 7;
  for (const number of numbers) hash = mix(hash, number | 0);
  return hash;
}
