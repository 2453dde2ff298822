import { outOfOrder } from '../../protocol/checkpoint-order.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import { type Message, protocolVersion, wantedFor } from '../../protocol/messages.ts';
import type { Epoch, Mode, Term } from '../../protocol/numbers.ts';
import type { PortPolicy } from '../../protocol/port-policy.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { DiskWindow } from '../epochs/disk-window.ts';
import type { Effect, PrimaryEvent, TimerName } from '../events.ts';
import { StateMachine } from '../moves.ts';
import { type Rules, specification } from '../rules.ts';
import type { Settings } from '../settings.ts';
import { Turn } from '../turn.ts';
import { Checkpoints } from './checkpoints.ts';
import { Handover } from './handover.ts';
import { Insistence } from './insistence.ts';
import { OperatorCommands } from './operator-commands.ts';
import { OrderlyEnd } from './orderly-end.ts';
import { OutputConsent } from './output-consent.ts';
import type { Reason } from './pacing.ts';
import {
  countsOnPeer,
  hasPeer,
  isPairing,
  type PrimaryPhase,
  type PrimaryStep,
  primaryMoves,
} from './primary-phase.ts';
import { Survival } from './survival.ts';

/** What a primary is made of. */
export interface PrimaryOptions {
  readonly pair: string;
  readonly shape: MachineShape;
  /** The term on this side's disk. */
  readonly term: Term;
  readonly settings: Settings;
  /** Of connections whose output is not compared. */
  readonly flows?: readonly PortPolicy[];
  /** It looks for a standby by itself before it was ever protected; default false. */
  readonly insists?: boolean;
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
  readonly #checkpoints: Checkpoints;
  readonly #consent: OutputConsent;
  readonly #handover: Handover;
  readonly #insistence: Insistence;
  readonly #end: OrderlyEnd;
  readonly #survival: Survival;
  readonly #commands: OperatorCommands;
  /** S's account of forwarded writes; whoever forwards counts here. */
  diskWindow: DiskWindow;

