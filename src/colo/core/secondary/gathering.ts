import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import { type EpochItem, type Message, type OutputConfirmed, wantedFor } from '../../protocol/messages.ts';
import { type Epoch, next, noCheckpoint } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { StateMachine } from '../moves.ts';
import type { Rules } from '../rules.ts';
import type { Settings } from '../settings.ts';
import type { Turn } from '../turn.ts';
import { type SecondaryPhase, type SecondaryStep, secondarySteps } from './secondary-phase.ts';
import { Staging } from './staging.ts';

/** The rest of S, as its checkpoints see it. */
export interface StandingBy {
  readonly phase: SecondaryPhase;
  /** The guest is, or may be had, as it was at that checkpoint. */
  standsAt(epoch: Epoch): void;
}

type CheckpointMessage = Extract<Message, { kind: 'checkpoint-request' | 'vmstate-send' | 'vmstate-size' }>;

/**
 * S's checkpoints, one after the other (spec A.2, B.2), and the guest that may run from each:
 *
 *     REQUEST --> staged, item by item --> whole: RECEIVED --> RAM --> the epoch's disk writes --> guest, if both run --> LOADED
 */
export class Gathering {
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #turn: Turn;
  readonly #standby: StandingBy;
  #step = newStep();
  #staging: Staging;
  #isAnnounced = false;
  /** P's own disks are being made durable, before they are copied. */
  #peerPrepares = false;
  /** The last checkpoint of which RECEIVED was said, and the last that is the guest's. */
  #received = noCheckpoint;
  #loaded = noCheckpoint;
  /** Whether the guest runs here, from the checkpoint that is loaded, or was stopped in that epoch (comparing mode). */
  #guest: 'none' | 'running' | 'paused' = 'none';
  /** That guest has ended, and P's has not, as far as is known. */
  #guestHasEnded = false;
  /** The guest is to run from the checkpoint that is gathered, and from the one that is being loaded. */
  #comparesNext = false;
  #compares = false;
  /** When the stop of each of these two was over, by this side's clock. */
  #stagedAt = 0;
  #receivedAt = 0;

  constructor(settings: Settings, rules: Rules, turn: Turn, standby: StandingBy) {
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = turn;
    this.#standby = standby;
    this.#staging = new Staging(rules);
  }

  get step(): SecondaryStep {
    return this.#step.state;
  }

  get received(): Epoch {
    return this.#received;
  }

  get loaded(): Epoch {
    return this.#loaded;
  }

  /** When P's stop for the checkpoint that was received last was over, by this side's clock. */
  get receivedAt(): number {
    return this.#receivedAt;
  }

  get guest(): 'none' | 'running' | 'paused' {
    return this.#guest;
  }

  get guestHasEnded(): boolean {
    return this.#guestHasEnded;
  }

  /** What comes is of the first copy. */
  get isCopying(): boolean {
    return this.#standby.phase === 'seeding' && this.step === 'waiting';
  }

  /** The message that is awaited now. */
  get expected(): CheckpointMessage['kind'] | undefined {
    switch (this.step) {
      case 'waiting':
        // The first checkpoint comes unasked.
        return this.#standby.phase === 'seeding' ? 'vmstate-send' : 'checkpoint-request';
      case 'replied':
        return 'vmstate-send';
      case 'staging':
        return this.#isAnnounced ? undefined : 'vmstate-size';
      default:
        return undefined;
    }
  }

  /** A pair is made. */
  begin(): void {
    this.#step = newStep();
    this.#staging = new Staging(this.#rules);
    this.#guest = 'none';
    this.#guestHasEnded = false;
    this.#peerPrepares = false;
    this.#compares = false;
    this.#comparesNext = false;
    this.forget();
  }

  /** What was received is nobody's any more. */
  forget(): void {
    this.#received = noCheckpoint;
    this.#loaded = noCheckpoint;
  }

