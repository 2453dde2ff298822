import { printable } from '../../host/tell.ts';
import type { ColoEvent, ColoMilestone, ColoTopic } from '../../vmm/monitor/colo-control.ts';

/** As many are kept for who asks later. Messages of checkpoints come by the hundred a second, and are kept apart. */
const kept = 1000;

/** What has happened, newest last; bounded. */
export class EventLog {
  readonly #told: (event: ColoEvent) => void;
  readonly #now: () => number;
  readonly #events: ColoEvent[] = [];
  readonly #messages: ColoEvent[] = [];
  readonly #milestones: Partial<Record<ColoMilestone, number>> = {};

  /** @param told called with each event as it happens, but for messages and checkpoints */
  constructor(now: () => number, told: (event: ColoEvent) => void) {
    this.#now = now;
    this.#told = told;
  }

  /** @param milestone what programs are told by this line */
  add(topic: ColoTopic, text: string, milestone?: ColoMilestone): void {
    // A peer's words may be in it.
    const event: ColoEvent = {
      at: Date.now(),
      monotonicMs: this.#now(),
      topic,
      text: printable(text),
      ...(milestone === undefined ? {} : { event: milestone }),
    };
    this.#keep(event);
    if (!isFrequent(event)) this.#told(event);
  }

  /** What somebody else's log had, who told of it; before anything of this one's. */
  inherit(events: readonly ColoEvent[]): void {
    for (const event of events) this.#keep(event);
  }

  /** Everything that is kept, in order. @param all with messages and checkpoints */
  recent(all: boolean): ColoEvent[] {
    if (!all) return [...this.#events];
    return [...this.#events, ...this.#messages].sort((one, other) => one.monotonicMs - other.monotonicMs);
  }

  /** How often each has happened, with those that were inherited. */
  get milestones(): Readonly<Partial<Record<ColoMilestone, number>>> {
    return this.#milestones;
  }

  #keep(event: ColoEvent): void {
    if (event.event !== undefined) this.#milestones[event.event] = (this.#milestones[event.event] ?? 0) + 1;
    const list = isFrequent(event) ? this.#messages : this.#events;
    list.push(event);
    if (list.length > kept) list.shift();
  }
}

function isFrequent({ topic }: ColoEvent): boolean {
  return topic === 'message' || topic === 'checkpoint';
}
