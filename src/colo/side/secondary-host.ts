import { randomInt } from 'node:crypto';
import type { EngineChooser } from '../../block/disk-engines.ts';
import type { Fd } from '../../host/libc.ts';
import type { ColoHeadline } from '../../vmm/monitor/colo-control.ts';
import { showHostPort } from '../command/host-port.ts';
import type { SecondaryConfig } from '../command/pair-config.ts';
import type { Effect, Notice, SecondaryEvent } from '../core/events.ts';
import { Recovery } from '../core/fencing/recovery.ts';
import { specification } from '../core/rules.ts';
import { Secondary } from '../core/secondary/secondary.ts';
import { diskViews, historyDisk } from '../disk/disk-view.ts';
import { HistoryStore, noHistory } from '../disk/history/history-store.ts';
import { type InheritedChanges, newSharedChanges } from '../disk/history/primary-changes.ts';
import { StandbyDisks } from '../disk/standby/standby-disks.ts';
import type { StandbyPast } from '../disk/standby/standby-parts.ts';
import { KeptPackets } from '../gate/kept-packets.ts';
import { OwnPackets } from '../gate/own-packets.ts';
import { tapsOf } from '../gate/tap-writer.ts';
import { dial } from '../link/dial.ts';
import type { PeerLink } from '../link/peer-link.ts';
import { PeerListener } from '../link/peer-listener.ts';
import { turnAway } from '../link/turn-away.ts';
import { decodeState } from '../machine/checkpoint-state.ts';
import { PageReceiver } from '../memory/page-receiver.ts';
import type { Frame } from '../protocol/frame.ts';
import type { MachineShape } from '../protocol/machine-shape.ts';
import type { StreamName } from '../protocol/message-table.ts';
import { type EpochItem, type Hello, isDiskQuestion } from '../protocol/messages.ts';
import { type Epoch, next, noCheckpoint, type Term } from '../protocol/numbers.ts';
import type { PacketRecord } from '../record/packet-record.ts';
import { roundTripTicks } from '../translate/settings.ts';
import type { TranslatorState } from '../translate/translator-state.ts';
import type { Calls } from './calls.ts';
import { Host, type HostBirth, type HostListener, type OwnStatus } from './host.ts';
import type { ColoCalls, SecondaryMachineCalls, SecondaryViews } from './machine-calls.ts';
import { IoThreadSigns, type SignsOfLife } from './signs-of-life.ts';
import type { Listen } from './standby-door.ts';
import { SurvivorSearch } from './survivor-search.ts';

/** What holds a checkpoint of P's machine. */
interface Attached {
  readonly packets: KeptPackets;
  readonly disks: StandbyDisks;
  readonly pages: PageReceiver;
  /** What its own guest says and gets while that runs beside P's. */
  readonly own: OwnPackets | undefined;
  /** What a P that survived an earlier pair translates, as of the checkpoint that is loaded. */
  translation: TranslatorState | undefined;
  /** For whoever takes over, since it is written down what the disks are. */
  changes: InheritedChanges | undefined;
  /** Its pairing is, and all that was staged is thrown away. */
  isOver: boolean;
}

/** The secondary's side of a pair, on the colo thread. */
export class SecondaryHost extends Host<SecondaryEvent> {
  readonly #config: SecondaryConfig;
  readonly #calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly #signs: SignsOfLife;
  readonly #again: () => void;
  readonly #bell: Fd | undefined;
  readonly #listen: Listen;
  readonly #engines: EngineChooser | undefined;
  readonly #record: PacketRecord | undefined;
  readonly #secondary: Secondary;
  readonly #dial: typeof dial;
  readonly #store: HistoryStore;
  #listener: Awaited<ReturnType<Listen>> | undefined;
  #search: SurvivorSearch | undefined;
  #attached: Attached | undefined;
  /** Of whoever said hello and has no answer yet: its machine is being made. */
  #greeter: PeerLink | undefined;
  #patience: NodeJS.Timeout | undefined;
  readonly #recovery: Recovery;
  /** While it waits to stand by again. */
  #recovering: NodeJS.Timeout | undefined;
  #lastReceivedAt: number | undefined;
  #checkpoints = 0;
  /** The last term of this host in which it knew all that the pair did. */
  #knownTerm: Term;
  #paired: string | undefined;
  /** Its primary was told to compare: so will this side, as a primary. */
  #compares = false;
  /** Its guest has run since the last checkpoint. */
  #ran = false;
  /** The guest of the checkpoint that was taken over had ended. */
  #endedWith: number | undefined;
  /** The takeover failed: the machine holds no checkpoint that the guest could go on from, and nothing more is done with it. */
  #isLost = false;