  /** @throws ProtocolError if it is not this message's turn */
  message(message: CheckpointMessage): void {
    if (message.kind !== this.expected) throw outOfOrder(message.kind, this.expected);
    const { epoch } = this.#staging;
    if (!this.#rules.admits(message.epoch, epoch)) {
      throw new ProtocolError('wrong-epoch', `the peer sent ${message.kind} of epoch ${message.epoch}, not ${epoch}`);
    }
    this.#waits();
    switch (message.kind) {
      case 'checkpoint-request':
        this.pauseGuest(); // in buffered mode it does not run
        this.#step.move('replied');
        // P's stop is next, which takes as long as P's disks do: that P is well, its heartbeats say.
        this.#waitsNoMore();
        // P waits for it no earlier than for RECEIVED.
        this.#turn.sendWithNext({ kind: 'checkpoint-reply', epoch: message.epoch });
        return;
      case 'vmstate-send':
        if (message.comparing > 1 || (message.comparing === 1 && !this.#settings.compares)) {
          throw new ProtocolError(
            'invalid-message',
            `invalid message: vmstate-send: mode ${message.comparing}, which this standby does not know`,
          );
        }
        this.#step.move('staging');
        this.#comparesNext = message.comparing === 1;
        this.#isAnnounced = false;
        this.#stagedAt = this.#turn.now;
        return;
      case 'vmstate-size':
        this.#isAnnounced = true;
        this.#staging.announce(message.value);
        this.#gathered();
        return;
    }
  }

  /** @throws ProtocolError */
  item(item: EpochItem): void {
    const isRam = item.kind === 'pages' || item.kind === 'pages-end' || item.kind === 'vmstate';
    if (isRam && (this.step === 'loading' || this.step === 'committing' || this.step === 'starting')) {
      throw new ProtocolError('out-of-order', `the peer sent ${item.kind} while a checkpoint is loaded`);
    }
    this.#staging.take(item);
    // What comes for a guest that is stopped, or of an epoch that it is not in yet, waits.
    if (item.kind === 'input' && this.#guest === 'running' && item.epoch === this.#loaded + 1) {
      this.#turn.do({ kind: 'let-in', item });
    } else this.#turn.do({ kind: 'stage', item });
    if (this.step === 'staging') this.#waits();
    else this.copyMoved();
    if (item.kind === 'disk-end' && this.#rules.commitsDisk === 'when-its-stream-ends') {
      this.#turn.do({ kind: 'commit-disk', epoch: item.epoch });
    }
    this.#gathered();
  }

  /** Something of the first copy came: the next may take as long. */
  copyMoved(): void {
    if (this.isCopying && !this.#peerPrepares) this.#waits();
  }

  /** P makes its disks durable, or has (`isOver`). Until then it is its disks' turn: that P is well, its heartbeats say. */
  peerPrepares(isOver: boolean): void {
    if (!this.isCopying || !this.#rules.preparingCounts) return;
    this.#peerPrepares = !isOver;
    if (isOver) this.#waits();
    else this.#waitsNoMore();
  }

  ramLoaded(epoch: Epoch): void {
    if (this.step !== 'loading' || epoch !== this.#received) return;
    this.#step.move('committing');
    this.#turn.do({ kind: 'commit-disk', epoch });
  }

  diskCommitted(epoch: Epoch): void {
    if (this.step !== 'committing' || epoch !== this.#received) return;
    const { phase } = this.#standby;
    if (this.#compares && (phase === 'seeding' || phase === 'protecting')) {
      this.#step.move('starting');
      this.#turn.do({ kind: 'start', epoch, stoppedAt: this.#receivedAt });
      return;
    }
    this.#standsAt(epoch);
  }

  /** Comparing: the guest runs from this checkpoint, its output held. */
  started(epoch: Epoch): void {
    if (this.step !== 'starting' || epoch !== this.#received) return;
    this.#guest = 'running';
    this.#turn.do({ kind: 'let-in-kept', epoch: next(epoch) });
    this.#standsAt(epoch);
    if (this.#guestHasEnded) this.#wantAnother();
  }

  /**
   * Comparing: the guest that runs here, or did until it was paused, ended by itself. Spec B.13: that is divergence, unless P's ends
   * too, and then P says so.
   */
  guestEnded(): void {
    if (this.#guest === 'none' && this.step !== 'starting') return;
    this.#guestHasEnded = true;
    // With a checkpoint under way it is repaired already.
    if (this.step === 'waiting') this.#wantAnother();
  }

  /** Comparing (spec B.2): what is confirmed of an epoch that is over has been forgotten with it. @throws ProtocolError */
  confirmed({ kind, epoch, items }: OutputConfirmed): void {
    this.#staging.take({ kind, epoch, items });
    if (this.#guest === 'none' || epoch !== this.#loaded + 1) return;
    this.#turn.do({ kind: 'forget-own', epoch, items });
  }

  /** The guest of the last checkpoint has ended (spec B.13): nobody needs its RAM, which is being loaded, but its disks are these. */
  keepDisks(): void {
    if (this.step !== 'loading' || !this.#rules.keepsDisksOfEnded) return;
    this.#turn.do({ kind: 'commit-disk', epoch: this.#received });
  }

  /** The guest never runs again here. */
  endGuest(): void {
    if (this.#guest === 'running' || this.step === 'starting') this.#turn.do({ kind: 'pause-guest' });
    this.#guest = 'none';
  }

  #wantAnother(): void {
    if (this.#standby.phase === 'protecting') this.#turn.send({ kind: 'checkpoint-wanted', why: wantedFor.guest });
  }

  /** Comparing: it goes on from where it is stopped, if this side takes over. */
  pauseGuest(): void {
    if (this.#guest !== 'running') return;
    this.#guest = 'paused';
    this.#turn.do({ kind: 'pause-guest' });
  }

  /** It is the peer's turn. Not while it owes its last word: that has a time limit of its own, which a checkpoint does not move. */
  #waits(): void {
    if (this.#standby.phase !== 'leaving') this.#turn.startTimer('step', this.#settings.stepMs);
  }

  #waitsNoMore(): void {
    if (this.#standby.phase !== 'leaving') this.#turn.stopTimer('step');
  }

  /** Is the checkpoint whole? Then it is this side's, whatever happens. */
  #gathered(): void {
    if (this.step !== 'staging' || !this.#isAnnounced || !this.#staging.isWhole) return;
    const { epoch } = this.#staging;
    this.#step.move('loading');
    this.#waitsNoMore();
    this.#received = epoch;
    this.#receivedAt = this.#stagedAt;
    this.#compares = this.#comparesNext;
    this.#guest = 'none';
    this.#guestHasEnded = false;
    this.#staging.next();
    if (this.#standby.phase === 'protecting') this.#turn.send({ kind: 'vmstate-received', epoch });
    this.#turn.do({ kind: 'load', epoch });
  }

  #standsAt(epoch: Epoch): void {
    this.#step.move('waiting');
    this.#loaded = epoch;
    this.#standby.standsAt(epoch);
  }
}

function newStep(): StateMachine<SecondaryStep> {
  return new StateMachine<SecondaryStep>('checkpoint', secondarySteps, 'waiting');
}
