import { printable } from '../../host/console/tell.ts';
import type { ColoEvent, ColoHeadline, ColoStatus } from '../../vmm/monitor/colo-control.ts';
import type { HostConfig } from '../command/pair-config.ts';
import type { CommonEvent, Effect, Notice } from '../core/events.ts';
import { consentLengthMs } from '../core/fencing/consent.ts';
import type { Settings } from '../core/settings.ts';
import type { LinkEnd, PeerLink } from '../link/peer-link.ts';
import type { Frame } from '../protocol/frame.ts';
import { canWait, type StreamName, streamOf } from '../protocol/message-table.ts';
import type { Message } from '../protocol/messages.ts';
import { type Role, type Term, term as termOf } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { Alarms } from './alarms.ts';
import { ArbiterDesk } from './arbiter-desk.ts';
import { DiskAlarm } from './disk-alarm.ts';
import { EventLog, type Past } from './event-log.ts';
import type { Heritage } from './heritage.ts';
import { Lane } from './lane.ts';
import type { SignsOfLife } from './signs-of-life.ts';
import { TermStore } from './term-store.ts';

/** What a host is made with. */
export type HostBirth = HostConfig & {
  /** Who this process is to an arbiter: an id that no other process ever had. */
  readonly holder: string;
  /** This side's clock, ms. */
  readonly now: () => number;
  /** What had happened before in this process; absent: nothing that a pair's log had. */
  readonly past?: Past | undefined;
};

/** What `status` shows of one of the two sides only. */
export type OwnStatus = Pick<
  ColoStatus,
  | 'mode'
  | 'modeWhy'
  | 'flows'
  | 'compared'
  | 'address'
  | 'survivor'
  | 'takeover'
  | 'failure'
  | 'epoch'
  | 'checkpoint'
  | 'stops'
  | 'held'
  | 'disk'
  | 'memory'
  | 'changesLost'
  | 'checkpointDelayMs'
  | 'backup'
  | 'totals'
>;

/** A core, whichever of the two. */
export interface Core<E> {
  readonly phase: string;
  readonly step: string;
  readonly term: Term;
  /** Whether it would go on in that term if the arbiter gave it that, or does already. */
  wantsTerm(term: Term): boolean;
  handle(event: E, now: number): readonly Effect[];
}

/** What a host tells the thread that owns the machine. */
export interface HostListener {
  logged(event: ColoEvent): void;
  /** Its machine is about to be copied: much is to be done from now on, until the log says that it is over. */
  pairs(): void;
  /** All is copied. @param compares whether each packet of the guest's is the colo thread's business from here on, or checkpoints alone */
  protects(compares: boolean): void;
  /** QMP's COLO_EXIT. */
  coloExit(mode: Role, reason: string): void;
  /** It cannot go on: a defect, or the machine's thread is gone. */
  failed(error: Error): void;
}

/**
 * One side of a pair: gives a core its events, one after the other, and does what it wants done. What has to do with the link,
 * with time, the gate and the arbiter is done at once; what takes the machine's time goes into a lane, in order, beside it.
 */
export abstract class Host<E extends { readonly kind: string }> {
  readonly log: EventLog;
  protected readonly core: Core<E | CommonEvent>;
  protected readonly role: Role;
  protected readonly birth: HostBirth;
  protected readonly lane: Lane;
  protected link: PeerLink | undefined;
  /** How long the headline has been what it is (ms since 1970), and why it is. */
  #since = Date.now();
  #headline: ColoHeadline | undefined;
  /** Of a guest that runs without a standby. A pairing that fails changes nothing of it. */
  #unprotected: ColoStatus['unprotected'];
  protected why = 'it has not been protected yet';
  #lastHeard: number | undefined;
  readonly #listener: HostListener;
  readonly #alarms: Alarms;
  readonly #arbiter: ArbiterDesk;
  readonly #terms: TermStore;
  readonly #signs: SignsOfLife;
  readonly #disks: DiskAlarm;
  readonly #inbox: (E | CommonEvent)[] = [];
  /** Links that ended by themselves, and whose connections are closed once the core has heard of it. */
  #endedLinks: PeerLink[] = [];
  #pumping = false;
  #refusal: string | undefined;
  /** Why the term could not be written when that was tried last. */
  #termProblem: string | undefined;
  #isProving = false;
  /** The last term for which it was proved that one can be written. */
  #provedFor: Term | undefined;
  /** The term that the arbiter was asked for last. */
  #askedFor: Term | undefined;
  /** The last term that it said yes or no to. */
  #answered: Term | undefined;
  #ended = false;

