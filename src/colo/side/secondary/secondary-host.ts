import type { EngineChooser } from '../../../block/disk-engines.ts';
import type { Fd } from '../../../host/libc/descriptors.ts';
import type { ColoBackupReport, ColoHeadline, ColoStatus } from '../../../vmm/monitor/colo-control.ts';
import { inTime, Patience } from '../../../vmm/thread/patience.ts';
import type { SecondaryConfig } from '../../command/pair-config.ts';
import type { Effect, Notice, SecondaryEvent } from '../../core/events.ts';
import { Recovery } from '../../core/fencing/recovery.ts';
import { Secondary } from '../../core/secondary/secondary.ts';
import { dial } from '../../link/dial.ts';
import { PeerListener } from '../../link/peer-listener.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import type { StreamName } from '../../protocol/message-table.ts';
import { isBootMessage, isDiskQuestion } from '../../protocol/messages.ts';
import { next, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import type { PacketRecord } from '../../record/packet-record.ts';
import type { Calls } from '../calls.ts';
import type { Heritage } from '../heritage.ts';
import { Host, type HostBirth, type HostListener, type OwnStatus } from '../host.ts';
import type { ColoCalls, SecondaryMachineCalls } from '../machine-calls.ts';
import type { SignsOfLife } from '../signs-of-life.ts';
import type { Listen } from '../standby-door.ts';
import type { Attachment } from './attachment.ts';
import { OwnHistory } from './own-history.ts';
import { PairedMachine } from './paired-machine.ts';
import { PrimaryDoor } from './primary-door.ts';
import { StandbyBackup } from './standby-backup.ts';
import { diskStatus, headlines, whatIsGone } from './standby-words.ts';
import { StandingByAgain } from './standing-by-again.ts';
import { TakeoverSteps } from './takeover-steps.ts';

/** How long whoever takes this side's place is kept waiting for a term that is being written. */
const termPatienceMs = 1000;

/** What a secondary's side is given, beside what it was told. */
export interface SecondaryHostParts {
  readonly calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly shape: MachineShape;
  readonly signs: SignsOfLife;
  /** This side is over; another one may take its place. */
  readonly again: () => void;
  /** What those before it in this process went through; default nothing. */
  readonly recovery?: Recovery;
  /** Button of the doorbell that {@link SecondaryHost.rang} is called for; absent: its guest never runs beside P's. */
  readonly bell?: Fd;
  readonly listen?: Listen;
  readonly dial?: typeof dial;
  /** How calls on the disks' files are made; default on other threads. */
  readonly engines?: EngineChooser;
  readonly record?: PacketRecord | undefined;
}

/** The secondary's side of a pair, on the colo thread. */
export class SecondaryHost extends Host<SecondaryEvent> {
  readonly #config: SecondaryConfig;
  readonly #calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly #again: () => void;
  readonly #recovery: StandingByAgain;
  readonly #secondary: Secondary;
  readonly #history: OwnHistory;
  readonly #machine: PairedMachine;
  readonly #door: PrimaryDoor;
  readonly #steps: TakeoverSteps;
  readonly #backup: StandbyBackup;
  #lastReceivedAt: number | undefined;
  #checkpoints = 0;
  #takeover: ColoStatus['takeover'];
  /** The last term of this host in which it knew all that the pair did. */
  #knownTerm: Term;

  constructor(config: SecondaryConfig & HostBirth, parts: SecondaryHostParts, listener: HostListener) {
    const { calls, shape, signs, again, recovery = new Recovery(config.settings), bell, engines, record } = parts;
    let secondary: Secondary | undefined;
    super('secondary', config, signs, listener, (term) => {
      secondary = new Secondary({ pair: config.pair, shape, term, settings: config.settings });
      return secondary;
    });
    this.#secondary = secondary as unknown as Secondary;
    this.#knownTerm = this.#secondary.term;
    this.#config = config;
    this.#history = new OwnHistory(config.stateDirectory, config.pair, (text) => this.log.add('disk', text));
    this.#calls = calls;
    this.#again = again;
    this.#recovery = new StandingByAgain(recovery, () => this.now);
    this.#machine = new PairedMachine({
      config,
      calls,
      signs,
      lane: this.lane,
      history: this.#history,
      log: this.log,
      bell,
      engines,
      record,
      now: () => this.now,
      term: () => this.#secondary.term,
      post: (event) => this.post(event),
      send: (message) => this.send(message),
      flushPackets: () => this.link?.flush('packets'),
      pausePages: (isPaused) => (isPaused ? this.link?.pause('pages') : this.link?.resume('pages')),
    });
    this.#door = new PrimaryDoor({
      config,
      listen: parts.listen ?? PeerListener.start,
      dial: parts.dial ?? dial,
      core: this.#secondary,
      machine: this.#machine,
      lane: this.lane,
      log: this.log,
      why: () => this.why,
      link: () => this.link,
      adopt: (link) => this.adopt(link),
      drop: (link) => {
        this.link = undefined;
        link.close();
      },
      send: (message) => this.send(message),
      greeted: (hello) => super.received(hello),
      called: (pair, term) => this.post({ kind: 'primary-called', pair, term }),
    });
    this.#backup = new StandbyBackup(config.pair, this.log, () => this.now);
    this.#steps = new TakeoverSteps({
      calls,
      lane: this.lane,
      log: this.log,
      history: this.#history,
      attached: () => this.#attached,
      post: (event) => this.post(event),
      become: (why) => this.become(why),
      speaks: (attached) => void this.#succeed(attached),
    });
    this.why = 'no primary has come yet';
  }

  /** Waits for a primary. The port. @throws LinkError */
  async start(): Promise<number> {
    await this.arbiter.watch();
    const port = await this.#door.open();
    const { name, answeredInMs, problem } = this.arbiter.facts;
    const answers = problem ?? (answeredInMs === undefined ? name : `${name} answers in ${answeredInMs.toFixed(0)} ms`);
    this.log.add(
      'pair',
      `waiting for a primary on ${this.#door.address}; arbiter ${answers}; term ${this.#secondary.term}`,
    );
    this.#door.search();
    return port;
  }

  /** The doorbell rang: its guest has said something. */
  rang(): void {
    this.#attached?.own?.work();
  }

  /** Copies the last checkpoint's disks to a new folder, an absolute path. @throws Error with one sentence */
  backup(path: string): Promise<ColoBackupReport> {
    const { phase, term } = this.#secondary;
    return this.#backup.make(path, { phase, term, disks: this.#attached?.disks });
  }

  override async close(): Promise<void> {
    this.#attached?.own?.close();
    this.#recovery.close();
    this.#door.close();
    this.#history.rest();
    await super.close();
    await this.#history.settled();
  }

  protected override ownStatus(): OwnStatus {
    const { received } = this.#secondary;
    const { disks } = this.#attached ?? {};
    const { progress: backup } = this.#backup;
    return {
      mode: this.#secondary.guest === 'none' ? 'buffered' : 'comparing',
      address: this.#door.address,
      ...(this.#secondary.phase === 'live' ? { survivor: true } : {}),
      ...(this.#takeover === undefined ? {} : { takeover: this.#takeover }),
      checkpointDelayMs: this.#config.settings.checkpointDelayMs,
      epoch: received + 1,
      totals: { checkpoints: this.#checkpoints },
      ...(backup === undefined ? {} : { backup }),
      ...(this.#lastReceivedAt === undefined || received === noCheckpoint
        ? {}
        : { checkpoint: { epoch: received, msAgo: this.now - this.#lastReceivedAt } }),
      ...(disks === undefined ? {} : { disk: diskStatus(disks) }),
    };
  }

  protected override get headline(): ColoHeadline {
    return headlines[this.#secondary.phase];
  }

  /** A guest that runs beside its primary's goes on as it is. */
  protected override get loadMs(): number | undefined {
    return this.#secondary.guest === 'running' ? 0 : this.#attached?.loadMs;
  }

  /** A primary that was silent for so long may have gone on alone. */
  protected override get doubt(): { readonly since: number; readonly why: string } | undefined {
    const { lastHeard } = this;
    const since = (lastHeard ?? Number.NaN) + this.#config.settings.detectMs;
    if (!(since < this.now)) return undefined;
    return { since, why: `${this.#door.peer} is silent, and may have gone on alone` };
  }

  protected override drained(stream: StreamName): void {
    if (stream === 'disk') this.#attached?.disks.drained();
    else if (stream === 'packets') this.#attached?.own?.drained();
  }

  protected override received(frame: Frame): void {
    const { message } = frame;
    if (message.kind === 'hello' && this.#secondary.phase === 'listening') {
      this.#door.hello(frame, message);
      return;
    }
    if (message.kind === 'refusal' && this.#secondary.phase === 'listening') {
      this.#heardRefusal(message.reason);
      return;
    }
    if (isDiskQuestion(message)) {
      this.distrusting(() => this.#attached?.disks.asked(message));
      this.post({ kind: 'copy-moved' });
      return;
    }
    if (isBootMessage(message)) {
      this.distrusting(() => this.#attached?.boot.take(message));
      return;
    }
    super.received(frame);
  }

  protected override execute(effect: Effect): void {
    const attached = this.#attached;
    switch (effect.kind) {
      case 'attach':
        // The machine was made before the core heard of the primary. In a term that this side had already nothing was written for it.
        void this.givenAway(this.#secondary.term);
        return;
      case 'stage':
        if (attached !== undefined) this.distrusting(() => attached.stage(effect.item));
        return;
      case 'discard':
        this.#machine.discard(effect.beyond);
        return;
      case 'load':
        this.#lastReceivedAt = this.now;
        this.#checkpoints++;
        this.lane.do(() => attached?.load(effect.epoch));
        return;
      case 'commit-disk':
        attached?.packets.committed(effect.epoch);
        attached?.disks.commit(effect.epoch);
        return;
      case 'revive':
        this.#steps.revive(effect.epoch, effect.stoppedAt);
        return;
      case 'pause-guest': {
        const epoch = next(this.#secondary.received);
        if (attached?.own !== undefined) this.lane.do(() => attached.park(epoch));
        return;
      }
      case 'start':
        this.lane.do(() => attached?.start(effect));
        return;
      case 'let-in':
        this.distrusting(() => {
          attached?.packets.check(effect.item);
          attached?.own?.letIn(effect.item.card, effect.item.data);
        });
        return;
      case 'let-in-kept':
        for (const { card, packet } of attached?.packets.takeInputs(effect.epoch) ?? [])
          attached?.own?.letIn(card, packet);
        return;
      case 'forget-own':
        attached?.own?.forget(effect.items);
        return;
      case 'empty-taps':
        attached?.packets.drainTaps();
        return;
      case 'hold-guest':
        this.#steps.hold();
        return;
      case 'open':
        this.#steps.emerge();
        return;
      case 'shut':
        return; // of this side's guest nothing leaves before it speaks for itself
      case 'announce':
        this.#steps.announce();
        return;
      case 'send-kept':
        this.#steps.sendKept(effect.epoch);
        return;
      case 'replay-input':
        this.#steps.replayInput(effect.epoch);
        return;
      case 'resume-guest':
        this.#steps.resume();
        return;
      case 'exit':
        this.lane.do(async () => {
          await attached?.disks.laidWhileItMoves(this.#config.settings.stepMs);
          await this.#calls.call('exit', { exitCode: effect.exitCode });
        });
        return;
      default:
        throw new Error(`a secondary has no effect ${effect.kind}`);
    }
  }

  protected override noticed(notice: Notice): void {
    switch (notice.kind) {
      case 'protected':
        this.#recovery.protects();
        this.arbiter.expect(notice.term);
        this.become('it has all of its primary');
        this.protects(this.#machine.compares);
        this.log.add('protection', `PROTECTING ${this.#door.peer} (term ${notice.term})`, 'protected');
        this.#tellWhatIsGone(notice.term);
        return;
      case 'not-protected':
        this.arbiter.expect(undefined);
        this.become(notice.why);
        this.log.add('protection', `waiting for a primary again: ${notice.why}`, 'unprotected');
        this.#door.expectHello();
        return;
      case 'peer-lost':
        this.become(notice.why);
        this.log.add('peer', notice.why, 'peer-lost');
        return;
      case 'consent-over':
        this.log.add('consent', `of ${this.#door.peer} ran out`);
        return;
      case 'takes-over': {
        const { peer } = this.#door;
        // Perhaps it was not asked, and must say no to the other side: to one that was only cut off, or is started as a primary again.
        void this.arbiter.register(notice.term);
        this.become(notice.fromLoss ? `${peer} was lost: ${this.why}` : `${peer} handed the guest over`);
        this.log.add(
          'takeover',
          `this side takes over, from epoch ${this.#secondary.received}, in term ${notice.term}`,
        );
        return;
      }
      case 'survivor':
        this.log.add(
          'takeover',
          `this side goes on, from epoch ${this.#secondary.received}, in term ${notice.term}`,
          'failover',
        );
        return;
      case 'switched-over':
        this.log.add(
          'takeover',
          `this side goes on, from epoch ${this.#secondary.received}, in term ${notice.term}`,
          'switchover',
        );
        return;
      case 'fenced':
        this.arbiter.expect(undefined);
        this.become(notice.why);
        this.log.add('protection', notice.why, 'fenced');
        this.#recover();
        return;
      case 'failed':
        this.arbiter.expect(undefined);
        this.become(notice.why);
        if (notice.wasCountedOn) {
          this.log.add('protection', `${this.#door.peer} is not protected any more: ${notice.why}`, 'unprotected');
        }
        this.log.add('protection', `this standby cannot take over any more: ${notice.why}`, 'fenced');
        return;
      case 'ended-behind':
        this.log.add(
          'protection',
          `the guest has ended, and its last checkpoint did not come in time: these disks are of epoch ${notice.through}, older than ${this.#door.peer}'s`,
        );
        return;
      case 'checkpoint':
      case 'mode':
        return;
      case 'colo-exit':
        if (notice.reason === 'error') {
          this.become(notice.why);
          // Of one that has failed that was said already.
          if (this.#secondary.phase !== 'failed') this.log.add('protection', notice.why);
        }
        return;
      default:
        notice satisfies never;
    }
  }

  protected override laneFailed(error: Error): void {
    this.log.add('protection', `this machine cannot take over: ${error.message}`);
    this.post({ kind: 'load-failed', epoch: this.#secondary.received, reason: error.message });
  }

  /** Its primary runs on alone, and may want a standby again: once this host is well. */
  #recover(): void {
    const { heartbeatMs } = this.#config.settings;
    this.log.add(
      'pair',
      this.#recovery.wait(heartbeatMs, () => this.lane.do(() => this.#again())),
    );
  }

  /** What holds checkpoints of P's machine. */
  get #attached(): Attachment | undefined {
    return this.#machine.attached;
  }

  protected override next(): string | undefined {
    const { phase } = this.#secondary;
    if (phase === 'claiming') return this.remedy(this.#door.peer ?? 'the primary');
    if (phase === 'refused') {
      return `nothing: it stands by again in ${this.#recovery.seconds} s, if its host is well`;
    }
    if (phase === 'going-live') return `nothing: ${this.#steps.doing}, then the guest runs here`;
    if (phase === 'failed') return 'end it, and start it again: colo-vmm standby ...';
    return undefined;
  }

  /** This host was in an earlier term of the pair, perhaps as its primary: nobody else has what it wrote last (spec B.7). */
  #tellWhatIsGone(term: Term): void {
    const before = this.#knownTerm;
    this.#knownTerm = term;
    const { disks } = this.#attached ?? {};
    const blocks = disks?.takeReplacedBlocks();
    if (before === 0 || before >= term) return;
    const { copiedBytes = 0 } = disks ?? {};
    this.log.add('disk', whatIsGone(before, blocks, { copiedBytes, from: this.#door.peer }));
  }

  /** A survivor that was found wants no standby now. It is asked again. */
  #heardRefusal(reason: string): void {
    const why = `${this.#door.peer} wants no standby: ${reason}`;
    if (why === this.why) return;
    this.become(why);
    this.log.add('pair', why);
  }

  /**
   * This process is the guest's primary from now on, which reads the term from the disk. One that hangs is not waited for: then the file
   * may say that the guest is the other side's, and a primary that is to be started anew asks an operator.
   */
  async #succeed({ changes }: Attachment): Promise<void> {
    const { lastHeard, now } = this;
    if (lastHeard !== undefined) {
      this.#takeover = { silenceMs: now - lastHeard, sentAgain: this.#steps.sentAgain };
    }
    this.#door.close();
    await inTime(this.termSettled(), new Patience(termPatienceMs));
    const heritage: Heritage = {
      ...this.heritage,
      ...(changes === undefined ? {} : { changes }),
      ...(this.#takeover === undefined ? {} : { takeover: this.#takeover }),
      ...(this.#machine.compares ? { compares: true, flows: this.#machine.flows } : {}),
    };
    this.#calls.tell('succeed', { heritage, past: this.log.past });
  }
}
