import { exitCode } from '../../src/vmm/vcpu/guest-end.ts';
import type { Etcd } from '../../test/support/etcd.ts';
import type { Clients } from './clients.ts';
import type { Hosts } from './host/hosts.ts';
import type { Starvation } from './host/processor-quota.ts';
import { longestRunDelay, runDelays } from './host/run-delay.ts';
import type { HostName, Narrowness, Network, Way } from './net/network.ts';
import type { Pair } from './pair/pair.ts';

export type Side = 'primary' | 'standby';

/** A service that has to be there is waited for so long. A busy host is no broken pair. */
export const patienceMs = 10_000;

export interface GroundParts {
  readonly network: Network;
  readonly hosts: Hosts;
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
  readonly #starved = new Set<HostName>();
  readonly #stopped = new Set<HostName>();
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
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#note('either side may go on');
  }

  /** See {@link becomesOpen}. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** For who reads what was done. */
  note(text: string): void {
    this.#note(text);
  }

  /** A number from 0 to below `limit`. */
  random(limit: number): number {
    return this.#parts.random(limit);
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

  /** That is left to its VMM. */
  starve(side: Side, left: Starvation): void {
    const host = this[side];
    const { share, periodMs } = left;
    this.#note(`the ${side} on host ${host} runs for ${(share * 100).toFixed(1)} % of each ${periodMs} ms`);
    this.#starved.add(host);
    this.#parts.hosts.starve(host, this.#parts.pair.vmm(host).pid, left);
  }

  feed(side: Side): void {
    const host = this[side];
    this.#parts.hosts.feed(host);
    this.#starved.delete(host);
    this.#note(`the ${side} on host ${host} has all processors again`);
  }

  /** Whatever it writes, its disk or its state, waits; so does its end, if it is killed then. */
  async stopDisk(side: Side): Promise<void> {
    const host = this[side];
    this.#stopped.add(host);
    await this.#parts.hosts.stopDisk(host);
    this.#note(`the disk of host ${host}, the ${side}'s, stands still`);
  }

  async letDiskGo(side: Side): Promise<void> {
    const host = this[side];
    await this.#parts.hosts.letDiskGo(host);
    this.#stopped.delete(host);
    this.#note(`the disk of host ${host}, the ${side}'s, goes on`);
  }

  /** What that side says to the other one finds a link that takes little. */
  async narrow(side: Side, narrowness: Narrowness): Promise<void> {
    const host = this[side];
    const { bitsPerSecond, roomBytes } = narrowness;
    this.#note(`the link from host ${host} takes ${bitsPerSecond / 1000} kbit/s, and ${roomBytes} bytes wait`);
    this.#cut.add(`link from ${host}`);
    await this.#parts.network.narrow(host, narrowness);
  }

  /** Somebody else on that side's host has so much to say to the other one. */
  async fill(side: Side, bytesPerSecond: number): Promise<void> {
    await this.#parts.network.fill(this[side], bytesPerSecond);
    this.#note(`somebody else on host ${this[side]} says ${(bytesPerSecond / 1000).toFixed(0)} kB/s`);
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
    await this.#parts.network.sendAway();
    if (this.#cut.size > 0) await this.restore(...this.#cut);
    for (const side of ['primary', 'standby'] as const) {
      if (this.#stopped.has(this[side])) await this.letDiskGo(side);
      if (this.#starved.has(this[side])) this.feed(side);
    }
    if (this.#arbiterFrozen) this.thawArbiter();
    for (const side of ['primary', 'standby'] as const) {
      if (this.#parts.pair.vmm(this[side]).isFrozen) this.thaw(side);
    }
  }

  /**
   * From now on: how long a thread of either side has waited for a processor, in ms, at most. This machine has other work.
   *
   * @returns that, until it is called
   */
  watchProcessors(): () => number {
    const vmms = ([this.primary, this.standby] as const).map((host) => this.#parts.pair.vmm(host));
    const before = vmms.map(({ pid }) => runDelays(pid));
    return () => Math.max(...vmms.map(({ pid }, index) => longestRunDelay(before[index] ?? new Map(), runDelays(pid))));
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
