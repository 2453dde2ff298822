import { refusals } from '../commands.ts';
import { endedHere } from '../end-words.ts';
import type { Command } from '../events.ts';
import type { StateMachine } from '../moves.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { Handover } from './handover.ts';
import type { Insistence } from './insistence.ts';
import type { OrderlyEnd } from './orderly-end.ts';
import { isPairing, type PrimaryPhase, refusalToProtect } from './primary-phase.ts';
import type { Survival } from './survival.ts';

/** The rest of P, as an operator has it do something. */
export interface Commanded {
  /** It is moved on to connecting, and read. */
  readonly phase: StateMachine<PrimaryPhase>;
  readonly checkpoints: Checkpoints;
  readonly handover: Handover;
  readonly insistence: Insistence;
  readonly end: OrderlyEnd;
  readonly survival: Survival;
  /** S was never counted on, and never will be. */
  giveUpPairing(why: string): void;
}

/** What an operator has P do: it is done, or refused with the reason. */
export class OperatorCommands {
  readonly #settings: Settings;
  readonly #turn: Turn;
  readonly #primary: Commanded;

  constructor(settings: Settings, turn: Turn, primary: Commanded) {
    this.#settings = settings;
    this.#turn = turn;
    this.#primary = primary;
  }

  take(command: Command): void {
    const error = this.#do(command);
    if (error !== undefined) this.#turn.do({ kind: 'refuse', command: command.name, error });
  }

  /** @returns why not; undefined if it is done, or begun */
  #do(command: Command): string | undefined {
    const { phase, checkpoints, handover, survival } = this.#primary;
    switch (command.name) {
      case 'protect':
        return this.#protect();
      case 'unprotect':
        return this.#unprotect(command.stops === true);
      case 'checkpoint':
        if (phase.state !== 'protected') return refusals.notProtected;
        checkpoints.want('command');
        return undefined;
      case 'switchover':
        return handover.want();
      case 'set-checkpoint-delay':
        checkpoints.pacing.delayMs = command.delayMs;
        checkpoints.want('parameter');
        return undefined;
      case 'failover':
        return (command.sure ? undefined : this.#whyNothingIsLost()) ?? survival.operatorSays(command.sure);
      case 'lost-heartbeat':
        return survival.operatorSays(command.sure);
      default:
        return command satisfies never;
    }
  }

  /** In these phases S answers: one that does not is lost soon, and then the operator is heard. */
  #whyNothingIsLost(): string | undefined {
    const { state } = this.#primary.phase;
    if (state === 'handing-over') return refusals.switching;
    return state === 'protected' || state === 'ending' ? refusals.standbyIsWell : undefined;
  }

  #protect(): string | undefined {
    const { phase } = this.#primary;
    const refusal = refusalToProtect(phase.state);
    if (refusal !== undefined) return refusal;
    phase.move('connecting');
    this.#primary.insistence.begun();
    this.#turn.do({ kind: 'connect' });
    this.#turn.startTimer('step', this.#settings.stepMs);
    return undefined;
  }

  #unprotect(isForAnother: boolean): string | undefined {
    const { phase, insistence, end } = this.#primary;
    const wasSought = phase.state === 'unprotected' && insistence.isOn;
    if (phase.state === 'protected') end.unprotect();
    else if (isPairing(phase.state)) {
      this.#primary.giveUpPairing(isForAnother ? 'another standby is to protect it' : endedHere);
    } else if (wasSought) {
      if (!isForAnother) this.#turn.tell({ kind: 'not-protected', why: endedHere });
      // Asked twice to end it, it is ended once.
    } else if (phase.state !== 'ending') return refusals.notProtected;
    insistence.ended();
    return undefined;
  }
}
