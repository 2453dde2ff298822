import type { EngineChooser } from '../../../block/disk-engines.ts';
import { printable } from '../../../host/console/tell.ts';
import type { Fd } from '../../../host/libc/descriptors.ts';
import type { BootDescriptors } from '../../../vmm/machine/machine-shape.ts';
import type { ColoHeadline, ColoStatus } from '../../../vmm/monitor/colo-control.ts';
import type { PrimaryConfig } from '../../command/pair-config.ts';
import { type Divergence, divergenceText } from '../../compare/divergence.ts';
import type { Effect, Notice, PrimaryEvent } from '../../core/events.ts';
import { whyTurnedAway } from '../../core/primary/callers.ts';
import { Primary } from '../../core/primary/primary.ts';
import type { HistoryDisk } from '../../disk/history/history-store.ts';
import type { InheritedChanges } from '../../disk/history/primary-changes.ts';
import { dial } from '../../link/dial.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import { turnAway } from '../../link/turn-away.ts';
import type { Captured } from '../../machine/shared-checkpoints.ts';
import { RecentDivergences } from '../../observe/recent-divergences.ts';
import type { Frame } from '../../protocol/frame.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import type { StreamName } from '../../protocol/message-table.ts';
import { isDiskAnswer, type SecondaryOutput } from '../../protocol/messages.ts';
import { type Epoch, type Mode, noCheckpoint } from '../../protocol/numbers.ts';
import type { PacketRecord } from '../../record/packet-record.ts';
import type { Calls } from '../calls.ts';
import type { PrimaryPast } from '../heritage.ts';
import { Host, type HostBirth, type HostListener, type OwnStatus } from '../host.ts';
import type { ColoCalls, PrimaryMachineCalls } from '../machine-calls.ts';
import type { SignsOfLife } from '../signs-of-life.ts';
import { ChangesWatch } from './changes-watch.ts';
import { CheckpointFigures } from './checkpoint-figures.ts';
import { guestStatus, headlines, howToProtect, placeAndMode, unsafeFlows } from './primary-words.ts';
import { newRings, ProtectedGuest } from './protected-guest.ts';
import { StandbyContact } from './standby-contact.ts';

/** The primary's side of a pair, on the colo thread. */
export class PrimaryHost extends Host<PrimaryEvent> {
  readonly #config: PrimaryConfig;
  readonly #calls: Calls<PrimaryMachineCalls, ColoCalls>;
  readonly #bell: Fd;
  readonly #signs: SignsOfLife;
  readonly #primary: Primary;
  readonly #engines: EngineChooser | undefined;
  readonly #letGoAgainMs: number;
  readonly #rings: typeof newRings;
  readonly #record: PacketRecord | undefined;
  readonly #boot: BootDescriptors | undefined;
  readonly #changes: ChangesWatch;
  #attached: ProtectedGuest | undefined;
  #captured: Captured | undefined;
  #lastPeer: string | undefined;
  /** The failure that ended protection last; undefined: it ended for another reason, or begins anew. */
  #failure: string | undefined;
  #isSurvivor: boolean;
  /** What it was like for its clients that it took over; absent: that was long ago, or never. */
  #takeover: ColoStatus['takeover'];
  readonly #contact: StandbyContact;
  readonly #figures = new CheckpointFigures();
  /** Of this protection; a new one begins without. */
  #divergences = new RecentDivergences();
  #delayMs: number;