  constructor(options: PrimaryOptions) {
    const { settings, term, insists = false, rules = specification } = options;
    this.#options = options;
    this.#settings = settings;
    this.#rules = rules;
    this.#turn = new Turn(term);
    const phase = this.#phase;
    const turn = this.#turn;
    const disconnect = (): void => this.#disconnect();
    const giveUpPairing = (why: string): void => this.#giveUpPairing(why);
    const window = (): DiskWindow => this.diskWindow;
    const checkpoints = new Checkpoints(settings, rules, turn, {
      phase,
      get standbyIsBehind() {
        return window().isHalfFull;
      },
      permit: () => consent.permit(),
      ready: () => this.#ready(),
      loaded: (reasons) => this.#loaded(reasons),
    });
    const consent = new OutputConsent(settings, rules, turn, { phase, checkpoints });
    const insistence = new Insistence(insists);
    const end = new OrderlyEnd(settings, rules, turn, {
      phase,
      insistence,
      checkpoints,
      disconnect,
      giveUpPairing,
      goOnAlone: (reason, why) => survival.goOnAlone(reason, why),
    });
    const survival = new Survival(settings, rules, turn, { phase, consent, insistence, end, disconnect });
    const handover = new Handover(settings, rules, turn, { phase, checkpoints, consent, insistence, end, disconnect });
    this.#checkpoints = checkpoints;
    this.#consent = consent;
    this.#end = end;
    this.#insistence = insistence;
    this.#survival = survival;
    this.#handover = handover;
    this.#commands = new OperatorCommands(settings, turn, {
      phase,
      checkpoints,
      handover,
      insistence,
      end,
      survival,
      giveUpPairing,
    });
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

  /** Whether it would go on in that term if the arbiter gave it that, or does already. */
  wantsTerm(term: Term): boolean {
    return this.phase === 'waiting' || term === this.#turn.term;
  }

  /** Without a standby it looks for one by itself, again and again. */
  get insists(): boolean {
    return this.#insistence.isOn;
  }

  /** Output may leave before this, by this side's clock; -Infinity: there is no consent. */
  get consentUntil(): number {
    return this.#consent.until;
  }

  get openEpoch(): Epoch {
    return this.#checkpoints.open;
  }

  /** The last checkpoint that S has. */
  get receivedEpoch(): Epoch {
    return this.#checkpoints.through;
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
        this.#commands.take(event.command);
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
        if (hasPeer(this.phase)) this.#checkpoints.copyWaits(event.owed);
        return;
      case 'passed':
        this.#checkpoints.passed(event);
        return;
      case 'captured':
        if (this.#checkpoints.captured(event)) this.#end.captured(event.epoch);
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
        this.#diskLogIsFull(event.isFull);
        return;
      case 'disk-failed':
        this.#survival.diskFailed(event.error);
        return;
      case 'guest-reset':
        if (this.#rules.resetWantsCheckpoint) this.#checkpoints.want('reset');
        return;
      case 'guest-ended':
        this.#end.guestEnds(event.exitCode);
        return;
      case 'end-overdue':
        this.#end.overdue();
        return;
      case 'guest-paused':
        this.#handover.guestPaused();
        return;
      case 'arbiter':
        this.#survival.answered(event.term, event.answer);
        return;
      case 'term-written':
        this.#survival.termWritten(event.term);
        return;
      case 'term-failed':
        return; // the alarm tries again
      default:
        event satisfies never;
    }
  }

  // Pairing (spec A.2.1, B.14)

  #greet(): void {
    this.#phase.move('greeting');
    const { pair, shape, flows = [] } = this.#options;
    const { detectMs, arbiter, compares } = this.#settings;
    const comparing = compares ? 1 : 0;
    const hello = { version: protocolVersion, pair, shape, detectMs, arbiter, comparing };
    this.#turn.send({ kind: 'hello', ...hello, ...(flows.length === 0 ? {} : { flows }) });
    this.#turn.startTimer('step', this.#settings.stepMs);
  }

  #welcomed(): void {
    this.#phase.move('synchronising');
    this.#turn.stopTimer('step');
    this.diskWindow = new DiskWindow(this.#settings.diskLogBytes, this.#rules);
    this.#checkpoints.begin();
    this.#survival.begin();
    this.#turn.do({ kind: 'attach' });
    if (this.#rules.equalisesDisks) this.#turn.do({ kind: 'synchronise-disks' });
    else this.#checkpoints.pass();
    this.#consent.begin();
  }

  /** S holds a first checkpoint. From this message on P counts on it, and S may take over. */
  #ready(): void {
    this.#phase.move('protected');
    this.#insistence.succeeded();
    this.#handover.begin();
    this.#turn.send({ kind: 'protected' });
    if (!this.#rules.holdsWhileSeeding) this.#turn.do({ kind: 'hold' });
    this.#consent.counts();
    this.#turn.tell({ kind: 'protected', term: this.#turn.term });
    if (this.#survival.ready()) return;
    this.#checkpoints.pacing.arm(this.#turn.now);
    if (this.#end.guestHasEnded) this.#checkpoints.want('end');
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
        if (this.diskWindow.laid(message.laidBytes)) this.#checkpoints.standbyLaid();
        this.#consent.heard(message);
        return;
      case 'end':
        this.#end.peerEnds(message);
        return;
      case 'ended':
        if (this.phase !== 'ending') throw outOfOrder(message.kind, this.#expected);
        this.#end.peerGaveUp();
        return;
      case 'checkpoint-wanted':
        if (message.why === wantedFor.diskLog) this.#checkpoints.want('disk-log');
        else {
          const why = message.why === wantedFor.guest ? 'divergence' : 'room';
          if (why === 'divergence') this.#handover.offerAgain();
          this.#checkpoints.comparisonWants(this.#checkpoints.guestsEpoch, why, 0);
        }
        return;
      case 'checkpoint-ready':
      case 'checkpoint-reply':
      case 'vmstate-received':
      case 'vmstate-loaded':
        this.#checkpoints.message(message);
        return;
      case 'handover-ready':
        // Said before it read that the guest, which it was to be handed, has ended.
        if (this.phase === 'ending' && this.#end.guestHasEnded) return;
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

  #diskLogIsFull(isFull: boolean): void {
    if (!hasPeer(this.phase)) return; // told before it was heard that this is over
    const { diskLog, last, open } = this.#checkpoints;
    diskLog.changed(isFull, this.diskWindow.hasClosed ? last : open);
  }

  #outputLeft(through: Epoch): void {
    if (!this.#consent.left(through) || !hasPeer(this.phase)) return;
    this.#turn.send({ kind: 'output-left', epoch: through });
    this.#end.outputLeft(through);
  }

  // Alarms

  #timer(timer: TimerName, turned: boolean): void {
    switch (timer) {
      case 'heartbeat':
        if (!hasPeer(this.phase)) return;
        this.#vouch(turned);
        return;
      case 'step':
        this.#overdue();
        return;
      case 'checkpoint':
        this.#checkpoints.consider();
        return;
      case 'disk-log':
        this.#diskHangs(`the standby's disk log is full, and its disk took nothing for ${this.#settings.stepMs} ms`);
        return;
      case 'ask':
        this.#survival.askAgain();
        return;
      case 'consent':
        return;
      default:
        timer satisfies never;
    }
  }

  #vouch(turned: boolean): void {
    const why = this.#consent.whyLost(turned);
    if (why === undefined) this.#consent.goOn(turned);
    else this.#lose(why);
  }

  #diskHangs(why: string): void {
    if (this.phase === 'protected' && this.#rules.endsInOrder) this.#end.giveUpStandby(why);
    else this.#lose(why);
  }

  /** The peer beats, and does not do what it is its turn to do. */
  #overdue(): void {
    const { stepMs } = this.#settings;
    if (this.phase === 'protected' && this.#checkpoints.owesLaying && this.diskWindow.hasClosed) {
      this.#diskHangs(`the standby's guest waits for its disk, which took nothing for ${stepMs} ms`);
      return;
    }
    const owed = this.#expected ?? this.#checkpoints.owed ?? 'answer';
    const reason = `no ${owed} within ${stepMs} ms`;
    if (isPairing(this.phase) && this.phase !== 'connecting') this.#turn.send({ kind: 'refusal', reason });
    this.#lose(reason);
  }

  // The peer is lost (spec A.4, B.6)

  #lose(why: string): void {
    if (isPairing(this.phase)) this.#giveUpPairing(why);
    else if (this.phase === 'handed-over' && this.#rules.doneIsFinal) this.#handover.stepDown();
    else if (this.phase === 'giving-up' && this.#rules.doneIsFinal) this.#survival.gaveUp();
    else if (countsOnPeer(this.phase)) this.#survival.lost(why);
  }

  /** S was never counted on: it will not take over. */
  #giveUpPairing(why: string): void {
    const attached = this.phase === 'synchronising' || this.phase === 'seeding';
    this.#disconnect();
    if (attached) this.#turn.do({ kind: 'open' }, { kind: 'detach' });
    this.#phase.move('unprotected');
    this.#turn.tell({ kind: 'not-protected', why });
    this.#end.exitIfEnded();
  }

  #disconnect(): void {
    if (this.#rules.withdrawsBeforeClosing) this.#consent.withdraw();
    this.#turn.do({ kind: 'close' });
    for (const timer of ['heartbeat', 'step', 'checkpoint', 'disk-log'] as const) this.#turn.stopTimer(timer);
  }
}
