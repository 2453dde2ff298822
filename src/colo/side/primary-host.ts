import { randomInt } from 'node:crypto';
import type { EngineChooser } from '../../block/disk-engines.ts';
import type { Fd } from '../../host/libc.ts';
import { RunDelay } from '../../host/run-delay.ts';
import type { ColoHeadline } from '../../vmm/monitor/colo-control.ts';
import { newSharedPackets } from '../../vmm/platform/packet-rings.ts';
import { OpenEpoch, type SharedProtection } from '../../vmm/platform/shared-protection.ts';
import { VcpuControl } from '../../vmm/vcpu/vcpu-control.ts';
import { showHostPort } from '../command/host-port.ts';
import type { PrimaryConfig } from '../command/pair-config.ts';
import { type Divergence, divergenceText } from '../compare/divergence.ts';
import { type PortPolicy, policyOfPorts } from '../compare/flow-policy.ts';
import type { Effect, Notice, PrimaryEvent } from '../core/events.ts';
import { Primary } from '../core/primary/primary.ts';
import { specification } from '../core/rules.ts';
import { diskViews } from '../disk/disk-view.ts';
import type { Suspicion } from '../disk/history/history.ts';
import { HistoryStore } from '../disk/history/history-store.ts';
import { PrimaryChanges } from '../disk/history/primary-changes.ts';
import { PrimaryDisks } from '../disk/primary-disks.ts';
import { newSharedDisks } from '../disk/shared-disks.ts';
import { PrimaryPackets } from '../gate/primary-packets.ts';
import { tapsOf } from '../gate/tap-writer.ts';
import { dial } from '../link/dial.ts';
import type { PeerLink } from '../link/peer-link.ts';
import { turnAway } from '../link/turn-away.ts';
import type { Captured } from '../machine/shared-checkpoints.ts';
import { guestTime } from '../memory/guest-first.ts';
import { PageSender } from '../memory/page-sender.ts';
import { RecentDivergences } from '../observe/recent-divergences.ts';
import type { Frame } from '../protocol/frame.ts';
import type { MachineShape } from '../protocol/machine-shape.ts';
import type { StreamName } from '../protocol/message-table.ts';
import { isDiskAnswer, type Message, type SecondaryOutput } from '../protocol/messages.ts';
import { type Epoch, type Mode, noCheckpoint } from '../protocol/numbers.ts';
import type { PacketRecord } from '../record/packet-record.ts';
import type { Calls } from './calls.ts';
import type { Heritage } from './heritage.ts';
import { Host, type HostBirth, type HostListener, type OwnStatus } from './host.ts';
import type { ColoCalls, PrimaryMachineCalls } from './machine-calls.ts';
import { RecentFigures } from './recent-figures.ts';
import { IoThreadSigns, type SignsOfLife, VcpuSigns } from './signs-of-life.ts';
import { StandbyDoor } from './standby-door.ts';

/** `run --standby` tries again after so long: at first soon, then less often. */
const firstRetryMs = 1000;
const longestRetryMs = 10_000;

/** What serves the guest while it is protected, or about to be. */
interface Attached {
  readonly packets: PrimaryPackets;
  readonly disks: PrimaryDisks;
  readonly pages: PageSender;
  /** Of the guest's vCPUs. */
  readonly runDelay: RunDelay;
  /** Without any there is no io thread that would answer. */
  readonly hasDevices: boolean;
}

/** The primary's side of a pair, on the colo thread. */
export class PrimaryHost extends Host<PrimaryEvent> {
  readonly #config: PrimaryConfig;
  readonly #calls: Calls<PrimaryMachineCalls, ColoCalls>;
  readonly #bell: Fd;
  readonly #signs: SignsOfLife;
  readonly #primary: Primary;
  readonly #dial: typeof dial;
  readonly #engines: EngineChooser | undefined;
  readonly #rings: typeof newRings;
  readonly #record: PacketRecord | undefined;
  readonly #diskSizes: readonly number[];
  readonly #store: HistoryStore;
  /** Where a standby's disks may differ from these, since somebody knows. */
  #changes: PrimaryChanges | undefined;
  #attached: Attached | undefined;
  /** Those whose threads are watched. */
  #vcpus = 0;
  #captured: Captured | undefined;
  #lastPeer: string | undefined;
  #isSurvivor: boolean;
  /** Of a survivor: whoever comes there is to be its standby. */
  readonly #door: StandbyDoor | undefined;
  #dialling: AbortController | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;
  #insists: boolean;
  readonly #stops = new RecentFigures();
  /** Of this protection; a new one begins without. */
  #divergences = new RecentDivergences();
  #lastReasons: readonly string[] = [];
  #checkpoints = 0;
  /** Over all protections. */
  readonly #totals = { checkpoints: 0, stoppedMs: 0, pages: 0 };
  #lastCheckpointAt: number | undefined;
  #delayMs: number;

