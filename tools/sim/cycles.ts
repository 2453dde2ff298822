import { whyTurnedAway } from '../../src/colo/core/primary/callers.ts';
import { RandomStream } from './world/fakes/random.ts';
import { Violation } from './world/invariants/violation.ts';
import type { PrimarySide } from './world/primary/primary-side.ts';
import { diskBlocks } from './world/resync/disk-history.ts';
import type { SecondarySide } from './world/secondary/secondary-side.ts';
import type { World } from './world/world.ts';

type Side = PrimarySide | SecondarySide;

/** How often it is looked whether somebody serves alone, ms. */
const lookMs = 7;
/**
 * So long before the end nothing more is lost: what is left is to be a pair again. A copy has a fourth of what a slow disk takes, which is all
 * of it for up to 1.3 s, and may wait for its primary's page cache before.
 */
const calmMs = 2800;
/** What that takes, of steps; a host's that has just written much takes longer than one may last. */
const mostBacklogSteps = 1.5;
/** What is lost is noticed within so long, and decided, ms: whatever is lost meanwhile is lost at once with it. */
const troubleMs = 800;
/** A frozen process is not waited for longer, ms: another machine takes its place. */
const waitsForFrozenMs = 120;

/** A standby whose primary goes on alone, and calls it, hears so within so long, ms: its process may be busy. */
const hearsMs = 60;

/** What befalls a pair that is protected; a third of all is that its primary is lost. */
const losses = [
  'primary is killed',
  'primary loses its power',
  'primary is frozen',
  'primary is frozen',
  'secondary is killed',
  'secondary is frozen',
  'the roles are changed',
  'the link is cut',
] as const;

/** What may befall it while it is being made (spec B.7): the survivor is to serve on, whatever becomes of its standby. */
const lossesWhilePairing = [
  'secondary is killed',
  'secondary loses its power',
  'secondary is frozen',
  'the link is cut',
  'the connection breaks',
] as const;

type Loss = (typeof losses)[number] | (typeof lossesWhilePairing)[number];

/**
 * A guest's life over many pairs: one side is lost, the other one goes on, a machine comes that protects it - the repaired one, or a
 * third one - and so on. What was frozen thaws in the midst of what came after it.
 */
export class Cycles {
  readonly #random: RandomStream;
  readonly #begin: (world: World) => void;
  #world: World;
  /** Since when somebody serves alone, and when a standby comes. */
  #comesAt: number | undefined;
  /** The pair that something is to befall, or has befallen. */
  #doomed: World | undefined;
  #doomedWhilePairing: World | undefined;
  #troubledUntil = 0;
  /** Another standby that looks for the survivor, and when it asks next. */
  #rivalAsksAt = Number.POSITIVE_INFINITY;

  /** The standby waits to hear who goes on, and its primary does: since when. */
  #callsSince: number | undefined;

  /** @param begin of each pair after the first one, before it runs */
  constructor(world: World, begin: (world: World) => void) {
    this.#world = world;
    this.#begin = begin;
    this.#random = new RandomStream(world.schedule.seed, 300);
  }