  constructor(
    config: SecondaryConfig & HostBirth,
    {
      calls,
      shape,
      signs,
      again,
      recovery = new Recovery(config.settings),
      bell,
      listen = PeerListener.start,
      dial: open = dial,
      engines,
      record,
    }: {
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
    },
    listener: HostListener,
  ) {
    let secondary: Secondary | undefined;
    super('secondary', config, signs, listener, (term) => {
      secondary = new Secondary({ pair: config.pair, shape, term, settings: config.settings });
      return secondary;
    });
    this.#secondary = secondary as unknown as Secondary;
    this.#knownTerm = this.#secondary.term;
    this.#config = config;
    this.#store = new HistoryStore(config.stateDirectory, config.pair);
    this.#calls = calls;
    this.#signs = signs;
    this.#again = again;
    this.#recovery = recovery;
    this.#bell = bell;
    this.#listen = listen;
    this.#dial = open;
    this.#engines = engines;
    this.#record = record;
    this.why = 'no primary has come yet';
  }

  /** Waits for a primary. The port. @throws LinkError */
  async start(): Promise<number> {
    await this.arbiter.watch();
    const { listen, peer, security, settings } = this.#config;
    this.#listener = await this.#listen({
      ...listen,
      security,
      role: 'secondary',
      patienceMs: settings.stepMs,
      linked: (link) => this.#linked(link),
      refused: (reason) => this.log.add('peer', reason),
    });
    const { name, answeredInMs, problem } = this.arbiter.facts;
    const answers = problem ?? (answeredInMs === undefined ? name : `${name} answers in ${answeredInMs.toFixed(0)} ms`);
    this.log.add('pair', `waiting for a primary on ${this.#address}; arbiter ${answers}; term ${this.#secondary.term}`);
    if (peer !== undefined) {
      this.#search = new SurvivorSearch({
        at: peer,
        security,
        patienceMs: settings.stepMs,
        dial: this.#dial,
        isFree: () => this.link === undefined && this.#secondary.phase === 'listening',
        found: (link) => this.#meet(link),
        failed: (reason) => this.log.add('pair', `no survivor answers: ${reason}`),
      });
      this.#search.start();
    }
    return this.#listener.port;
  }

  /** The doorbell rang: its guest has said something. */
  rang(): void {
    this.#attached?.own?.work();
  }

  override async close(): Promise<void> {
    this.#attached?.own?.close();
    clearTimeout(this.#patience);
    clearInterval(this.#recovering);
    this.#search?.close();
    this.#listener?.close();
    this.#store.rest();
    await super.close();
    await this.#store.settled();
  }

  protected override ownStatus(): OwnStatus {
    const { received } = this.#secondary;
    const { disks } = this.#attached ?? {};
    return {
      mode: this.#secondary.guest === 'none' ? 'buffered' : 'comparing',
      address: this.#address,
      ...(this.#secondary.phase === 'live' ? { survivor: true } : {}),
      epoch: received + 1,
      totals: { checkpoints: this.#checkpoints },
      ...(this.#lastReceivedAt === undefined || received === noCheckpoint
        ? {}
        : { checkpoint: { epoch: received, msAgo: this.now - this.#lastReceivedAt } }),
      ...(disks === undefined
        ? {}
        : { disk: { logBytes: disks.logBytes, ...(disks.error === undefined ? {} : { error: disks.error }) } }),
    };
  }

  protected override get headline(): ColoHeadline {
    return headlines[this.#secondary.phase];
  }

  /** A primary that was silent for so long may have gone on alone. */
  protected override get doubt(): { readonly since: number; readonly why: string } | undefined {
    const { lastHeard } = this;
    const since = (lastHeard ?? Number.NaN) + this.#config.settings.detectMs;
    if (!(since < this.now)) return undefined;
    return { since, why: `${this.#paired} is silent, and may have gone on alone` };
  }

  protected override drained(stream: StreamName): void {
    if (stream === 'disk') this.#attached?.disks.drained();
    else if (stream === 'packets') this.#attached?.own?.drained();
  }

  protected override received(frame: Frame): void {
    const { message } = frame;
    if (message.kind === 'hello' && this.#secondary.phase === 'listening') {
      this.#greeted(frame, message);
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
    super.received(frame);
  }

  protected override execute(effect: Effect): void {
    const attached = this.#attached;
    switch (effect.kind) {
      case 'attach':
        return; // done before the core heard of the primary
      case 'stage':
        this.#stage(effect.item);
        return;
      case 'discard':
        this.#discard(effect.beyond);
        return;
      case 'load':
        this.#lastReceivedAt = this.now;
        this.#checkpoints++;
        this.lane.do(() => this.#load(effect.epoch, attached));
        return;
      case 'commit-disk':
        attached?.packets.committed(effect.epoch);
        attached?.disks.commit(effect.epoch);
        return;
      case 'revive':
        this.#takingOver(() => this.#revive(effect.epoch, effect.stoppedAt));
        return;
      case 'pause-guest':
        if (attached?.own !== undefined) this.lane.do(() => this.#calls.call('park', undefined));
        return;
      case 'start':
        this.lane.do(() => this.#start(effect, attached));
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
      case 'hold-guest':
        this.#takingOver(() => this.#hold());
        return;
      case 'open':
        this.#takingOver(() => this.#emerge());
        return;
      case 'shut':
        return; // of this side's guest nothing leaves before it speaks for itself
      case 'announce':
        this.#takingOver(() => this.#calls.call('announce', undefined));
        return;
      case 'send-kept':
        this.#takingOver(async () => {
          const { packets, own } = this.#attached ?? {};
          const kept = (await packets?.sendKept(effect.epoch)) ?? 0;
          const said = this.#ran ? ((await own?.speak()) ?? 0) : 0;
          this.log.add('takeover', `${kept + said} kept packets sent`);
        });
        return;
      case 'replay-input':
        this.#takingOver(async () => {
          const { own, packets: kept } = this.#attached ?? {};
          const packets = kept?.inputsToReplay(effect.epoch, this.#ran ? own?.takeWaiting() : []);
          if (packets !== undefined) await this.#calls.call('replay', packets);
          this.log.add('takeover', `${packets?.count ?? 0} packets given to the guest again`);
        });
        return;
      case 'resume-guest':
        this.#takingOver(() => this.#resume());
        return;
      case 'exit':
        this.lane.do(() => this.#calls.call('exit', { exitCode: effect.exitCode }));
        return;
      default:
        throw new Error(`a secondary has no effect ${effect.kind}`);
    }
  }

  protected override noticed(notice: Notice): void {
    switch (notice.kind) {
      case 'protected':
        this.#recovery.protects(this.now);
        this.arbiter.expect(notice.term);
        this.become('it has all of its primary');
        this.log.add('protection', `PROTECTING ${this.#paired} (term ${notice.term})`, 'protected');
        this.#tellWhatIsGone(notice.term);
        return;
      case 'not-protected':
        this.arbiter.expect(undefined);
        this.become(notice.why);
        this.log.add('protection', `waiting for a primary again: ${notice.why}`, 'unprotected');
        this.#expectGreeting();
        return;
      case 'peer-lost':
        this.become(notice.why);
        this.log.add('peer', notice.why, 'peer-lost');
        return;
      case 'survivor':
        this.become(`${this.#paired} was lost: ${this.why}`);
        this.log.add(
          'takeover',
          `this side goes on, from epoch ${this.#secondary.received}, in term ${notice.term}`,
          'failover',
        );
        return;
      case 'switched-over':
        this.become(`${this.#paired} handed the guest over`);
        this.log.add(
          'takeover',
          `this side goes on, from epoch ${this.#secondary.received}, in term ${notice.term}`,
          'switchover',
        );
        // It was not asked, and must know when somebody starts the other side as a primary again.
        void this.arbiter.register(notice.term);
        return;
      case 'fenced':
        this.become(notice.why);
        this.log.add('protection', notice.why, 'fenced');
        this.#recover();
        return;
      case 'checkpoint':
      case 'mode':
        return;
      case 'colo-exit':
        if (notice.reason === 'error') {
          this.become(notice.why);
          this.log.add('protection', notice.why);
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
    const recovery = this.#recovery;
    recovery.givenUp(this.now);
    const { losses } = recovery;
    const seconds = Math.ceil(recovery.left(this.now) / 1000);
    const often = losses === 1 ? '' : `, having been given up ${losses} times in a short time`;
    this.log.add(
      'pair',
      `it stands by again once its threads have turned in time, ${seconds} s or more from now${often}`,
    );
    this.#recovering = setInterval(() => {
      recovery.turned(this.now);
      if (recovery.left(this.now) > 0) return;
      clearInterval(this.#recovering);
      this.lane.do(() => this.#again());
    }, this.#config.settings.heartbeatMs);
  }

  /** Where it waits; a port that was left to the kernel is known once it does. */
  get #address(): string {
    const { host, port } = this.#config.listen;
    return showHostPort({ host, port: this.#listener?.port ?? port });
  }

  protected override next(): string | undefined {
    const { phase } = this.#secondary;
    if (phase === 'claiming') return this.remedy(this.#paired ?? 'the primary');
    if (phase === 'refused') {
      const seconds = Math.ceil(this.#recovery.left(this.now) / 1000);
      return `nothing: it stands by again in ${seconds} s, if its host is well`;
    }
    if (phase === 'failed') return 'end it, and start it again: colo-vmm standby ...';
    return undefined;
  }

  get #whyBusy(): string {
    const { phase } = this.#secondary;
    if (phase === 'live') return 'it has taken over, and is the primary now';
    // Always the same words: who insists hears them again and again, and tells of each new one.
    if (phase === 'refused') return 'it was given up, and stands by again once its host is well';
    if (phase === 'failed') return 'it stands by for nobody any more: end it, and start it again';
    return `it stands by for ${this.#paired ?? 'another machine'} already`;
  }

  #linked(link: PeerLink): void {
    if (this.link !== undefined || this.#secondary.phase !== 'listening') {
      const reason = this.#whyBusy;
      turnAway(link, 'secondary', this.#secondary.term, reason);
      this.log.add('peer', `${link.peer.host} was turned away: ${reason}`);
      return;
    }
    this.log.add('pair', `${link.peer.host} has connected${link.secure ? '' : ', in plaintext'}`);
    this.#meet(link);
  }

  /** Whoever is at the other end is to say hello. */
  #meet(link: PeerLink): void {
    this.#paired = link.peer.host;
    this.adopt(link);
    this.#expectGreeting();
  }

  /** This host was in an earlier term of the pair, perhaps as its primary: nobody else has what it wrote last (spec B.7). */
  #tellWhatIsGone(term: Term): void {
    const before = this.#knownTerm;
    this.#knownTerm = term;
    const { disks } = this.#attached ?? {};
    const blocks = disks?.takeReplacedBlocks();
    if (before === 0 || before >= term) return;
    const kib = Math.ceil((disks?.copiedBytes ?? 0) / 1024);
    const gone = blocks === undefined ? 'nobody knows how many blocks' : `at most ${blocks} blocks of 4 KiB`;
    this.log.add(
      'disk',
      `this host was in term ${before}: what it had written by then and the pair had not committed is gone; ` +
        `uncommitted writes gone: ${gone}; ${kib} KiB of its disks came from ${this.#paired}`,
    );
  }

  /** A survivor that was found wants no standby now. It is asked again. */
  #heardRefusal(reason: string): void {
    const why = `${this.#paired} wants no standby: ${reason}`;
    if (why === this.why) return;
    this.become(why);
    this.log.add('pair', why);
  }

  /** Whoever is connected and says nothing keeps others out: not for long. */
  #expectGreeting(): void {
    const { link } = this;
    clearTimeout(this.#patience);
    if (link === undefined) return;
    const { stepMs } = this.#config.settings;
    this.#patience = setTimeout(() => {
      if (this.link !== link || this.#secondary.phase !== 'listening' || this.#greeter === link) return;
      this.#drop(link, `said nothing for ${stepMs} ms`);
    }, stepMs);
  }

  #drop(link: PeerLink, why: string): void {
    this.log.add('peer', `${link.peer.host} ${why}: the connection is closed`);
    this.link = undefined;
    link.close();
  }

  /** The machine is made before the core hears of it: heartbeats begin with the welcome. */
  #greeted(frame: Frame, hello: Hello): void {
    const { link } = this;
    if (link === undefined) return;
    if (this.#greeter === link) {
      this.#drop(link, 'said hello twice');
      return;
    }
    this.#greeter = link;
    this.lane.do(async () => {
      if (this.link !== link) return;
      const refused = this.#secondary.refusal(hello, frame.term);
      if (refused === undefined) {
        try {
          await this.#attach(hello);
        } catch (error) {
          const reason = `its machine cannot be made there: ${(error as Error).message}`;
          this.log.add('pair', `${this.#paired} is refused: ${reason}`);
          this.send({ kind: 'refusal', reason });
          this.link = undefined;
          link.close();
          return;
        }
      }
      if (this.#greeter === link) this.#greeter = undefined;
      if (this.link === link) super.received(frame);
      else await this.#close();
    });
  }

  async #attach({ shape, comparing }: Pick<Hello, 'shape' | 'comparing'>): Promise<void> {
    await this.#close();
    const bell = comparing === 1 ? this.#bell : undefined;
    const views = await this.#calls.call('make', { shape, ...(bell === undefined ? {} : { compares: { bell } }) });
    const { replica } = views;
    const io = views.io && new IoThreadSigns(views.io);
    if (io !== undefined) this.#signs.watch('io', io);
    const own =
      replica &&
      new OwnPackets({
        shared: replica.packets,
        taps: tapsOf(views.devices),
        send: (message) => this.send(message),
        post: (event) => this.post(event),
        now: () => this.now,
        wakeIo: () => io?.nudge(),
        seed: randomInt(2 ** 32),
        record: this.#record,
        lostInput: () =>
          this.log.add('guest', "its guest takes packets more slowly than the primary's: some were lost"),
      });
    this.#ran = false;
    const attached: Attached = {
      own,
      translation: undefined,
      packets: new KeptPackets(tapsOf(views.devices), specification, undefined, this.#record),
      disks: new StandbyDisks({
        disks: diskViews(views.devices),
        settings: this.#config.settings,
        rules: specification,
        pair: this.#config.pair,
        term: this.#secondary.term,
        post: (event) => this.post(event),
        send: (message) => this.send(message),
        past: this.#past(views, (changes) => {
          attached.changes = changes;
        }),
        ...(this.#engines === undefined ? {} : { engines: this.#engines }),
      }),
      pages: new PageReceiver(
        views.memory,
        (state) => {
          attached.translation = decodeState(state).translation;
        },
        replica?.changed,
      ),
      changes: undefined,
      isOver: false,
    };
    this.#attached = attached;
    this.#compares = bell !== undefined;
    const { cpus, memoryBytes, disks, cards } = shape;
    this.log.add(
      'pair',
      `${this.#paired} pairs: ${cpus} vCPUs, ${memoryBytes / 2 ** 20} MiB, ${disks.length} disks, ${cards.length} cards`,
    );
  }

  /** What is known of the machine's disks, which nobody has written yet. */
  #past({ devices }: SecondaryViews, renewed: (changes: InheritedChanges) => void): StandbyPast {
    const store = this.#store;
    const disks = diskViews(devices).map(historyDisk);
    const history = store.read(disks);
    if (typeof history === 'string' && history !== noHistory) {
      this.log.add('disk', `nothing is known of what these disks were: ${history}`);
    }
    return {
      history: typeof history === 'string' ? undefined : history,
      renew: async (generation) => {
        const sizes = disks.map(({ sizeBytes }) => sizeBytes);
        const id = await store.newLog(sizes, false);
        await store.write(generation, id, disks);
        store.watch();
        renewed({ shared: newSharedChanges(store.logPath, id, sizes), generation });
      },
    };
  }

  /** What this side's guest writes is to be found again. A takeover does not fail of it: then all is compared, the next time. */
  async #keepChanges(attached: Attached): Promise<void> {
    const { changes, own } = attached;
    try {
      // What a guest that ran beside P's wrote is laid down past any log.
      if (changes !== undefined && own === undefined) {
        await this.#calls.call('keepChanges', changes.shared);
        return;
      }
    } catch (error) {
      this.log.add('disk', `it will not be known what this side writes: ${(error as Error).message}`);
    }
    attached.changes = undefined;
    await this.#store.forget().catch((error: Error) => {
      // It is not believed either once the disks are newer than it says.
      this.log.add('disk', `what was known of its disks cannot be removed: ${error.message}`);
    });
  }

  #stage(item: EpochItem): void {
    const attached = this.#attached;
    if (attached === undefined) return;
    const { packets, disks, pages } = attached;
    this.distrusting(() => {
      switch (item.kind) {
        case 'pages':
        case 'pages-end':
        case 'vmstate':
          pages.stage(item);
          return;
        case 'disk-write':
        case 'disk-discard':
        case 'disk-zeroes':
          disks.stage(item);
          return;
        case 'output':
        case 'input':
          packets.stage(item);
          return;
        case 'output-left':
          packets.left(item.epoch);
          return;
        case 'disk-end':
        case 'packets-end':
        case 'output-confirmed': // of a guest that does not run here yet
          return;
        default:
          item satisfies never;
      }
    });
  }

  #discard(beyond: Epoch): void {
    const attached = this.#attached;
    if (attached === undefined) return;
    attached.pages.discard(beyond);
    attached.disks.discard(beyond);
    if (beyond === noCheckpoint) {
      attached.isOver = true;
      attached.own?.clear();
      attached.packets.clear();
      this.lane.do(() => this.#close());
    }
  }

  /** @param attached of the pairing that the checkpoint is of; what becomes of that when it is over is nobody's concern */
  async #load(epoch: Epoch, attached: Attached | undefined): Promise<void> {
    if (attached === undefined || attached.isOver) return;
    const { pages } = attached;
    try {
      if (!(await pages.load(epoch))) return;
      this.#ran = false;
      if (attached.own !== undefined) await this.#calls.call('rollBack', undefined);
      // What a takeover would fail of is found before anybody counts on one.
      if (epoch === 0) await this.#calls.call('rehearse', pages.stateOf(epoch));
      if (!attached.isOver) this.post({ kind: 'loaded', epoch });
    } catch (error) {
      if (attached.isOver) return;
      this.post({ kind: 'load-failed', epoch, reason: (error as Error).message });
    }
  }

  /** Comparing: its guest runs from that checkpoint, once the disks are the checkpoint's. */
  async #start(
    { epoch, stoppedAt }: Extract<Effect, { kind: 'start' }>,
    attached: Attached | undefined,
  ): Promise<void> {
    if (attached === undefined || attached.isOver) return;
    const { own, pages, disks } = attached;
    try {
      if (own === undefined) throw new Error('its guest cannot run here: the primary did not say that it would');
      await disks.laid();
      if (attached.isOver) return;
      const opened = next(epoch);
      own.begin(opened, attached.translation);
      await this.#calls.call('start', { state: pages.stateOf(epoch), epoch: opened, stoppedAt });
      this.#ran = true;
      if (!attached.isOver) this.post({ kind: 'started', epoch });
    } catch (error) {
      if (attached.isOver) return;
      this.post({ kind: 'load-failed', epoch, reason: (error as Error).message });
    }
  }

  /** The guest runs here already: it goes on as if it had always been this one. */
  async #hold(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) throw new Error('there is no machine');
    const { exitCode } = await this.#calls.call('hold', undefined);
    this.#endedWith = exitCode;
    await attached.disks.handOver();
    await this.#keepChanges(attached);
    attached.packets.drainTaps();
    this.log.add('takeover', 'its guest runs already');
  }

  /** What its guest says and writes is its own from now on. */
  async #emerge(): Promise<void> {
    const { own } = this.#attached ?? {};
    const translation = this.#ran && (own?.facts.flows ?? 0) > 0 ? own?.translation(roundTripTicks) : undefined;
    const flows = await this.#calls.call('emerge', translation);
    own?.close();
    if (flows > 0) this.log.add('takeover', `${flows} connections go on with their old numbers`);
  }

  /**
   * A step of a takeover, after the ones before. Once one fails there is no guest to go on with: the machine may hold the state
   * of another checkpoint than its RAM and disks, or none, and it must not run, nor say where it is.
   */
  #takingOver(step: () => void | Promise<void>): void {
    this.lane.do(async () => {
      if (this.#isLost) return;
      try {
        await step();
      } catch (error) {
        this.#isLost = true;
        const reason = `the takeover failed, and this side ends: ${(error as Error).message}`;
        this.become(reason);
        this.log.add('takeover', reason);
        await this.#calls.call('exit', { exitCode: 1 });
      }
    });
  }

  async #revive(epoch: Epoch, stoppedAt: number): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) throw new Error('there is no machine');
    await attached.disks.handOver();
    await this.#keepChanges(attached);
    attached.packets.drainTaps();
    const state = attached.pages.stateOf(epoch);
    const { loadMs, movedMs, exitCode } = await this.#calls.call('revive', { state, stoppedAt });
    this.#endedWith = exitCode;
    this.log.add('takeover', `epoch ${epoch} loaded in ${loadMs.toFixed(1)} ms; clock moved ${movedMs.toFixed(0)} ms`);
  }

  async #resume(): Promise<void> {
    if (this.#endedWith !== undefined) {
      this.log.add('guest', 'it had ended, and there is nothing to run');
      this.post({ kind: 'guest-ended', exitCode: this.#endedWith });
      return;
    }
    await this.#calls.call('resume', undefined);
    this.log.add('speaking', 'the guest runs here');
    this.#listener?.close();
    this.#search?.close();
    this.#attached?.pages.close();
    this.#attached?.disks.close();
    const { changes } = this.#attached ?? {};
    this.#calls.tell('succeed', {
      ...this.heritage,
      ...(changes === undefined ? {} : { changes }),
      ...(this.#compares ? { compares: true } : {}),
    });
  }

  /** The machine of a pairing that is over. */
  async #close(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) return;
    this.#attached = undefined;
    this.#signs.forget('io');
    attached.pages.close();
    attached.own?.close();
    await attached.disks.handOver().catch(() => {});
    attached.disks.close();
    this.#store.rest();
    await this.#calls.call('discard', undefined);
  }
}

const headlines: Readonly<Record<Secondary['phase'], ColoHeadline>> = {
  listening: 'LISTENING',
  greeting: 'PAIRING',
  seeding: 'PAIRING',
  ready: 'PAIRING',
  protecting: 'PROTECTING',
  leaving: 'PROTECTING',
  'taking-over': 'PROTECTING',
  claiming: 'WAITING',
  live: 'UNPROTECTED',
  refused: 'FENCED',
  failed: 'ENDED',
  ended: 'ENDED',
};