  constructor(
    role: Role,
    birth: HostBirth,
    signs: SignsOfLife,
    listener: HostListener,
    makeCore: (term: Term) => Core<E | CommonEvent>,
  ) {
    this.role = role;
    this.birth = birth;
    this.#signs = signs;
    this.#listener = listener;
    this.log = new EventLog(
      () => this.now,
      (event) => listener.logged(event),
    );
    if (birth.past !== undefined) this.log.inherit(birth.past);
    this.#disks = new DiskAlarm(this.log, birth.now);
    this.#terms = new TermStore(birth.stateDirectory);
    this.core = makeCore(termOf(this.#terms.term));
    this.lane = new Lane((error) => this.laneFailed(error));
    this.#alarms = new Alarms(
      () => this.now,
      (timer) => this.post({ kind: 'timer', timer, turned: timer !== 'heartbeat' || this.#vouches() }),
    );
    this.#arbiter = new ArbiterDesk(birth.pair, birth.arbiter, birth.holder, (problem) => {
      if (problem === undefined) this.log.add('arbiter', `${this.#arbiter.facts.name} answers again`, 'arbiter-back');
      else this.log.add('arbiter', problem, 'arbiter-lost');
    });
  }

  /** When the peer's last heartbeat came, by this side's clock. */
  protected get lastHeard(): number | undefined {
    return this.#lastHeard;
  }

  /** This side's clock, ms. It goes on while the host sleeps. */
  get now(): number {
    return this.birth.now();
  }

  get arbiter(): ArbiterDesk {
    return this.#arbiter;
  }

  /** What an operator sees. */
  status(): ColoStatus {
    const { link } = this;
    const { phase, term } = this.core;
    const lastHeard = this.#lastHeard;
    const next = this.next();
    return {
      pair: this.birth.pair,
      role: this.role,
      ...this.#headlineNow(),
      ...(this.#unprotected === undefined ? {} : { unprotected: this.#unprotected }),
      ...(next === undefined ? {} : { next }),
      phase,
      term,
      ...(link === undefined
        ? {}
        : {
            link: {
              peer: link.peer.host,
              security: link.secure ? 'tls' : 'plaintext',
              ...(lastHeard === undefined ? {} : { lastHeardMsAgo: this.now - lastHeard }),
            },
          }),
      ...(phase === 'protected' || phase === 'protecting'
        ? { failover: failoverCost(this.birth.settings, this.loadMs) }
        : {}),
      arbiter: this.arbiter.facts,
      milestones: { ...this.log.milestones },
      ...this.ownStatus(),
    };
  }

  /** The headline is what the core has heard of. A side that was frozen is asked before its clock has told it. */
  #headlineNow(): Pick<ColoStatus, 'headline' | 'since' | 'why'> {
    const { headline, doubt } = this;
    if (doubt === undefined || (headline !== 'PROTECTED' && headline !== 'PROTECTING')) {
      return { headline, since: this.#since, why: this.why };
    }
    return { headline: 'WAITING', since: Date.now() - (this.now - doubt.since), why: doubt.why };
  }

  /** The standby has all of it. */
  protected protects(compares: boolean): void {
    this.#listener.protects(compares);
  }

  /** Takes an event: at once, or after the one that is being dealt with. */
  post(event: E | CommonEvent): void {
    if (this.#ended) return;
    this.#inbox.push(event);
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (let next = this.#inbox.shift(); next !== undefined && !this.#ended; next = this.#inbox.shift()) {
        if (isDiskFailure(next)) this.#disks.failed(next.error);
        for (const effect of this.core.handle(next, this.now)) this.#execute(effect);
        if (next.kind === 'closed') this.#destroyEnded();
        if (this.headline !== this.#headline) this.#headlineChanged();
      }
    } catch (error) {
      this.#listener.failed(error as Error);
    } finally {
      this.#pumping = false;
    }
  }

  #headlineChanged(): void {
    this.#headline = this.headline;
    this.#since = Date.now();
    switch (this.#headline) {
      case 'UNPROTECTED':
        this.#unprotected ??= { since: this.#since, why: this.why };
        this.#since = this.#unprotected.since;
        return;
      case 'PAIRING':
        // Of this no notice tells.
        this.become('disks and memory are being copied');
        this.#listener.pairs();
        return;
      default:
        this.#unprotected = undefined;
    }
  }

  /** Takes a command of an operator's. @returns why it is refused; undefined if it is not */
  command(command: Extract<CommonEvent, { kind: 'command' }>['command']): string | undefined {
    this.#refusal = undefined;
    this.post({ kind: 'command', command });
    return this.#refusal;
  }

  /**
   * A disk of this side has failed.
   *
   * @param counts something is to be done about it; else it is told: a guest that runs alone stays where it is
   */
  diskFailed(error: string, counts: boolean): void {
    if (counts) this.post({ kind: 'disk-failed', error });
    else this.#disks.failed(error);
  }

  /** The guest is resumed after a pause. */
  guestResumed(): void {
    this.#disks.resumed();
  }

  /** Resolves when nothing is written any more. */
  close(): Promise<void> {
    this.#ended = true;
    this.#alarms.clear();
    this.#arbiter.close();
    this.link?.destroy();
    this.#destroyEnded();
    return this.#terms.settled();
  }

  /** A link is there: from now on its frames and its end are this core's. */
  protected adopt(link: PeerLink): void {
    this.link = link;
    link.listen({
      received: (frame) => {
        if (this.link === link) this.received(frame);
      },
      drained: (stream) => {
        if (this.link === link) this.drained(stream);
      },
      ended: (end) => {
        if (this.link === link) this.#linkEnded(link, end);
        else link.destroy();
      },
    });
  }

  protected received(frame: Frame): void {
    const { kind } = frame.message;
    if (kind === 'heartbeat') this.#lastHeard = this.now;
    else if (isLogged(kind)) this.log.addFrequent('message', () => `<- ${nameOf(frame.message)}`);
    this.post({ kind: 'frame', frame });
  }

  /** Sends on the stream of the message; false: wait until that has drained. True as well when nobody is there to wait for. */
  protected send(message: Message, term: Term = this.core.term, waits = canWait(message.kind)): boolean {
    const { kind } = message;
    if (kind !== 'heartbeat' && isLogged(kind)) this.log.addFrequent('message', () => `-> ${nameOf(message)}`);
    return this.link?.send({ role: this.role, term, message }, waits) ?? true;
  }

  /** Does something that may find the peer's bytes wrong. */
  protected distrusting(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.post({ kind: 'peer-broke', error });
    }
  }

  /** The guest is the other side's in that term. What is not written down here is still known to the arbiter. */
  protected async givenAway(term: Term): Promise<void> {
    if (this.#terms.isElsewhere && this.#terms.term === term) return;
    await this.#terms.giveAway(term).catch((error: Error) => {
      this.log.add('protection', `${this.#terms.path} cannot say that the guest is the other side's: ${error.message}`);
    });
  }