  start(): void {
    this.#world.agenda.after(lookMs, () => {
      this.#look();
      this.start();
    });
  }

  /** Nothing was drawn but what a pair survives: in the end it is one, and serves. @throws Violation */
  atEnd(): void {
    const { schedule, agenda, clients, primary, secondary } = this.#world;
    if (schedule.faults.length > 0 || schedule.arbiter === 'manual' || primary.guest.ended) return;
    // S's ended by itself, and before a checkpoint repaired that, S had to take over: two failures.
    if (secondary.guest.ended && secondary.core.phase === 'ended') return;
    if (agenda.now - clients.lastAnswerAt > 500) {
      throw new Violation('liveness', `nobody served since ${clients.lastAnswerAt.toFixed(0)} ms`);
    }
    if (primary.core.phase !== 'protected' || secondary.core.phase !== 'protecting') {
      throw new Violation(
        'B.7',
        `the survivor is not protected again (primary ${primary.core.phase}, secondary ${secondary.core.phase})`,
      );
    }
    this.#world.count('liveness: protected in the end');
  }

  #look(): void {
    const { agenda } = this.#world;
    this.#rivalAsks();
    this.#call();
    const survivor = this.#survivor();
    if (survivor !== undefined) {
      this.#comesAt ??= agenda.now + this.#random.between(5, 150);
      if (agenda.now >= this.#comesAt && survivor.isSettled) {
        this.#comesAt = undefined;
        this.#pairAgain(survivor);
      }
      return;
    }
    this.#comesAt = undefined;
    if (agenda.now < this.#world.schedule.lengthMs - calmMs) this.#doom();
  }

  /** Whoever serves alone, and will not be protected by whom it had. */
  #survivor(): Side | undefined {
    const { primary, secondary, agenda } = this.#world;
    if (!secondary.dead && secondary.core.phase === 'live') return secondary;
    if (primary.dead || primary.core.phase !== 'unprotected') return undefined;
    if (secondary.dead) return primary;
    const { phase } = secondary.core;
    if (phase === 'refused' || phase === 'failed' || phase === 'ended') return primary;
    if (secondary.frozen) return agenda.now - secondary.unwellSince > waitsForFrozenMs ? primary : undefined;
    // The same one may come back by itself, as a primary that insists tries all the time.
    if (phase === 'listening' && primary.isSettled && primary.primary.insists)
      primary.post({ kind: 'command', command: { name: 'protect' } });
    return undefined;
  }

  /**
   * A primary that goes on alone dials whom it had, who turns it away while it does not know who does, and has heard what it said first.
   *
   * @throws Violation
   */
  #call(): void {
    const { agenda, primary, secondary } = this.#world;
    const waits = secondary.isWell && secondary.core.phase === 'claiming';
    if (!waits || !primary.isSettled || primary.core.phase !== 'unprotected' || !primary.primary.insists) {
      this.#callsSince = undefined;
      return;
    }
    this.#callsSince ??= agenda.now;
    if (agenda.now - this.#callsSince > hearsMs) {
      throw new Violation('B.7', 'a standby still waits to hear who goes on, and its primary, who does, has told it');
    }
    if (this.#callsSince === agenda.now) this.#world.count('a primary that goes on calls a standby that waits');
    secondary.post({ kind: 'primary-called', pair: 'web', term: primary.core.term });
  }

  #pairAgain(survivor: Side, byRival = false): void {
    const before = this.#world;
    const other = survivor === before.primary ? before.secondary : before.primary;
    // Only a machine that is off can be repaired.
    const isRepaired = !byRival && other.dead && this.#random.chance(0.6);
    const standby = isRepaired
      ? { blocks: other.disk.durable, term: other.durableTerm, history: other.history.asStandby }
      : { blocks: Array.from({ length: diskBlocks }, () => this.#random.below(1e6)), term: 0 };
    const world = before.next({ survivor, standby });
    this.#world = world;
    world.trace(
      undefined,
      `-- another pair: the ${survivor.role} goes on, with ${isRepaired ? 'the repaired machine' : 'a new machine'}`,
    );
    world.count(`pairs of a survivor, with ${isRepaired ? 'the repaired machine' : 'a new machine'}`);
    if (!other.dead) world.count('pairs beside a former side that is frozen or fenced');
    const backlogSteps = this.#random.chance(0.2) ? this.#random.between(0, mostBacklogSteps) : 0;
    world.primary.disk.backlogMs = backlogSteps * world.schedule.settings.stepMs;
    this.#begin(world);
    // Who was taken while another one was dialled is connected in its place.
    if (world.primary.core.phase === 'connecting') world.network.connect();
    else world.agenda.after(1, () => world.primary.post({ kind: 'command', command: { name: 'protect' } }));
    if (!this.#random.chance(0.3)) return;
    // While the other one is dialled, or later.
    const afterMs = this.#random.chance(0.4) ? this.#random.between(1, 5) : this.#random.between(2, 60);
    this.#rivalAsksAt = Math.min(this.#rivalAsksAt, world.agenda.now + afterMs);
    world.agenda.after(afterMs, () => this.#rivalAsks());
  }

  /** It raced with the one that was taken, and is told why it is not wanted: it asks again, and may be the next one. @throws Violation */
  #rivalAsks(): void {
    const { agenda, primary, secondary, rules } = this.#world;
    if (agenda.now < this.#rivalAsksAt) return;
    this.#rivalAsksAt = agenda.now + this.#random.between(20, 200);
    if (!primary.isWell || primary.isBusy) return;
    const { phase, insists } = primary.primary;
    const why = whyTurnedAway({ phase, insists, peerName: 'the standby' }, rules);
    if (why !== undefined) {
      this.#world.count(`a second standby is turned away: ${phase}`);
      return;
    }
    const isAlone = phase === 'unprotected' || phase === 'connecting' || secondary.dead;
    if (primary.session !== undefined || !isAlone) {
      throw new Violation('B.7', `a second standby is taken, and the survivor, ${phase}, has one`);
    }
    if (!primary.isSettled || (phase !== 'connecting' && this.#survivor() !== primary)) return;
    this.#rivalAsksAt = Number.POSITIVE_INFINITY;
    this.#world.count(`a second standby is taken: ${phase}`);
    this.#pairAgain(primary, true);
  }

  #doom(): void {
    const world = this.#world;
    const { phase } = world.primary.core;
    if (phase === 'protected' && this.#doomed !== world) {
      this.#doomed = world;
      this.#later(world, this.#random.between(10, 250), this.#random.pick(losses));
    }
    const isPairing = phase === 'synchronising' || phase === 'seeding';
    if (isPairing && this.#doomedWhilePairing !== world) {
      this.#doomedWhilePairing = world;
      if (this.#random.chance(0.4))
        this.#later(world, this.#random.between(0, 200), this.#random.pick(lossesWhilePairing));
    }
  }

  #later(world: World, afterMs: number, loss: Loss): void {
    const { agenda } = world;
    agenda.after(afterMs, () => {
      if (this.#world !== world) return;
      // Two losses at once are more than a pair promises to survive.
      const isWell = world.primary.isWell && world.secondary.isWell && agenda.now >= this.#troubledUntil;
      const { phase } = world.primary.core;
      const isPairing = phase === 'synchronising' || phase === 'seeding';
      const survives =
        isWell && (isPairing || loss.startsWith('secondary') || world.secondary.core.phase === 'protecting');
      if (!survives) {
        if (this.#doomed === world) this.#doomed = undefined;
        return;
      }
      this.#troubledUntil = agenda.now + troubleMs;
      world.trace(undefined, `-- ${loss}`);
      world.count(`loss: ${loss}`);
      this.#happens(world, loss);
    });
  }

  #happens(world: World, loss: Loss): void {
    const { primary, secondary, network, agenda } = world;
    const frozenMs = this.#random.between(20, 1500);
    switch (loss) {
      case 'primary is killed':
        primary.die(true);
        return;
      case 'primary loses its power':
        primary.die(false);
        return;
      case 'primary is frozen':
        primary.freeze(frozenMs);
        break;
      case 'secondary is killed':
        secondary.die(true);
        return;
      case 'secondary loses its power':
        secondary.die(false);
        return;
      case 'secondary is frozen':
        secondary.freeze(frozenMs);
        break;
      case 'the roles are changed':
        primary.post({ kind: 'command', command: { name: 'switchover' } });
        break;
      case 'the connection breaks':
        network.break();
        break;
      case 'the link is cut': {
        const cutMs = this.#random.between(20, 600);
        network.cut('primary');
        network.cut('secondary');
        agenda.after(cutMs, () => {
          network.heal('primary');
          network.heal('secondary');
        });
        break;
      }
      default:
        loss satisfies never;
    }
    // It may have gone unnoticed: then something else befalls this pair.
    agenda.after(this.#random.between(troubleMs, 2 * troubleMs), () => {
      if (this.#doomed === world) this.#doomed = undefined;
    });
  }
}
