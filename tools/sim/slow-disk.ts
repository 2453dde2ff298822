import { simulatedSettings, writeBytes } from './simulated-settings.ts';
import { blockCount, type DiskRequest, ownWrites } from './world/fakes/fake-guest.ts';
import { RandomStream } from './world/fakes/random.ts';
import { Violation } from './world/invariants/violation.ts';
import { diskBlocks } from './world/resync/disk-history.ts';
import type { Successors, World } from './world/world.ts';

/** How often it is looked how long writes have waited, ms; and from when on. */
const lookMs = 3;
const beginsMs = 10;
/** The standby's disk may hang from then on, ms, and until so long before the end. */
const hangsFromMs = 100;
const calmMs = 2300;
/** The guest may end from then on. */
const endsFromMs = 300;
/** The standby goes on with the guest, or may. */
const goesOn: ReadonlySet<string> = new Set(['protecting', 'taking-over', 'claiming', 'going-live', 'live']);
/** What its heartbeats say comes so late, ms, by the slowest clock; and a checkpoint takes so long. */
const hearsMs = 60;
const checkpointMs = 60;
/** What the primary's page cache takes at most before a copy, of steps. */
const mostBacklogSteps = 2;
/** Clients that are quiet amid it ask again so long before the end. */
const asksMs = 800;
/** By a clock that is slow. */
const slowest = 1.25;
/** Of a copy of fewer that waited nothing is concluded, nor of a guest that does not ask for so many times what the disk takes. */
const leastBlocks = 5;
const asksTimes = 3;
/** The share of what the standby's disk takes that the copy has at least, and the guest. */
const copyShare = 1 / 4;
const guestShare = 2 / 3;

/**
 * A standby whose disk is slower than its primary's guest writes, all the time (spec B.5, B.7). The guest waits for it, and no longer
 * than it takes: it is protected in a time that follows from what is copied, and stays so. A disk that takes nothing any more ends it.
 */
export class SlowDisk {
  readonly #random: RandomStream;
  readonly #begin: (world: World) => void;
  /** A write takes the standby's disk so long, and so often the guest writes, ms. */
  readonly #diskMs: number;
  readonly #everyMs: number;
  /** Writes that the guest does not wait for. */
  readonly #depth: number;
  readonly #hangsAt: number;
  /** The primary's page cache holds what takes its disk so long, each time that it is to be copied. */
  readonly #backlogMs: number;
  #killedAt: number;
  readonly #endsAt: number;
  #ended = false;
  #world: World;
  #writes = 0;
  /** When each write came that the disk did not take from the queue yet. */
  readonly #since = new Map<DiskRequest, number>();
  #pairsSince: number | undefined;
  #hangs = false;

  /** @param begin of each pair after the first one, before it runs */
  constructor(world: World, begin: (world: World) => void) {
    this.#world = world;
    this.#begin = begin;
    const random = new RandomStream(world.schedule.seed, 500);
    this.#random = random;
    this.#diskMs = random.between(4, 30);
    this.#everyMs = this.#diskMs * random.between(0.1, 0.9);
    this.#depth = 1 + random.below(6);
    const { lengthMs } = world.schedule;
    // Nothing that the guest says asks for a checkpoint then.
    if (random.chance(0.5)) world.clients.quietUntil = lengthMs - asksMs;
    const hangsAt = random.chance(0.3) ? random.between(hangsFromMs, lengthMs - calmMs) : Number.POSITIVE_INFINITY;
    const killedAt = random.chance(0.4) ? random.between(100, lengthMs / 3) : Number.POSITIVE_INFINITY;
    // Where heartbeats are rare a loss takes longer to be seen than all else.
    this.#hangsAt = this.#isRare ? Number.POSITIVE_INFINITY : hangsAt;
    this.#killedAt = this.#isRare ? Number.POSITIVE_INFINITY : killedAt;
    this.#endsAt = random.chance(0.2) ? random.between(endsFromMs, lengthMs - calmMs) : Number.POSITIVE_INFINITY;
    const { stepMs } = world.schedule.settings;
    this.#backlogMs = random.chance(0.3) ? random.between(0.5, mostBacklogSteps) * stepMs : 0;
    world.primary.disk.backlogMs = this.#backlogMs;
  }

