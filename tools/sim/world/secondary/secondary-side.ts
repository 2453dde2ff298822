import { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { Effect, Notice, SecondaryEvent } from '../../../../src/colo/core/events.ts';
import { Recovery } from '../../../../src/colo/core/fencing/recovery.ts';
import type { Rules } from '../../../../src/colo/core/rules.ts';
import { Secondary, type SecondaryOptions } from '../../../../src/colo/core/secondary/secondary.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { EpochItem, Message } from '../../../../src/colo/protocol/messages.ts';
import { type Epoch, noCheckpoint } from '../../../../src/colo/protocol/numbers.ts';
import type { Answer, DiskRequest, Request } from '../fakes/fake-guest.ts';
import { fromBytes } from '../fakes/numbers-as-bytes.ts';
import { Violation } from '../invariants/violation.ts';
import { diskBlocks } from '../resync/disk-history.ts';
import type { Legacy, StandingBy } from '../side/legacy.ts';
import { Side } from '../side/side.ts';
import type { Surroundings } from '../surroundings.ts';
import { KeptPackets, requestOf } from './kept-packets.ts';
import { OwnWrites } from './own-writes.ts';
import { Replica } from './replica.ts';
import { ReplicaGuest } from './replica-guest.ts';
import type { SecondaryProcess } from './secondary-process.ts';
import { StandbyDisk } from './standby-disk.ts';
import { StandbyRecovery } from './standby-recovery.ts';

/** The secondary's process: staging, disk log, kept packets and, after a takeover, the machine. */
export class SecondarySide extends Side<SecondaryEvent> implements SecondaryProcess {
  readonly secondary: Secondary;
  live = false;
  loadFails = false;
  generation = 0;
  readonly #standbyDisk: StandbyDisk;
  readonly #own: OwnWrites;
  readonly #replica: Replica;
  readonly #kept: KeptPackets;
  readonly #replicaGuest: ReplicaGuest;
  readonly #recovery: StandbyRecovery;
  /** What its TAP has: a bridge floods it to where nobody is known to take it. */
  #arrived: Request[] = [];
  /** How much of that came since P was lost. */
  #arrivedSinceLoss = 0;

  /** @param before what it was in this process before it was given up */
  constructor(world: Surroundings, options: SecondaryOptions, rules: Rules, before?: StandingBy) {
    const secondary = new Secondary(options);
    super(world, 'secondary', secondary, new Gate<Answer>('holding', rules), before);
    const { settings } = options;
    this.secondary = secondary;
    const recovery = before?.recovery ?? new Recovery(settings, world.recoveryTimes);
    this.#recovery = new StandbyRecovery(this, recovery, settings.heartbeatMs);
    this.#standbyDisk = new StandbyDisk(this, rules, settings.diskLogBytes, () => this.#own.tryFlushes());
    this.#own = new OwnWrites(this, this.#standbyDisk);
    this.#replica = new Replica(this);
    this.#kept = new KeptPackets(rules);
    this.#replicaGuest = new ReplicaGuest(this, rules, this.#replica, this.#own, this.#kept);
  }

  // From one role or pair to the next

  override get isSettled(): boolean {
    return super.isSettled && this.live && this.#standbyDisk.isLaid;
  }

  /** What its guest wrote is on the disk, not all of it durable. */
  override retire(): Legacy {
    const written = this.#own.merge();
    return { ...super.retire(), translation: this.#replicaGuest.translation, written };
  }

  /** It was given up, and its host is well again: its process may stand by again. */
  get mayStandByAgain(): boolean {
    return this.#recovery.mayStandByAgain;
  }

  /** Nothing happens here any more: the process stands by anew. */
  standDown(): StandingBy {
    this.dead = true;
    const { holder, clock, disk, history } = this;
    return { holder, clock, disk, history, recovery: this.#recovery.recovery };
  }

  /** Questions that came since the checkpoint that it took over from. */
  get inputs(): number {
    return this.#kept.cameAfter(this.secondary.received);
  }

  protected override noticed(notice: Notice): void {
    this.#recovery.noticed(notice);
  }

  // Frames

  /** What the two sides say about disks concerns no core. */
  override frame(session: number, frame: Frame): void {
    const { message, term } = frame;
    if (message.kind !== 'disk-sync') {
      super.frame(session, frame);
      return;
    }
    this.process(() => {
      if (session !== this.session || term !== this.secondary.term || this.live) return;
      this.#standbyDisk.sync(message.epoch);
    });
  }

  protected override afterFrame(message: Message): void {
    if (message.kind === 'vmstate-send') this.#replicaGuest.stopArrived(message.epoch);
  }

  /** What is said about a checkpoint must be so (spec C.4, A.7). */
  override send(message: Message, term = this.secondary.term): void {
    if (message.kind === 'vmstate-loaded' || message.kind === 'checkpoint-ready') {
      const { ram, state } = this.#replica;
      this.world.truths.checkEqual(message.epoch, ram, state, this.diskView(message.epoch, false));
      if (this.diskFailureKnown) {
        throw new Violation('A.7', `the secondary says ${message.kind} ${message.epoch} though its disk failed`);
      }
    }
    super.send(message, term);
  }

  // Effects

  override execute(step: Parameters<Side<SecondaryEvent>['execute']>[0]): void {
    if (step.kind === 'exit' && !this.live && !this.diskFailureKnown) {
      this.world.truths.checkLeft(this.secondary.received, this.diskView(this.#standbyDisk.committed, false));
    }
    super.execute(step);
    if (step.kind === 'pause-guest') this.#replicaGuest.pause();
  }

  protected override executeOwn(effect: Effect): void {
    switch (effect.kind) {
      case 'attach':
        this.#attach();
        return;
      case 'stage':
        this.#stage(effect.item);
        return;
      case 'discard':
        this.#discard(effect.beyond);
        return;
      case 'start':
        this.#start(effect.epoch, effect.stoppedAt);
        return;
      case 'let-in':
        this.#kept.passes(effect.item);
        this.#replicaGuest.enter(requestOf(effect.item));
        return;
      case 'let-in-kept':
        for (const request of this.#kept.takeInputs(effect.epoch)) this.#replicaGuest.enter(request);
        return;
      case 'forget-own':
        this.#replicaGuest.forgetSaid(effect.items);
        return;
      case 'empty-taps':
        this.#arrived = [];
        return;
      case 'hold-guest':
        this.#replicaGuest.hold();
        return;
      case 'load':
        this.#replicaGuest.finishPause();
        this.#own.clear();
        this.#replica.load(effect.epoch);
        return;
      case 'commit-disk':
        this.#commit(effect.epoch);
        return;
      case 'revive':
        this.#replicaGuest.revive(effect.epoch, effect.stoppedAt);
        return;
      case 'send-kept':
        this.first(...this.#kept.outputsToSend(effect.epoch).map((answer) => ({ kind: 'write', answer }) as const));
        return;
      case 'replay-input':
        for (const request of this.#kept.inputsToReplay(effect.epoch)) {
          this.#goLive(); // it takes them from its queue when it runs, which is now
          this.#replicaGuest.enter(request);
        }
        return;
      case 'resume-guest':
        this.#goLive();
        this.#replicaGuest.resume();
        this.#takeArrived();
        if (!this.guest.ended) this.post({ kind: 'guest-runs' });
        return;
      default:
        throw new Error(`a secondary has no effect ${effect.kind}`);
    }
  }

  #attach(): void {
    this.#standbyDisk.beginPairing();
    this.#kept.beginPairing();
    this.#arrived = [];
    this.#arrivedSinceLoss = 0;
    this.#replica.forgetStaging();
    this.gate.clear();
  }

  #stage(item: EpochItem): void {
    this.progress.moved();
    switch (item.kind) {
      case 'pages':
        this.#replica.stagePages(fromBytes(item.data));
        return;
      case 'vmstate':
        this.#replica.stageState(fromBytes(item.data));
        return;
      case 'disk-write':
        this.#standbyDisk.append(item);
        return;
      case 'output':
        this.#kept.keepOutput(item);
        return;
      case 'input':
        this.#kept.keepInput(item);
        return;
      case 'output-left':
        this.#kept.left(item.epoch);
        return;
      case 'pages-end':
      case 'disk-discard':
      case 'disk-zeroes':
      case 'disk-end':
      case 'packets-end':
      case 'output-confirmed':
        return;
      default:
        item satisfies never;
    }
  }

  /** What is beyond that checkpoint does not count; beyond none, there is no standby any more. */
  #discard(beyond: Epoch): void {
    this.#replica.forgetStaging();
    this.#standbyDisk.discard(beyond);
    if (beyond !== noCheckpoint) return;
    this.generation++;
    this.#kept.clear();
    this.guestRuns = false;
    this.#replicaGuest.forgetPause();
    this.#own.clear();
    this.gate.clear();
  }

  #commit(epoch: Epoch): void {
    const { world, generation } = this;
    this.#kept.committed(epoch);
    this.#standbyDisk.commit(epoch);
    world.agenda.after(world.random.between(0.05, 0.5), () => {
      if (generation === this.generation) this.post({ kind: 'disk-committed', epoch });
    });
  }

  /** Its guest reads from the disk, beside the log. */
  #start(epoch: Epoch, stoppedAt: number): void {
    const { generation } = this;
    this.#standbyDisk.whenLaid(() => {
      if (generation === this.generation) this.#replicaGuest.start(epoch, stoppedAt);
    });
  }

  #goLive(): void {
    this.guestRuns = true;
    this.live = true;
  }

  // The guest's packets and disk

  protected override takeRequest(request: Request): void {
    if (this.live) {
      if (this.guestRuns && !this.guest.ended) this.#replicaGuest.enter(request);
      return;
    }
    this.#arrived.push(request);
    const { phase } = this.secondary;
    if (phase === 'claiming' || phase === 'going-live') this.#arrivedSinceLoss++;
  }

  #takeArrived(): void {
    this.world.takeovers.checkArrived(this.#arrivedSinceLoss, this.#arrived.length);
    for (const request of this.#arrived) this.takeRequest(request);
    this.#arrived = [];
  }

  protected override answered(answer: Answer): void {
    this.#replicaGuest.said(answer);
  }

  override completed(request: DiskRequest): void {
    if (this.guestRuns) super.completed(request);
    else this.#replicaGuest.defer(request);
  }

  protected override pumpDisk(): void {
    this.#own.pump();
  }

  diskView(through: number, withOwn = true): number[] {
    const view: number[] = [];
    for (let block = 0; block < diskBlocks; block++) {
      const own = withOwn ? this.#own.at(block) : undefined;
      view.push(own ?? this.#standbyDisk.at(block, through));
    }
    return view;
  }

  /** Makes durable what it has laid down. @param done told whether all up to that checkpoint was */
  makeDurable(epoch: Epoch, done: (isDurable: boolean) => void): void {
    this.#standbyDisk.makeDurable(epoch, done);
  }
}
