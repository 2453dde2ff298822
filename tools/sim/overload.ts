import type { Role } from '../../src/colo/protocol/numbers.ts';
import { overloadEndsMs } from './simulated-settings.ts';
import { RandomStream } from './world/fakes/random.ts';
import { Violation } from './world/invariants/violation.ts';
import type { SecondarySide } from './world/secondary/secondary-side.ts';
import type { Successors, World } from './world/world.ts';

/** How often it is looked what became of the pair, ms. */
const lookMs = 7;
/** A pair has so long before its host is starved, ms. */
const beginsMs = 400;
/** So long after a takeover the fenced host is started as a standby, by a person or a service manager, ms. */
const operatorMs = 2000;
/** In so many ms a pair may lose one side to the overload this often, if nobody helps: at once, and after 0.8, 1, 2 and 4 s. */
const windowMs = 10_000;
const mostFailovers = 5;
/** Runs that are shorter are no calm, whatever the clocks: as Recovery has it, in this simulation's times. */
const noCalmMs = 600;

/** What a starved host lacks. */
const scarcities = ['processor', 'processor and disk', 'link'] as const;

/**
 * A pair one host of which is starved for a long time, in bursts, many of which are longer than detection: its threads do not turn, its
 * disk is slow, or its link is full. Overload is not death: a failover that is right, but never a pair that is made and lost again
 * and again (spec B.5).
 */
export class Overload {
  readonly #random: RandomStream;
  readonly #begin: (world: World) => void;
  readonly #scarcity: (typeof scarcities)[number];
  /** Of the bursts: most ms that it runs, and most that it does not. */
  readonly #runsMs: number;
  readonly #starvedMs: number;
  /** Losses that an overload without any calm may cost. */
  #allowed: number;
  #world: World;
  /** The role that the starved host has now. */
  #starved: Role;
  #operatorAt: number | undefined;
  /** Somebody started a fenced host as a standby: who decides that knows more than any back-off. */
  #rowSince = 0;

  /** @param begin of each pair after the first one, before it runs */
  constructor(world: World, begin: (world: World) => void) {
    this.#world = world;
    this.#begin = begin;
    this.#random = new RandomStream(world.schedule.seed, 400);
    this.#scarcity = this.#random.pick(scarcities);
    this.#runsMs = this.#random.pick([noCalmMs, noCalmMs, 1500, 4000]);
    this.#starvedMs = this.#random.pick([300, 600, 1200]);
    this.#starved = this.#random.chance(0.7) ? 'secondary' : 'primary';
    // The host that it strikes first, and the same one as a standby.
    this.#allowed = this.#starved === 'primary' ? 2 : 1;
  }

  start(): void {
    const { agenda } = this.#world;
    agenda.at(beginsMs, () => this.#burst());
    const look = (): void => {
      this.#look();
      agenda.after(lookMs, look);
    };
    look();
  }

  /** It is over for long: the pair is one. @throws Violation */
  atEnd(): void {
    const { agenda, clients, primary, secondary, lineage } = this.#world;
    if (agenda.now - clients.lastAnswerAt > 500) {
      throw new Violation('liveness', `nobody served since ${clients.lastAnswerAt.toFixed(0)} ms`);
    }
    if (primary.core.phase !== 'protected' || secondary.core.phase !== 'protecting') {
      throw new Violation(
        'B.7',
        `the overload is over, and the guest is not protected again (primary ${primary.core.phase}, secondary ${secondary.core.phase})`,
      );
    }
    this.#world.count(`overload of ${this.#scarcity}: ${lineage.failovers.length} failovers`);
    this.#world.count('liveness: protected in the end');
  }

  #burst(): void {
    const { agenda } = this.#world;
    if (agenda.now >= overloadEndsMs) return;
    const starvedMs = this.#random.between(120, this.#starvedMs);
    this.#starve(starvedMs);
    agenda.after(starvedMs + this.#random.between(5, this.#runsMs), () => this.#burst());
  }

  #starve(ms: number): void {
    const { agenda, network } = this.#world;
    const side = this.#world.side(this.#starved);
    this.#world.trace(undefined, `-- the ${this.#starved}'s host lacks ${this.#scarcity} for ${ms.toFixed(0)} ms`);
    this.#world.count(`starved of ${this.#scarcity}: ${this.#starved}`);
    if (this.#scarcity === 'link') {
      for (const role of ['primary', 'secondary'] as const) network.slow(role, ms);
      agenda.after(ms, () => {
        for (const role of ['primary', 'secondary'] as const) network.slow(role, 0);
      });
      return;
    }
    side.freeze(ms);
    if (this.#scarcity === 'processor') return;
    side.disk.latencyMs = 20;
    agenda.after(ms + 50, () => {
      side.disk.latencyMs = 0.1;
    });
  }

  #look(): void {
    this.#count();
    const { primary, secondary, agenda, lineage } = this.#world;
    if (!secondary.dead && secondary.core.phase === 'live') {
      this.#operatorAt ??= agenda.now + operatorMs;
      if (agenda.now < this.#operatorAt || !secondary.isSettled) return;
      this.#operatorAt = undefined;
      this.#rowSince = agenda.now;
      // As the host is: its kernel has what the process had written.
      primary.die(true);
      this.#pairAgain(secondary, {
        blocks: primary.disk.cached,
        term: primary.durableTerm,
        history: primary.history.asStandby,
      });
      this.#starved = this.#starved === 'primary' ? 'secondary' : 'primary';
      // It may be the starved host that went on.
      this.#allowed = lineage.failovers.length + (this.#starved === 'primary' ? 2 : 1);
      return;
    }
    if (primary.core.phase !== 'unprotected' || !primary.isSettled) return;
    if (secondary.mayStandByAgain && secondary.isWell) this.#standByAgain(secondary);
    else if (secondary.core.phase === 'listening') primary.post({ kind: 'command', command: { name: 'protect' } });
  }

  #standByAgain(standby: SecondarySide): void {
    const { disk, durableTerm: term, history } = standby;
    this.#world.count('a standby stands by again');
    this.#pairAgain(this.#world.primary, {
      blocks: disk.cached,
      term,
      history: history.asStandby,
      process: standby.standDown(),
    });
  }

  #pairAgain(survivor: Successors['survivor'], standby: Successors['standby']): void {
    const world = this.#world.next({ survivor, standby });
    this.#world = world;
    world.trace(undefined, `-- another pair: the ${survivor.role} goes on`);
    this.#begin(world);
    world.agenda.after(1, () => world.primary.post({ kind: 'command', command: { name: 'protect' } }));
  }

  /** @throws Violation */
  #count(): void {
    const { lineage, agenda } = this.#world;
    const since = Math.max(this.#rowSince, agenda.now - windowMs);
    const recent = lineage.failovers.filter((at) => at > since).length;
    if (recent > mostFailovers) {
      throw new Violation('B.5', `the pair flaps: ${recent} failovers in ${windowMs} ms`);
    }
    // Its host was never well for as long as it takes.
    const isOne = this.#runsMs === noCalmMs && this.#scarcity !== 'link' && agenda.now < overloadEndsMs;
    if (isOne && lineage.failovers.length > this.#allowed) {
      throw new Violation(
        'B.5',
        `an overload that lets go for ${noCalmMs} ms at most has cost ${lineage.failovers.length} failovers`,
      );
    }
  }
}