  start(): void {
    const { agenda } = this.#world;
    const write = (): void => {
      this.#write();
      agenda.after(this.#everyMs * this.#random.between(0.5, 1.5), write);
    };
    write();
    const look = (): void => {
      this.#look();
      agenda.after(lookMs, look);
    };
    agenda.after(beginsMs, look);
  }

  /** @throws Violation */
  atEnd(): void {
    const { agenda, clients, primary, secondary } = this.#world;
    if (this.#ended) {
      this.#world.count('in the end: ended');
      if (primary.dead && (secondary.dead || !goesOn.has(secondary.core.phase))) return;
      throw new Violation(
        'B.13',
        `the guest has ended, and goes on (primary ${primary.core.phase}, secondary ${secondary.core.phase})`,
      );
    }
    if (agenda.now - clients.lastAnswerAt > 2 * this.#longestWaitMs + 100) {
      throw new Violation('liveness', `nobody served since ${clients.lastAnswerAt.toFixed(0)} ms`);
    }
    const expected = this.#hangs ? 'unprotected' : 'protected';
    if (primary.core.phase !== expected) {
      throw new Violation(
        'B.7',
        `the primary is ${primary.core.phase}, not ${expected} (secondary ${secondary.core.phase})`,
      );
    }
    this.#world.count(`in the end: ${expected}`);
  }

  #write(): void {
    const { primary } = this.#world;
    const { queue } = primary.guest;
    // It waits for a flush of its own, which takes as long.
    if (primary.progress.prepares) return;
    if (queue.filter(({ client }) => client === ownWrites).length >= this.#depth) return;
    const number = ++this.#writes;
    const block = this.#random.below(blockCount);
    primary.writes({ client: ownWrites, number, flush: false, block, value: this.#random.below(1e9), taken: false });
  }

  #look(): void {
    const { primary, secondary, agenda } = this.#world;
    const { now } = agenda;
    if (this.#ended) return;
    if (!secondary.dead) secondary.disk.latencyMs = this.#hangs ? Number.MAX_SAFE_INTEGER : this.#diskMs;
    this.#lookAtWrites(now);
    const { phase } = primary.core;
    if (now >= this.#endsAt) {
      this.#ended = true;
      this.#world.trace(undefined, '-- the guest powers off');
      this.#world.count(`the guest powers off: ${phase}`);
      primary.powerOff();
      return;
    }
    if (phase === 'seeding') this.#lookAtShares();
    const pairs = phase === 'synchronising' || phase === 'seeding';
    this.#pairsSince = pairs ? (this.#pairsSince ?? now) : undefined;
    if (this.#pairsSince !== undefined && now - this.#pairsSince > this.#longestCopyMs) {
      throw new Violation('B.7', `a copy has not come to its end after ${(now - this.#pairsSince).toFixed(0)} ms`);
    }
    if (!this.#hangs && now >= this.#hangsAt && (pairs || phase === 'protected')) {
      this.#hangs = true;
      this.#world.trace(undefined, "-- the standby's disk takes nothing any more");
      this.#world.count(`the standby's disk hangs: ${phase}`);
    }
    if (now >= this.#killedAt && !this.#hangs && !secondary.dead) this.#kill();
    if (phase !== 'unprotected' || !primary.isSettled || this.#hangs) return;
    if (secondary.dead) {
      const { disk, durableTerm: term, history } = secondary;
      this.#pairAgain({ blocks: disk.durable, term, history: history.asStandby });
    } else if (secondary.core.phase === 'listening') {
      // It tries again, as a primary does.
      primary.post({ kind: 'command', command: { name: 'protect' } });
    }
  }

  #lookAtWrites(now: number): void {
    const { guest, core } = this.#world.primary;
    const waiting = guest.queue.filter(({ taken }) => !taken);
    for (const request of this.#since.keys()) if (!waiting.includes(request)) this.#since.delete(request);
    for (const request of waiting) {
      const since = this.#since.get(request) ?? now;
      this.#since.set(request, since);
      if (now - since <= this.#longestWaitMs) continue;
      throw new Violation('B.5', `a write of the guest's waits for ${(now - since).toFixed(0)} ms, ${core.phase}`);
    }
  }

  /** The guest had more than the copy: it has its three parts, if it asks for as much. */
  #lookAtShares(): void {
    const { shares } = this.#world.primary;
    if (shares === undefined || shares.copy < leastBlocks) return;
    if (this.#everyMs * asksTimes > this.#diskMs || this.#depth < 2) return;
    this.#world.count('copies that waited and were shared with');
    if (shares.guest > shares.copy) return;
    throw new Violation('B.5', `the guest wrote ${shares.guest} blocks while ${shares.copy} were copied`);
  }

  /** For a place in the log, of a write that comes behind all others. */
  get #longestWaitMs(): number {
    const { stepMs, detectMs } = this.#world.schedule.settings;
    const before = this.#depth + 3;
    const ms = ((before * this.#diskMs) / guestShare + this.#hearsMs + checkpointMs) * slowest;
    if (this.#isRare) return ms + 150;
    // It is to be found out that it hangs, or is gone, and somebody is to be asked whether to go on.
    return ms + (this.#hangsAt === Number.POSITIVE_INFINITY ? 0 : stepMs * slowest) + detectMs * slowest + 150;
  }

  get #isRare(): boolean {
    return this.#world.schedule.settings.heartbeatMs > simulatedSettings.heartbeatMs;
  }

  /** What is laid down is told so late: where heartbeats are rare, once it is much, or some was for a fourth of a step. */
  get #hearsMs(): number {
    return this.#isRare ? hearsMs + this.#world.schedule.settings.stepMs / 4 : hearsMs;
  }

  get #longestCopyMs(): number {
    const { stepMs, diskLogBytes } = this.#world.schedule.settings;
    const ms =
      (diskBlocks / copyShare + diskLogBytes / writeBytes) * this.#diskMs + 2 * this.#hearsMs + checkpointMs + 200;
    return ms * slowest + this.#backlogMs + (this.#hangsAt === Number.POSITIVE_INFINITY ? 0 : stepMs * slowest);
  }

  /** It is repaired, and what may differ is copied again. */
  #kill(): void {
    this.#killedAt = Number.POSITIVE_INFINITY;
    this.#world.trace(undefined, '-- the standby is killed');
    this.#world.count(`the standby is killed: ${this.#world.primary.core.phase}`);
    this.#world.secondary.die(true);
  }

  #pairAgain(standby: Successors['standby']): void {
    const world = this.#world.next({ survivor: this.#world.primary, standby });
    this.#world = world;
    world.trace(undefined, '-- another pair: the repaired machine');
    this.#begin(world);
    world.agenda.after(1, () => world.primary.post({ kind: 'command', command: { name: 'protect' } }));
  }
}