  /** Resolves when no term is being written. */
  protected termSettled(): Promise<void> {
    return this.#terms.settled();
  }

  /** Goes on where another side of this process has ended. Before anything else. */
  protected inherit({ why, since }: Pick<Heritage, 'why' | 'since'>): void {
    this.why = why;
    this.#headline = this.headline;
    this.#since = since;
    this.#unprotected = { since, why };
  }

  /** What whoever takes this side's place inherits. */
  protected get heritage(): Heritage {
    return { why: this.why, since: this.#since };
  }

  /** It is as it is for that reason. */
  protected become(why: string): void {
    this.why = printable(why);
  }

  /** What an operator can do about a peer that is lost, while nobody says who goes on. */
  protected remedy(peer: string): string {
    // Who may go on is known then, and this is all that is in the way.
    if (this.#termProblem !== undefined) {
      return `make it possible to write ${this.#terms.path}: the term cannot be written there (${this.#termProblem})`;
    }
    return this.birth.arbiter.kind === 'manual'
      ? `make sure that ${peer} is off, or cut off from all clients; then: colo-vmm failover`
      : `mend the network; or, if ${peer} is certainly off: colo-vmm failover --i-am-sure`;
  }

  /** All threads have turned since the last heartbeat. */
  #vouches(): boolean {
    const turned = this.#signs.turned();
    if (!turned)
      this.log.add('peer', `no heartbeat: ${this.#signs.still.join(' and ')} did not turn since the last one`);
    return turned;
  }

  /** The first word of `status`. */
  protected abstract get headline(): ColoHeadline;
  /** It may be over with the pair already: since when, by this side's clock, and why that is so. */
  protected abstract get doubt(): { readonly since: number; readonly why: string } | undefined;
  /** What to do about it, if there is something. */
  protected abstract next(): string | undefined;
  protected abstract ownStatus(): OwnStatus;
  /** How long it would take now to load the guest, ms; undefined: this side does not know. */
  protected abstract get loadMs(): number | undefined;
  protected abstract drained(stream: StreamName): void;
  protected abstract execute(effect: Effect): void;
  protected abstract noticed(notice: Notice): void;
  /** Something of the lane failed, which nobody expected to. */
  protected abstract laneFailed(error: Error): void;

