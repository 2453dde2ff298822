import type { Role } from '../../../../src/colo/protocol/numbers.ts';
import type { Surroundings } from '../surroundings.ts';
import { EventQueue, type Thread } from './event-queue.ts';
import { Progress } from './progress.ts';

/** A process on a host, and what may befall it: it is frozen, a thread of it hangs, it is killed, its host loses its power. */
export abstract class HostProcess<Step> implements Thread<Step> {
  readonly world: Surroundings;
  readonly role: Role;
  readonly progress: Progress;
  protected readonly queue = new EventQueue<Step>(this);
  /** The process is gone. */
  dead = false;
  frozen = false;
  /** A thread does not turn: nothing is vouched for. */
  hung = false;
  unwellSince = Number.POSITIVE_INFINITY;
  /** What it said before it became unwell arrives until then. */
  heardUntil = 0;

  constructor(world: Surroundings, role: Role) {
    this.world = world;
    this.role = role;
    this.progress = new Progress(world.agenda, role, (place) => world.count(place));
  }

  abstract before(step: Step): void;
  abstract execute(step: Step): void;

  get isHalted(): boolean {
    return this.dead || this.frozen;
  }

  get isWell(): boolean {
    return !this.dead && !this.frozen && !this.hung;
  }

  /** Runs it once everything before it is done; while the process is frozen, later. */
  process(run: () => void): void {
    if (!this.dead) this.queue.push(run);
  }

  freeze(durationMs: number): void {
    if (this.dead || this.frozen) return;
    this.frozen = true;
    this.unwell();
    this.world.agenda.after(durationMs, () => this.thaw());
  }

  thaw(): void {
    if (this.dead || !this.frozen) return;
    this.frozen = false;
    this.well();
    this.queue.pump();
  }

  unwell(): void {
    if (this.unwellSince !== Number.POSITIVE_INFINITY) return;
    this.unwellSince = this.world.agenda.now;
    this.heardUntil = this.world.network.latestArrival[this.role];
  }

  well(): void {
    if (this.frozen || this.hung) return;
    this.unwellSince = Number.POSITIVE_INFINITY;
    this.progress.restart();
  }

  /** The process ends; `closes`: there is still a kernel, which closes its connections. */
  die(closes: boolean): void {
    if (this.dead) return;
    this.dead = true;
    this.unwell();
    if (closes) this.world.network.close(this.role);
    else this.world.network.powerLost(this.role);
  }
}
