import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import {
  type Heartbeat as HeartbeatMessage,
  type Message,
  protocolVersion,
  wantedFor,
} from '../../protocol/messages.ts';
import { type Epoch, type Mode, noCheckpoint, type Term } from '../../protocol/numbers.ts';
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
import { Turn } from '../turn.ts';
import { Checkpoints } from './checkpoints.ts';
import { Handover } from './handover.ts';
import type { Reason } from './pacing.ts';
import {
  countsOnPeer,
  hasPeer,
  isPairing,
  type PrimaryPhase,
  type PrimaryStep,
  primaryMoves,
  refusalToProtect,
} from './primary-phase.ts';

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
  readonly #turn: Turn;
  readonly #phase = new StateMachine<PrimaryPhase>('primary', primaryMoves, 'unprotected');
  readonly #failover = newFailover();
  readonly #checkpoints: Checkpoints;
  readonly #handover: Handover;
  readonly #heartbeat: Heartbeat;
  readonly #consent: ConsentHeld;
  readonly #claim: Claim;
  /** S's account of forwarded writes; whoever forwards counts here. */
  diskWindow: DiskWindow;
  /** Output up to here is with the network. */
  #left = noCheckpoint;
  #diskError: string | undefined;
  #guestEnded: { readonly exitCode: number; lastEpoch?: Epoch } | undefined;

  constructor(options: PrimaryOptions) {
    const { settings, term, rules = specification } = options;
    this.#options = options;
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = new Turn(term);
    this.#checkpoints = new Checkpoints(settings, rules, this.#turn, {
      phase: this.#phase,
      permit: () => this.#permit(),
      ready: () => this.#ready(),
      loaded: (reasons) => this.#loaded(reasons),
    });
    this.#handover = new Handover(settings, rules, this.#turn, {
      phase: this.#phase,
      checkpoints: this.#checkpoints,
      guestEnds: () => this.#guestEnded !== undefined,
      withdraw: () => this.#withdraw(),
      disconnect: () => this.#disconnect(),
    });
    this.#heartbeat = new Heartbeat(rules, settings);
    this.#consent = new ConsentHeld(rules, settings);
    this.#claim = new Claim(term, rules, settings);
    this.diskWindow = new DiskWindow(settings.diskLogBytes, rules);
  }

  get phase(): PrimaryPhase {
    return this.#phase.state;
  }

  get step(): PrimaryStep {
    return this.#checkpoints.step;
  }

  get term(): Term {
    return this.#turn.term;
  }

  /** Output may leave before this, by this side's clock; -Infinity: there is no consent. */
  get consentUntil(): number {
    return this.#consent.until;
  }

  get openEpoch(): Epoch {
    return this.#checkpoints.open;
  }

  /** How output of the open epoch leaves, and why so. */
  get mode(): { readonly mode: Mode; readonly why: string } {
    return this.#checkpoints.mode;
  }

  /**
   * Whether output that S's guest said in this epoch is to be compared now (spec B.1). What it said in an epoch that is over was
   * compared, or needed it no more. Asked for each packet, which does not pass through {@link handle}.
   *
   * @throws ProtocolError if that epoch has not begun
   */
  compares(theirs: Epoch): boolean {
    const { open, isComparing } = this.#checkpoints;
    if (theirs > open) {
      throw new ProtocolError('wrong-epoch', `the peer sent output of epoch ${theirs} in epoch ${open}`);
    }
    return isComparing && this.#rules.comparable(open, theirs);
  }

  /** Takes an event; what is to be done about it, in order. */
  handle(event: PrimaryEvent, now: number): readonly Effect[] {
    this.#turn.begin(now);
    try {
      this.#handle(event);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message);
    }
    return this.#turn.effects;
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
        if (this.phase === 'synchronising') this.#checkpoints.pass();
        return;
      case 'disks-not-in-step':
        if (this.phase === 'synchronising') this.#lose(event.reason);
        return;
      case 'copy-waits':
        this.#checkpoints.copyWaits(event.owed);
        return;
      case 'passed':
        this.#checkpoints.passed(event);
        return;
      case 'captured':
        if (this.#checkpoints.captured(event) && this.#guestEnded !== undefined)
          this.#guestEnded.lastEpoch ??= event.epoch;
        return;
      case 'output-waits':
        if (this.#checkpoints.guestsMode === 'buffered') this.#checkpoints.want('output');
        return;
      case 'comparison-wants':
        this.#checkpoints.comparisonWants(event.epoch, event.why, event.waitedMs);
        return;
      case 'output-waited':
        this.#checkpoints.outputWaited(event);
        return;
      case 'output-left':
        this.#outputLeft(event.epoch);
        return;
      case 'disk-log-half':
        this.#checkpoints.want('disk-log');
        return;
      case 'disk-log-full':
        this.#checkpoints.diskLog.changed(event.isFull, this.#checkpoints.open);
        return;
      case 'disk-failed':
        this.#diskFailed(event.error);
        return;
      case 'guest-reset':
        if (this.#rules.resetWantsCheckpoint) this.#checkpoints.want('reset');
        return;
      case 'guest-ended':
        this.#guestEnds(event.exitCode);
        return;
      case 'arbiter':
        this.#claim.answered(event.term, event.answer, this.#turn.now, this.#turn.effects);
        this.#claimMoved();
        return;
      case 'term-written':
        this.#claim.termWritten(event.term, this.#turn.effects);
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
        this.#turn.do({ kind: 'connect' });
        this.#turn.startTimer('step', this.#settings.stepMs);
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
        this.#checkpoints.want('command');
        return;
      case 'switchover': {
        const refusal = this.#handover.want();
        if (refusal !== undefined) this.#refuse(command, refusal);
        return;
      }
      case 'set-checkpoint-delay':
        this.#checkpoints.pacing.delayMs = command.delayMs;
        this.#checkpoints.want('parameter');
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
      this.#claim.operatorSays(sure, this.#turn.now, this.#turn.effects);
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
    this.#turn.do({ kind: 'refuse', command: command.name, error });
  }

  // Pairing (spec A.2.1, B.14)

  #greet(): void {
    this.#phase.move('greeting');
    const { pair, shape } = this.#options;
    const { detectMs, arbiter, compares } = this.#settings;
    const comparing = compares ? 1 : 0;
    this.#turn.send({ kind: 'hello', version: protocolVersion, pair, shape, detectMs, arbiter, comparing });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  #welcomed(): void {
    this.#phase.move('synchronising');
    this.#turn.stopTimer('step');
    this.#left = noCheckpoint;
    this.diskWindow = new DiskWindow(this.#settings.diskLogBytes, this.#rules);
    this.#checkpoints.begin();
    this.#turn.do({ kind: 'attach' });
    if (this.#rules.equalisesDisks) this.#turn.do({ kind: 'synchronise-disks' });
    else this.#checkpoints.pass();
    this.#heartbeat.start(this.#turn.now);
    this.#beat();
  }

  /** S holds a first checkpoint. From this message on P counts on it, and S may take over. */
  #ready(): void {
    this.#phase.move('protected');
    this.#handover.begin();
    this.#turn.send({ kind: 'protected' });
    if (!this.#rules.holdsWhileSeeding) this.#turn.do({ kind: 'hold' });
    this.#permit();
    this.#turn.tell({ kind: 'protected', term: this.#turn.term });
    if (this.#diskError !== undefined) {
      this.#diskFailed(this.#diskError);
      return;
    }
    this.#checkpoints.pacing.arm(this.#turn.now);
    if (this.#guestEnded !== undefined) this.#checkpoints.want('end');
    else this.#checkpoints.consider();
  }

  #loaded(reasons: readonly Reason[]): void {
    if (this.phase === 'protected' && this.#handover.isWanted && reasons.includes('switchover')) this.#handover.offer();
    else this.#checkpoints.consider();
  }

  // Frames

  #frame({ term, message }: Frame): void {
    if (!hasPeer(this.phase)) return; // what came before the peer heard that this is over
    // Who refuses has not taken the term on, and all that it says ends is this attempt.
    const isAnswer = message.kind === 'refusal' && this.phase === 'greeting';
    if (!isAnswer && !this.#rules.acceptsTerm(term, this.#turn.term)) {
      throw new ProtocolError('wrong-term', `the peer sent ${message.kind} of term ${term} in term ${this.#turn.term}`);
    }
    switch (message.kind) {
      case 'welcome':
        if (this.phase !== 'greeting') throw outOfOrder(message.kind, this.#expected);
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
        if (this.phase !== 'ending') throw outOfOrder(message.kind, this.#expected);
        this.#peerGaveUp();
        return;
      case 'checkpoint-wanted':
        if (message.why === wantedFor.diskLog) this.#checkpoints.want('disk-log');
        else this.#checkpoints.comparisonWants(this.#checkpoints.guestsEpoch, 'divergence', 0);
        return;
      case 'checkpoint-ready':
      case 'checkpoint-reply':
      case 'vmstate-received':
      case 'vmstate-loaded':
        this.#checkpoints.message(message);
        return;
      case 'handover-ready':
        this.#handover.ready(message.epoch, this.#expected);
        return;
      default:
        throw outOfOrder(message.kind, this.#expected);
    }
  }

  /** The message that is awaited now. */
  get #expected(): Message['kind'] | undefined {
    if (this.phase === 'greeting') return 'welcome';
    if (this.phase === 'handing-over') return 'handover-ready';
    return this.#checkpoints.expected;
  }

  // Output and consent (spec B.5, B.6)

  /** Content and time as they are now, for the gate. */
  #permit(): void {
    this.#turn.do({ kind: 'permit', through: this.#checkpoints.through, until: this.#consent.until });
  }

  #withdraw(): void {
    this.#consent.withdraw();
    this.#permit();
  }

  #outputLeft(through: Epoch): void {
    if (through <= this.#left) return;
    this.#left = through;
    if (!hasPeer(this.phase)) return;
    this.#turn.send({ kind: 'output-left', epoch: through });
    const ended = this.#guestEnded;
    if (this.phase === 'protected' && ended?.lastEpoch !== undefined && through >= ended.lastEpoch) {
      this.#end('power-off', ended.exitCode);
    }
  }

  #beat(): void {
    this.#turn.send({ kind: 'heartbeat', clock: this.#turn.now, echo: Number.NaN, laidBytes: 0 });
    this.#turn.setTimer('heartbeat', this.#heartbeat.nextAt(this.#turn.now, isPairing(this.phase)));
  }

  #heardHeartbeat({ echo, laidBytes }: HeartbeatMessage): void {
    this.#heartbeat.heard(this.#turn.now);
    this.diskWindow.laid(laidBytes);
    if (Number.isNaN(echo)) return;
    if (echo > this.#turn.now) {
      throw new ProtocolError('invalid-message', `the peer answers a heartbeat of ${echo} ms: it is ${this.#turn.now}`);
    }
    if (this.#consent.answered(echo, this.#turn.now)) this.#permit();
  }

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        if (!hasPeer(this.phase)) return;
        if (this.#heartbeat.isSilent(this.#turn.now, isPairing(this.phase))) {
          this.#lose(`silent for ${this.#heartbeat.limitMs(isPairing(this.phase))} ms`);
          return;
        }
        if (this.#rules.mayVouch(turned)) {
          this.#beat();
          return;
        }
        this.#turn.setTimer('heartbeat', this.#heartbeat.nextAt(this.#turn.now, isPairing(this.phase)));
        return;
      case 'step':
        this.#overdue();
        return;
      case 'checkpoint':
        this.#checkpoints.consider();
        return;
      case 'disk-log':
        this.#lose(`its disk log is full, and its disk took nothing for ${this.#settings.stepMs} ms`);
        return;
      case 'ask':
        this.#claim.again(this.#turn.now, this.#turn.effects);
        return;
      case 'consent':
        return;
      default:
        timer satisfies never;
    }
  }

  /** The peer beats, and does not do what it is its turn to do. */
  #overdue(): void {
    const owed = this.#expected ?? this.#checkpoints.owed ?? 'answer';
    const reason = `no ${owed} within ${this.#settings.stepMs} ms`;
    if (isPairing(this.phase) && this.phase !== 'connecting') this.#turn.send({ kind: 'refusal', reason });
    this.#lose(reason);
  }

  // The peer is lost (spec A.4, B.6)

  #lose(why: string, operator: { readonly byOperator: boolean; readonly sure: boolean } = noOperator): void {
    if (isPairing(this.phase)) {
      this.#giveUpPairing(why);
      return;
    }
    if (this.phase === 'handed-over' && this.#rules.doneIsFinal) {
      this.#handover.stepDown();
      return;
    }
    if (!countsOnPeer(this.phase)) return;
    this.#turn.tell({ kind: 'peer-lost', why });
    this.#disconnect();
    const ended = this.#guestEnded;
    // The guest has ended and all it said is out: there is nothing to go on with.
    if (this.phase === 'ending' && ended?.lastEpoch !== undefined) {
      this.#exit(ended.exitCode);
      return;
    }
    this.#phase.move('waiting');
    this.#failover.swap('none', 'require');
    this.#claim.start(this.#turn.term, operator.byOperator, operator.sure, this.#turn.now, this.#turn.effects);
    this.#claimMoved();
  }

  /** S was never counted on: it will not take over. */
  #giveUpPairing(why: string): void {
    const attached = this.phase === 'synchronising' || this.phase === 'seeding';
    this.#disconnect();
    if (attached) this.#turn.do({ kind: 'open' }, { kind: 'detach' });
    this.#phase.move('unprotected');
    this.#turn.tell({ kind: 'not-protected', why });
    if (this.#guestEnded !== undefined) this.#exit(this.#guestEnded.exitCode);
  }

  #disconnect(): void {
    if (this.#rules.withdrawsBeforeClosing) this.#withdraw();
    this.#turn.do({ kind: 'close' });
    for (const timer of ['heartbeat', 'step', 'checkpoint', 'disk-log'] as const) this.#turn.stopTimer(timer);
  }

  #claimMoved(): void {
    if (this.phase !== 'waiting') return;
    if (this.#claim.state === 'refused') {
      this.#fence('the arbiter gave the next term to the other side');
      return;
    }
    if (!this.#rules.mayGoOnAlone(this.#claim.holds)) return;
    this.#failover.swap('require', 'active');
    if (this.#claim.holds) this.#turn.term = this.#claim.term;
    this.#claim.used();
    this.#goOnAlone('request');
    this.#failover.swap('active', 'completed');
    this.#failover.swap('completed', 'none');
    this.#turn.tell({ kind: 'survivor', role: 'primary', term: this.#turn.term });
  }

  #goOnAlone(reason: 'request' | 'error'): void {
    this.#turn.do({ kind: 'open' }, { kind: 'detach' });
    this.#phase.move('unprotected');
    this.#turn.tell({ kind: 'colo-exit', mode: 'primary', reason, why: 'goes on alone' });
    if (this.#guestEnded !== undefined) this.#exit(this.#guestEnded.exitCode);
  }

  #fence(why: string): void {
    this.#turn.do({ kind: 'shut' }, { kind: 'pause-guest' }, { kind: 'detach' });
    this.#phase.move('fenced');
    this.#turn.tell({ kind: 'fenced', why });
    this.#turn.tell({ kind: 'colo-exit', mode: 'primary', reason: 'error', why });
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
    this.#turn.stopTimer('checkpoint');
    this.#turn.send({ kind: 'end', reason, exitCode });
    this.#turn.startTimer('step', this.#settings.stepMs);
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
    this.#turn.send({ kind: 'ended' });
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
    this.#checkpoints.want('end');
  }

  #exit(exitCode: number): void {
    this.#phase.move('ended');
    this.#turn.do({ kind: 'exit', exitCode });
  }
}

const noOperator = { byOperator: false, sure: false } as const;
