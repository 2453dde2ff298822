import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { Agenda } from '../fakes/agenda.ts';
import type { Clients } from '../fakes/clients.ts';
import type { Answer, FakeGuest } from '../fakes/fake-guest.ts';
import type { SideView } from '../side-view.ts';
import type { CheckpointTruths, Truth } from './checkpoint-truths.ts';
import { Violation } from './violation.ts';

/** The pair in which somebody takes over, and what outlives it. */
interface Pair {
  readonly agenda: Agenda;
  readonly clients: Clients;
  readonly clocksHonest: boolean;
  readonly primary: SideView;
  readonly truths: CheckpointTruths;
  readonly lineage: { readonly released: ReadonlySet<number> };
  count(what: string): void;
}

/** What must hold when S takes over: its history has what clients saw, its clock goes on, and nothing on its way is lost. */
export class Takeovers {
  readonly #pair: Pair;
  #answersAtTakeover = 0;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  /** C.2, C.3: the checkpoint that S takes over from contains what clients saw. */
  checkCheckpoint(
    side: SideView,
    epoch: Epoch,
    ram: readonly number[],
    state: readonly number[],
    disk: readonly number[],
  ): void {
    const { truths, clients } = this.#pair;
    truths.checkEqual(epoch, ram, state, disk);
    const { answers } = truths.at(epoch) as Truth;
    this.#answersAtTakeover = answers;
    if (clients.highestSeen >= answers) {
      throw new Violation(
        'C.2',
        `clients saw answer ${clients.highestSeen}, and checkpoint ${epoch}, from which the secondary takes over, has ${answers}`,
      );
    }
    checkDiskWorks(side);
  }

  /** The same of a guest that ran: its history has all that clients saw, and its disk is what it wrote. */
  checkRunning(side: SideView, guest: FakeGuest, disk: readonly number[]): void {
    this.#pair.count('takeovers of a guest that ran');
    this.#answersAtTakeover = guest.answers;
    for (const [index, hash] of this.#pair.clients.seen) {
      if (guest.said[index] === hash) continue;
      throw new Violation('C.2', `clients saw answer ${index}, which the guest that takes over never gave`);
    }
    if (guest.blocks.some((value, block) => value !== disk[block])) {
      throw new Violation('C.3', 'the disk is not what the guest that takes over wrote');
    }
    checkDiskWorks(side);
  }

  /** B.12: the guest's clock is where the primary's would be. @param stoppedArrivedAt when S heard of the checkpoint's stop */
  checkClock(stoppedArrivedAt: number, epoch: Epoch, guestClock: number): void {
    const { agenda, primary, truths, clocksHonest } = this.#pair;
    if (!clocksHonest) return;
    const { at } = truths.at(epoch) as Truth;
    const wouldBe = primary.now + primary.guestClockOffset;
    const behind = wouldBe - guestClock;
    const passed = agenda.now - at;
    const limit = stoppedArrivedAt - at + passed * 0.45 + 2;
    if (behind > limit || behind < -(passed * 0.45 + 2)) {
      throw new Violation('B.12', `the guest's clock is ${behind.toFixed(1)} ms behind where it goes on`);
    }
  }

  /** B.15: no packet on its way is lost. B.2: nor is a question that a client was told to be received. */
  checkResumed(expectedInputs: number, replayed: number, guest: FakeGuest, waiting: readonly Answer[]): void {
    const { lineage, clients } = this.#pair;
    this.#pair.count('takeovers');
    if (replayed !== expectedInputs) {
      throw new Violation('B.15', `${expectedInputs} packets were to enter the survivor's guest, ${replayed} did`);
    }
    for (let index = 0; index < this.#answersAtTakeover; index++) {
      if (lineage.released.has(index) || waiting.some((answer) => answer.index === index)) continue;
      throw new Violation('B.15', `answer ${index} was held by the primary, and nobody sent it`);
    }
    if (guest.ended) return;
    for (const { client, number } of clients.acknowledged()) {
      if (guest.knows(client, number)) continue;
      throw new Violation(
        'B.2',
        `client ${client} was told that question ${number} was received: the survivor has it not`,
      );
    }
  }

  /** B.15: nobody but the survivor's guest can answer what came since its primary was lost. */
  checkArrived(sinceLoss: number, entering: number): void {
    if (sinceLoss > 0) this.#pair.count('takeovers during which questions came');
    if (entering === sinceLoss) return;
    throw new Violation(
      'B.15',
      `${sinceLoss} questions came since the primary was lost, the survivor's guest gets ${entering}`,
    );
  }

  /** C.3: what a flush promised is durable. */
  checkDurable(durable: readonly number[], expected: readonly number[], newest: readonly number[]): void {
    newest.forEach((value, block) => {
      if (durable[block] !== value && durable[block] !== expected[block]) {
        throw new Violation('C.3', `the survivor's flush is answered, and block ${block} is not durable`);
      }
    });
    this.#pair.count("survivor's flushes");
  }
}

function checkDiskWorks(side: SideView): void {
  if (side.diskFailureKnown) throw new Violation('A.7', 'the secondary takes over with a disk that failed');
}
