import { setTimeout as sleep } from 'node:timers/promises';
import type { SecondaryEvent } from '../../core/events.ts';
import type { Epoch } from '../../protocol/numbers.ts';
import { roundTripTicks } from '../../translate/settings.ts';
import type { Calls } from '../calls.ts';
import type { EventLog } from '../event-log.ts';
import type { Lane } from '../lane.ts';
import type { ColoCalls, SecondaryMachineCalls } from '../machine-calls.ts';
import type { Attachment } from './attachment.ts';
import type { OwnHistory } from './own-history.ts';

/** A takeover waits no longer until it is forgotten which disks were alike, ms. */
const forgettingMs = 250;

/** The side that takes over, as the steps of it see that. */
export interface TakingOver {
  readonly calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly lane: Lane;
  readonly log: EventLog;
  readonly history: OwnHistory;
  /** What holds the checkpoint that the guest goes on from. */
  readonly attached: () => Attachment | undefined;
  readonly post: (event: SecondaryEvent) => void;
  /** The side is as it is for that reason. */
  readonly become: (why: string) => void;
  /** The guest runs here. */
  readonly speaks: (attached: Attachment) => void;
}

/**
 * What a takeover does to the machine (spec A.4, B.12, B.15), a step at a time in the order that the core says. Once one fails there is
 * no guest to go on with: the machine may hold the state of another checkpoint than its RAM and disks, or none, and it must not run, nor
 * send what was kept.
 */
export class TakeoverSteps {
  readonly #side: TakingOver;
  /** The guest of the checkpoint that was taken over had ended. */
  #endedWith: number | undefined;
  /** A step failed: nothing more is done with the machine. */
  #isLost = false;
  #doing = 'it begins';
  #sentAgain = 0;

  constructor(side: TakingOver) {
    this.#side = side;
  }

  /** What is being done, for a person. */
  get doing(): string {
    return this.#doing;
  }

  /** Packets that left here and that P may have sent before. */
  get sentAgain(): number {
    return this.#sentAgain;
  }

  /** Device state into the machine, whose RAM is in place. */
  revive(epoch: Epoch, stoppedAt: number): void {
    this.#step(async (attached) => {
      await this.#takeDisks(attached);
      const state = attached.pages.stateOf(epoch);
      const { calls, log } = this.#side;
      const { loadMs, movedMs, exitCode } = await calls.call('revive', { state, stoppedAt });
      this.#endedWith = exitCode;
      log.add('takeover', `epoch ${epoch} loaded in ${loadMs.toFixed(1)} ms; clock moved ${movedMs.toFixed(0)} ms`);
    });
  }

  /** Comparing: the guest runs here already, and goes on as if it had always been this one. */
  hold(): void {
    this.#step(async (attached) => {
      const { exitCode } = await this.#side.calls.call('hold', undefined);
      this.#endedWith = exitCode;
      await this.#takeDisks(attached);
      this.#side.log.add('takeover', 'its guest runs already');
    });
  }

  /** What its guest says and writes is its own from now on. */
  emerge(): void {
    this.#step(async ({ own, ran }) => {
      const { calls, log } = this.#side;
      const translation = ran && (own?.facts.flows ?? 0) > 0 ? own?.translation(roundTripTicks) : undefined;
      const flows = await calls.call('emerge', translation);
      own?.close();
      if (flows > 0) log.add('takeover', `${flows} connections go on with their old numbers`);
    });
  }

  /** Switches learn where it is. */
  announce(): void {
    this.#step(() => this.#side.calls.call('announce', undefined));
  }

  /** What P may not have sent leaves, and what its own guest said since. */
  sendKept(epoch: Epoch): void {
    this.#step(async ({ packets, own, ran }) => {
      const kept = await packets.sendKept(epoch);
      const said = ran ? ((await own?.speak()) ?? 0) : 0;
      this.#sentAgain = kept + said;
      this.#side.log.add('takeover', `${this.#sentAgain} kept packets sent`);
    });
  }

  /** What P's guest got since that checkpoint is given to this one. */
  replayInput(epoch: Epoch): void {
    this.#step(async ({ packets: kept, own, ran }) => {
      const packets = kept.inputsToReplay(epoch, ran ? own?.takeWaiting() : []);
      await this.#side.calls.call('replay', packets);
      this.#side.log.add('takeover', `${packets.count} packets given to the guest again`);
    });
  }

  resume(): void {
    this.#step(async (attached) => {
      const { calls, log, post, speaks } = this.#side;
      if (this.#endedWith !== undefined) {
        log.add('guest', 'it had ended, and there is nothing to run');
        post({ kind: 'guest-ended', exitCode: this.#endedWith });
        return;
      }
      await calls.call('resume', undefined);
      log.add('speaking', 'the guest runs here');
      post({ kind: 'guest-runs' });
      attached.pages.close();
      attached.disks.close();
      speaks(attached);
    });
  }

  async #takeDisks(attached: Attachment): Promise<void> {
    this.#doing = 'what its disks were sent is laid down';
    await attached.disks.laidDown();
    // Two waits for a disk at once: which of the two is durable first makes no difference.
    await Promise.all([attached.disks.handOver(), this.#keepChanges(attached)]);
    this.#doing = 'state and packets are given to it';
  }

  /** What this side's guest writes is to be found again. A takeover does not fail of it: then all is compared, the next time. */
  async #keepChanges(attached: Attachment): Promise<void> {
    const { changes } = attached;
    const { calls, history, log } = this.#side;
    try {
      if (changes !== undefined) {
        await calls.call('keepChanges', changes.shared);
        return;
      }
    } catch (error) {
      log.add('disk', `it will not be known what this side writes: ${(error as Error).message}`);
    }
    attached.changes = undefined;
    // A disk that hangs keeps no takeover waiting.
    await Promise.race([history.forget(), sleep(forgettingMs)]);
  }

  #step(step: (attached: Attachment) => void | Promise<void>): void {
    const { calls, lane, log, attached, become } = this.#side;
    lane.do(async () => {
      if (this.#isLost) return;
      try {
        const machine = attached();
        if (machine === undefined) throw new Error('there is no machine');
        await step(machine);
      } catch (error) {
        this.#isLost = true;
        const reason = `the takeover failed, and this side ends: ${(error as Error).message}`;
        become(reason);
        // The term is this side's already: nobody runs the guest.
        log.add('takeover', reason, 'fenced');
        await calls.call('exit', { exitCode: 1 });
      }
    });
  }
}
