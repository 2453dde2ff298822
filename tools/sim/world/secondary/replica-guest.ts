import type { Rules } from '../../../../src/colo/core/rules.ts';
import { type Epoch, next } from '../../../../src/colo/protocol/numbers.ts';
import { type Answer, type DiskRequest, type Request, toNumbers } from '../fakes/fake-guest.ts';
import { toBytes } from '../fakes/numbers-as-bytes.ts';
import { Translation, translationNumbers } from '../side/translation.ts';
import type { KeptPackets } from './kept-packets.ts';
import type { OwnWrites } from './own-writes.ts';
import type { Replica } from './replica.ts';
import type { SecondaryProcess } from './secondary-process.ts';

/** S's guest: it runs from a checkpoint, compared and now and then going its own way, or takes over from one. */
export class ReplicaGuest {
  readonly #side: SecondaryProcess;
  readonly #rules: Rules;
  readonly #replica: Replica;
  readonly #own: OwnWrites;
  readonly #kept: KeptPackets;
  readonly translation: Translation;
  /** Of the open epoch, how many of what the guest said are forgotten. */
  #forgotten = 0;
  /** Requests that disks completed while it was stopped. */
  #deferred: DiskRequest[] = [];
  /** It has ended, and its core has not been told yet; and it is being paused. */
  #endIsUntold = false;
  #isPausing = false;
  /** When each checkpoint's VMSTATE_SEND arrived. */
  readonly #arrivals = new Map<Epoch, number>();

  constructor(side: SecondaryProcess, rules: Rules, replica: Replica, own: OwnWrites, kept: KeptPackets) {
    this.#side = side;
    this.#rules = rules;
    this.#replica = replica;
    this.#own = own;
    this.#kept = kept;
    this.translation = new Translation(rules);
  }

  /** P's guest was stopped for that checkpoint, and S has heard of it. */
  stopArrived(epoch: Epoch): void {
    this.#arrivals.set(epoch, this.#side.world.agenda.now);
  }

