import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import {
  type Heartbeat as HeartbeatMessage,
  type Message,
  protocolVersion,
  wantedFor,
} from '../../protocol/messages.ts';
import { type Epoch, epoch, type Mode, next, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { refusals } from '../commands.ts';
import { DiskWindow } from '../epochs/disk-window.ts';
import type { Command, Effect, PrimaryEvent, TimerName } from '../events.ts';
import { Claim } from '../fencing/claim.ts';
import { ConsentHeld } from '../fencing/consent.ts';
import { newFailover } from '../fencing/failover.ts';
import { Heartbeat } from '../fencing/heartbeat.ts';
import { StateMachine } from '../moves.ts';
import { type Rules, specification } from '../rules.ts';
import type { Settings } from '../settings.ts';
import { EpochModes } from './epoch-modes.ts';
import { Pacing, type Reason } from './pacing.ts';
import { type PrimaryPhase, type PrimaryStep, primaryMoves, primarySteps } from './primary-phase.ts';

const never = Number.POSITIVE_INFINITY;

/** What a primary is made of. */
export interface PrimaryOptions {
  readonly pair: string;
  readonly shape: MachineShape;
  /** The term on this side's disk. */
  readonly term: Term;
  readonly settings: Settings;
  readonly rules?: Rules;
}

/**
 * The primary: protects its guest by a standby, checkpoint by checkpoint, and goes on alone if it must and may.
 *
 * Without I/O: events come in with this side's clock (ms), what is to be done goes out, in order.
 */
export class Primary {
  readonly #options: PrimaryOptions;
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #phase = new StateMachine<PrimaryPhase>('primary', primaryMoves, 'unprotected');
  #step = new StateMachine<PrimaryStep>('checkpoint', primarySteps, 'idle');
  readonly #failover = newFailover();
  readonly #pacing: Pacing;
  readonly #heartbeat: Heartbeat;
  readonly #consent: ConsentHeld;
  #claim: Claim;
  #term: Term;
  /** S's account of forwarded writes; whoever forwards counts here. */
  diskWindow: DiskWindow;
  /** The epoch that the guest runs in. */
  #open = epoch(0);
  readonly #modes: EpochModes;
  /** Output up to here is explained by a state that S owns. */
  #through = noCheckpoint;
  #left = noCheckpoint;
  #passesLeft = 0;
  /** REQUEST is said, and S did not reply yet. */
  #isReplyOwed = false;
  /** S's disk log is full since that epoch; `isOwed`: and may be laid down. */
  #log: { readonly fullIn: Epoch; readonly isOwed: boolean } | undefined;
  /** What the peer owes while something is copied, in words. */
  #owed: string | undefined;
  #diskError: string | undefined;
  /** What the checkpoint that is under way is for. */
  #reasons: readonly Reason[] = [];
  /** The roles are to change after the next checkpoint that was wanted for that. */
  #isSwitching = false;
  #guestEnded: { readonly exitCode: number; lastEpoch?: Epoch } | undefined;
  #now = 0;
  #effects: Effect[] = [];

  constructor(options: PrimaryOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#rules = options.rules ?? specification;
    this.#term = options.term;
    this.#pacing = new Pacing(options.settings);
    this.#modes = new EpochModes(options.settings);
    this.#heartbeat = new Heartbeat(this.#rules, options.settings);
    this.#consent = new ConsentHeld(this.#rules, options.settings);
    this.#claim = new Claim(options.term, this.#rules, options.settings);
    this.diskWindow = new DiskWindow(options.settings.diskLogBytes, this.#rules);
  }

  get phase(): PrimaryPhase {
    return this.#phase.state;
  }

  get step(): PrimaryStep {
    return this.#step.state;
  }

  get term(): Term {
    return this.#term;
  }

  /** Output may leave before this, by this side's clock; -Infinity: there is no consent. */
  get consentUntil(): number {
    return this.#consent.until;
  }

  get openEpoch(): Epoch {
    return this.#open;
  }

  /** How output of the open epoch leaves, and why so. */
  get mode(): { readonly mode: Mode; readonly why: string } {
    return { mode: this.#modes.open, why: this.#modes.why };
  }

  /**
   * Whether output that S's guest said in this epoch is to be compared now (spec B.1). What it said in an epoch that is over was
   * compared, or needed it no more. Asked for each packet, which does not pass through {@link handle}.
   *
   * @throws ProtocolError if that epoch has not begun
   */
  compares(theirs: Epoch): boolean {
    if (theirs > this.#open) {
      throw new ProtocolError('wrong-epoch', `the peer sent output of epoch ${theirs} in epoch ${this.#open}`);
    }
    return this.#modes.open === 'comparing' && this.#rules.comparable(this.#open, theirs);
  }

  /** Takes an event; what is to be done about it, in order. */
  handle(event: PrimaryEvent, now: number): readonly Effect[] {
    this.#now = now;
    this.#effects = [];
    try {
      this.#handle(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message);
    }
    return this.#effects;
  }

  #handle(event: PrimaryEvent): void {
    switch (event.kind) {
      case 'command':
        this.#command(event.command);
        return;
      case 'connected':
        if (this.phase === 'connecting') this.#greet();
        return;
      case 'connect-failed':
        if (this.phase === 'connecting') this.#lose(event.reason);
        return;
      case 'frame':
        this.#frame(event.frame);
        return;
      case 'closed':
        this.#lose(event.by === 'peer' ? 'the peer closed the connection' : 'the connection broke');
        return;
      case 'peer-broke':
        this.#lose(event.error.message);
        return;
      case 'timer':
        this.#timer(event.timer, event.turned);
        return;
      case 'disks-in-step':
        if (this.phase === 'synchronising') this.#pass();
        return;
      case 'disks-not-in-step':
        if (this.phase === 'synchronising') this.#lose(event.reason);
        return;
      case 'copy-waits':
        this.#copyWaits(event.owed);
        return;
      case 'passed':
        this.#passed(event.epoch, event.worthAnother);
        return;
      case 'captured':
        this.#captured(event.epoch, event.stateBytes, event.stoppedMs);
        return;
      case 'output-waits':
        if (this.#guestsMode === 'buffered') this.#want('output');
        return;
      case 'comparison-wants':
        this.#comparisonWants(event.epoch, event.why);
        return;
      case 'output-left':
        this.#outputLeft(event.epoch);
        return;
      case 'disk-log-half':
        this.#want('disk-log');
        return;
      case 'disk-log-full':
        this.#diskLogFull(event.isFull);
        return;
      case 'disk-failed':
        this.#diskFailed(event.error);
        return;
      case 'guest-reset':
        if (this.#rules.resetWantsCheckpoint) this.#want('reset');
        return;
      case 'guest-ended':
        this.#guestEnds(event.exitCode);
        return;
      case 'arbiter':
        this.#claim.answered(event.term, event.answer, this.#now, this.#effects);
        this.#claimMoved();
        return;
      case 'term-written':
        this.#claim.termWritten(event.term, this.#effects);
        this.#claimMoved();
        return;
      case 'term-failed':
        return; // the alarm tries again
      default:
        event satisfies never;
    }
  }

  // Commands

  #command(command: Command): void {
    switch (command.name) {
      case 'protect': {
        const refusal = refusalToProtect(this.phase);
        if (refusal !== undefined) {
          this.#refuse(command, refusal);
          return;
        }
        this.#phase.move('connecting');
        this.#do({ kind: 'connect' });
        this.#setTimer('step', this.#now + this.#settings.stepMs);
        return;
      }
      case 'unprotect':
        if (this.phase === 'protected') {
          this.#end('unprotect', 0);
          return;
        }
        if (isPairing(this.phase)) {
          this.#lose('asked to end protection');
          return;
        }
        this.#refuse(command, refusals.notProtected);
        return;
      case 'checkpoint':
        if (this.phase !== 'protected') {
          this.#refuse(command, refusals.notProtected);
          return;
        }
        this.#want('command');
        return;
      case 'switchover':
        this.#switchOver(command);
        return;
      case 'set-checkpoint-delay':
        this.#pacing.delayMs = command.delayMs;
        this.#want('parameter');
        return;
      case 'failover':
        if (this.phase === 'protected' && !command.sure) {
          this.#refuse(command, refusals.standbyIsWell);
          return;
        }
        this.#lostHeartbeat(command.name, command.sure);
        return;
      case 'lost-heartbeat':
        this.#lostHeartbeat(command.name, command.sure);
        return;
      default:
        command satisfies never;
    }
  }

  #lostHeartbeat(name: 'failover' | 'lost-heartbeat', sure: boolean): void {
    if (this.phase === 'waiting' && this.#claim.state === 'asking') {
      // To a manual arbiter, this is the answer that it waits for.
      this.#claim.operatorSays(sure, this.#now, this.#effects);
      this.#claimMoved();
      return;
    }
    if (this.#failover.state !== 'none') {
      this.#refuse({ name }, refusals.failingOver);
      return;
    }
    if (this.phase !== 'protected' && this.phase !== 'ending' && this.phase !== 'handing-over') {
      this.#refuse({ name }, refusals.noColo);
      return;
    }
    this.#lose('an operator says that it is lost', { byOperator: true, sure });
  }

  #refuse(command: { readonly name: Command['name'] }, error: string): void {
    this.#do({ kind: 'refuse', command: command.name, error });
  }

  // Pairing (spec A.2.1, B.14)

  #greet(): void {
    this.#phase.move('greeting');
    const { pair, shape } = this.#options;
    const { detectMs, arbiter, compares } = this.#settings;
    const comparing = compares ? 1 : 0;
    this.#send({ kind: 'hello', version: protocolVersion, pair, shape, detectMs, arbiter, comparing });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
  }

  #welcomed(): void {
    this.#phase.move('synchronising');
    this.#setTimer('step', never);
    this.#open = epoch(0);
    this.#through = noCheckpoint;
    this.#left = noCheckpoint;
    this.#step = new StateMachine<PrimaryStep>('checkpoint', primarySteps, 'idle');
    this.#isReplyOwed = false;
    this.diskWindow = new DiskWindow(this.#settings.diskLogBytes, this.#rules);
    this.#log = undefined;
    this.#passesLeft = this.#settings.livePasses;
    this.#modes.begin(this.#now);
    this.#do({ kind: 'attach' });
    if (this.#rules.equalisesDisks) this.#do({ kind: 'synchronise-disks' });
    else this.#pass();
    this.#heartbeat.start(this.#now);
    this.#beat();
  }

  /** S holds a first checkpoint. From this message on P counts on it, and S may take over. */
  #ready(): void {
    this.#phase.move('protected');
    this.#isSwitching = false;
    this.#setTimer('step', never);
    this.#step.move('idle');
    this.#send({ kind: 'protected' });
    this.#explained(this.#lastEpoch());
    if (!this.#rules.holdsWhileSeeding) this.#do({ kind: 'hold' });
    this.#permit();
    this.#tell({ kind: 'protected', term: this.#term });
    if (this.#diskError !== undefined) {
      this.#diskFailed(this.#diskError);
      return;
    }
    this.#pacing.arm(this.#now);
    if (this.#guestEnded !== undefined) this.#want('end');
    else this.#consider();
  }

  // Frames

  #frame({ term, message }: Frame): void {
    if (!hasPeer(this.phase)) return; // what came before the peer heard that this is over
    // Who refuses has not taken the term on, and all that it says ends is this attempt.
    const isAnswer = message.kind === 'refusal' && this.phase === 'greeting';
    if (!isAnswer && !this.#rules.acceptsTerm(term, this.#term)) {
      throw new ProtocolError('wrong-term', `the peer sent ${message.kind} of term ${term} in term ${this.#term}`);
    }
    switch (message.kind) {
      case 'welcome':
        if (this.phase !== 'greeting') throw outOfOrder(message.kind, this.#expected());
        this.#welcomed();
        return;
      case 'refusal':
        this.#lose(`the standby cannot take over this machine: ${message.reason}`);
        return;
      case 'heartbeat':
        this.#heardHeartbeat(message);
        return;
      case 'end':
        this.#peerEnds(message.reason);
        return;
      case 'ended':
        if (this.phase !== 'ending') throw outOfOrder(message.kind, this.#expected());
        this.#peerGaveUp();
        return;
      case 'checkpoint-wanted':
        if (message.why === wantedFor.diskLog) this.#want('disk-log');
        else this.#comparisonWants(this.#guestsEpoch, 'divergence');
        return;
      case 'checkpoint-ready':
      case 'checkpoint-reply':
      case 'vmstate-received':
      case 'vmstate-loaded':
        this.#checkpointMessage(message);
        return;
      case 'handover-ready':
        this.#handoverReady(message.epoch);
        return;
      default:
        throw outOfOrder(message.kind, this.#expected());
    }
  }

  /** The message of a checkpoint that is awaited now. */
  #expected(): Message['kind'] | undefined {
    if (this.phase === 'greeting') return 'welcome';
    if (this.phase === 'handing-over') return 'handover-ready';
    if (this.#isReplyOwed) return 'checkpoint-reply';
    switch (this.step) {
      case 'transmitted':
        return this.phase === 'seeding' ? 'checkpoint-ready' : 'vmstate-received';
      case 'received':
        return 'vmstate-loaded';
      default:
        return undefined;
    }
  }

  #checkpointMessage(message: Message & { readonly epoch: Epoch }): void {
    if (message.kind !== this.#expected()) throw outOfOrder(message.kind, this.#expected());
    const expected = this.step === 'capturing' ? this.#open : this.#lastEpoch();
    if (message.epoch !== expected) {
      throw new ProtocolError(
        'wrong-epoch',
        `the peer sent ${message.kind} of epoch ${message.epoch}, not ${expected}`,
      );
    }
    switch (message.kind) {
      case 'checkpoint-ready':
        this.#ready();
        return;
      case 'checkpoint-reply':
        this.#isReplyOwed = false;
        return;
      case 'vmstate-received':
        this.#step.move('received');
        this.#setTimer('step', this.#now + this.#settings.stepMs);
        this.#explained(message.epoch);
        this.#permit();
        this.#modes.released(this.#reasons.includes('divergence'), this.#now);
        return;
      case 'vmstate-loaded':
        this.#step.move('idle');
        this.#setTimer('step', never);
        this.#expectLaid(message.epoch);
        if (this.phase === 'protected' && this.#isSwitching && this.#reasons.includes('switchover')) this.#handOver();
        else this.#consider();
        return;
    }
  }

  // The checkpoint (spec A.2, B.3)

  /** The guest waits for S's disk: that takes its time, but not all the time there is. */
  #diskLogFull(isFull: boolean): void {
    if (!isFull) {
      this.#log = undefined;
      this.#setTimer('disk-log', never);
      return;
    }
    if (this.#log?.isOwed === true) this.#setTimer('disk-log', this.#now + this.#settings.stepMs);
    else this.#log ??= { fullIn: this.#open, isOwed: false };
  }

  /** Writes up to that epoch are S's to lay down: until then it could not. */
  #expectLaid(loaded: Epoch): void {
    const log = this.#log;
    if (log === undefined || log.isOwed || loaded < log.fullIn) return;
    this.#log = { ...log, isOwed: true };
    this.#setTimer('disk-log', this.#now + this.#settings.stepMs);
  }

  /** The epoch that the last stop closed. */
  #lastEpoch(): Epoch {
    return epoch(this.#open - 1);
  }

  #want(reason: Reason): void {
    if (this.phase !== 'protected' && this.phase !== 'seeding') return;
    this.#pacing.want(reason, this.#now);
    this.#consider();
  }

  /** Begins a checkpoint if one is due, else sets the alarm. */
  #consider(): void {
    if (this.phase !== 'protected' || this.step !== 'idle') return;
    const due = this.#pacing.dueAt(this.#now);
    if (due > this.#now) {
      this.#setTimer('checkpoint', due);
      return;
    }
    this.#setTimer('checkpoint', never);
    if (!this.#pacing.isWanted) this.#pacing.want('delay', this.#now);
    if (this.#pacing.canWait && this.#settings.livePasses > 0) {
      this.#passesLeft = this.#settings.livePasses;
      this.#pass();
      return;
    }
    this.#request();
  }

  #pass(): void {
    this.#passesLeft--;
    this.#step.move('passing');
    this.#do({ kind: 'live-pass', epoch: this.#open });
  }

  #passed(epoch: Epoch, worthAnother: boolean): void {
    if (this.step !== 'passing' || epoch !== this.#open) return;
    if (this.phase !== 'synchronising' && this.phase !== 'protected') return;
    if (worthAnother && this.#passesLeft > 0) {
      this.#pass();
      return;
    }
    if (this.phase === 'protected') {
      this.#request();
      return;
    }
    this.#phase.move('seeding');
    if (this.#rules.holdsWhileSeeding) this.#do({ kind: 'hold' });
    this.#capture();
  }

  /**
   * Only the peer's turn is counted (spec B.5): this side's own disks and threads take their time, of which heartbeats tell. Of
   * a checkpoint that is on its way the peer owes the answer all along.
   */
  #copyWaits(owed: string | undefined): void {
    if (this.phase === 'synchronising' || this.step === 'passing') {
      this.#owed = owed;
      this.#setTimer('step', owed === undefined ? never : this.#now + this.#settings.stepMs);
    } else if (this.step === 'transmitted') {
      this.#setTimer('step', this.#now + this.#settings.stepMs);
    }
  }

  /**
   * The stop does not wait for the reply: S's guest has no say in it, and an answer that needs a checkpoint would wait for one
   * way there and back more. The reply is still to come before RECEIVED.
   */
  #request(): void {
    this.#send({ kind: 'checkpoint-request', epoch: this.#open });
    this.#isReplyOwed = true;
    this.#capture();
  }

  #capture(): void {
    this.#setTimer('step', never);
    this.#step.move('capturing');
    this.#reasons = this.#pacing.stopping();
    this.#do({ kind: 'capture', epoch: this.#open, mode: this.#modes.order(this.#now) });
  }

  #captured(captured: Epoch, stateBytes: number, stoppedMs: number): void {
    if (this.step !== 'capturing' || captured !== this.#open) return;
    this.#open = next(captured);
    if (this.#modes.captured(this.#now)) {
      this.#tell({ kind: 'mode', mode: this.#modes.open, epoch: this.#open, why: this.#modes.why });
    }
    // Spec A.2.3: is there still somebody to send it to?
    if (this.phase !== 'protected' && this.phase !== 'seeding') {
      this.#step.move('idle');
      return;
    }
    this.#tell({ kind: 'checkpoint', epoch: captured, reasons: this.#reasons });
    this.#pacing.stopped(stoppedMs, this.#now);
    if (this.#guestEnded !== undefined) this.#guestEnded.lastEpoch ??= captured;
    this.#step.move('transmitted');
    this.#send({ kind: 'vmstate-send', epoch: captured, comparing: this.#modes.open === 'comparing' ? 1 : 0 });
    this.#do({ kind: 'transmit', epoch: captured });
    this.#send({ kind: 'vmstate-size', epoch: captured, value: stateBytes });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
    if (this.#rules.explainedBy === 'transmitted') {
      this.#explained(captured);
      this.#permit();
    }
  }

  // Comparing (spec A.5, B.8)

  /** The epoch and mode that the guest runs in once a stop that is ordered is over: this side hears of that a moment later. */
  get #guestsEpoch(): Epoch {
    return this.step === 'capturing' ? next(this.#open) : this.#open;
  }

  get #guestsMode(): Mode {
    return this.step === 'capturing' ? this.#modes.ordered : this.#modes.open;
  }

  /** What is said of an epoch that has ended is over with it: all of its output goes out with its checkpoint. */
  #comparisonWants(epoch: Epoch, why: 'divergence' | 'output'): void {
    if (epoch !== this.#guestsEpoch || this.#guestsMode !== 'comparing') return;
    if (why === 'divergence') this.#modes.diverges(this.#now);
    this.#want(why);
  }

  #explained(through: Epoch): void {
    this.#through = through;
  }

  /** Content and time as they are now, for the gate. */
  #permit(): void {
    this.#do({ kind: 'permit', through: this.#through, until: this.#consent.until });
  }

  #outputLeft(through: Epoch): void {
    if (through <= this.#left) return;
    this.#left = through;
    if (!hasPeer(this.phase)) return;
    this.#send({ kind: 'output-left', epoch: through });
    const ended = this.#guestEnded;
    if (this.phase === 'protected' && ended?.lastEpoch !== undefined && through >= ended.lastEpoch) {
      this.#end('power-off', ended.exitCode);
    }
  }

  // Signs of life and consent (spec B.5, B.6)

  #beat(): void {
    this.#send({ kind: 'heartbeat', clock: this.#now, echo: Number.NaN, laidBytes: 0 });
    this.#setTimer('heartbeat', this.#heartbeat.nextAt(this.#now, isPairing(this.phase)));
  }

  #heardHeartbeat({ echo, laidBytes }: HeartbeatMessage): void {
    this.#heartbeat.heard(this.#now);
    this.diskWindow.laid(laidBytes);
    if (Number.isNaN(echo)) return;
    if (echo > this.#now) {
      throw new ProtocolError('invalid-message', `the peer answers a heartbeat of ${echo} ms: it is ${this.#now}`);
    }
    if (this.#consent.answered(echo, this.#now)) this.#permit();
  }

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        if (!hasPeer(this.phase)) return;
        if (this.#heartbeat.isSilent(this.#now, isPairing(this.phase))) {
          this.#lose(`silent for ${this.#heartbeat.limitMs(isPairing(this.phase))} ms`);
          return;
        }
        if (this.#rules.mayVouch(turned)) {
          this.#beat();
          return;
        }
        this.#setTimer('heartbeat', this.#heartbeat.nextAt(this.#now, isPairing(this.phase)));
        return;
      case 'step':
        this.#overdue();
        return;
      case 'checkpoint':
        this.#consider();
        return;
      case 'disk-log':
        this.#lose(`its disk log is full, and its disk took nothing for ${this.#settings.stepMs} ms`);
        return;
      case 'ask':
        this.#claim.again(this.#now, this.#effects);
        return;
      case 'consent':
        return;
      default:
        timer satisfies never;
    }
  }

  /** The peer beats, and does not do what it is its turn to do. */
  #overdue(): void {
    const isCopying = this.phase === 'synchronising' || this.step === 'passing';
    const owed = this.#expected() ?? (isCopying ? this.#owed : undefined) ?? 'answer';
    const reason = `no ${owed} within ${this.#settings.stepMs} ms`;
    if (isPairing(this.phase) && this.phase !== 'connecting') this.#send({ kind: 'refusal', reason });
    this.#lose(reason);
  }

  // The peer is lost (spec A.4, B.6)

  #lose(why: string, operator: { readonly byOperator: boolean; readonly sure: boolean } = noOperator): void {
    if (isPairing(this.phase)) {
      this.#giveUpPairing(why);
      return;
    }
    if (this.phase === 'handed-over' && this.#rules.doneIsFinal) {
      this.#stepDown();
      return;
    }
    if (!countsOnPeer(this.phase)) return;
    this.#tell({ kind: 'peer-lost', why });
    this.#disconnect();
    const ended = this.#guestEnded;
    // The guest has ended and all it said is out: there is nothing to go on with.
    if (this.phase === 'ending' && ended?.lastEpoch !== undefined) {
      this.#exit(ended.exitCode);
      return;
    }
    this.#phase.move('waiting');
    this.#failover.swap('none', 'require');
    this.#claim.start(this.#term, operator.byOperator, operator.sure, this.#now, this.#effects);
    this.#claimMoved();
  }

  // The roles change in order
  //
  //     P  last checkpoint, LOADED      S stands where P's clients are
  //     P  handover       ---------->   the next term goes to disk
  //     P  <---------- handover-ready   until here each may claim that term from the arbiter, if the other is lost
  //     P  silent for good
  //     P  handover-done  ---------->   the guest runs there; nobody is asked
  //
  // P's guest runs on until it is silent. What it says meanwhile is held and never leaves, what comes for it is mirrored, and
  // enters S's guest first: as at a takeover, but without a loss to be noticed.

  #switchOver(command: Command): void {
    let refusal: string | undefined;
    if (this.phase === 'handing-over' || this.phase === 'handed-over' || this.#isSwitching)
      refusal = refusals.switching;
    else if (this.phase !== 'protected') refusal = refusals.notProtected;
    else if (this.#guestEnded !== undefined) refusal = refusals.guestEnds;
    if (refusal !== undefined) {
      this.#refuse(command, refusal);
      return;
    }
    this.#isSwitching = true;
    this.#want('switchover');
  }

  #handOver(): void {
    this.#isSwitching = false;
    // It has ended since: S's guest ends as well, in order.
    if (this.#guestEnded !== undefined) {
      this.#consider();
      return;
    }
    this.#phase.move('handing-over');
    this.#setTimer('checkpoint', never);
    this.#send({ kind: 'handover', epoch: this.#lastEpoch() });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
  }

  /** S is ready. From here on it alone has a right to this guest. */
  #handoverReady(epoch: Epoch): void {
    if (this.phase !== 'handing-over') throw outOfOrder('handover-ready', this.#expected());
    if (epoch !== this.#lastEpoch()) {
      throw new ProtocolError(
        'wrong-epoch',
        `the peer sent handover-ready of epoch ${epoch}, not ${this.#lastEpoch()}`,
      );
    }
    this.#phase.move('handed-over');
    if (this.#rules.silentBeforeDone) {
      this.#consent.withdraw();
      this.#permit();
      this.#do({ kind: 'shut' }, { kind: 'pause-guest' });
    }
    this.#send({ kind: 'handover-done', epoch });
    const term = next(this.#term);
    this.#tell({ kind: 'switched-over', role: 'primary', term });
    this.#tell({ kind: 'colo-exit', mode: 'primary', reason: 'request', why: 'the roles were changed' });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
  }

  /** S has closed the connection, or is silent: either way the guest is not this side's. */
  #stepDown(): void {
    this.#disconnect();
    this.#phase.move('ended');
    this.#do({ kind: 'step-down', term: next(this.#term) });
  }

  /** S was never counted on: it will not take over. */
  #giveUpPairing(why: string): void {
    const attached = this.phase === 'synchronising' || this.phase === 'seeding';
    this.#disconnect();
    if (attached) this.#do({ kind: 'open' }, { kind: 'detach' });
    this.#phase.move('unprotected');
    this.#tell({ kind: 'not-protected', why });
    if (this.#guestEnded !== undefined) this.#exit(this.#guestEnded.exitCode);
  }

  #disconnect(): void {
    if (this.#rules.withdrawsBeforeClosing) {
      this.#consent.withdraw();
      this.#permit();
    }
    this.#do({ kind: 'close' });
    for (const timer of ['heartbeat', 'step', 'checkpoint', 'disk-log'] as const) this.#setTimer(timer, never);
  }

  #claimMoved(): void {
    if (this.phase !== 'waiting') return;
    if (this.#claim.state === 'refused') {
      this.#fence('the arbiter gave the next term to the other side');
      return;
    }
    if (!this.#rules.mayGoOnAlone(this.#claim.holds)) return;
    this.#failover.swap('require', 'active');
    if (this.#claim.holds) this.#term = this.#claim.term;
    this.#claim.used();
    this.#goOnAlone('request');
    this.#failover.swap('active', 'completed');
    this.#failover.swap('completed', 'none');
    this.#tell({ kind: 'survivor', role: 'primary', term: this.#term });
  }

  #goOnAlone(reason: 'request' | 'error'): void {
    this.#do({ kind: 'open' }, { kind: 'detach' });
    this.#phase.move('unprotected');
    this.#tell({ kind: 'colo-exit', mode: 'primary', reason, why: 'goes on alone' });
    if (this.#guestEnded !== undefined) this.#exit(this.#guestEnded.exitCode);
  }

  #fence(why: string): void {
    this.#do({ kind: 'shut' }, { kind: 'pause-guest' }, { kind: 'detach' });
    this.#phase.move('fenced');
    this.#tell({ kind: 'fenced', why });
    this.#tell({ kind: 'colo-exit', mode: 'primary', reason: 'error', why });
  }

  /** P's disk is broken and S has all: S is to go on (design: disks). One that broke earlier hands over once S is ready. */
  #diskFailed(error: string): void {
    this.#diskError ??= error;
    if (this.phase !== 'protected') return;
    this.#disconnect();
    this.#fence(`its disk failed: ${this.#diskError}`);
  }

  // The end, in order (spec B.13)

  #end(reason: 'unprotect' | 'power-off', exitCode: number): void {
    this.#phase.move('ending');
    this.#setTimer('checkpoint', never);
    this.#send({ kind: 'end', reason, exitCode });
    this.#setTimer('step', this.#now + this.#settings.stepMs);
  }

  /** S gave up every right to take over: no arbiter is needed. */
  #peerGaveUp(): void {
    const ended = this.#guestEnded;
    this.#disconnect();
    if (ended?.lastEpoch !== undefined) {
      this.#exit(ended.exitCode);
      return;
    }
    this.#goOnAlone('request');
  }

  /** S ends protection: it gave up its right before it said so. */
  #peerEnds(reason: string): void {
    if (this.phase === 'handed-over') return; // said before it heard that it is the guest's
    this.#send({ kind: 'ended' });
    if (isPairing(this.phase)) {
      this.#giveUpPairing(`the standby ended it: ${reason}`);
      return;
    }
    this.#disconnect();
    this.#goOnAlone(reason === 'error' ? 'error' : 'request');
  }

  #guestEnds(exitCode: number): void {
    this.#guestEnded ??= { exitCode };
    if (this.phase === 'unprotected') {
      this.#exit(exitCode);
      return;
    }
    if (isPairing(this.phase) && this.phase !== 'seeding') {
      this.#giveUpPairing('the guest has ended');
      return;
    }
    this.#want('end');
  }

  #exit(exitCode: number): void {
    this.#phase.move('ended');
    this.#do({ kind: 'exit', exitCode });
  }

  // Effects

  #do(...effects: readonly Effect[]): void {
    this.#effects.push(...effects);
  }

  #send(message: Message): void {
    this.#effects.push({ kind: 'send', message, term: this.#term });
  }

  #setTimer(timer: TimerName, at: number): void {
    this.#effects.push({ kind: 'timer', timer, at });
  }

  #tell(notice: Extract<Effect, { readonly kind: 'tell' }>['notice']): void {
    this.#effects.push({ kind: 'tell', notice });
  }
}

const noOperator = { byOperator: false, sure: false } as const;

/** S is not counted on yet. */
function isPairing(phase: PrimaryPhase): boolean {
  return phase === 'connecting' || phase === 'greeting' || phase === 'synchronising' || phase === 'seeding';
}

/** Without S this side goes on only if it may. */
function countsOnPeer(phase: PrimaryPhase): boolean {
  return phase === 'protected' || phase === 'ending' || phase === 'handing-over' || phase === 'handed-over';
}

/** There is somebody at the other end who may say something. */
function hasPeer(phase: PrimaryPhase): boolean {
  return countsOnPeer(phase) || (isPairing(phase) && phase !== 'connecting');
}

function refusalToProtect(phase: PrimaryPhase): string | undefined {
  switch (phase) {
    case 'unprotected':
      return undefined;
    case 'connecting':
    case 'greeting':
    case 'synchronising':
    case 'seeding':
      return refusals.protecting;
    case 'protected':
    case 'ending':
      return refusals.protectedAlready;
    case 'handing-over':
      return refusals.switching;
    case 'waiting':
      return refusals.failingOver;
    case 'handed-over':
    case 'fenced':
    case 'ended':
      return refusals.fenced;
    default:
      return phase satisfies never;
  }
}
