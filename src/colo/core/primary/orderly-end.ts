import type { End } from '../../protocol/messages.ts';
import type { Epoch } from '../../protocol/numbers.ts';
import { bounded, endedHere, lastIsLate, whyPeerEnded } from '../end-words.ts';
import type { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { Insistence } from './insistence.ts';
import { isOver, isPairing, type PrimaryPhase } from './primary-phase.ts';

/** The rest of P, as its protection ends in order. */
export interface Ending {
  /** It is moved on to ending and ended, and read. */
  readonly phase: StateMachine<PrimaryPhase>;
  readonly checkpoints: Checkpoints;
  readonly insistence: Insistence;
  disconnect(): void;
  /** S was never counted on, and never will be. */
  giveUpPairing(why: string): void;
  /** S has no right to take over: the guest runs on here without it. */
  goOnAlone(reason: 'request' | 'error', why: string): void;
}

/**
 * Protection ends in order (spec B.13): S gives up every right to take over, and then no arbiter is needed. An operator wants that,
 * or S does, or S is of no use, or the guest has ended:
 *
 *     the guest ends --> last checkpoint --> its output is out --> end 'power-off' --> S gives up --> exit
 *
 * So nothing that the guest said before its end is lost, and S does not start it again. A checkpoint that takes longer than the machine can
 * wait is done without: S gives up at once, and then what it would have explained leaves, for nobody but P has a history any more.
 *
 *     the guest ends --> overdue --> end 'power-off' --> S gives up --> all output is out --> exit
 */
export class OrderlyEnd {
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #primary: Ending;
  /** A guest that has ended, and the epoch behind which nothing comes from it, once that has been captured. */
  #guest: { readonly exitCode: number; lastEpoch?: Epoch } | undefined;
  /** S is to end without the guest's last checkpoint. */
  #isOverdue = false;
  /** Why protection is ending, as soon as S has given up its right. */
  #why: { readonly reason: 'request' | 'error'; readonly text: string } = { reason: 'request', text: endedHere };

  constructor(settings: Settings, rules: Rules, turn: Turn, primary: Ending) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
    this.#primary = primary;
  }

  /** The guest has ended, and that is on its way, or done. */
  get guestHasEnded(): boolean {
    return this.#guest !== undefined;
  }

  /** The guest has ended: without a standby that is all. */
  guestEnds(exitCode: number): void {
    const { phase, checkpoints } = this.#primary;
    this.#guest ??= { exitCode };
    if (phase.state === 'unprotected') {
      this.#exit(exitCode);
      return;
    }
    if (isPairing(phase.state) && phase.state !== 'seeding') {
      this.#primary.giveUpPairing('the guest has ended');
      return;
    }
    checkpoints.want('end');
  }

  /**
   * The machine waits no longer for the guest's last checkpoint. If S were not told it would find P's process gone, and go on from the
   * checkpoint before with a guest that somebody has ended.
   */
  overdue(): void {
    const { phase, checkpoints } = this.#primary;
    const guest = this.#guest;
    if (guest === undefined || !this.#rules.endsWithoutLast) return;
    if (phase.state === 'seeding') {
      this.#primary.giveUpPairing('the guest has ended');
      return;
    }
    // Who is to be handed the guest has no right to it before it is told that it is silent here.
    if (phase.state !== 'protected' && phase.state !== 'handing-over') return;
    const { through } = checkpoints;
    const has = guest.lastEpoch !== undefined && through >= guest.lastEpoch;
    this.#isOverdue = true;
    guest.lastEpoch ??= checkpoints.last;
    if (!has) this.#turn.tell({ kind: 'ended-behind', through });
    this.#begin({ reason: 'power-off', exitCode: guest.exitCode, ...(has ? {} : { why: lastIsLate }) });
  }

  /** The checkpoint that closes this epoch is on its way. */
  captured(epoch: Epoch): void {
    if (this.#guest !== undefined) this.#guest.lastEpoch ??= epoch;
  }

  /** Output up to here is with the network: is that all that the guest has said? */
  outputLeft(through: Epoch): void {
    const guest = this.#guest;
    if (this.#primary.phase.state === 'protected' && guest?.lastEpoch !== undefined && through >= guest.lastEpoch) {
      this.#begin({ reason: 'power-off', exitCode: guest.exitCode });
    }
  }

  /**
   * S is there, and could not go on if it took over. If P only let it go, each would ask the arbiter, and it might be S that is first:
   * so it is asked to give up its right, which it can.
   */
  giveUpStandby(why: string): void {
    this.#turn.tell({ kind: 'peer-lost', why });
    this.#why = { reason: 'error', text: `the standby was let go: ${why}` };
    this.#begin({ reason: 'error', exitCode: 0, why: bounded(why) });
  }

  /** An operator wants that. */
  unprotect(): void {
    this.#why = { reason: 'request', text: endedHere };
    this.#begin({ reason: 'unprotect', exitCode: 0 });
  }

  /** S is asked to give up its right. */
  #begin(end: Omit<End, 'kind'>): void {
    this.#primary.phase.move('ending');
    this.#turn.stopTimer('checkpoint');
    this.#turn.stopTimer('disk-log');
    this.#turn.send({ kind: 'end', ...end });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  /** S gave up every right to take over: no arbiter is needed. */
  peerGaveUp(): void {
    this.#primary.disconnect();
    if (this.#isOverdue) this.#turn.do({ kind: 'open' });
    if (!this.exitIfComplete()) this.#goOnAlone(this.#why.reason, this.#why.text);
  }

  /** S ends protection: it gave up its right before it said so. */
  peerEnds(end: End): void {
    const { phase } = this.#primary;
    if (isOver(phase.state)) return; // said before it heard that it is the guest's
    this.#turn.send({ kind: 'ended' });
    if (end.reason === 'unprotect') this.#primary.insistence.ended();
    if (isPairing(phase.state)) {
      this.#primary.giveUpPairing(whyPeerEnded(end, 'secondary'));
      return;
    }
    this.#primary.disconnect();
    this.#goOnAlone(end.reason === 'error' ? 'error' : 'request', whyPeerEnded(end, 'secondary'));
  }

  /** Exits if the guest has ended and its last state is S's. @returns whether there is nothing to go on with */
  exitIfComplete(): boolean {
    const guest = this.#guest;
    if (guest?.lastEpoch === undefined) return false;
    this.#exit(guest.exitCode);
    return true;
  }

  /** Exits if the guest has ended, which nobody else is to hear of any more. */
  exitIfEnded(): void {
    if (this.#guest !== undefined) this.#exit(this.#guest.exitCode);
  }

  #goOnAlone(reason: 'request' | 'error', why: string): void {
    this.#primary.goOnAlone(reason, why);
    this.#turn.tell({ kind: 'not-protected', why });
  }

  #exit(exitCode: number): void {
    this.#primary.phase.move('ended');
    this.#turn.do({ kind: 'exit', exitCode });
  }
}
