import type { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { CommonEvent, SecondaryEvent } from '../../../../src/colo/core/events.ts';
import type { Secondary } from '../../../../src/colo/core/secondary/secondary.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { FakeDisk } from '../fakes/fake-disk.ts';
import type { Answer, DiskRequest, FakeGuest, Request } from '../fakes/fake-guest.ts';
import type { DiskHistory } from '../resync/disk-history.ts';
import type { Progress } from '../side/progress.ts';
import type { SideView } from '../side-view.ts';
import type { Surroundings } from '../surroundings.ts';

/** S's process, as its parts see it. */
export interface SecondaryProcess extends SideView {
  readonly world: Surroundings;
  readonly secondary: Secondary;
  readonly progress: Progress;
  readonly gate: Gate<Answer>;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
  readonly session: number | undefined;
  guest: FakeGuest;
  guestClockOffset: number;
  guestRuns: boolean;
  /** It has taken over. */
  readonly live: boolean;
  /** No device takes its state. */
  readonly loadFails: boolean;
  /** Another one with each standby's beginning: what an earlier one planned does not happen. */
  readonly generation: number;
  process(run: () => void): void;
  post(event: SecondaryEvent | CommonEvent): void;
  send(message: Message): void;
  newGuest(): FakeGuest;
  /** The guest takes a question from the network. */
  give(request: Request): void;
  /** The guest's answer goes to the gate. Its number there. */
  output(answer: Answer, epoch?: Epoch): number;
  completed(request: DiskRequest): void;
  diskFailed(error: string): void;
  /** What a reader of S's disk finds with the log's writes up to this epoch. */
  diskView(through: number, withOwn?: boolean): number[];
}
