import { Agenda } from './fakes/agenda.ts';
import { FakeArbiter } from './fakes/arbiter.ts';
import { Clients } from './fakes/clients.ts';
import type { Request } from './fakes/fake-guest.ts';
import { RandomStream } from './fakes/random.ts';
import { FaultPlan } from './faults/fault-plan.ts';
import type { Schedule } from './schedule.ts';

interface Host {
  request(request: Request): void;
}

/** A pair, one of the many that a guest lives through. */
interface Pair {
  readonly primary: Host;
  readonly secondary: Host;
}

/** What is one for all pairs that a guest lives through: time, its clients, the arbiter, and who ever spoke. */
export class Lineage<World extends Pair> {
  readonly agenda = new Agenda();
  /** The pairs, one after another. Sides of earlier ones may be frozen, and thaw. */
  readonly worlds: World[] = [];
  readonly arbiter: FakeArbiter;
  readonly clients: Clients;
  readonly faults: FaultPlan;
  /** False once somebody tampered with a clock: the rule of time does not bind then, that of content does (spec B.6). */
  clocksHonest = true;
  /** Which process spoke in a term. */
  readonly speakers = new Map<number, object>();
  /** Answers that are with the network. */
  readonly released = new Set<number>();
  /** When somebody went on alone. */
  readonly failovers: number[] = [];
  /** Pairings so far. */
  generations = 0;

  constructor({ seed, faults, arbiter }: Schedule) {
    const { agenda } = this;
    this.faults = new FaultPlan(faults);
    this.arbiter = new FakeArbiter(arbiter, agenda, new RandomStream(seed, 3));
    this.clients = new Clients(
      agenda,
      new RandomStream(seed, 4),
      (request) => agenda.after(0.3, () => this.#deliver(request)),
      () => this.clocksHonest,
    );
  }

  /** The pair that is, or was last. */
  get current(): World {
    return this.worlds.at(-1) as World;
  }

  /** A client's packet reaches every bridge. */
  #deliver(request: Request): void {
    for (const { primary, secondary } of this.worlds) {
      primary.request(request);
      secondary.request(request);
    }
  }
}
