import type { EndReason } from '../../protocol/messages.ts';
import { noCheckpoint } from '../../protocol/numbers.ts';
import { disconnect, quiet, type StandbyParts } from './standing-by.ts';

/** What P cannot bear of an S that is there (src/colo/core/primary/disk-log-watch.ts). */
const hangs = 'the disk here took nothing while its guest waited for that';

/** How standing by for a P ends, other than by a takeover: in order (spec B.13), or because this side cannot any more. */
export class StandbyEnd {
  readonly #parts: StandbyParts;
  /** P counts on it, and nobody was told that this is over. */
  #protects = false;
  #diskError: string | undefined;

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
  leave(reason: EndReason): void {
    const { settings, turn, phase } = this.#parts;
    phase.move('leaving');
    turn.send({ kind: 'end', reason, exitCode: 0 });
    turn.startTimer('step', settings.stepMs);
  }

  /** P has read that, or is silent. */
  left(): void {
    const { turn, phase, gathering } = this.#parts;
    if (this.#diskError === undefined) {
      this.#tellOrderlyEnd();
      this.backToListening('ended in order', true);
      return;
    }
    disconnect(turn);
    gathering.endGuest();
    phase.move('failed');
  }

  peerEnds(reason: EndReason, exitCode: number): void {
    const { turn, phase } = this.#parts;
    turn.send({ kind: 'ended' });
    if (reason === 'power-off') {
      turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'the guest has ended' });
      this.exit(exitCode);
      return;
    }
    if (phase.state === 'leaving') {
      this.left();
      return;
    }
    this.#tellOrderlyEnd();
    this.backToListening(`the primary ended it: ${reason === 'error' ? hangs : reason}`, false);
  }

  /** @param close the connection, which P leaves open */
  backToListening(why: string, close: boolean): void {
    const { turn, phase, gathering } = this.#parts;
    if (close) disconnect(turn);
    else quiet(turn);
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
    const why = `its disk failed: ${error}`;
    switch (phase.state) {
      case 'seeding':
      case 'ready':
        // P does not count on it yet, and can say why it never will.
        turn.send({ kind: 'refusal', reason: why });
        turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
        this.leave('error');
        return;
      case 'protecting':
        this.#protects = false;
        turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
        this.leave('error');
        return;
      case 'listening':
      case 'greeting':
      case 'taking-over':
      case 'claiming':
        this.fail(why);
        return;
      case 'leaving':
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
    const { turn, phase, gathering } = this.#parts;
    const { state } = phase;
    if (state === 'live' || state === 'ended' || state === 'refused' || state === 'failed') return;
    disconnect(turn);
    gathering.endGuest();
    turn.stopTimer('consent');
    turn.stopTimer('ask');
    phase.move('failed');
    turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'error', why });
  }

  /** The guest has ended. */
  exit(exitCode: number): void {
    const { turn, phase } = this.#parts;
    quiet(turn);
    phase.move('ended');
    turn.do({ kind: 'exit', exitCode });
  }

  #tellOrderlyEnd(): void {
    if (!this.#protects) return;
    this.#protects = false;
    this.#parts.turn.tell({ kind: 'colo-exit', mode: 'secondary', reason: 'request', why: 'ended in order' });
  }
}