  constructor(
    config: PrimaryConfig & HostBirth,
    {
      calls,
      bell,
      shape,
      signs,
      dial: open = dial,
      engines,
      rings = newRings,
      heritage,
      record,
    }: {
      readonly calls: Calls<PrimaryMachineCalls, ColoCalls>;
      /** Button of the doorbell that {@link PrimaryHost.rang} is called for. */
      readonly bell: Fd;
      readonly shape: MachineShape;
      readonly signs: SignsOfLife;
      readonly dial?: typeof dial;
      /** How calls on the disks' files are made; default on other threads. */
      readonly engines?: EngineChooser;
      /** Rings that nothing has been put into; default new ones. */
      readonly rings?: typeof newRings;
      /** Of the standby that has taken over here. */
      readonly heritage?: Heritage | undefined;
      readonly record?: PacketRecord | undefined;
    },
    listener: HostListener,
  ) {
    let primary: Primary | undefined;
    super('primary', config, signs, listener, (term) => {
      primary = new Primary({ pair: config.pair, shape, term, settings: config.settings });
      return primary;
    });
    this.#primary = primary as unknown as Primary;
    this.#config = config;
    this.#diskSizes = shape.disks.map(({ sizeBytes }) => sizeBytes);
    this.#store = new HistoryStore(config.stateDirectory, config.pair);
    this.#calls = calls;
    this.#bell = bell;
    this.#signs = signs;
    this.#dial = open;
    this.#engines = engines;
    this.#rings = rings;
    this.#record = record;
    this.#insists = config.insists;
    this.#delayMs = config.settings.checkpointDelayMs;
    if (config.awaits === true) this.#door = this.#newDoor();
    this.#isSurvivor = heritage !== undefined;
    if (heritage !== undefined) this.inherit(heritage);
    if (heritage?.changes !== undefined) this.#changes = PrimaryChanges.inherited(this.#store, heritage.changes);
  }

