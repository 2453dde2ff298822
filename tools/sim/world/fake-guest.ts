import { mix } from './random.ts';

export const clientCount = 2;
export const blockCount = 4;
export const pageCount = 6;

/** A client's question; each client asks them in order. */
export interface Request {
  readonly client: number;
  readonly number: number;
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
  readonly dirty = new Set<number>(Array.from({ length: pageCount }, (_, page) => page));
  /** What the guest believes to be on its disk. */
  blocks: number[] = new Array(blockCount).fill(0);
  queue: DiskRequest[] = [];
  ended = false;

  /** A question that is not the next one: the guest does not know an answer that the client has. */
  static readonly gap = 'gap';

  /** Takes a question. An answer, if it can be given at once. */
  take({ client, number }: Request): Answer | 'disk' | 'gap' | undefined {
    if (this.ended) return undefined;
    const last = this.last[client];
    const lastNumber = last?.number ?? 0;
    if (number === lastNumber) return last;
    if (number < lastNumber) return undefined;
    if (number > lastNumber + 1) return FakeGuest.gap;
    if (this.queue.some((request) => request.client === client)) return undefined;
    if (number % 2 === 0) return this.#answer(client, number);
    const block = (number + client) % blockCount;
    this.queue.push({ client, number, flush: number % 4 === 3, block, value: mix(this.hash, number), taken: false });
    return 'disk';
  }

  /** The disk took a request from the queue: from now on the guest counts on it. */
  taken(request: DiskRequest): void {
    request.taken = true;
    this.blocks[request.block] = request.value;
  }

  /** The disk is done with it. */
  completed(request: DiskRequest): Answer | undefined {
    const at = this.queue.indexOf(request);
    if (at < 0 || this.ended) return undefined;
    this.queue.splice(at, 1);
    return this.#answer(request.client, request.number);
  }

  /** A reset: what it had in flight is gone; the service starts again from its disk. */
  reset(): void {
    this.queue = [];
    this.hash = mix(this.hash, 0xdead);
    for (let page = 0; page < pageCount; page++) this.#touch(page, this.hash);
  }

  setClock: (() => number) | undefined;

  /** Device state as numbers. */
  save(clock: number): number[] {
    const state = [this.hash, this.answers, clock, this.ended ? 1 : 0];
    for (const last of this.last) {
      state.push(last?.number ?? 0, last?.index ?? 0, last?.hash ?? 0, last?.clock ?? 0);
    }
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
    for (let client = 0; client < clientCount; client++) {
      const last = { client, number: next(), index: next(), hash: next(), clock: next() };
      this.last[client] = last.number === 0 ? undefined : last;
    }
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
    const answer = { client, number, index: this.answers++, hash: this.hash, clock: this.setClock?.() ?? 0 };
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
