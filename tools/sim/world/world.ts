import type { Notice } from '../../../src/colo/core/events.ts';
import type { RecoveryTimes } from '../../../src/colo/core/fencing/recovery.ts';
import { type Rules, specification } from '../../../src/colo/core/rules.ts';
import type { Settings } from '../../../src/colo/core/settings.ts';
import type { History } from '../../../src/colo/disk/history/history.ts';
import type { MachineShape } from '../../../src/colo/protocol/machine-shape.ts';
import { type Epoch, type Role, term } from '../../../src/colo/protocol/numbers.ts';
import type { Fault } from '../faults.ts';
import { simulatedRecovery } from '../simulated-settings.ts';
import type { Agenda } from './agenda.ts';
import { type ArbiterKind, FakeArbiter } from './arbiter.ts';
import { Clients } from './clients.ts';
import { type ResyncRules, resyncRules } from './disk-history.ts';
import { type Answer, blockCount, type FakeGuest, hashOf } from './fake-guest.ts';
import { Lineage } from './lineage.ts';
import { PeerNetwork } from './network.ts';
import { PrimarySide } from './primary-side.ts';
import { RandomStream } from './random.ts';
import { SecondarySide, type StandingBy } from './secondary-side.ts';
import type { SideView, Surroundings } from './surroundings.ts';
import { Violation } from './violation.ts';

/** A schedule: everything that a run depends on. The same one gives the same run. */
export interface Schedule {
  readonly seed: number;
  readonly faults: readonly Fault[];
  readonly arbiter: ArbiterKind;
  /** Frames travel as bytes through the codec. */
  readonly asBytes: boolean;
  /** Virtual ms. */
  readonly lengthMs: number;
  readonly settings: Settings;
  /** The guest lives on through many pairs (see ../cycles.ts, ../overload.ts); the seed draws what happens to them. */
  readonly life?: 'cycles' | 'overload';
  /** Liveness: from this time on this side, its clients and the arbiter are well. */
  readonly healthy?: { readonly side: Role; readonly fromMs: number };
}

/** Who goes on, and with whom, when a pair has lost one of its sides (spec B.7). */
export interface Successors {
  readonly survivor: PrimarySide | SecondarySide;
  /** What the new standby has on its disks, and the term that it knows. */
  readonly standby: {
    readonly blocks: readonly number[];
    readonly term: number;
    /** Of the repaired machine; absent: it is a new one. */
    readonly history?: History | undefined;
    /** It is the same process on the same host, which stands by again. */
    readonly process?: StandingBy;
  };
}

export interface WorldOptions {
  readonly rules?: Rules;
  readonly resyncRules?: ResyncRules;
  readonly recoveryTimes?: RecoveryTimes;
  readonly counts?: Map<string, number>;
  readonly history?: string[];
  /** Told of every effect: how many there were, and its kind. */
  readonly onEffect?: (nth: number, kind: string) => void;
}

/** What is not as the product has it. */
export type Broken = Pick<WorldOptions, 'rules' | 'resyncRules' | 'recoveryTimes'>;

/** What was true at P's stop: what S must be equal to (spec C.4). */
interface Truth {
  readonly ram: number;
  readonly state: number;
  readonly blocks: readonly number[];
  readonly answers: number;
  readonly said: readonly number[];
  readonly at: number;
}

export const shape: MachineShape = {
  cpus: 1,
  memoryBytes: 1 << 20,
  cpuVendor: 'GenuineIntel',
  xsaveBytes: 4096,
  cpuFeatures: ['sse2'],
  tscKhz: 2_000_000,
  tscScaling: true,
  disks: [{ id: 'root', path: 'root.img', sizeBytes: 4096, readOnly: false }],
  cards: [{ tap: 'tap0' }],
  rng: 'none',
};

/** Phases in which S may go live. */
const mayTakeOver: ReadonlySet<string> = new Set(['protecting', 'taking-over', 'claiming']);

