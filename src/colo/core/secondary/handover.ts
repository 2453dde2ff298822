import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Message } from '../../protocol/messages.ts';
import { type Epoch, next, type Term } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { StandbyParts } from './standing-by.ts';
import type { Takeover } from './takeover.ts';

/** P hands the guest over, in order, S's end of it (spec B.7; src/colo/core/primary has it drawn). */
export class Handover {
  readonly #parts: StandbyParts;
  readonly #takeover: Takeover;
  /** The guest has not ended, and cannot any more. */
  #isPaused = false;
  #isTermWritten = false;

  constructor(parts: StandbyParts, takeover: Takeover) {
    this.#parts = parts;
    this.#takeover = takeover;
  }

  /** @param expected what is awaited instead, if it is not this message's turn. @throws ProtocolError */
  offered(epoch: Epoch, expected: Message['kind'] | undefined): void {
    const { rules, settings, turn, phase, gathering } = this.#parts;
    if (phase.state === 'leaving') return; // P reads soon that nobody is here to take it
    if (phase.state !== 'protecting' || gathering.step !== 'waiting') throw outOfOrder('handover', expected);
    this.#check('handover', epoch);
    // P has been told so, makes another checkpoint, and offers again.
    if (gathering.guestHasEnded && rules.handsOverLiving) return;
    if (rules.handsOverLiving) gathering.pauseGuest();
    this.#isPaused = rules.mayBeReady(gathering.guest !== 'paused');
    this.#isTermWritten = false;
    phase.move('taking-over');
    turn.startTimer('step', settings.stepMs);
    // Not before: the offer may yet come to nothing, and P go on in its own term.
    if (this.#isPaused) this.writeNextTerm();
    if (rules.mayTakeOffered(false)) this.#takeover.handedOver();
  }

  /** The alarm `ask` rings until it is written. The guest is P's until P says so: if it never does, P may run on alone in that term. */
  writeNextTerm(): void {
    const { settings, turn } = this.#parts;
    turn.do({ kind: 'write-term', term: next(turn.term), theirs: true });
    turn.startTimer('ask', settings.askAgainMs);
  }

  termWritten(term: Term): void {
    const { turn, gathering } = this.#parts;
    if (term !== next(turn.term) || this.#isTermWritten) return;
    turn.stopTimer('ask');
    this.#isTermWritten = true;
    turn.send({ kind: 'handover-ready', epoch: gathering.loaded });
  }

  /** From here on it cannot end by itself. */
  guestPaused(): void {
    if (this.#parts.phase.state !== 'taking-over' || this.#isPaused) return;
    this.#isPaused = true;
    this.writeNextTerm();
  }

  /** It ended before it was paused: the offer is not taken. */
  guestEnded(): void {
    const { turn, phase } = this.#parts;
    if (phase.state !== 'taking-over' || this.#isPaused) return;
    turn.stopTimer('step');
    phase.move('protecting');
  }

  /** As {@link offered}. @throws ProtocolError */
  done(epoch: Epoch, expected: Message['kind'] | undefined): void {
    if (this.#parts.phase.state !== 'taking-over') throw outOfOrder('handover-done', expected);
    this.#check('handover-done', epoch);
    this.#takeover.handedOver();
  }

  #check(kind: Message['kind'], epoch: Epoch): void {
    const { loaded, received } = this.#parts.gathering;
    if (epoch === loaded && epoch === received) return;
    throw new ProtocolError('wrong-epoch', `the peer sent ${kind} of epoch ${epoch}, not ${loaded}`);
  }
}
