import type { Message } from '../protocol/messages.ts';
import type { Term } from '../protocol/numbers.ts';
import type { Effect, Notice, TimerName } from './events.ts';

const never = Number.POSITIVE_INFINITY;

/** What a core's parts have in common while it deals with an event: the time that it is, and what is to be done, in order. */
export class Turn {
  /** What is sent is of this term. */
  term: Term;
  #now = 0;
  #effects: Effect[] = [];

  constructor(term: Term) {
    this.term = term;
  }

  /** By this side's clock, ms. */
  get now(): number {
    return this.#now;
  }

  /** Of this event, so far. */
  get effects(): Effect[] {
    return this.#effects;
  }

  /** An event has come. */
  begin(now: number): void {
    this.#now = now;
    this.#effects = [];
  }

  do(...effects: readonly Effect[]): void {
    this.#effects.push(...effects);
  }

  send(message: Message): void {
    this.#effects.push({ kind: 'send', message, term: this.term });
  }

  /** The same of what the peer does nothing about before it hears more. */
  sendWithNext(message: Message): void {
    this.#effects.push({ kind: 'send', message, term: this.term, canWait: true });
  }

  /** @param at by this side's clock */
  setTimer(timer: TimerName, at: number): void {
    this.#effects.push({ kind: 'timer', timer, at });
  }

  /** @param ms from now on */
  startTimer(timer: TimerName, ms: number): void {
    this.setTimer(timer, this.#now + ms);
  }

  stopTimer(timer: TimerName): void {
    this.setTimer(timer, never);
  }

  tell(notice: Notice): void {
    this.#effects.push({ kind: 'tell', notice });
  }
}