  constructor(
    config: PrimaryConfig & HostBirth,
    {
      calls,
      bell,
      shape,
      disks,
      signs,
      dial: open = dial,
      engines,
      letGoAgainMs = 20_000,
      rings = newRings,
      heritage,
      before,
      changes,
      record,
      boot,
    }: {
      readonly calls: Calls<PrimaryMachineCalls, ColoCalls>;
      /** Button of the doorbell that {@link PrimaryHost.rang} is called for. */
      readonly bell: Fd;
      readonly shape: MachineShape;
      /** The machine's, as their history knows them. */
      readonly disks: readonly HistoryDisk[];
      readonly signs: SignsOfLife;
      readonly dial?: typeof dial;
      /** How calls on the disks' files are made; default on other threads. */
      readonly engines?: EngineChooser;
      /** A machine that cannot let go of its protection is asked again after so long. */
      readonly letGoAgainMs?: number;
      /** Rings that nothing has been put into; default new ones. */
      readonly rings?: typeof newRings;
      readonly record?: PacketRecord | undefined;
      /** What the guest begins anew from; absent: a reset ends it. */
      readonly boot?: BootDescriptors | undefined;
    } & PrimaryPast,
    listener: HostListener,
  ) {
    let primary: Primary | undefined;
    super('primary', config, signs, listener, (term) => {
      const { pair, settings, flows, insists } = config;
      primary = new Primary({ pair, shape, term, settings, insists, ...(flows === undefined ? {} : { flows }) });
      return primary;
    });
    this.#primary = primary as unknown as Primary;
    this.#config = config;
    this.#changes = new ChangesWatch({
      stateDirectory: config.stateDirectory,
      pair: config.pair,
      disks,
      inherited: heritage?.changes ?? changes,
      log: (text) => this.log.add('disk', text),
    });
    this.#calls = calls;
    this.#bell = bell;
    this.#signs = signs;
    this.#engines = engines;
    this.#letGoAgainMs = letGoAgainMs;
    this.#rings = rings;
    this.#record = record;
    this.#boot = boot;
    this.#delayMs = config.settings.checkpointDelayMs;
    this.#contact = new StandbyContact({
      config,
      dial: open,
      came: (link) => this.#called(link),
      connected: (link) => this.#connected(link),
      failed: (reason) => this.post({ kind: 'connect-failed', reason }),
      isAwaited: () => this.#primary.phase === 'connecting',
      again: () => {
        if (this.#primary.phase === 'unprotected') this.command({ name: 'protect' });
      },
      log: (topic, text) => this.log.add(topic, text),
    });
    this.#isSurvivor = heritage !== undefined || before?.survivor === true;
    this.#takeover = heritage?.takeover ?? before?.takeover;
    if (heritage !== undefined) this.inherit(heritage);
    else if (before?.unprotected !== undefined) this.inherit(before.unprotected);
  }

  /** Begins to protect the guest. */
  start(): void {
    for (const { port } of unsafeFlows(this.#config)) {
      this.log.add('protection', `UNSAFE: output of port ${port} leaves unseen (--flow port=${port},policy=pass)`);
    }
    void this.arbiter.watch();
    this.#contact.open();
    if (this.#contact.dials) this.command({ name: 'protect' });
    // A survivor has the term already, and an arbiter that nobody could ask then is to hear of it.
    else void this.arbiter.register(this.#primary.term);
  }

  override command(command: Parameters<Host<PrimaryEvent>['command']>[0]): string | undefined {
    if (command.name === 'unprotect') this.#contact.stopTrying();
    const refusal = super.command(command);
    if (command.name === 'set-checkpoint-delay' && refusal === undefined) this.#delayMs = command.delayMs;
    return refusal;
  }

  /** The doorbell rang: the io thread has something for the rings' readers. */
  rang(): void {
    this.#attached?.rang();
  }

  /** What is known of its disks, for the side that takes this one's place, which is idle; undefined: nothing. */
  async handOverChanges(): Promise<InheritedChanges | undefined> {
    // What was forwarded last is known once the machine is let go.
    await this.lane.done;
    return this.#attached === undefined ? this.#changes.handOver() : undefined;
  }

  override async close(): Promise<void> {
    this.#contact.close();
    this.#attached?.pages.close();
    // Nothing that is held leaves once the connections are closed (spec B.6).
    this.#attached?.packets.permit(noCheckpoint, Number.NEGATIVE_INFINITY);
    this.#changes.rest();
    await super.close();
    await this.#changes.settled();
  }

  protected override ownStatus(): OwnStatus {
    const primary = this.#primary;
    const attached = this.#attached;
    const compared = attached?.packets.comparison;
    const behind = attached?.packets.behind;
    const changesLost = this.#changes.lost;
    return {
      checkpointDelayMs: this.#delayMs,
      ...this.#figures.status(this.now),
      ...placeAndMode(this.#config, primary),
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
      ...(compared === undefined
        ? {}
        : {
            modeWhy: primary.mode.why,
            compared: {
              released: compared.released,
              passed: compared.passed,
              divergences: compared.divergences,
              checkpoints: this.#figures.count,
              ...(behind === undefined ? {} : { behind }),
              recent: this.#divergences.list(),
            },
          }),
      ...(this.#isSurvivor && this.headline === 'UNPROTECTED'
        ? { survivor: true, ...(this.#takeover === undefined ? {} : { takeover: this.#takeover }) }
        : {}),
      ...(attached === undefined ? {} : guestStatus(attached, this.#changes.changes)),
      ...(changesLost === undefined ? {} : { changesLost }),
    };
  }

  protected override get headline(): ColoHeadline {
    return headlines[this.#primary.phase];
  }

  /** That is the standby's to say. */
  protected override get loadMs(): undefined {
    return undefined;
  }

  /** Without consent nothing leaves, and from some time after that the standby may speak instead (spec B.6). */
  protected override get doubt(): { readonly since: number; readonly why: string } | undefined {
    const { consentUntil } = this.#primary;
    if (!(Number.isFinite(consentUntil) && consentUntil < this.now)) return undefined;
    return { since: consentUntil, why: `${this.#peerName} gives no consent any more, and may have taken over` };
  }

  protected override drained(stream: StreamName): void {
    const attached = this.#attached;
    if (stream === 'packets') attached?.packets.drained();
    else if (stream === 'disk') attached?.disks.drained();
    else if (stream === 'pages') attached?.pages.drained();
  }

  protected override received(frame: Parameters<Host<PrimaryEvent>['received']>[0]): void {
    const { message } = frame;
    // What the two sides say about unequal disks concerns no core.
    if (isDiskAnswer(message)) {
      this.distrusting(() => this.#attached?.disks.answered(message));
      return;
    }
    if (message.kind === 'secondary-output') {
      this.#compare(frame, message);
      return;
    }
    super.received(frame);
    if (message.kind === 'vmstate-loaded' || message.kind === 'checkpoint-ready')
      this.#attached?.packets.secondaryRuns(message.epoch);
    // Whether it counts, the core has said.
    if (message.kind === 'vmstate-received' || message.kind === 'checkpoint-ready')
      this.#figures.received(this.#primary.receivedEpoch, this.now);
    if (message.kind === 'heartbeat') this.#attached?.disks.laid(message.laidBytes);
  }

  protected override execute(effect: Effect): void {
    const attached = this.#attached;
    switch (effect.kind) {
      case 'connect':
        this.#contact.connect();
        return;
      case 'attach': {
        const { link } = this;
        this.lane.do(() => this.#attach(link));
        return;
      }
      case 'detach':
        attached?.pages.close();
        attached?.disks.abort();
        this.lane.do(() => this.#detach());
        return;
      case 'synchronise-disks':
        this.lane.do(() => this.#synchronise());
        return;
      case 'live-pass':
        this.lane.do(() => this.#pass(effect.epoch));
        return;
      case 'capture':
        this.lane.do(() => this.#capture(effect.epoch, effect.mode));
        return;
      case 'transmit':
        if (this.#captured !== undefined)
          attached?.pages.transmit(effect.epoch, this.#captured).catch((error: Error) => this.laneFailed(error));
        return;
      case 'hold':
        attached?.packets.hold();
        return;
      case 'permit':
        attached?.packets.permit(effect.through, effect.until);
        return;
      case 'open':
        attached?.packets.open();
        return;
      case 'shut':
        attached?.packets.shut();
        return;
      case 'pause-guest':
        this.lane.do(() => this.#pauseGuest());
        return;
      case 'give-away':
        void this.givenAway(effect.term);
        return;
      case 'step-down':
        this.lane.do(async () => {
          await this.givenAway(effect.term);
          await this.#calls.call('stepDown', undefined);
        });
        return;
      case 'exit':
        this.lane.do(() => this.#exit(effect.exitCode));
        return;
      default:
        throw new Error(`a primary has no effect ${effect.kind}`);
    }
  }

  protected override noticed(notice: Notice): void {
    switch (notice.kind) {
      case 'protected':
        this.#contact.succeeded();
        this.#attached?.disks.countOnStandby();
        this.#isSurvivor = false;
        this.#takeover = undefined;
        this.#failure = undefined;
        void this.arbiter.register(notice.term);
        this.become('its standby has all of it');
        this.protects(this.#config.settings.compares);
        this.log.add('protection', `PROTECTED by ${this.link?.peer.host} (term ${notice.term})`, 'protected');
        return;
      case 'not-protected':
        if (notice.why !== this.why) this.log.add('protection', `UNPROTECTED: ${notice.why}`, 'unprotected');
        this.become(notice.why);
        this.#tryAgain();
        return;
      case 'peer-lost':
        this.become(notice.why);
        this.log.add('peer', notice.why, 'peer-lost');
        return;
      case 'consent-over':
      case 'takes-over':
      case 'failed':
        return; // it is the other side that does
      case 'survivor':
        this.#isSurvivor = true;
        // If an operator said yes the arbiter was not asked, and a standby that was only cut off must hear no when it is.
        void this.arbiter.register(notice.term);
        this.become(`${this.why}; this side may go on alone`);
        this.log.add('protection', `UNPROTECTED, survivor in term ${notice.term}`, 'failover');
        this.#tryAgain();
        return;
      case 'switched-over':
        this.become('the guest was handed over to its standby');
        this.log.add(
          'protection',
          `HANDED OVER to ${this.link?.peer.host}, in term ${notice.term}: this process ends`,
          'switchover',
        );
        return;
      case 'fenced':
        this.arbiter.expect(undefined);
        this.become(notice.why);
        this.log.add('protection', `FENCED: ${notice.why}; the guest is stopped here`, 'fenced');
        return;
      case 'ended-behind':
        this.log.add(
          'protection',
          `the guest has ended, and its last checkpoint takes too long: ${this.#peerName} ends without it, with disks that are older than these`,
        );
        return;
      case 'checkpoint':
        this.#figures.begun(notice.epoch, notice.reasons);
        this.log.addFrequent('checkpoint', () => `${notice.epoch}: ${notice.reasons.join(', ') || 'first'}`);
        return;
      case 'colo-exit':
        if (notice.reason === 'error' && this.#primary.phase === 'unprotected') this.#failure = printable(notice.why);
        return;
      case 'mode': {
        const text = `${notice.mode} from epoch ${notice.epoch} on: ${notice.why}`;
        if (notice.forDisk) this.log.addFrequent('checkpoint', () => text);
        else this.log.add('protection', text);
        return;
      }
      default:
        notice satisfies never;
    }
  }

  /** What S's guest said does not pass through the core, which says whether it counts. */
  #compare({ term }: Frame, output: SecondaryOutput): void {
    if (term !== this.#primary.term) return;
    this.distrusting(() => {
      if (this.#primary.compares(output.epoch)) this.#attached?.packets.secondary(output);
    });
  }

  /** What the machine's thread could not do is not there: nobody can be protected by it. */
  protected override laneFailed(error: Error): void {
    this.log.add('protection', `protection fails: ${error.message}`);
    this.post({ kind: 'closed', by: 'network' });
  }

  protected override next(): string | undefined {
    const { phase } = this.#primary;
    if (phase === 'waiting') return this.remedy(this.#peerName);
    if (this.headline === 'UNPROTECTED') {
      if (this.#primary.insists) return howToProtect(this.#config);
      if (phase === 'unprotected') return 'colo-vmm protect --standby HOST:PORT ...';
      return 'nothing: its standby is asked now';
    }
    if (phase === 'fenced') return 'end it: colo-vmm stop --force; then make it the standby: colo-vmm standby ...';
    return undefined;
  }

  get #peerName(): string {
    return this.#lastPeer ?? this.#config.standby?.host ?? 'its standby';
  }

  /** A standby asks whether it is wanted. */
  #called(link: PeerLink): void {
    const { phase, insists } = this.#primary;
    const reason = whyTurnedAway({ phase, insists, peerName: this.#peerName });
    if (reason === undefined) {
      // The one that is dialled may never answer.
      if (phase === 'connecting') this.#contact.connect();
      else this.command({ name: 'protect' });
      return;
    }
    this.#contact.take();
    turnAway(link, 'primary', this.#primary.term, reason);
  }

  #connected(link: PeerLink): void {
    this.#lastPeer = link.peer.host;
    this.adopt(link);
    this.log.add('pair', `connected to ${link.peer.host}${link.secure ? '' : ', in plaintext'}`);
    this.post({ kind: 'connected' });
  }

  /** Whoever insists tries again until the guest is protected. */
  #tryAgain(): void {
    if (this.#primary.insists) this.#contact.tryAgain();
    else this.#contact.stopTrying();
  }

  /** @param link of the pairing that this is for: the next one, on another link, has nothing to do with it */
  async #attach(link: PeerLink | undefined): Promise<void> {
    const changes = await this.#changes.beforePairing();
    const { settings, flows = [] } = this.#config;
    this.#attached = await ProtectedGuest.attach({
      calls: this.#calls,
      bell: this.#bell,
      signs: this.#signs,
      settings,
      flows,
      engines: this.#engines,
      rings: this.#rings,
      record: this.#record,
      boot: this.#boot,
      changes,
      window: this.#primary.diskWindow,
      now: () => this.now,
      post: (event) => this.post(event),
      send: (message) => (this.link === link ? this.send(message) : true),
      flushPackets: () => this.link?.flush('packets'),
      found: (suspicion, bytes) => this.#changes.found(suspicion, bytes),
      diverged: (divergence) => this.#diverged(divergence),
      letGoAgainMs: this.#letGoAgainMs,
      notLetGo: ({ message }) => {
        this.log.add('protection', `the guest is not let go of yet, which is tried again: ${message}`);
      },
    });
    this.#figures.begin();
    this.#divergences = new RecentDivergences();
  }

  #diverged(divergence: Divergence): void {
    this.#divergences.add(divergence, Date.now());
    this.log.addFrequent('checkpoint', () => `wanted: ${divergenceText(divergence)}`);
  }

  async #detach(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) return;
    // A side that is fenced keeps its gate, which is shut: nothing gets past it.
    if (this.#primary.phase === 'fenced') return;
    await attached.detach();
    this.#attached = undefined;
    this.#captured = undefined;
    this.#figures.end();
  }

  #synchronise(): void {
    const attached = this.#attached;
    if (attached === undefined) return;
    if (attached.hasDevices) attached.disks.synchronise();
    else this.post({ kind: 'disks-in-step' });
  }

  /** Not waited for in the lane: whatever ends protection ends it. */
  #pass(epoch: Epoch): void {
    const { pages } = this.#attached ?? {};
    pages?.livePass(epoch).then(
      (passed) => {
        if (passed !== undefined) this.post({ kind: 'passed', epoch, worthAnother: passed.worthAnother });
      },
      (error: Error) => this.laneFailed(error),
    );
  }

  async #capture(epoch: Epoch, mode: Mode): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) return;
    attached.packets.stopping(epoch, mode);
    this.log.addFrequent('checkpoint', () => `${epoch}: the guest stops`);
    const captured = await this.#calls.call('capture', { epoch });
    this.#captured = captured;
    attached.packets.epochCaptured(epoch, mode);
    attached.disks.epochCaptured(epoch);
    this.#figures.captured(captured, this.now);
    const { stoppedMs } = captured;
    this.log.addFrequent(
      'checkpoint',
      () => `${epoch}: the guest was stopped for ${stoppedMs.toFixed(2)} ms, and runs on`,
    );
    this.post({ kind: 'captured', epoch, stateBytes: captured.state.sizeBytes, stoppedMs: captured.stoppedMs });
  }

  /** For good. */
  async #pauseGuest(): Promise<void> {
    await this.#calls.call('hold', undefined);
    await this.#attached?.packets.mirrored();
    this.post({ kind: 'guest-paused' });
  }

  async #exit(exitCode: number): Promise<void> {
    // What may leave leaves first.
    await this.#attached?.packets.detach();
    await this.#calls.call('exit', { exitCode });
  }
}
