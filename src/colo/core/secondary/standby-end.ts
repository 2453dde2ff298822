import type { End } from '../../protocol/messages.ts';
import { noCheckpoint } from '../../protocol/numbers.ts';
import { bounded, endedHere, whyPeerEnded } from '../end-words.ts';
import { disconnect, quiet, type StandbyParts } from './standing-by.ts';

function whyDiskFailed(error: string): string {
  return `its disk failed: ${error}`;
}

/** How standing by for a P ends, other than by a takeover: in order (spec B.13), or because this side cannot any more. */
export class StandbyEnd {
  readonly #parts: StandbyParts;
  /** P counts on it, and nobody was told that this is over. */
  #protects = false;
  /** Why this side can never take over again, if it cannot: of that P hears first. */
  #failure: string | undefined;
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
    if (this.#failure !== undefined) {
      this.#giveUp(this.#failure);
      return;
    }
    this.#tellOrderlyEnd();
    this.backToListening(this.#left, true);
  }

  peerEnds(end: End): void {
    const { turn, phase, gathering } = this.#parts;
    turn.send({ kind: 'ended' });
    const why = whyPeerEnded(end, 'primary');
    if (end.reason === 'power-off') {
      gathering.keepDisks();
      if (end.why !== undefined) turn.tell({ kind: 'ended-behind', through: gathering.received });
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
    if (this.#parts.rules.diskErrorEnds) this.fail(whyDiskFailed(error));
  }

  /** This side cannot take over any more. A P that is there hears why, and that it needs nobody's leave to go on. */
  fail(why: string): void {
    const { turn, phase } = this.#parts;
    switch (phase.state) {
      case 'seeding':
        // P does not count on it yet, and can say why it never will.
        turn.send({ kind: 'refusal', reason: bounded(why) });
        this.#failInOrder(why);
        return;
      case 'ready':
      case 'protecting':
        this.#failInOrder(why);
        return;
      case 'leaving':
        // The right is given up already: what P reads is enough.
        this.#failure ??= why;
        return;
      case 'listening':
      case 'greeting':
      case 'taking-over':
      case 'claiming':
        turn.stopTimer('consent');
        turn.stopTimer('ask');
        this.#giveUp(why);
        this.#tellFailure(why);
        return;
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

  /** The guest has ended. */
  exit(exitCode: number): void {
    const { turn, phase } = this.#parts;
    quiet(turn);
    phase.move('ended');
    turn.do({ kind: 'exit', exitCode });
  }

  #failInOrder(why: string): void {
    this.#failure = why;
    this.#tellFailure(why);
    if (this.#parts.rules.failsInOrder) this.#leave({ reason: 'error', exitCode: 0, why: bounded(why) });
    else this.#giveUp(why);
  }

  #tellFailure(why: string): void {
    this.#parts.turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
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
