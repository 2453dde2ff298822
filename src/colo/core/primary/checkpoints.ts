import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Message } from '../../protocol/messages.ts';
import { type Epoch, epoch, type Mode, next, noCheckpoint } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { PrimaryEvent } from '../events.ts';
import { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import { DiskLogWatch } from './disk-log-watch.ts';
import { EpochModes } from './epoch-modes.ts';
import { Pacing, type Reason } from './pacing.ts';
import { type PrimaryPhase, type PrimaryStep, primarySteps } from './primary-phase.ts';

/** The rest of P, as its checkpoints see it. */
export interface Protection {
  /** They move it on from synchronising to seeding, and read it. */
  readonly phase: StateMachine<PrimaryPhase>;
  /** S's disk log is half full, as far as is known. */
  readonly standbyIsBehind: boolean;
  /** What has become explained may leave, while there is consent. */
  permit(): void;
  /** S holds a first checkpoint. */
  ready(): void;
  /** S stands at the checkpoint that was made for `reasons`: what comes next? */
  loaded(reasons: readonly Reason[]): void;
}

type CheckpointMessage = Extract<
  Message,
  { kind: 'checkpoint-ready' | 'checkpoint-reply' | 'vmstate-received' | 'vmstate-loaded' }
>;

/**
 * P's checkpoints, the first of a pair and all that follow, one at a time (spec A.2, B.3):
 *
 *     a reason --> live passes, if it can wait --> REQUEST and stop --> on its way, the guest runs --> RECEIVED --> LOADED
 */
export class Checkpoints {
  readonly pacing: Pacing;
  readonly diskLog: DiskLogWatch;
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #pair: Protection;
  readonly #modes: EpochModes;
  #step = newStep();
  /** The epoch that the guest runs in. */
  #open = epoch(0);
  /** Output up to here is explained by a state that S owns. */
  #through = noCheckpoint;
  #passesLeft = 0;
  /** REQUEST is said, and S did not reply yet. */
  #isReplyOwed = false;
  /** What the peer owes while something is copied, in words. */
  #owed: string | undefined;
  /** What the checkpoint that is under way is for. */
  #reasons: readonly Reason[] = [];

  constructor(settings: Settings, rules: Rules, turn: Turn, pair: Protection) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
    this.#pair = pair;
    this.pacing = new Pacing(settings);
    this.#modes = new EpochModes(settings);
    this.diskLog = new DiskLogWatch(settings, rules, turn);
  }

  get step(): PrimaryStep {
    return this.#step.state;
  }

  get open(): Epoch {
    return this.#open;
  }

  /** The epoch that the last stop closed. */
  get last(): Epoch {
    return epoch(this.#open - 1);
  }

  get through(): Epoch {
    return this.#through;
  }

  /** How output of the open epoch leaves, and why so. */
  get mode(): { readonly mode: Mode; readonly why: string } {
    return { mode: this.#modes.open, why: this.#modes.why };
  }

  /** Output of the open epoch leaves when S's guest has said the same. */
  get isComparing(): boolean {
    return this.#modes.open === 'comparing';
  }

  /** The message that is awaited now. */
  get expected(): CheckpointMessage['kind'] | undefined {
    if (this.#isReplyOwed) return 'checkpoint-reply';
    switch (this.step) {
      case 'transmitted':
        return this.#phase === 'seeding' ? 'checkpoint-ready' : 'vmstate-received';
      case 'received':
        return 'vmstate-loaded';
      default:
        return undefined;
    }
  }

  /** Whose turn it is, if it is the peer's: what it owes. */
  get owed(): string | undefined {
    return this.expected ?? (this.#isCopying ? this.#owed : undefined);
  }

  /** A pair is made, whose disks are to be made equal first. */
  begin(): void {
    this.#open = epoch(0);
    this.#through = noCheckpoint;
    this.#step = newStep();
    this.#isReplyOwed = false;
    this.#passesLeft = this.#settings.livePasses;
    this.diskLog.begin();
    this.#modes.begin(this.#turn.now);
  }

  want(reason: Reason): void {
    if (this.#phase !== 'protected' && this.#phase !== 'seeding') return;
    this.pacing.want(reason, this.#turn.now);
    this.consider();
  }

  /** Begins a checkpoint if one is due, else sets the alarm. */
  consider(): void {
    if (this.#phase !== 'protected' || this.step !== 'idle') return;
    const due = this.pacing.dueAt(this.#turn.now);
    if (due > this.#turn.now) {
      this.#turn.setTimer('checkpoint', due);
      return;
    }
    this.#turn.stopTimer('checkpoint');
    if (!this.pacing.isWanted) this.pacing.want('delay', this.#turn.now);
    if (this.pacing.canWait && this.#settings.livePasses > 0) {
      this.#passesLeft = this.#settings.livePasses;
      this.pass();
      return;
    }
    this.#request();
  }

  /** Sends what is dirty while the guest runs. */
  pass(): void {
    this.#passesLeft--;
    this.#step.move('passing');
    this.#turn.do({ kind: 'live-pass', epoch: this.#open });
  }

  passed({ epoch, worthAnother }: Extract<PrimaryEvent, { kind: 'passed' }>): void {
    if (this.step !== 'passing' || epoch !== this.#open) return;
    if (this.#phase !== 'synchronising' && this.#phase !== 'protected') return;
    if (worthAnother && this.#passesLeft > 0) {
      this.pass();
      return;
    }
    if (this.#phase === 'protected') {
      this.#request();
      return;
    }
    this.#pair.phase.move('seeding');
    if (this.#rules.holdsWhileSeeding) this.#turn.do({ kind: 'hold' });
    this.#capture();
  }

  /**
   * Only the peer's turn is counted (spec B.5): this side's own disks and threads take their time, of which heartbeats tell. Of
   * a checkpoint that is on its way the peer owes the answer all along.
   */
  copyWaits(owed: string | undefined): void {
    if (this.#isCopying) {
      this.#owed = owed;
      if (owed === undefined) this.#waitsNoMore();
      else this.#waits();
    } else if (this.step === 'transmitted') {
      this.#waits();
    }
  }

  /** S says that it stands at a checkpoint no earlier than all of that is on its disk: its guest is to run from it. */
  get owesLaying(): boolean {
    const { expected } = this;
    return this.isComparing && (expected === 'vmstate-loaded' || expected === 'checkpoint-ready');
  }

  /** S has laid down more: a disk that takes its time is not one that hangs. */
  standbyLaid(): void {
    if (this.#rules.layingCounts && this.owesLaying) this.#waits();
  }

  /** The guest was stopped, and runs on in the next epoch. @returns whether the checkpoint is on its way now */
  captured({ epoch: captured, stateBytes, stoppedMs }: Extract<PrimaryEvent, { kind: 'captured' }>): boolean {
    if (this.step !== 'capturing' || captured !== this.#open) return false;
    const turn = this.#turn;
    this.#open = next(captured);
    if (this.#modes.captured(turn.now)) {
      const { open: mode, why, changedForDisk: forDisk } = this.#modes;
      turn.tell({ kind: 'mode', mode, epoch: this.#open, why, forDisk });
    }
    // Spec A.2.3: is there still somebody to send it to?
    if (this.#phase !== 'protected' && this.#phase !== 'seeding') {
      this.#step.move('idle');
      return false;
    }
    turn.tell({ kind: 'checkpoint', epoch: captured, reasons: this.#reasons });
    this.pacing.stopped(stoppedMs, turn.now);
    this.#step.move('transmitted');
    turn.send({ kind: 'vmstate-send', epoch: captured, comparing: this.isComparing ? 1 : 0 });
    turn.do({ kind: 'transmit', epoch: captured });
    turn.send({ kind: 'vmstate-size', epoch: captured, value: stateBytes });
    this.#waits();
    if (this.#rules.explainedBy === 'transmitted') {
      this.#through = captured;
      this.#pair.permit();
    }
    return true;
  }

  /** @throws ProtocolError if it is not this message's turn */
  message(message: CheckpointMessage): void {
    if (message.kind !== this.expected) throw outOfOrder(message.kind, this.expected);
    const expected = this.step === 'capturing' ? this.#open : this.last;
    if (message.epoch !== expected) {
      throw new ProtocolError(
        'wrong-epoch',
        `the peer sent ${message.kind} of epoch ${message.epoch}, not ${expected}`,
      );
    }
    switch (message.kind) {
      case 'checkpoint-ready':
        this.#waitsNoMore();
        this.#step.move('idle');
        this.#through = this.last;
        this.diskLog.loaded(message.epoch);
        this.#pair.ready();
        return;
      case 'checkpoint-reply':
        this.#isReplyOwed = false;
        return;
      case 'vmstate-received':
        this.#step.move('received');
        this.#waits();
        this.#through = message.epoch;
        this.#pair.permit();
        this.#modes.released(this.#reasons.some(isDisagreement), this.#turn.now);
        return;
      case 'vmstate-loaded':
        this.#step.move('idle');
        this.#waitsNoMore();
        this.diskLog.loaded(message.epoch);
        this.#pair.loaded(this.#reasons);
        return;
    }
  }

  // Comparing (spec A.5, B.8)

  /** The epoch and mode that the guest runs in once a stop that is ordered is over: this side hears of that a moment later. */
  get guestsEpoch(): Epoch {
    return this.step === 'capturing' ? next(this.#open) : this.#open;
  }

  get guestsMode(): Mode {
    return this.step === 'capturing' ? this.#modes.ordered : this.#modes.open;
  }

  /** What is said of an epoch that has ended is over with it: all of its output goes out with its checkpoint. */
  comparisonWants(epoch: Epoch, why: 'divergence' | 'room' | 'output' | 'backlog', waitedMs: number): void {
    if (epoch !== this.guestsEpoch || this.guestsMode !== 'comparing') return;
    if (why !== 'output') this.#modes.diverges(this.#turn.now, waitedMs);
    this.want(why);
  }

  /** So long has output waited: an epoch in the wrong mode (spec B.8) ends soon. */
  outputWaited(event: Extract<PrimaryEvent, { kind: 'output-waited' }>): void {
    if (this.#modes.waited(event, this.#turn.now)) this.want('mode');
  }

  get #phase(): PrimaryPhase {
    return this.#pair.phase.state;
  }

  get #isCopying(): boolean {
    return this.#phase === 'synchronising' || this.step === 'passing';
  }

  /** It is the peer's turn. Not while it owes its last word: that has a time limit of its own, which a checkpoint does not move. */
  #waits(): void {
    if (!this.#owesLastWord) this.#turn.startTimer('step', this.#settings.stepMs);
  }

  #waitsNoMore(): void {
    if (!this.#owesLastWord) this.#turn.stopTimer('step');
  }

  get #owesLastWord(): boolean {
    return this.#phase === 'ending' || this.#phase === 'giving-up';
  }

  /**
   * The stop does not wait for the reply: S's guest has no say in it, and an answer that needs a checkpoint would wait for one
   * way there and back more. The reply is still to come before RECEIVED.
   */
  #request(): void {
    const request = { kind: 'checkpoint-request', epoch: this.#open } as const;
    // S's guest is to be stopped with P's, if there is one that runs.
    if (this.isComparing) this.#turn.send(request);
    else this.#turn.sendWithNext(request);
    this.#isReplyOwed = true;
    this.#capture();
  }

  #capture(): void {
    this.#waitsNoMore();
    this.#step.move('capturing');
    this.#reasons = this.pacing.stopping();
    const mode = this.#modes.order(this.#turn.now, this.#rules.mayCompare(this.#pair.standbyIsBehind));
    this.#turn.do({ kind: 'capture', epoch: this.#open, mode });
  }
}

/** A checkpoint for that is what comparing costs (spec B.8). */
function isDisagreement(reason: Reason): boolean {
  return reason === 'divergence' || reason === 'room' || reason === 'backlog';
}

function newStep(): StateMachine<PrimaryStep> {
  return new StateMachine<PrimaryStep>('checkpoint', primarySteps, 'idle');
}