  /** The peer takes a closed connection for a proof that this side says nothing more: so the core comes first (spec B.6). */
  #linkEnded(link: PeerLink, end: LinkEnd): void {
    this.link = undefined;
    this.#endedLinks.push(link);
    // That it was closed, the core says.
    if (end.kind !== 'closed') this.log.add('peer', `the connection failed: ${end.reason}`);
    this.post({ kind: 'closed', by: end.kind === 'closed' ? 'peer' : 'network' });
  }

  #destroyEnded(): void {
    for (const link of this.#endedLinks) link.destroy();
    this.#endedLinks = [];
  }

  #execute(effect: Effect): void {
    switch (effect.kind) {
      case 'send':
        this.send(effect.message, effect.term, effect.canWait);
        return;
      case 'close': {
        const { link } = this;
        this.link = undefined;
        link?.close();
        // The guest must not wait for room on a way that is gone: what is sent from now on goes nowhere.
        this.drained('packets');
        return;
      }
      case 'timer':
        this.#alarms.set(effect.timer, effect.at);
        return;
      case 'ask-arbiter':
        this.#ask(effect.term, effect.byOperator);
        return;
      case 'write-term':
        this.#write(effect.term, effect.theirs === true);
        return;
      case 'refuse':
        this.#refusal = effect.error;
        return;
      case 'tell':
        this.#tell(effect.notice);
        return;
      default:
        this.execute(effect);
    }
  }

  /**
   * A yes counts when it is on disk: of a side whose disk hangs, or is full, it would keep the other one from going on as well. So it proves
   * first that it can write. That may take long, and a yes to a side that has failed meanwhile would do the same.
   */
  #ask(term: Term, byOperator: boolean): void {
    // It is asked again and again while there is no answer.
    if (this.#isProving) return;
    // An operator who is awaited is to see that the term can be written, once; what comes of it then has its own proof.
    if (this.birth.arbiter.kind === 'manual' && !byOperator && term === this.#provedFor) return;
    this.#isProving = true;
    void this.#terms
      .prove()
      .then(
        () => {
          this.#termProblem = undefined;
          this.#provedFor = term;
          if (this.#wants(term)) this.#claim(term, byOperator);
        },
        (error: Error) => this.#cannotWrite(error),
      )
      .finally(() => {
        this.#isProving = false;
      });
  }

  #wants(term: Term): boolean {
    return !this.#ended && this.core.wantsTerm(term);
  }

  #claim(term: Term, byOperator: boolean): void {
    if (term !== this.#askedFor) this.log.add('arbiter', `the arbiter is asked for term ${term}`);
    this.#askedFor = term;
    const isWanted = (): boolean => this.#wants(term);
    void this.#arbiter.claim(term, byOperator, isWanted).then((answer) => {
      // A question that was asked again is answered again.
      if (answer !== 'unknown' && term !== this.#answered) {
        this.#answered = term;
        this.log.add('arbiter', `the arbiter says ${answer}`);
      }
      this.post({ kind: 'arbiter', term, answer });
    });
  }

  #write(term: Term, isTheirs: boolean): void {
    const written = isTheirs ? this.#terms.giveAway(term) : this.#terms.write(term);
    written.then(
      () => {
        this.#termProblem = undefined;
        this.post({ kind: 'term-written', term });
      },
      (error: Error) => {
        this.#cannotWrite(error);
        this.post({ kind: 'term-failed', term });
      },
    );
  }

  /** It is tried again and again until there is room. */
  #cannotWrite({ message }: Error): void {
    if (message !== this.#termProblem) {
      this.log.add('protection', `the term cannot be written to ${this.#terms.path}: ${message}`);
    }
    this.#termProblem = message;
  }

  #tell(notice: Notice): void {
    if (notice.kind === 'colo-exit') this.#listener.coloExit(notice.mode, notice.reason);
    this.noticed(notice);
  }
}

function isDiskFailure(event: { readonly kind: string }): event is Extract<CommonEvent, { kind: 'disk-failed' }> {
  return event.kind === 'disk-failed';
}

/** What it costs a client that a side is lost (spec B.11). */
function failoverCost(settings: Settings, loadMs: number | undefined): NonNullable<ColoStatus['failover']> {
  const { detectMs } = settings;
  return {
    detectionMs: detectMs,
    consentMs: Math.max(0, consentLengthMs(settings) - detectMs),
    ...(loadMs === undefined ? {} : { loadMs }),
  };
}

/** It says something to the peer, other than what is copied and compared. */
function isLogged(kind: Message['kind']): boolean {
  return streamOf(kind) === 'control' || kind === 'handover-done';
}

function nameOf(message: Message): string {
  return 'epoch' in message ? `${message.kind} ${message.epoch}` : message.kind;
}