/** Two hosts, what is between them, an arbiter and clients, and an eye on the invariants of spec section C. */
export class World implements Surroundings {
  readonly schedule: Schedule;
  readonly lineage: Lineage<World>;
  readonly rules: Rules;
  readonly resyncRules: ResyncRules;
  readonly recoveryTimes: RecoveryTimes;
  readonly random: RandomStream;
  readonly compares: boolean;
  readonly remembers: boolean;
  readonly divergence: number;
  readonly #guestRandom: Record<Role, RandomStream>;
  readonly network: PeerNetwork;
  readonly primary: PrimarySide;
  readonly secondary: SecondarySide;
  readonly counts: Map<string, number>;
  readonly #history: string[] | undefined;
  readonly #onEffect: WorldOptions['onEffect'];
  #truths = new Map<Epoch, Truth>();
  #answersAtTakeover = 0;
  /** When the primary's guest was reset last, until a checkpoint covers it. */
  resetAt: number | undefined;
  liveAt: number | undefined;
  #gaveUp = false;
  /** Makes a fault happen. */
  strike: (fault: Fault) => void = () => {};
  /** Hears what the sides tell. */
  notice: (role: Role, notice: Notice) => void = () => {};

  readonly #options: WorldOptions;

  constructor(
    schedule: Schedule,
    options: WorldOptions = {},
    before?: Successors & { readonly lineage: Lineage<World> },
  ) {
    const { rules = specification, counts = new Map<string, number>(), history, onEffect } = options;
    this.#options = options;
    this.rules = rules;
    this.resyncRules = options.resyncRules ?? resyncRules;
    this.recoveryTimes = options.recoveryTimes ?? simulatedRecovery;
    this.schedule = schedule;
    this.counts = counts;
    this.#history = history;
    this.#onEffect = onEffect;
    const { seed, settings } = schedule;
    this.lineage = before?.lineage ?? newLineage(schedule);
    const salt = 1000 * this.lineage.worlds.length;
    this.lineage.worlds.push(this);
    this.random = new RandomStream(seed, salt + 1);
    this.#guestRandom = { primary: new RandomStream(seed, salt + 5), secondary: new RandomStream(seed, salt + 6) };
    this.compares = settings.compares;
    this.remembers = schedule.life !== undefined;
    this.divergence = new RandomStream(seed, salt + 7).pick([0, 0, 0.03, 0.3]);
    this.network = new PeerNetwork(this.agenda, new RandomStream(seed, salt + 2), schedule.asBytes);
    const parts = { pair: 'web', shape, settings, rules };
    if (before === undefined) this.primary = new PrimarySide(this, { ...parts, term: term(1) }, rules);
    else {
      const { survivor } = before;
      const core = survivor instanceof PrimarySide ? survivor.primary : undefined;
      const options = { ...parts, term: term(survivor.durableTerm) };
      this.primary = new PrimarySide(this, options, rules, { ...survivor.retire(), core });
    }
    // A new standby has no term; it takes the primary's.
    const own = before?.standby.term ?? seed % 2;
    this.secondary = new SecondarySide(this, { ...parts, term: term(own) }, rules, before?.standby.process);
    if (before !== undefined && before.standby.process === undefined) this.#furnish(before.standby);
    if (this.random.chance(0.3)) this.secondary.disk.latencyMs = this.random.between(2, this.remembers ? 20 : 60);
    if (schedule.life === undefined && this.random.chance(0.3))
      this.arbiter.cutFrom[this.random.chance(0.5) ? 'primary' : 'secondary'] = true;
    this.network.attach('primary', this.primary);
    this.network.attach('secondary', this.secondary);
  }

