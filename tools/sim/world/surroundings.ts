import type { Notice } from '../../../src/colo/core/events.ts';
import type { RecoveryTimes } from '../../../src/colo/core/fencing/recovery.ts';
import type { Role } from '../../../src/colo/protocol/numbers.ts';
import type { Agenda } from './fakes/agenda.ts';
import type { FakeArbiter } from './fakes/arbiter.ts';
import type { Answer } from './fakes/fake-guest.ts';
import type { PeerNetwork } from './fakes/network.ts';
import type { RandomStream } from './fakes/random.ts';
import type { CheckpointTruths } from './invariants/checkpoint-truths.ts';
import type { Speakers } from './invariants/speakers.ts';
import type { Takeovers } from './invariants/takeovers.ts';
import type { ResyncRules } from './resync/disk-history.ts';
import type { StandbyLink } from './resync/standby-link.ts';
import type { MachineRules } from './side/machine-rules.ts';
import type { SideView } from './side-view.ts';

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
  readonly machineRules: MachineRules;
  /** Machines know what their disks were, from one pair to the next. */
  readonly remembers: boolean;
  readonly recoveryTimes: RecoveryTimes;
  readonly standbyLink: StandbyLink;
  readonly tracing: boolean;
  trace(who: { readonly role: string } | undefined, what: string): void;
  count(what: string): void;

  /** What must hold (spec section C): of checkpoints, of a takeover, and of who speaks to clients. */
  readonly truths: CheckpointTruths;
  readonly takeovers: Takeovers;
  readonly speakers: Speakers;
  /** An effect is about to be done: anything may happen first. */
  before(side: SideView, kind: string): void;
  told(side: SideView, notice: Notice): void;
  /** An answer goes out to the network. */
  spoken(side: SideView, answer: Answer): void;
  /** The primary's guest was reset. */
  wasReset(): void;
}
