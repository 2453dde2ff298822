import { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { Effect, PrimaryEvent } from '../../../../src/colo/core/events.ts';
import { Primary, type PrimaryOptions } from '../../../../src/colo/core/primary/primary.ts';
import type { Rules } from '../../../../src/colo/core/rules.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, type Mode, next } from '../../../../src/colo/protocol/numbers.ts';
import type { Answer, DiskRequest, Request } from '../fakes/fake-guest.ts';
import { Resync } from '../resync/resync.ts';
import type { Legacy } from '../side/legacy.ts';
import { Side } from '../side/side.ts';
import { Translation } from '../side/translation.ts';
import type { Surroundings } from '../surroundings.ts';
import { CheckpointSource } from './checkpoint-source.ts';
import { ComparedOutput, scanMs } from './compared-output.ts';
import { DiskCopy } from './disk-copy.ts';
import { Durability } from './durability.ts';
import { ForwardedDisk } from './forwarded-disk.ts';
import { OutputWaits } from './output-waits.ts';
import { PrimaryPackets } from './primary-packets.ts';
import type { PrimaryProcess } from './primary-process.ts';
import { WriteMarks } from './write-marks.ts';

/** A guest's last checkpoint is waited for so long, and then its standby's last word, ms. */
const endPatienceMs = [40, 250] as const;
const lastWordMs = 60;

/** The primary's process: machine, disk, mirror and gate around the core. */
export class PrimarySide extends Side<PrimaryEvent> implements PrimaryProcess {
  readonly primary: Primary;
  attached = false;
  epoch: Epoch = epoch(0);
  mode: Mode = 'buffered';
  /** As the standby said last. */
  #laidBytes = 0;
  /** It said that the guest is S's though that was not paused: it waited for that in vain. */
  saidUnpaused = false;
  readonly translation: Translation;
  /** What it knows of a standby's disk, if machines remember. */
  readonly #resync: Resync | undefined;
  readonly #source: CheckpointSource;
  readonly #forwarded: ForwardedDisk;
  readonly #copy: DiskCopy;
  readonly #durability: Durability | undefined;
  readonly #waits: OutputWaits;
  readonly #compared: ComparedOutput;
  readonly #packets: PrimaryPackets;

  /** @param legacy of a survivor, which may have been a primary already: then with its core */
  constructor(
    world: Surroundings,
    options: PrimaryOptions,
    rules: Rules,
    legacy?: Legacy & { readonly core?: Primary | undefined },
  ) {
    const primary = legacy?.core ?? new Primary(options);
    super(world, 'primary', primary, legacy?.gate ?? new Gate<Answer>('direct', rules), legacy);
    this.primary = primary;
    this.guestRuns = true;
    this.translation = legacy?.translation ?? new Translation(rules);
    if (world.remembers) this.#resync = legacy?.resync ?? new Resync(world.resyncRules, this.history.generation);
    for (const block of legacy?.written ?? []) this.#resync?.note(block);
    this.#source = new CheckpointSource(this);
    const marks = new WriteMarks(this.history, world.resyncRules);
    this.#forwarded = new ForwardedDisk(this, this.#resync, marks);
    this.#copy = new DiskCopy(this, this.#resync, this.#forwarded);
    this.#waits = new OutputWaits(this);
    this.#compared = new ComparedOutput(this, rules);
    this.#packets = new PrimaryPackets(this, this.#compared, this.#waits);
    if (world.compares) this.#scan();
    if (this.#resync !== undefined) {
      this.#durability = new Durability(this, this.#resync, marks, this.#copy);
      this.#durability.start();
    }
    if (legacy === undefined) return;
    this.pumpDisk();
    this.tap.drain();
  }

  override retire(): Legacy {
    return { ...super.retire(), translation: this.translation, resync: this.#resync };
  }

  protected override get awaitsConnection(): boolean {
    return this.primary.phase === 'connecting';
  }

  override get isSettled(): boolean {
    const { phase } = this.primary;
    const isAlone = (phase === 'unprotected' || phase === 'connecting') && this.session === undefined;
    return super.isSettled && isAlone && !this.attached && this.gate.mode === 'direct' && this.gate.held === 0;
  }

  /** Questions that its guest got since the last checkpoint, of those that S's is to get as well. */
  get inputs(): number {
    return this.#packets.inputs;
  }

  get shares(): ForwardedDisk['shares'] {
    return this.#forwarded.shares;
  }

  // What the guest does of itself

  writes(write: DiskRequest): void {
    this.process(() => {
      if (!this.guestRuns || this.guest.ended) return;
      this.guest.queue.push(write);
      this.pumpDisk();
    });
  }

  reset(): void {
    this.process(() => {
      if (this.guest.ended || !this.guestRuns) return;
      this.guest.reset();
      this.world.wasReset();
      this.post({ kind: 'guest-reset' });
    });
  }

  powerOff(): void {
    this.process(() => {
      if (this.guest.ended || !this.guestRuns) return;
      this.guest.ended = true;
      this.post({ kind: 'guest-ended', exitCode: 0 });
      this.#finishEnd();
    });
  }

  /** The thread that owns the machine waits no longer (src/colo/thread/primary-control.ts). */
  #finishEnd(): void {
    const { agenda } = this.world;
    agenda.after(this.world.randomOf('primary').pick(endPatienceMs), () => {
      this.post({ kind: 'end-overdue' });
      agenda.after(lastWordMs, () => this.process(() => this.die(true)));
    });
  }

  // Frames

  override send(message: Message, term = this.primary.term): void {
    if (message.kind === 'handover-done' || message.kind === 'take-over') this.world.speakers.gaveUp();
    if (message.kind === 'handover-done') this.saidUnpaused = this.guestRuns && this.primary.phase === 'ended';
    super.send(message, term);
  }

  /** What S's guest said, and what its disk has, does not pass through the core. */
  override frame(session: number, frame: Frame): void {
    const { message, term } = frame;
    if (message.kind !== 'disk-durable' && message.kind !== 'secondary-output') {
      super.frame(session, frame);
      return;
    }
    this.process(() => {
      if (session !== this.session || term !== this.primary.term) return;
      if (message.kind === 'secondary-output') this.#compared.secondarySaid(message);
      else if (this.attached) this.#durability?.durable(message.epoch);
    });
  }

  protected override afterFrame(message: Message): void {
    this.#forwarded.heard(message.kind === 'heartbeat');
    if (message.kind !== 'heartbeat' || message.laidBytes <= this.#laidBytes) return;
    this.#laidBytes = message.laidBytes;
    // Before the standby's guest runs all of the checkpoint is laid down.
    const { phase, step } = this.primary;
    if (this.mode === 'comparing' && (step === 'received' || phase === 'seeding')) this.progress.moved();
  }

  // Effects

  override execute(step: Parameters<Side<PrimaryEvent>['execute']>[0]): void {
    if (step.kind === 'pause-guest') this.#pause();
    else super.execute(step);
  }

  /** That takes its time, in which the guest runs on. */
  #pause(): void {
    const { agenda } = this.world;
    agenda.after(this.world.randomOf('primary').between(0.05, 3), () =>
      this.process(() => {
        this.guestRuns = false;
        this.post({ kind: 'guest-paused' });
      }),
    );
  }

  protected override executeOwn(effect: Effect): void {
    const { world } = this;
    switch (effect.kind) {
      case 'attach':
        this.#attach();
        return;
      case 'detach':
        this.attached = false;
        this.#forwarded.endPairing();
        return;
      case 'hold':
        this.#packets.hold();
        return;
      case 'synchronise-disks':
        world.agenda.after(world.random.between(1, 6), () => this.process(() => this.#copy.begin()));
        return;
      case 'live-pass':
        this.#source.livePass(effect.epoch);
        return;
      case 'capture':
        this.#capture(effect.epoch, effect.mode);
        return;
      case 'transmit':
        this.first(...this.#source.transmission(effect.epoch));
        return;
      default:
        throw new Error(`a primary has no effect ${effect.kind}`);
    }
  }

  #attach(): void {
    this.attached = true;
    if (this.world.machineRules.endsAnnouncements) this.announcement.stop();
    this.mode = 'buffered';
    this.epoch = epoch(0);
    this.#laidBytes = 0;
    this.tap.forgetLeft();
    this.#copy.beginPairing();
    this.#forwarded.beginPairing();
    this.#packets.beginPairing();
    this.#source.beginPairing();
  }

  /** One synchronous call: everything of this epoch is before it, everything after it is of the next one. */
  #capture(epoch: Epoch, mode: Mode): void {
    const stateBytes = this.#source.capture(epoch);
    const wasCompared = this.mode === 'comparing';
    if (wasCompared) this.#packets.mirrorWaiting(epoch);
    this.#forwarded.endEpoch(epoch);
    this.#packets.endEpoch(epoch);
    this.epoch = next(epoch);
    this.mode = mode;
    this.#compared.begin(wasCompared);
    const stoppedMs = this.world.random.between(0.1, 1.5);
    this.world.agenda.after(stoppedMs, () => this.post({ kind: 'captured', epoch, stateBytes, stoppedMs }));
  }

  // The guest's packets and disk

  protected override takeRequest(request: Request): void {
    if (!this.guestRuns || this.guest.ended) return;
    this.#packets.input(request);
    this.translation.learn(request, this.guest);
    this.give(request);
  }

  protected override answered(answer: Answer): void {
    this.#packets.output(this.translation.translate(answer));
  }

  protected override pumpDisk(): void {
    this.#forwarded.pump();
  }

  override hasLeft(number: number): void {
    this.#waits.left(number);
    this.#compared.left(number);
  }

  override isLost(number: number): boolean {
    return this.#compared.isLost(number);
  }

  override reportLeft(left: number): void {
    this.post({ kind: 'output-left', epoch: epoch(left) });
  }

  #scan(): void {
    this.world.agenda.after(scanMs, () => {
      this.process(() => this.#compared.scan());
      this.#waits.tell();
      this.#scan();
    });
  }
}