  /** Begins to protect the guest. */
  start(): void {
    for (const { port } of unsafeFlows(this.#config)) {
      this.log.add('protection', `UNSAFE: output of port ${port} leaves unseen (--flow port=${port},policy=pass)`);
    }
    void this.arbiter.watch();
    if (this.#door === undefined) {
      this.command({ name: 'protect' });
      return;
    }
    // It has the term already, and an arbiter that nobody could ask then is to hear of it.
    void this.arbiter.register(this.#primary.term);
    void this.#door.open();
  }

  override command(command: Parameters<Host<PrimaryEvent>['command']>[0]): string | undefined {
    if (command.name === 'protect') this.#insists = this.#config.insists;
    if (command.name === 'unprotect') {
      this.#insists = false;
      clearTimeout(this.#retry);
    }
    const refusal = super.command(command);
    if (command.name === 'set-checkpoint-delay' && refusal === undefined) this.#delayMs = command.delayMs;
    return refusal;
  }

  /** The doorbell rang: the io thread has something for the rings' readers. */
  rang(): void {
    this.#attached?.packets.work();
    this.#attached?.disks.work();
  }

  override async close(): Promise<void> {
    clearTimeout(this.#retry);
    this.#door?.close();
    this.#dialling?.abort();
    this.#attached?.pages.close();
    // Nothing that is held leaves once the connections are closed (spec B.6).
    this.#attached?.packets.permit(noCheckpoint, Number.NEGATIVE_INFINITY);
    this.#store.rest();
    await super.close();
    await this.#store.settled();
  }

  protected override ownStatus(): OwnStatus {
    const { now } = this;
    const { packets, disks } = this.#attached ?? {};
    const stops = this.#stops.summary(now);
    const { progress: synchronising, outcome: synchronised } = disks ?? {};
    const { mode, why: modeWhy } = this.#primary.mode;
    const compared = packets?.comparison;
    const { flows = [] } = this.#config;
    return {
      totals: { ...this.#totals },
      mode,
      ...(flows.length === 0
        ? {}
        : { flows: flows.map((flow) => ({ ...flow, ...(flow.policy === 'pass' ? { unsafe: true as const } : {}) })) }),
      ...(compared === undefined
        ? {}
        : {
            modeWhy,
            compared: {
              released: compared.released,
              passed: compared.passed,
              divergences: compared.divergences,
              checkpoints: this.#checkpoints,
              recent: this.#divergences.list(),
            },
          }),
      address: showHostPort(this.#config.standby),
      ...(this.#isSurvivor && this.#primary.phase === 'unprotected' ? { survivor: true } : {}),
      epoch: this.#primary.openEpoch,
      ...(this.#lastCheckpointAt === undefined
        ? {}
        : {
            checkpoint: {
              epoch: this.#primary.openEpoch - 1,
              msAgo: now - this.#lastCheckpointAt,
              delayMs: this.#delayMs,
              reasons: this.#lastReasons,
            },
          }),
      ...(stops === undefined || this.#captured === undefined
        ? {}
        : { stops: { ...stops, pages: this.#captured.pages, parts: this.#captured.parts } }),
      ...(packets === undefined ? {} : { held: packets.facts }),
      ...(disks === undefined
        ? {}
        : {
            disk: {
              logBytes: disks.outstandingBytes,
              ...(disks.guestWaits ? { guestWaits: true } : {}),
              ...(disks.error === undefined ? {} : { error: disks.error }),
              ...(synchronising === undefined ? {} : { synchronising }),
              ...(synchronised === undefined ? {} : { synchronised }),
              ...(this.#changes === undefined ? {} : { markedBytes: this.#changes.markedBytes }),
            },
          }),
    };
  }

  protected override get headline(): ColoHeadline {
    return headlines[this.#primary.phase];
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
    if (message.kind === 'heartbeat') this.#attached?.disks.laid(message.laidBytes);
  }

  protected override execute(effect: Effect): void {
    const attached = this.#attached;
    switch (effect.kind) {
      case 'connect':
        this.#connect();
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
        this.lane.do(() => this.#calls.call('hold', undefined));
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
        this.#retryMs = firstRetryMs;
        this.#isSurvivor = false;
        void this.arbiter.register(notice.term);
        this.become('its standby has all of it');
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
      case 'survivor':
        this.#isSurvivor = true;
        this.become(`${this.why}; this side may go on alone`);
        this.log.add('protection', `UNPROTECTED, survivor in term ${notice.term}`, 'failover');
        return;
      case 'switched-over':
        this.#insists = false;
        this.become('the guest was handed over to its standby');
        this.log.add(
          'protection',
          `HANDED OVER to ${this.link?.peer.host}, in term ${notice.term}: this process ends`,
          'switchover',
        );
        return;
      case 'fenced':
        this.#insists = false;
        this.become(notice.why);
        this.log.add('protection', `FENCED: ${notice.why}; the guest is stopped here`, 'fenced');
        return;
      case 'checkpoint':
        this.#checkpoints++;
        this.#totals.checkpoints++;
        this.#lastReasons = notice.reasons;
        this.#lastCheckpointAt = this.now;
        this.log.addFrequent('checkpoint', () => `${notice.epoch}: ${notice.reasons.join(', ') || 'first'}`);
        return;
      case 'colo-exit':
        if (this.#primary.phase === 'handed-over') return;
        if (notice.reason !== 'error' || this.#primary.phase === 'unprotected') this.#tryAgain();
        return;
      case 'mode':
        this.log.add('protection', `${notice.mode} from epoch ${notice.epoch} on: ${notice.why}`);
        return;
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
    if (phase === 'unprotected') {
      if (!this.#insists) return 'colo-vmm protect --standby HOST:PORT ...';
      const { pair, standby } = this.#config;
      return this.#door === undefined
        ? `it is tried again; start the standby there: colo-vmm standby --name ${pair} --listen ...`
        : `start a standby on the other host: colo-vmm standby --name ${pair} --listen ... --peer THIS-HOST:${standby.port}`;
    }
    if (phase === 'fenced') return 'end it: colo-vmm stop --force; then make it the standby: colo-vmm standby ...';
    return undefined;
  }

  get #peerName(): string {
    return this.#lastPeer ?? this.#config.standby.host;
  }

  #newDoor(): StandbyDoor {
    const { standby, security, settings } = this.#config;
    return new StandbyDoor({
      ...standby,
      security,
      patienceMs: settings.stepMs,
      refused: (reason) => this.log.add('peer', reason),
      failed: (reason) => this.log.add('protection', `no standby can come: ${reason}`),
      came: (link) => this.#called(link),
    });
  }

  /** A standby asks whether it is wanted. */
  #called(link: PeerLink): void {
    const { phase } = this.#primary;
    if (phase === 'unprotected' && this.#insists) {
      this.command({ name: 'protect' });
      return;
    }
    this.#door?.take();
    const reason = phase === 'unprotected' ? 'protection was ended here' : `it has ${this.#peerName} for that`;
    turnAway(link, 'primary', this.#primary.term, reason);
  }

  #connected(link: PeerLink): void {
    this.#lastPeer = link.peer.host;
    this.adopt(link);
    this.log.add('pair', `connected to ${link.peer.host}${link.secure ? '' : ', in plaintext'}`);
    this.post({ kind: 'connected' });
  }

  #connect(): void {
    if (this.#door !== undefined) {
      const caller = this.#door.take();
      if (caller === undefined) this.post({ kind: 'connect-failed', reason: 'no standby has come yet' });
      else this.#connected(caller);
      return;
    }
    const dialling = new AbortController();
    this.#dialling?.abort();
    this.#dialling = dialling;
    const { standby, security, settings } = this.#config;
    this.#dial({ ...standby, security, role: 'primary', patienceMs: settings.stepMs, signal: dialling.signal }).then(
      (link) => {
        if (this.#dialling !== dialling || this.#primary.phase !== 'connecting') {
          link.destroy();
          return;
        }
        this.#connected(link);
      },
      (error: Error) => {
        if (this.#dialling === dialling) this.post({ kind: 'connect-failed', reason: error.message });
      },
    );
  }

  /** Whoever insists tries again until the guest is protected. */
  #tryAgain(): void {
    clearTimeout(this.#retry);
    if (!this.#insists || this.#door !== undefined) return;
    this.#retry = setTimeout(() => {
      if (this.#primary.phase === 'unprotected') this.command({ name: 'protect' });
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs);
  }

  /** @param link of the pairing that this is for: the next one, on another link, has nothing to do with it */
  async #attach(link: PeerLink | undefined): Promise<void> {
    this.#changes ??= await PrimaryChanges.begin(this.#store, this.#diskSizes);
    const changes = this.#changes;
    changes.beginPairing();
    const shared: SharedProtection = {
      changes: changes.shared,
      epoch: new OpenEpoch().storage,
      bell: this.#bell,
      ...this.#rings(this.#config.settings.diskLogBytes),
    };
    const views = await this.#calls.call('attach', shared);
    changes.forwarded();
    const io = views.io && new IoThreadSigns(views.io);
    const parts = {
      rules: specification,
      // What is left of a pairing when the next one begins goes nowhere.
      send: (message: Message): boolean => (this.link === link ? this.send(message) : true),
      post: (event: PrimaryEvent): void => this.post(event),
      now: (): number => this.now,
      wakeIo: (): void => io?.nudge(),
    };
    const comparing = {
      policyOf: policyOfPorts(this.#config.flows ?? []),
      seed: randomInt(2 ** 32),
      diverged: (divergence: Divergence) => this.#diverged(divergence),
    };
    const packets = new PrimaryPackets({
      ...parts,
      shared: shared.packets,
      record: this.#record,
      taps: tapsOf(views.devices),
      ...(this.#config.settings.compares ? { comparing } : {}),
    });
    const runDelay = new RunDelay(views.vcpus.map(({ control }) => new VcpuControl(control).tid));
    try {
      const disks = new PrimaryDisks({
        ...parts,
        shared: shared.disks,
        disks: diskViews(views.devices),
        window: this.#primary.diskWindow,
        changes,
        found: (suspicion, bytes) => this.#found(suspicion, bytes),
        ...(this.#engines === undefined ? {} : { engines: this.#engines }),
      });
      const pages = new PageSender({
        shared: views.memory,
        guest: guestTime(() => runDelay.ms),
        send: parts.send,
        collect: () => this.#calls.call('collect', undefined),
        owes: (owed) => parts.post({ kind: 'copy-waits', owed }),
      });
      this.#checkpoints = 0;
      this.#attached = { packets, disks, pages, runDelay, hasDevices: io !== undefined };
      this.#divergences = new RecentDivergences();
      if (io !== undefined) this.#signs.watch('io', io);
      for (const vcpu of views.vcpus) this.#signs.watch(`vcpu-${vcpu.handle.index}`, new VcpuSigns(vcpu));
      this.#vcpus = views.vcpus.length;
    } catch (error) {
      // What the guest says would wait for somebody who never comes.
      await packets.detach();
      await this.#calls.call('detach', undefined);
      packets.close();
      runDelay.close();
      throw error;
    }
  }

  #found(suspicion: Suspicion, bytes: number): void {
    const all = this.#diskSizes.reduce((sum, size) => sum + size, 0);
    const text =
      suspicion.kind === 'all'
        ? `${mebibytes(all)} are compared: ${suspicion.why}`
        : `${mebibytes(bytes)} of ${mebibytes(all)} may differ`;
    this.log.add('disk', `disks: ${text}`);
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
    await attached.packets.detach();
    await this.#calls.call('detach', undefined);
    attached.disks.close();
    attached.packets.close();
    attached.runDelay.close();
    this.#signs.forget('io');
    for (let index = 0; index < this.#vcpus; index++) this.#signs.forget(`vcpu-${index}`);
    this.#attached = undefined;
    this.#captured = undefined;
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
    const captured = await this.#calls.call('capture', { epoch });
    this.#captured = captured;
    attached.packets.epochCaptured(epoch, mode);
    attached.disks.epochCaptured(epoch);
    this.#stops.add(captured.stoppedMs, this.now);
    this.#totals.stoppedMs += captured.stoppedMs;
    this.#totals.pages += captured.pages;
    const { stoppedMs } = captured;
    this.log.addFrequent(
      'checkpoint',
      () => `${epoch}: the guest was stopped for ${stoppedMs.toFixed(2)} ms, and runs on`,
    );
    this.post({ kind: 'captured', epoch, stateBytes: captured.state.sizeBytes, stoppedMs: captured.stoppedMs });
  }

  async #exit(exitCode: number): Promise<void> {
    // What may leave leaves first.
    await this.#attached?.packets.detach();
    await this.#calls.call('exit', { exitCode });
  }
}

/** Whose clients may be told what nobody knows of after a failover. */
function unsafeFlows({ flows = [] }: Pick<PrimaryConfig, 'flows'>): readonly PortPolicy[] {
  return flows.filter(({ policy }) => policy === 'pass');
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** Between the io thread and this one, for one protection. */
function newRings(diskLogBytes: number): Pick<SharedProtection, 'packets' | 'disks'> {
  return { packets: newSharedPackets(), disks: newSharedDisks(diskLogBytes) };
}

const headlines: Readonly<Record<Primary['phase'], ColoHeadline>> = {
  unprotected: 'UNPROTECTED',
  connecting: 'UNPROTECTED',
  greeting: 'UNPROTECTED',
  synchronising: 'PAIRING',
  seeding: 'PAIRING',
  protected: 'PROTECTED',
  ending: 'PROTECTED',
  'handing-over': 'PROTECTED',
  'handed-over': 'FENCED',
  waiting: 'WAITING',
  fenced: 'FENCED',
  ended: 'ENDED',
};
