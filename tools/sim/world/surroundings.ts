import type { Gate } from '../../../src/colo/core/epochs/gate.ts';
import type { Notice } from '../../../src/colo/core/events.ts';
import type { RecoveryTimes } from '../../../src/colo/core/fencing/recovery.ts';
import type { History } from '../../../src/colo/disk/history/history.ts';
import type { Epoch, Role, Term } from '../../../src/colo/protocol/numbers.ts';
import type { Agenda } from './agenda.ts';
import type { FakeArbiter } from './arbiter.ts';
import type { ResyncRules } from './disk-history.ts';
import type { Answer, FakeGuest } from './fake-guest.ts';
import type { PeerNetwork } from './network.ts';
import type { RandomStream } from './random.ts';

/** What the world sees of a side. */
export interface SideView {
  readonly role: Role;
  /** The process, whatever its role has become. */
  readonly holder: object;
  readonly core: { readonly phase: string; readonly step: string; readonly term: Term };
  readonly gate: Gate<Answer>;
  readonly durableTerm: number;
  readonly diskFailureKnown: boolean;
  readonly dead: boolean;
  readonly now: number;
  readonly guestClockOffset: number;
}

/** What a side sees of the world, and tells it: the world checks each time what must hold. */
export interface Surroundings {
  readonly agenda: Agenda;
  readonly random: RandomStream;
  readonly network: PeerNetwork;
  readonly arbiter: FakeArbiter;
  /** Both guests may run. */
  readonly compares: boolean;
  /** How likely S's guest goes its own way with a question. */
  readonly divergence: number;
  /** Of a guest's own decisions. */
  randomOf(role: Role): RandomStream;
  readonly resyncRules: ResyncRules;
  /** Machines know what their disks were, from one pair to the next. */
  readonly remembers: boolean;
  readonly recoveryTimes: RecoveryTimes;
  /** Names a pairing, which no other one had. */
  newGeneration(): string;
  /** What the standby of this pair knows of its disk. */
  theirHistory(): History | undefined;
  /** Has the standby make durable what it has laid down, if it is reached; told whether all of that checkpoint is. */
  askDurable(epoch: Epoch, done: (isDurable: boolean) => void): void;
  /** Has the standby's disk be of that generation, if it is reached; told once it is. */
  renew(generation: string, done: () => void): void;
  readonly tracing: boolean;
  trace(who: { readonly role: string } | undefined, what: string): void;
  count(what: string): void;
  /** An effect is about to be done: anything may happen first. */
  before(side: SideView, kind: string): void;
  told(side: SideView, notice: Notice): void;

  captured(epoch: Epoch, guest: FakeGuest, state: readonly number[]): void;
  wasReset(): void;
  checkEqual(epoch: Epoch, ram: readonly number[], state: readonly number[], disk: readonly number[]): void;
  checkTakeover(
    side: SideView,
    epoch: Epoch,
    ram: readonly number[],
    state: readonly number[],
    disk: readonly number[],
  ): void;
  checkClock(stoppedArrivedAt: number, epoch: Epoch, guestClock: number): void;
  resumed(expectedInputs: number, replayed: number, guest: FakeGuest, waiting: readonly Answer[]): void;
  /** What the guest had said at this checkpoint. */
  saidAt(epoch: Epoch): number[];
  /** A takeover with a guest that ran: its history has all that clients saw, and its disk is what it wrote. */
  checkRunning(side: SideView, guest: FakeGuest, disk: readonly number[]): void;
  checkDurable(durable: readonly number[], expected: readonly number[], newest: readonly number[]): void;
  servedElsewhere(side: SideView): boolean;
  opened(side: SideView): void;
  /** The primary says that it is silent for good. */
  gaveUp(): void;
  speaks(side: SideView): void;
  spoken(side: SideView, answer: Answer): void;
  overran(): void;
}
