import type { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import type { CommonEvent, PrimaryEvent } from '../../../../src/colo/core/events.ts';
import type { Primary } from '../../../../src/colo/core/primary/primary.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import type { Epoch, Mode } from '../../../../src/colo/protocol/numbers.ts';
import type { FakeDisk } from '../fakes/fake-disk.ts';
import type { Answer, DiskRequest, FakeGuest } from '../fakes/fake-guest.ts';
import type { DiskHistory } from '../resync/disk-history.ts';
import type { Progress } from '../side/progress.ts';
import type { TapWriter } from '../side/tap-writer.ts';
import type { Translation } from '../side/translation.ts';
import type { Surroundings } from '../surroundings.ts';

/** P's process, as its parts see it. */
export interface PrimaryProcess {
  readonly world: Surroundings;
  readonly primary: Primary;
  readonly progress: Progress;
  readonly guest: FakeGuest;
  readonly guestClockOffset: number;
  /** Of a survivor's guest into what clients know. */
  readonly translation: Translation;
  readonly disk: FakeDisk;
  readonly history: DiskHistory;
  readonly gate: Gate<Answer>;
  readonly tap: TapWriter;
  readonly dead: boolean;
  readonly session: number | undefined;
  /** What its clock shows. */
  readonly now: number;
  /** Writes are forwarded, packets mirrored. */
  readonly attached: boolean;
  /** The epoch that the io thread is in. */
  readonly epoch: Epoch;
  /** How output of that epoch leaves. */
  readonly mode: Mode;
  process(run: () => void): void;
  post(event: PrimaryEvent | CommonEvent): void;
  send(message: Message): void;
  /** The guest's answer goes to the gate. Its number there. */
  output(answer: Answer, epoch: Epoch): number;
  completed(request: DiskRequest): void;
  diskFailed(error: string): void;
}
