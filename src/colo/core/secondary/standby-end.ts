import type { End } from '../../protocol/messages.ts';
import { noCheckpoint } from '../../protocol/numbers.ts';
import { bounded, endedHere, whyPeerEnded } from '../end-words.ts';
import type { SecondaryPhase } from './secondary-phase.ts';
import { disconnect, quiet, type StandbyParts } from './standing-by.ts';

/** Whatever fails of its standing by then does not end this side. */
function isOver(phase: SecondaryPhase): boolean {
  return phase === 'going-live' || phase === 'live' || phase === 'ended' || phase === 'refused' || phase === 'failed';
}

function whyDiskFailed(error: string): string {
  return `its disk failed: ${error}`;
}

/** How standing by for a P ends, other than by a takeover: in order (spec B.13), or because this side cannot any more. */
export class StandbyEnd {
  readonly #parts: StandbyParts;
  /** P counts on it, and nobody was told that this is over. */
  #protects = false;
  #diskError: string | undefined;
  /** Why this side gave up its right, if it did. */
  #left = endedHere;

  constructor(parts: StandbyParts) {
    this.#parts = parts;
  }

  /** A pair is made. */
  begin(): void {
    this.#protects = false;
  }

  /** P counts on it from now on. */
  protects(): void {
    this.#protects = true;
  }

  /** This side gives up its right to take over, and then says so. */
  leave(reason: 'unprotect' | 'stopped'): void {
    this.#left = reason === 'stopped' ? 'this standby is being stopped' : endedHere;
    this.#leave({ reason, exitCode: 0 });
  }

  /** P has read that, or is silent. */
  left(): void {
    if (this.#diskError === undefined) {
      this.#tellOrderlyEnd();
      this.backToListening(this.#left, true);
      return;
    }
    this.#giveUp(whyDiskFailed(this.#diskError));
  }

  peerEnds(end: End): void {
    const { turn, phase, gathering } = this.#parts;
    turn.send({ kind: 'ended' });
    const why = whyPeerEnded(end, 'primary');
    if (end.reason === 'power-off') {
      gathering.keepDisks();
      turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why });
      this.exit(end.exitCode);
      return;
    }
    if (phase.state === 'leaving') {
      this.left();
      return;
    }
    this.#tellOrderlyEnd();
    this.backToListening(why, false);
  }

  /** @param close the connection, which P leaves open */
  backToListening(why: string, close: boolean): void {
    const { turn, phase, gathering } = this.#parts;
    if (close) disconnect(turn);
    else quiet(turn);
    this.#protects = false;
    gathering.endGuest();
    turn.do({ kind: 'discard', beyond: noCheckpoint });
    phase.move('listening');
    gathering.forget();
    turn.tell({ kind: 'not-protected', why });
  }

  diskFailed(error: string): void {
    const { rules, turn, phase } = this.#parts;
    if (!rules.diskErrorEnds) return;
    this.#diskError ??= error;
    const why = whyDiskFailed(error);
    switch (phase.state) {
      case 'seeding':
      case 'ready':
        // P does not count on it yet, and can say why it never will.
        turn.send({ kind: 'refusal', reason: why });
        turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
        this.#leave({ reason: 'error', exitCode: 0, why: bounded(why) });
        return;
      case 'protecting':
        turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
        this.#leave({ reason: 'error', exitCode: 0, why: bounded(why) });
        return;
      case 'listening':
      case 'greeting':
      case 'taking-over':
      case 'claiming':
        this.fail(why);
        return;
      case 'leaving':
      case 'going-live':
      case 'live':
      case 'refused':
      case 'failed':
      case 'ended':
        return;
      default:
        phase.state satisfies never;
    }
  }

  /** This side cannot take over any more. */
  fail(why: string): void {
    const { turn, phase } = this.#parts;
    if (isOver(phase.state)) return;
    turn.stopTimer('consent');
    turn.stopTimer('ask');
    this.#giveUp(why);
    turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
  }

  /** The guest has ended. */
  exit(exitCode: number): void {
    const { turn, phase } = this.#parts;
    quiet(turn);
    phase.move('ended');
    turn.do({ kind: 'exit', exitCode });
  }

  /** Nobody is protected from here any more. */
  #giveUp(why: string): void {
    const { turn, phase, gathering } = this.#parts;
    disconnect(turn);
    gathering.endGuest();
    phase.move('failed');
    turn.tell({ kind: 'failed', why, wasCountedOn: this.#protects });
    this.#protects = false;
  }

  #leave(end: Omit<End, 'kind'>): void {
    const { settings, turn, phase } = this.#parts;
    phase.move('leaving');
    turn.send({ kind: 'end', ...end });
    turn.startTimer('step', settings.stepMs);
  }

  #tellOrderlyEnd(): void {
    if (!this.#protects) return;
    this.#protects = false;
    this.#parts.turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'ended in order' });
  }
}