  /** The standby's host as it was found. */
  #furnish({ blocks, history: remembered }: Successors['standby']): void {
    const { disk, history } = this.secondary;
    for (const [block, value] of blocks.entries()) {
      disk.cached[block] = value;
      disk.durable[block] = value;
    }
    if (remembered !== undefined) history.renew(remembered.generation, remembered.regions);
  }

  /** Runs the schedule to its end. @throws Violation */
  run(): void {
    const { lengthMs } = this.schedule;
    this.clients.start();
    this.agenda.after(3, () => this.primary.post({ kind: 'command', command: { name: 'protect' } }));
    while (this.agenda.step(lengthMs));
  }

  /** The next pair of this guest, of one side of this one, which is settled, and a standby. */
  next(successors: Successors): World {
    return new World(this.schedule, this.#options, { ...successors, lineage: this.lineage });
  }

  get agenda(): Agenda {
    return this.lineage.agenda;
  }

  get arbiter(): FakeArbiter {
    return this.lineage.arbiter;
  }

  get clients(): Clients {
    return this.lineage.clients;
  }

  get clocksHonest(): boolean {
    return this.lineage.clocksHonest;
  }

  newGeneration(): string {
    return `generation ${++this.lineage.generations}`;
  }

  theirHistory(): History | undefined {
    return this.secondary.history.asStandby;
  }

  askDurable(epoch: Epoch, done: (isDurable: boolean) => void): void {
    this.#withStandby((standby) => standby.makeDurable(epoch, (isDurable) => this.#answer(() => done(isDurable))));
  }

  renew(generation: string, done: () => void): void {
    this.#withStandby((standby) => {
      standby.history.renew(generation, new Uint8Array(standby.history.suspect.length));
      standby.history.marks.clear();
      this.#answer(done);
    });
  }

  /** Reaches the standby over a link that is whole. */
  #withStandby(act: (standby: SecondarySide) => void): void {
    const { primary, secondary } = this;
    this.agenda.after(1, () =>
      secondary.process(() => {
        if (primary.session === undefined || secondary.session !== primary.session || secondary.live) return;
        act(secondary);
      }),
    );
  }

  #answer(act: () => void): void {
    this.agenda.after(1, () => this.primary.process(act));
  }

  randomOf(role: Role): RandomStream {
    return this.#guestRandom[role];
  }

  side(role: Role): PrimarySide | SecondarySide {
    return role === 'primary' ? this.primary : this.secondary;
  }

  get tracing(): boolean {
    return this.#history !== undefined;
  }

  trace(who: { readonly role: string } | undefined, what: string): void {
    this.#history?.push(`${this.agenda.now.toFixed(1).padStart(8)}  ${(who?.role ?? 'world').padEnd(9)}  ${what}`);
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  // Faults

  /** Called before every effect: here anything may happen. */
  before(side: SideView, kind: string): void {
    const { lineage } = this;
    lineage.effects++;
    this.#onEffect?.(lineage.effects, kind);
    if (lineage.pending.length === 0) return;
    const counts = lineage.effectsOf[side.role];
    const nth = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, nth);
    for (let at = 0; at < lineage.pending.length; at++) {
      const fault = lineage.pending[at] as Fault;
      const due =
        fault.before === 'any'
          ? lineage.effects >= fault.nth
          : fault.before === kind && fault.side === side.role && nth >= fault.nth;
      if (!due) continue;
      lineage.pending.splice(at--, 1);
      lineage.current.#strike(fault);
    }
  }

  #strike(fault: Fault): void {
    const { healthy } = this.schedule;
    if (healthy !== undefined && this.agenda.now >= healthy.fromMs && !sparesHealthy(fault, healthy.side)) return;
    this.lineage.faultsApplied++;
    this.trace(undefined, `-- ${fault.kind} (${fault.side})`);
    this.count(`fault: ${fault.kind}`);
    this.strike(fault);
  }

  // What the sides do, and what must hold (spec section C)

  told(side: SideView, notice: Notice): void {
    if (notice.kind === 'survivor') {
      this.count(`survivor: ${notice.role}`);
      this.lineage.failovers.push(this.agenda.now);
    }
    if (notice.kind === 'switched-over' && side.role === 'secondary') this.count('switched over');
    if (notice.kind === 'protected' && side.role === 'primary') this.#checkAlone(side);
    if (notice.kind === 'protected') this.count(`protected: ${side.role}`);
    if (notice.kind === 'mode') this.count(`mode: ${notice.mode}`);
    this.notice(side.role, notice);
  }

  /** B.7: no two standbys may take over in the term after this one. */
  #checkAlone({ core: { term } }: SideView): void {
    for (const { secondary } of this.lineage.worlds) {
      if (secondary === this.secondary || secondary.dead || secondary.core.term !== term) continue;
      if (secondary.core.phase !== 'protecting') continue;
      throw new Violation('B.7', `two standbys protect in term ${term}`);
    }
  }

  captured(epoch: Epoch, guest: FakeGuest, state: readonly number[]): void {
    if (epoch === 0) this.#truths.clear();
    this.resetAt = undefined;
    this.#truths.set(epoch, {
      ram: hashOf(guest.pages),
      state: hashOf(state),
      blocks: [...guest.blocks, ...this.primary.disk.cached.slice(blockCount)],
      answers: guest.answers,
      said: [...guest.said],
      at: this.agenda.now,
    });
  }

  wasReset(): void {
    this.resetAt = this.agenda.now;
    this.clients.connectionsLost();
  }

  /** C.4: S's RAM, device state and disk equal P's at the stop. */
  checkEqual(epoch: Epoch, ram: readonly number[], state: readonly number[], disk: readonly number[]): void {
    const truth = this.#truths.get(epoch);
    if (truth === undefined) throw new Violation('C.4', `the secondary stands at checkpoint ${epoch}, which never was`);
    if (hashOf(ram) !== truth.ram) throw new Violation('C.4', `RAM of checkpoint ${epoch} is not the primary's`);
    if (hashOf(state) !== truth.state)
      throw new Violation('C.4', `device state of checkpoint ${epoch} is not the primary's`);
    if (disk.some((value, block) => value !== truth.blocks[block])) {
      throw new Violation('C.3', `the disk at checkpoint ${epoch} is not the primary's`);
    }
    this.count('checkpoints equal');
  }

  /** C.2, C.3: the survivor's history contains what clients saw. */
  checkTakeover(
    side: SideView,
    epoch: Epoch,
    ram: readonly number[],
    state: readonly number[],
    disk: readonly number[],
  ): void {
    this.checkEqual(epoch, ram, state, disk);
    const truth = this.#truths.get(epoch) as Truth;
    this.#answersAtTakeover = truth.answers;
    if (this.clients.highestSeen >= truth.answers) {
      throw new Violation(
        'C.2',
        `clients saw answer ${this.clients.highestSeen}, and checkpoint ${epoch}, from which the secondary takes over, has ${truth.answers}`,
      );
    }
    if (side.diskFailureKnown) throw new Violation('A.7', 'the secondary takes over with a disk that failed');
  }

  saidAt(epoch: Epoch): number[] {
    return [...(this.#truths.get(epoch)?.said ?? [])];
  }

  checkRunning(side: SideView, guest: FakeGuest, disk: readonly number[]): void {
    this.count('takeovers of a guest that ran');
    this.#answersAtTakeover = guest.answers;
    for (const [index, hash] of this.clients.seen) {
      if (guest.said[index] === hash) continue;
      throw new Violation('C.2', `clients saw answer ${index}, which the guest that takes over never gave`);
    }
    if (guest.blocks.some((value, block) => value !== disk[block])) {
      throw new Violation('C.3', 'the disk is not what the guest that takes over wrote');
    }
    if (side.diskFailureKnown) throw new Violation('A.7', 'the secondary takes over with a disk that failed');
  }

  /** B.12: the guest's clock is where the primary's would be. */
  checkClock(stoppedArrivedAt: number, epoch: Epoch, guestClock: number): void {
    if (!this.clocksHonest) return;
    const truth = this.#truths.get(epoch) as Truth;
    const { primary } = this;
    const wouldBe = primary.now + primary.guestClockOffset;
    const behind = wouldBe - guestClock;
    const passed = this.agenda.now - truth.at;
    const limit = stoppedArrivedAt - truth.at + passed * 0.45 + 2;
    if (behind > limit || behind < -(passed * 0.45 + 2)) {
      throw new Violation('B.12', `the guest's clock is ${behind.toFixed(1)} ms behind where it goes on`);
    }
  }

  /** B.15: no packet on its way is lost at a takeover. */
  resumed(expectedInputs: number, replayed: number, guest: FakeGuest, waiting: readonly Answer[]): void {
    this.count('takeovers');
    if (replayed !== expectedInputs) {
      throw new Violation('B.15', `${expectedInputs} packets were to enter the survivor's guest, ${replayed} did`);
    }
    for (let index = 0; index < this.#answersAtTakeover; index++) {
      if (this.lineage.released.has(index) || waiting.some((answer) => answer.index === index)) continue;
      throw new Violation('B.15', `answer ${index} was held by the primary, and nobody sent it`);
    }
    if (guest.ended) return;
    for (const { client, number } of this.clients.acknowledged()) {
      if (guest.knows(client, number)) continue;
      throw new Violation(
        'B.2',
        `client ${client} was told that question ${number} was received: the survivor has it not`,
      );
    }
  }

  /** C.3: what a flush promised is durable. */
  checkDurable(durable: readonly number[], expected: readonly number[], newest: readonly number[]): void {
    newest.forEach((value, block) => {
      if (durable[block] !== value && durable[block] !== expected[block]) {
        throw new Violation('C.3', `the survivor's flush is answered, and block ${block} is not durable`);
      }
    });
    this.count("survivor's flushes");
  }

  /** The other side has taken the clients over. */
  servedElsewhere(side: SideView): boolean {
    return side.role === 'primary' && this.liveAt !== undefined;
  }

  /** A gate is opened for good: this side is alone. */
  opened(side: SideView): void {
    for (const other of this.lineage.worlds.flatMap(({ primary, secondary }) => [primary, secondary])) {
      if (other === side || other.dead || other.gate.mode !== 'direct') continue;
      throw new Violation('C.1', `${side.role} opens its gate, and ${other.role}'s is open`);
    }
    if (side.role === 'secondary') this.liveAt = this.agenda.now;
    this.speaks(side);
  }

  gaveUp(): void {
    this.#gaveUp = true;
  }

  speaks(side: SideView): void {
    if (side.role === 'primary' && this.#gaveUp) {
      throw new Violation('C.1', 'the primary sends, and said that it is silent for good');
    }
    const { term } = side.core;
    if (term > side.durableTerm)
      throw new Violation('B.6', `${side.role} speaks in term ${term}, which is not on its disk`);
    const { speakers } = this.lineage;
    const speaker = speakers.get(term) ?? side.holder;
    speakers.set(term, speaker);
    if (speaker !== side.holder) {
      throw new Violation('C.1', `${side.role} speaks in term ${term}, in which another process spoke`);
    }
    const later = speakers.get(term + 1);
    if (later !== undefined && later !== side.holder && this.clocksHonest) {
      throw new Violation('C.1', `${side.role} speaks in term ${term}, and another process spoke in the next one`);
    }
    if (side.role === 'primary' && this.liveAt !== undefined && this.clocksHonest) {
      throw new Violation('C.1', `the primary sends, and the secondary is live since ${this.liveAt.toFixed(1)} ms`);
    }
  }

  /** An answer goes out to the network. */
  spoken(side: SideView, answer: Answer): void {
    this.speaks(side);
    if (answer.ack === 0) {
      if (side.role === 'primary' && side.gate.mode === 'holding') this.#checkCommitted(answer);
      this.lineage.released.add(answer.index);
    }
    this.agenda.after(0.2, () => this.clients.hear(answer));
  }

  /** B.2, at the very write: a side that may take over has said it, or stands at a checkpoint that has. */
  #checkCommitted({ index, hash }: Answer): void {
    const { core, secondary, guest } = this.secondary;
    if (!mayTakeOver.has(core.phase)) return;
    if (this.#truths.get(secondary.received)?.said[index] === hash) return;
    if ((secondary.guest !== 'none' || core.step === 'starting') && guest.said[index] === hash) return;
    throw new Violation('B.2', `the primary releases answer ${index}, and the secondary's guest never gave it`);
  }

  /** The primary did not keep to the bound of the disk log. */
  overran(): void {
    throw new Violation('A.7', 'the primary forwarded more than the disk log holds');
  }
}

function newLineage({ seed, faults, arbiter }: Schedule): Lineage<World> {
  return new Lineage<World>(faults, (lineage) => ({
    arbiter: new FakeArbiter(arbiter, lineage.agenda, new RandomStream(seed, 3)),
    clients: new Clients(
      lineage.agenda,
      new RandomStream(seed, 4),
      (request) => {
        lineage.agenda.after(0.3, () => {
          for (const { primary, secondary } of lineage.worlds) {
            primary.request(request);
            secondary.request(request);
          }
        });
      },
      () => lineage.clocksHonest,
    ),
  }));
}

/** In liveness mode, what may still happen once one side is to be well. */
function sparesHealthy(fault: Fault, side: Role): boolean {
  if (fault.kind.startsWith('arbiter') || fault.kind.startsWith('guest') || fault.kind.startsWith('asked'))
    return false;
  if (fault.kind === 'clock-jumps' || fault.kind === 'clock-rate') return false;
  if (fault.kind === 'link-slow' || fault.kind === 'link-fades') return false;
  if (fault.kind === 'hostile-peer') return true;
  return (
    fault.side !== side ||
    fault.kind === 'link-cut' ||
    fault.kind === 'card-stalls' ||
    fault.kind === 'direction-cut' ||
    fault.kind === 'connection-breaks'
  );
}
