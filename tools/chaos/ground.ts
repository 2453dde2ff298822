import { exitCode } from '../../src/vmm/vcpu/guest-end.ts';
import type { Etcd } from '../../test/support/etcd.ts';
import type { Clients } from './clients.ts';
import type { HostName, Network, Way } from './net/network.ts';
import type { Pair } from './pair/pair.ts';

export type Side = 'primary' | 'standby';

/** A service that has to be there is waited for so long. A busy host is no broken pair. */
export const patienceMs = 10_000;

export interface GroundParts {
  readonly network: Network;
  readonly arbiter: Etcd;
  readonly pair: Pair;
  readonly clients: Clients;
  /** A number from 0 to below `limit`. */
  readonly random: (limit: number) => number;
  readonly detectionMs: number;
}

/** A pair with all around it, as a fault has it in hand. What is done is written down. */
export class Ground {
  readonly violations: string[] = [];
  readonly #parts: GroundParts;
  readonly #note: (text: string) => void;
  readonly #cut = new Set<Way>();
  #arbiterFrozen = false;
  #isOpen = false;

  constructor(parts: GroundParts, note: (text: string) => void) {
    this.#parts = parts;
    this.#note = note;
  }

  get detectionMs(): number {
    return this.#parts.detectionMs;
  }

  get primary(): HostName {
    return this.#parts.pair.primaryHost;
  }

  get standby(): HostName {
    return this.#parts.pair.standbyHost;
  }

  violate(text: string): void {
    this.#note(`VIOLATION: ${text}`);
    this.violations.push(text);
  }

  /** The fault could not happen as it should: either side may go on, whatever it says. */
  becomesOpen(): void {
    this.#isOpen = true;
    this.#note('too late for the rest');
  }

  /** See {@link becomesOpen}. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Some time from `leastMs` to `mostMs`. */
  async wait(leastMs: number, mostMs: number): Promise<void> {
    const ms = leastMs + this.#parts.random(Math.max(1, Math.round(mostMs - leastMs)));
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** Kill -9. Returns when it is gone. */
  async kill(side: Side): Promise<void> {
    const host = this[side];
    this.#note(`the ${side} on host ${host} is killed`);
    await this.#parts.pair.vmm(host).kill();
  }

  /** As an operator does: SIGTERM. Returns when it is gone. */
  async end(side: Side): Promise<void> {
    const host = this[side];
    this.#note(`the ${side} on host ${host} is told to end`);
    await this.#parts.pair.vmm(host).end();
  }

  /** The standby is told to take over from a primary that is well. */
  async handOver(): Promise<void> {
    this.#note(`the standby on host ${this.standby} is told to take over`);
    await this.#parts.pair.vmm(this.standby).command('x-colo-failover');
  }

  /** The primary is told to change roles. It ends when that is done, or goes on if it cannot be. */
  async switchOver(): Promise<void> {
    this.#note(`the primary on host ${this.primary} is told to change roles`);
    const vmm = this.#parts.pair.vmm(this.primary);
    vmm.mayEndWith(exitCode.handedOver);
    await vmm.command('x-colo-switchover');
  }

  freeze(side: Side): void {
    const host = this[side];
    this.#note(`the ${side} on host ${host} is frozen`);
    this.#parts.pair.vmm(host).freeze();
  }

  thaw(side: Side): void {
    const host = this[side];
    this.#parts.pair.vmm(host).thaw();
    this.#note(`the ${side} on host ${host} is thawed`);
  }

  freezeArbiter(): void {
    this.#note('the arbiter is frozen');
    this.#parts.arbiter.freeze();
    this.#arbiterFrozen = true;
  }

  thawArbiter(): void {
    this.#parts.arbiter.thaw();
    this.#arbiterFrozen = false;
    this.#note('the arbiter is thawed');
  }

  async cut(...ways: Way[]): Promise<void> {
    this.#note(`cut: ${ways.join(', ')}`);
    for (const way of ways) this.#cut.add(way);
    await this.#parts.network.cut(...ways);
  }

  async restore(...ways: Way[]): Promise<void> {
    await this.#parts.network.restore(...ways);
    for (const way of ways) this.#cut.delete(way);
    this.#note(`restored: ${ways.join(', ')}`);
  }

  /** Everything that is cut is whole again, and what is frozen goes on. */
  async mend(): Promise<void> {
    if (this.#cut.size > 0) await this.restore(...this.#cut);
    if (this.#arbiterFrozen) this.thawArbiter();
    for (const side of ['primary', 'standby'] as const) {
      if (this.#parts.pair.vmm(this[side]).isFrozen) this.thaw(side);
    }
  }

  /** Waits until everybody who asks has been told something that they asked from now on. False: in vain. */
  async isServed(): Promise<boolean> {
    const { clients } = this.#parts;
    const asked = clients.asked;
    const deadline = performance.now() + patienceMs;
    while (performance.now() < deadline) {
      if (clients.answers >= asked + 1) return true;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return false;
  }
}
