import type { Notice } from '../../../src/colo/core/events.ts';
import type { RecoveryTimes } from '../../../src/colo/core/fencing/recovery.ts';
import { type Rules, specification } from '../../../src/colo/core/rules.ts';
import type { History } from '../../../src/colo/disk/history/history.ts';
import type { MachineShape } from '../../../src/colo/protocol/machine-shape.ts';
import { type Role, term } from '../../../src/colo/protocol/numbers.ts';
import type { Fault } from '../faults.ts';
import { simulatedRecovery } from '../simulated-settings.ts';
import type { Agenda } from './fakes/agenda.ts';
import type { FakeArbiter } from './fakes/arbiter.ts';
import type { Clients } from './fakes/clients.ts';
import type { Answer } from './fakes/fake-guest.ts';
import { PeerNetwork } from './fakes/network.ts';
import { RandomStream } from './fakes/random.ts';
import { sparesHealthy } from './faults/fault-plan.ts';
import { CheckpointTruths } from './invariants/checkpoint-truths.ts';
import { checkCommitted } from './invariants/output-commit.ts';
import { Speakers } from './invariants/speakers.ts';
import { Takeovers } from './invariants/takeovers.ts';
import { Violation } from './invariants/violation.ts';
import { Lineage } from './lineage.ts';
import { PrimarySide } from './primary/primary-side.ts';
import { type ResyncRules, resyncRules } from './resync/disk-history.ts';
import { StandbyLink } from './resync/standby-link.ts';
import type { Schedule, WorldOptions } from './schedule.ts';
import { SecondarySide } from './secondary/secondary-side.ts';
import type { StandingBy } from './side/legacy.ts';
import { type MachineRules, machineRules } from './side/machine-rules.ts';
import type { SideView } from './side-view.ts';
import type { Surroundings } from './surroundings.ts';

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

const shape: MachineShape = {
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

/** Two hosts, what is between them, an arbiter and clients, and an eye on the invariants of spec section C. */
export class World implements Surroundings {
  readonly schedule: Schedule;
  readonly lineage: Lineage<World>;
  readonly rules: Rules;
  readonly resyncRules: ResyncRules;
  readonly machineRules: MachineRules;
  readonly recoveryTimes: RecoveryTimes;
  readonly random: RandomStream;
  readonly compares: boolean;
  readonly remembers: boolean;
  readonly divergence: number;
  readonly #guestRandom: Record<Role, RandomStream>;
  readonly network: PeerNetwork;
  readonly primary: PrimarySide;
  readonly secondary: SecondarySide;
  readonly standbyLink = new StandbyLink(this);
  readonly truths: CheckpointTruths;
  readonly takeovers = new Takeovers(this);
  readonly speakers = new Speakers(this);
  readonly counts: Map<string, number>;
  readonly #history: string[] | undefined;
  readonly #onEffect: WorldOptions['onEffect'];
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
    this.machineRules = options.machineRules ?? machineRules;
    this.recoveryTimes = options.recoveryTimes ?? simulatedRecovery;
    this.schedule = schedule;
    this.counts = counts;
    this.#history = history;
    this.#onEffect = onEffect;
    const { seed, settings } = schedule;
    this.lineage = before?.lineage ?? new Lineage<World>(schedule);
    const salt = 1000 * this.lineage.worlds.length;
    this.lineage.worlds.push(this);
    this.random = new RandomStream(seed, salt + 1);
    this.#guestRandom = { primary: new RandomStream(seed, salt + 5), secondary: new RandomStream(seed, salt + 6) };
    this.compares = settings.compares;
    this.remembers = schedule.life !== undefined;
    this.divergence = new RandomStream(seed, salt + 7).pick([0, 0, 0.03, 0.3]);
    this.network = new PeerNetwork(this.agenda, new RandomStream(seed, salt + 2), schedule.asBytes);
    this.truths = new CheckpointTruths(
      () => this.agenda.now,
      (what) => this.count(what),
    );
    const parts = { pair: 'web', shape, settings, rules };
    if (before === undefined) this.primary = new PrimarySide(this, { ...parts, insists: true, term: term(1) }, rules);
    else {
      const { survivor } = before;
      const core = survivor instanceof PrimarySide ? survivor.primary : undefined;
      const options = { ...parts, insists: true, term: term(survivor.durableTerm) };
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

  before(side: SideView, kind: string): void {
    const { faults } = this.lineage;
    faults.effects++;
    this.#onEffect?.(faults.effects, kind);
    faults.before(side.role, kind, this.#strikeCurrent);
  }

  /** Once for all effects. A fault befalls the pair that is, also if it was due in an earlier one. */
  readonly #strikeCurrent = (fault: Fault): void => this.lineage.current.#strike(fault);

  #strike(fault: Fault): void {
    const { healthy } = this.schedule;
    if (healthy !== undefined && this.agenda.now >= healthy.fromMs && !sparesHealthy(fault, healthy.side)) return;
    this.lineage.faults.applied++;
    this.trace(undefined, `-- ${fault.kind} (${fault.side})`);
    this.count(`fault: ${fault.kind}`);
    this.strike(fault);
  }

  // What the sides do

  told(side: SideView, notice: Notice): void {
    if (notice.kind === 'survivor') {
      this.count(`survivor: ${notice.role}`);
      this.lineage.failovers.push(this.agenda.now);
    }
    if (notice.kind === 'switched-over' && side.role === 'secondary') {
      this.count('switched over');
      if (this.secondary.guest.ended && !this.primary.guest.ended)
        throw new Violation(
          'B.7',
          'the roles were changed, and the guest had ended by itself on the side that has it now',
        );
      const { inputs, saidUnpaused } = this.primary;
      if (this.secondary.inputs !== inputs && !saidUnpaused)
        throw new Violation(
          'B.15',
          `the roles were changed, and of ${inputs} packets that the primary's guest got ${this.secondary.inputs} reached the secondary`,
        );
    }
    if (notice.kind === 'protected' && side.role === 'primary') this.speakers.checkAlone(side);
    if (notice.kind === 'protected') this.count(`protected: ${side.role}`);
    if (notice.kind === 'mode') this.count(`mode: ${notice.mode}`);
    this.notice(side.role, notice);
  }

  wasReset(): void {
    this.truths.wasReset();
    this.clients.connectionsLost();
  }

  spoken(side: SideView, answer: Answer): void {
    this.speakers.speaks(side);
    if (answer.ack === 0) {
      if (side.role === 'primary' && side.gate.mode === 'holding') checkCommitted(answer, this.secondary, this.truths);
      this.lineage.released.add(answer.index);
    }
    this.agenda.after(0.2, () => this.clients.hear(answer));
  }
}
