import type { Notice } from '../../../../src/colo/core/events.ts';
import { pairingPatience } from '../../../../src/colo/core/fencing/heartbeat.ts';
import { peerOf, type Role } from '../../../../src/colo/protocol/numbers.ts';
import type { PrimarySide } from '../primary/primary-side.ts';
import type { SecondarySide } from '../secondary/secondary-side.ts';
import type { World } from '../world.ts';
import { Violation } from './violation.ts';

const everyMs = 40;
/** A clock may be so much slower than time. */
const slowest = 1.25;

/** Phases that wait for the peer, and so must end within a step's time (spec B.5). Others may last. */
const waitsForPeer: ReadonlySet<string> = new Set([
  'primary connecting/idle',
  'primary greeting/idle',
  'primary synchronising/idle',
  'primary synchronising/passing',
  'primary seeding/transmitted',
  'primary protected/passing',
  'primary protected/transmitted',
  'primary protected/received',
  'primary ending/idle',
  'primary handing-over/idle',
  'primary handed-over/idle',
  'primary giving-up/idle',
  'primary giving-up/passing',
  'primary giving-up/transmitted',
  'primary giving-up/received',
  'secondary seeding/waiting',
  'secondary seeding/staging',
  'secondary ready/waiting',
  'secondary protecting/staging',
  'secondary taking-over/waiting',
  'secondary leaving/waiting',
]);

/** Phases in which a side counts on its peer: it must find out when the peer is gone. */
const countsOnPeer: ReadonlySet<string> = new Set([
  'synchronising',
  'seeding',
  'protected',
  'handing-over',
  'handed-over',
  'giving-up',
  'ready',
  'protecting',
  'taking-over',
]);

/** Nobody is counted on yet: a peer may be silent for longer. */
const pairs: ReadonlySet<string> = new Set(['synchronising', 'seeding']);

