import type { Fault } from '../faults.ts';
import { Agenda } from './agenda.ts';
import type { FakeArbiter } from './arbiter.ts';
import type { Clients } from './clients.ts';

/** What is one for all pairs that a guest lives through: time, its clients, the arbiter, and who ever spoke. */
export class Lineage<World> {
  readonly agenda = new Agenda();
  /** The pairs, one after another. Sides of earlier ones may be frozen, and thaw. */
  readonly worlds: World[] = [];
  readonly arbiter: FakeArbiter;
  readonly clients: Clients;
  /** False once somebody tampered with a clock: the rule of time does not bind then, that of content does (spec B.6). */
  clocksHonest = true;
  /** Which process spoke in a term. */
  readonly speakers = new Map<number, object>();
  /** Answers that are with the network. */
  readonly released = new Set<number>();
  /** Effects so far, of all and by kind of each role. */
  effects = 0;
  readonly effectsOf = { primary: new Map<string, number>(), secondary: new Map<string, number>() };
  readonly pending: Fault[];
  faultsApplied = 0;
  /** When somebody went on alone. */
  readonly failovers: number[] = [];
  /** Pairings so far. */
  generations = 0;

  constructor(
    faults: readonly Fault[],
    make: (lineage: Lineage<World>) => { readonly arbiter: FakeArbiter; readonly clients: Clients },
  ) {
    this.pending = [...faults];
    const { arbiter, clients } = make(this);
    this.arbiter = arbiter;
    this.clients = clients;
  }

  /** The pair that is, or was last. */
  get current(): World {
    return this.worlds.at(-1) as World;
  }
}
