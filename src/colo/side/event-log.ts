import { printable } from '../../host/console/tell.ts';
import type { ColoEvent, ColoMilestone, ColoTopic } from '../../vmm/monitor/colo-control.ts';

/** As many are kept for who asks later. Messages of checkpoints come by the hundred a second, and are kept apart. */
const kept = 1000;

/** What had happened in this process before a log was begun. */
export interface Past {
  /** The newest last, with those that come many times a second; bounded. */
  readonly events: readonly ColoEvent[];
  /** How often each has happened, of which the events may be forgotten. */
  readonly milestones: Readonly<Partial<Record<ColoMilestone, number>>>;
}

/** What has happened, newest last; bounded. */
export class EventLog {
  readonly #told: (event: ColoEvent) => void;
  readonly #now: () => number;
  readonly #events: ColoEvent[] = [];
  readonly #frequent: Frequent[] = [];
  readonly #milestones: Partial<Record<ColoMilestone, number>> = {};

  /** @param told called with each event as it happens, but for frequent ones */
  constructor(now: () => number, told: (event: ColoEvent) => void) {
    this.#now = now;
    this.#told = told;
  }

  /** @param milestone what programs are told by this line */
  add(topic: Exclude<ColoTopic, FrequentTopic>, text: string, milestone?: ColoMilestone): void {
    // A peer's words may be in it.
    const event: ColoEvent = {
      at: Date.now(),
      monotonicMs: this.#now(),
      topic,
      text: printable(text),
      ...(milestone === undefined ? {} : { event: milestone }),
    };
    if (milestone !== undefined) this.#count(milestone, 1);
    this.#keep(event);
    this.#told(event);
  }

  /**
   * What comes many times a second, and is kept for who asks.
   *
   * @param text called when somebody does
   */
  addFrequent(topic: FrequentTopic, text: () => string): void {
    this.#frequent.push({ at: Date.now(), monotonicMs: this.#now(), topic, text });
    if (this.#frequent.length > kept) this.#frequent.shift();
  }

  /** What another log of this process had, which told of it; before anything of this one's. */
  inherit({ events, milestones }: Past): void {
    for (const [milestone, times] of Object.entries(milestones)) this.#count(milestone as ColoMilestone, times);
    for (const event of events) {
      if (isFrequent(event.topic)) this.#frequent.push({ ...event, topic: event.topic, text: () => event.text });
      else this.#keep(event);
    }
  }

  /** Everything that is kept, in order. @param all with messages and checkpoints */
  recent(all: boolean): ColoEvent[] {
    if (!all) return [...this.#events];
    const frequent = this.#frequent.map((event) => ({ ...event, text: printable(event.text()) }));
    return [...this.#events, ...frequent].sort((one, other) => one.monotonicMs - other.monotonicMs);
  }

  /** For the log that comes after this one. */
  get past(): Past {
    return { events: this.recent(true), milestones: this.#milestones };
  }

  /** How often each has happened, with those that were inherited. */
  get milestones(): Readonly<Partial<Record<ColoMilestone, number>>> {
    return this.#milestones;
  }

  #count(milestone: ColoMilestone, times: number): void {
    this.#milestones[milestone] = (this.#milestones[milestone] ?? 0) + times;
  }

  #keep(event: ColoEvent): void {
    this.#events.push(event);
    if (this.#events.length > kept) this.#events.shift();
  }
}

type FrequentTopic = Extract<ColoTopic, 'message' | 'checkpoint'>;

/** Words are made of it when somebody reads it. */
interface Frequent extends Omit<ColoEvent, 'text' | 'event'> {
  readonly topic: FrequentTopic;
  readonly text: () => string;
}

function isFrequent(topic: ColoTopic): topic is FrequentTopic {
  return topic === 'message' || topic === 'checkpoint';
}