  /** Comparing: it runs from this checkpoint. */
  start(epoch: Epoch, stoppedAt: number): void {
    const side = this.#side;
    const { world, generation } = side;
    const before = side.guest;
    const clock = this.#load(epoch);
    if (!this.#rules.rollsBack) {
      const brought = this.#replica.broughtPages();
      for (const page of before.dirty) if (!brought.has(page)) side.guest.pages[page] = before.pages[page] as number;
    }
    world.truths.checkEqual(epoch, side.guest.pages, this.#replica.state, side.diskView(epoch));
    this.#setClock(epoch, clock, stoppedAt);
    side.guestRuns = true;
    world.count("starts of the secondary's guest");
    this.#own.pump();
    world.agenda.after(world.random.between(0.2, 2), () => {
      if (generation === side.generation) side.post({ kind: 'started', epoch });
    });
  }

  /** It is being paused, which takes its time: what it did until then its core may not know yet. */
  pause(): void {
    const { world, generation } = this.#side;
    const guest = this.#side.guest;
    this.#isPausing = true;
    world.agenda.after(world.randomOf('secondary').between(0.05, 3), () => {
      if (generation === this.#side.generation && guest === this.#side.guest) this.finishPause();
    });
  }

  /** What is done with the machine next waits for that. */
  finishPause(): void {
    this.#tellEnd();
    if (!this.#isPausing) return;
    this.#isPausing = false;
    this.#side.post({ kind: 'guest-paused' });
  }

  /** Nobody asks for it any more. */
  forgetPause(): void {
    this.#isPausing = false;
    this.#endIsUntold = false;
  }

  /** A takeover from this checkpoint: none that runs has what clients saw. */
  revive(epoch: Epoch, stoppedAt: number): void {
    const side = this.#side;
    const { ram, state } = this.#replica;
    side.world.takeovers.checkCheckpoint(side, epoch, ram, state, side.diskView(Number.POSITIVE_INFINITY));
    this.#setClock(epoch, this.#load(epoch), stoppedAt);
  }

  /** A takeover with the guest that runs: it is stopped, and its clocks go on. */
  hold(): void {
    const side = this.#side;
    const { world } = side;
    this.finishPause();
    world.takeovers.checkRunning(side, side.guest, side.diskView(Number.POSITIVE_INFINITY));
    if (!this.#rules.sendsOwn) side.gate.clear();
    const { received } = side.secondary;
    if (received === 0) world.count('takeovers in the first epoch that was compared');
    this.#checkClock(received);
  }

  /** It is a takeover, and nothing is left to do before it runs. */
  resume(): void {
    const side = this.#side;
    const completed = this.#deferred;
    this.#deferred = [];
    for (const request of completed) side.completed(request);
    const expected = this.#kept.expectedAfter(side.secondary.received);
    side.world.takeovers.checkResumed(expected, this.#kept.replayed, side.guest, side.gate.waiting());
    this.#own.pump();
    if (side.guest.ended) side.post({ kind: 'guest-ended', exitCode: 0 });
  }

  /** A disk completed it while the guest is stopped. */
  defer(request: DiskRequest): void {
    this.#deferred.push(request);
  }

  /** A question enters it. While it is compared, it may go its own way with that. */
  enter(request: Request): void {
    const side = this.#side;
    const { world, guest } = side;
    this.translation.learn(request, guest);
    const random = world.randomOf('secondary');
    if (!side.live && !guest.ended && random.chance(world.divergence)) {
      world.count('divergences');
      if (random.chance(0.2)) {
        this.#ends();
        return;
      }
      guest.diverge();
    }
    side.give(request);
  }

  /** Its core is told a while later, but before anything else is done with the machine. */
  #ends(): void {
    const side = this.#side;
    const { guest, world, generation } = side;
    guest.ended = true;
    this.#endIsUntold = true;
    world.agenda.after(world.randomOf('secondary').between(0, 3), () => {
      if (generation === side.generation && guest === side.guest) this.#tellEnd();
    });
  }

  #tellEnd(): void {
    if (!this.#endIsUntold) return;
    this.#endIsUntold = false;
    this.#side.post({ kind: 'guest-ended', exitCode: 2 });
  }

  /** It said something, in its own sequence numbers: so it goes to clients, or waits and is compared by P. */
  said(answer: Answer): void {
    const side = this.#side;
    const translated = this.translation.translate(answer);
    if (side.live) {
      side.output(translated);
      return;
    }
    const epoch = next(side.secondary.received);
    side.output(translated, epoch);
    side.send({ kind: 'secondary-output', epoch, card: 0, data: toBytes(toNumbers(translated)) });
  }

  /** P has confirmed so many of what it said in the open epoch. */
  forgetSaid(items: number): void {
    this.#side.gate.forget(items - this.#forgotten);
    this.#forgotten = Math.max(this.#forgotten, items);
  }

  /** A guest as it was at that checkpoint; its clock. */
  #load(epoch: Epoch): number {
    const side = this.#side;
    const guest = side.newGuest();
    side.guest = guest;
    const { state } = this.#replica;
    const clock = guest.load(state.slice(translationNumbers));
    guest.pages = [...this.#replica.ram];
    guest.said = side.world.truths.saidAt(epoch);
    guest.dirty.clear();
    this.#own.clear();
    this.#own.forgetFlushes();
    this.#deferred = [];
    side.gate.clear();
    this.#forgotten = 0;
    this.#kept.guestLoaded();
    this.translation.checkpoint(state);
    return clock;
  }

  #setClock(epoch: Epoch, clock: number, stoppedAt: number): void {
    const side = this.#side;
    side.guestClockOffset = clock + this.#rules.clockMove(stoppedAt, side.now) - side.now;
    this.#checkClock(epoch);
  }

  #checkClock(epoch: Epoch): void {
    const { world, now, guestClockOffset } = this.#side;
    world.takeovers.checkClock(this.#arrivals.get(epoch) ?? 0, epoch, now + guestClockOffset);
  }
}
