import type { Heartbeat as HeartbeatMessage } from '../../protocol/messages.ts';
import { type Epoch, noCheckpoint } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { ConsentHeld, ConsentMissed } from '../fencing/consent.ts';
import { Heartbeat } from '../fencing/heartbeat.ts';
import type { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Checkpoints } from './checkpoints.ts';
import { isOver, isPairing, type PrimaryPhase } from './primary-phase.ts';

/** The rest of P, as its output leaves. */
export interface Speaking {
  /** Read, no more. */
  readonly phase: StateMachine<PrimaryPhase>;
  readonly checkpoints: Checkpoints;
}

/**
 * P's signs of life, and S's (spec B.5): with each of P's that S answers, P's output may leave for a while (spec B.6). Who does
 * not answer for long is lost, and so is who answers too late for anything to leave.
 */
export class OutputConsent {
  readonly #rules: Rules;
  readonly #settings: Settings;
  readonly #turn: Turn;
  readonly #primary: Speaking;
  readonly #heartbeat: Heartbeat;
  readonly #consent: ConsentHeld;
  readonly #missed: ConsentMissed;
  /** Output up to here is with the network. */
  #left = noCheckpoint;

  constructor(settings: Settings, rules: Rules, turn: Turn, primary: Speaking) {
    this.#rules = rules;
    this.#settings = settings;
    this.#turn = turn;
    this.#primary = primary;
    this.#heartbeat = new Heartbeat(rules, settings);
    this.#consent = new ConsentHeld(rules, settings);
    this.#missed = new ConsentMissed(settings);
  }

  /** Output may leave before this, by this side's clock; -Infinity: there is no consent. */
  get until(): number {
    return this.#consent.until;
  }

  /** A pair is made, of whose output none has left: from now on each hears that the other lives. */
  begin(): void {
    this.#left = noCheckpoint;
    this.#heartbeat.start(this.#turn.now);
    this.#missed.begin(this.#turn.now);
    this.#beat();
  }

  /** S holds a first checkpoint, and is counted on. */
  counts(): void {
    this.#heartbeat.counts(this.#turn.now);
    this.permit();
  }

  /** S says that it lives, and perhaps what it answers. @throws ProtocolError if it answers what was not said yet */
  heard({ echo }: HeartbeatMessage): void {
    const { now } = this.#turn;
    this.#heartbeat.heard(now);
    if (Number.isNaN(echo)) return;
    if (echo > now) {
      throw new ProtocolError('invalid-message', `the peer answers a heartbeat of ${echo} ms: it is ${now}`);
    }
    // S may have said that before it heard that the guest is its own.
    if (isOver(this.#primary.phase.state)) return;
    if (!this.#consent.answered(echo, now)) return;
    if (this.until > now) this.#missed.held(this.until);
    this.permit();
  }

  /** Why S is lost; undefined if it is not. To be asked when the alarm rings. @param turned all of this side's threads have */
  whyLost(turned: boolean): string | undefined {
    const { now } = this.#turn;
    if (this.#heartbeat.isSilent(now, this.#isPairing)) {
      return `silent for ${this.#heartbeat.limitMs(this.#isPairing)} ms`;
    }
    // Before that nothing has to leave, nor after it, and what does not vouch for itself asks for no consent.
    if (this.#primary.phase.state !== 'protected' || !turned) {
      this.#missed.begin(now);
      return undefined;
    }
    const { detectMs, leaseMs } = this.#settings;
    if (!this.#rules.isMissed(this.#missed.look(now), detectMs)) return undefined;
    return `nothing could leave for ${detectMs} ms: its answers take longer than the ${leaseMs} ms for which they are good`;
  }

  /** Says that it lives, if all of this side's threads have turned, and sets the alarm again. */
  goOn(turned: boolean): void {
    if (this.#rules.mayVouch(turned)) this.#beat();
    else this.#setTimer();
  }

  /** Content and time as they are now, for the gate. */
  permit(): void {
    this.#turn.do({ kind: 'permit', through: this.#primary.checkpoints.through, until: this.#consent.until });
  }

  /** Every consent is given up: nothing leaves any more. */
  withdraw(): void {
    this.#consent.withdraw();
    this.permit();
  }

  /** Output up to here is with the network. @returns whether that is more than before */
  left(through: Epoch): boolean {
    if (through <= this.#left) return false;
    this.#left = through;
    return true;
  }

  get #isPairing(): boolean {
    return isPairing(this.#primary.phase.state);
  }

  #beat(): void {
    this.#turn.send({ kind: 'heartbeat', clock: this.#turn.now, echo: Number.NaN, laidBytes: 0 });
    this.#setTimer();
  }

  #setTimer(): void {
    this.#turn.setTimer('heartbeat', this.#heartbeat.nextAt(this.#turn.now, this.#isPairing));
  }
}