/** C.5: whatever the peer does or does not do, a side that is well reaches a decided state in time. And liveness. */
export class Watchdog {
  readonly #world: World;
  #attacked: { readonly role: Role; readonly at: number } | undefined;
  #protectedSince: number | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  start(): void {
    const { agenda } = this.#world;
    const look = (): void => {
      this.#look(this.#world.primary);
      this.#look(this.#world.secondary);
      this.#operate();
      agenda.after(everyMs, look);
    };
    agenda.after(everyMs, look);
  }

  told(role: Role, notice: Notice): void {
    const isSurvivor = notice.kind === 'survivor' || notice.kind === 'switched-over';
    if (isSurvivor && role === 'secondary' && !this.#world.secondary.live) {
      throw new Violation('C.5', 'the secondary says that its guest runs, and it does not');
    }
    if (notice.kind === 'protected') this.#protectedSince ??= this.#world.agenda.now;
    // It let its peer go; if it has one again, that is another connection.
    const isOver = notice.kind === 'not-protected' || notice.kind === 'peer-lost' || notice.kind === 'fenced';
    if (isOver && this.#attacked?.role === role) this.#attacked = undefined;
  }

  /** A frame that must not be taken is being given to this side. */
  attacked(role: Role): void {
    this.#attacked = { role, at: this.#world.agenda.now };
  }

  #look(side: PrimarySide | SecondarySide): void {
    const { agenda, schedule, network } = this.#world;
    const { now } = agenda;
    if (this.#attacked?.role === side.role && side.isWell && now > this.#attacked.at) {
      this.#attacked = undefined;
      if (countsOnPeer.has(side.core.phase) && side.session !== undefined) {
        throw new Violation('C.5', `${side.role} took what no honest peer sends, and goes on`);
      }
    }
    if (!side.isWell || !this.#world.clocksHonest) return;
    const { settings } = schedule;
    const slow = network.mostDelay('primary') + network.mostDelay('secondary');
    // What a peer has sent before it let this side go may be on its way for long, and counts as a sign of it.
    if (
      waitsForPeer.has(side.progress.place) &&
      !side.progress.prepares &&
      now - side.progress.placeSince > settings.stepMs * slowest + 60 + slow * 2
    ) {
      throw new Violation('C.5', `${side.progress.place} for ${Math.round(now - side.progress.placeSince)} ms`);
    }
    const peer = this.#world.side(peerOf(side.role));
    const heardAt = Math.max(peer.heardUntil, network.releasedAt[peerOf(side.role)]);
    const since = Math.max(peer.unwellSince, heardAt, side.progress.phaseSince);
    const silence = pairs.has(side.core.phase) ? settings.detectMs * pairingPatience : settings.detectMs;
    const longest = (silence + settings.heartbeatMs * 2) * slowest + 40 + slow * 2;
    if (countsOnPeer.has(side.core.phase) && !peer.isWell && now - since > longest) {
      throw new Violation('C.5', `${side.role} counts on a peer that is not well for ${Math.round(now - since)} ms`);
    }
    const { primary } = this.#world;
    if (side === primary && primary.core.phase === 'protected') this.#mustSpeak(primary);
    const waits = (primary.gate.newest ?? -1) >= primary.epoch;
    if (
      primary.mode === 'buffered' &&
      side.progress.place === 'primary protected/idle' &&
      waits &&
      now - side.progress.placeSince > 30
    ) {
      throw new Violation(
        'B.8',
        `output is held for ${Math.round(now - side.progress.placeSince)} ms, and no checkpoint begins`,
      );
    }
    const { resetAt } = this.#world.truths;
    if (resetAt !== undefined && side.role === 'primary' && side.progress.place === 'primary protected/idle') {
      const limit = Math.max(resetAt, side.progress.placeSince) + 10;
      if (now > limit) throw new Violation('B.13', 'no checkpoint followed the reset');
    }
  }

  /** A link over which both hear each other, but too late for anything to leave, is a loss like any other. */
  #mustSpeak({ permittedAt, progress }: PrimarySide): void {
    const { agenda, schedule } = this.#world;
    const { leaseMs, detectMs, heartbeatMs } = schedule.settings;
    const longest = (leaseMs + detectMs + heartbeatMs * 2) * slowest + 40;
    const silentMs = agenda.now - Math.max(permittedAt, progress.phaseSince);
    if (silentMs > longest) {
      throw new Violation('B.5', `nothing may leave for ${Math.round(silentMs)} ms, and the standby is counted on`);
    }
  }

  #operatorAsked = false;

  /** With a manual arbiter, somebody looks now and then, and says to one side that the other is lost. */
  #operate(): void {
    const { arbiter, primary, secondary, random } = this.#world;
    if (arbiter.kind !== 'manual' || this.#operatorAsked) return;
    const waiting = [primary, secondary].filter(
      (side) => !side.dead && (side.core.phase === 'waiting' || side.core.phase === 'claiming'),
    );
    if (waiting.length === 0 || !random.chance(0.3)) return;
    this.#operatorAsked = true;
    random.pick(waiting).post({ kind: 'command', command: { name: 'lost-heartbeat', sure: false } });
  }

  /** Liveness: one side was well, so somebody serves. */
  atEnd(): void {
    const { schedule, primary, secondary, arbiter, agenda, clients } = this.#world;
    const { healthy } = schedule;
    if (healthy === undefined) return;
    // Who beats and says nothing else is lost after a step's time, by a clock that may have gone back by a second.
    const silence = schedule.faults.some(({ kind }) => kind === 'falls-silent')
      ? schedule.settings.stepMs + (this.#world.clocksHonest ? 0 : 1000)
      : 0;
    if (agenda.now - clients.lastAnswerAt < 400 + silence) {
      this.#world.count('liveness: served');
      return;
    }
    const excuse = excuseFor(this.#world, healthy.side);
    if (excuse !== undefined) {
      this.#world.count(`liveness: ${excuse}`);
      return;
    }
    throw new Violation(
      'liveness',
      `nobody served since ${clients.lastAnswerAt.toFixed(0)} ms, and ${healthy.side} is well since ${healthy.fromMs.toFixed(0)} ms ` +
        `(primary ${primary.core.phase}, secondary ${secondary.core.phase}, next term: ${arbiter.ownerOf(primary.durableTerm + 1) ?? 'nobody'})`,
    );
  }
}

/** What no protocol for two machines can survive: more than one failure. */
function excuseFor(world: World, well: Role): string | undefined {
  const { primary, secondary, arbiter } = world;
  const side = world.side(well);
  if (primary.guest.ended || secondary.guest.ended) return 'the guest had ended';
  if (side.dead) return 'it was dead before';
  if (side.diskFailureKnown || side.disk.broken !== undefined) return 'its disk had failed';
  const owner = arbiter.ownerOf(2);
  if (owner !== undefined && owner !== well) return 'the other side had the term';
  if (well === 'secondary' && (side.core.phase === 'listening' || side.core.phase === 'failed')) {
    return 'the standby had no checkpoint that counts';
  }
  if (well === 'secondary' && (secondary.core.phase === 'seeding' || secondary.core.phase === 'ready')) {
    return 'the standby was not counted on';
  }
  return undefined;
}
