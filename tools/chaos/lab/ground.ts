import type { ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import type { LabPair, Side } from '../../demo/lab-pair.ts';
import type { LinkCondition } from '../../lab/network.ts';

export type Role = 'primary' | 'standby';

/** A pair in the lab, as a fault has it in hand. What is done is written down, and what the sides say of themselves. */
export class LabGround {
  readonly #violations: string[] = [];
  readonly #pair: LabPair;
  readonly #note: (text: string) => void;
  readonly #status: Partial<Record<Side, ColoStatus>> = {};
  readonly #gone = new Set<Side>();
  readonly #arbiterRules: string[] = [];
  /** By how many seconds clocks are wrong. */
  readonly #steppedClocks = new Map<Side, number>();

  constructor(pair: LabPair, note: (text: string) => void) {
    this.#pair = pair;
    this.#note = note;
  }

  side(role: Role): Side {
    return this.#pair[role];
  }

  /** What that side said of itself last; undefined: nothing since something was done to it. */
  status(role: Role): ColoStatus | undefined {
    return this.#status[this.side(role)];
  }

  /** Its process, or its host, is no more. */
  isGone(role: Role): boolean {
    return this.#gone.has(this.side(role));
  }

  heard(side: Side, status: ColoStatus): void {
    if (this.#status[side]?.headline !== status.headline) {
      const role = side === this.#pair.primary ? 'primary' : 'standby';
      this.#note(`the ${role} is ${status.headline}: ${status.why}`);
    }
    this.#status[side] = status;
  }

  /** What the sides said before is of before. */
  forgetStatus(): void {
    delete this.#status.a;
    delete this.#status.b;
  }

  violate(text: string): void {
    this.#note(`VIOLATION: ${text}`);
    this.#violations.push(text);
  }

  /** What was wrong since this was last asked. */
  takeViolations(): string[] {
    return this.#violations.splice(0);
  }

  /** Another process, or another host, is there in place of the one that was. */
  isBack(role: Role): void {
    this.#forget(role, 'place is taken again');
    this.#gone.delete(this.side(role));
  }

  async kill(role: Role): Promise<void> {
    await this.#vmm(role, 'SIGKILL');
    this.#lose(role, 'process is killed');
  }

  async powerLoss(role: Role): Promise<void> {
    await this.#pair.host(this.side(role)).powerLoss();
    this.#lose(role, 'host loses its power');
  }

  async freeze(role: Role): Promise<void> {
    await this.#vmm(role, 'SIGSTOP');
    this.#forget(role, 'process is frozen');
  }

  async thaw(role: Role): Promise<void> {
    this.#forget(role, 'process is thawed');
    await this.#vmm(role, 'SIGCONT');
  }

  async hang(role: Role): Promise<void> {
    await this.#pair.host(this.side(role)).hang();
    this.#forget(role, 'host is frozen');
  }

  async unhang(role: Role): Promise<void> {
    this.#forget(role, 'host is thawed');
    await this.#pair.host(this.side(role)).unhang();
  }

  /** Nothing that these say comes to the other one any more. */
  async cutLink(...roles: readonly Role[]): Promise<void> {
    for (const role of roles) {
      const to = role === 'primary' ? 'standby' : 'primary';
      await this.#pair.lab.network.cut({ from: this.#hostOf(role), to: this.#hostOf(to), oneWay: true });
      this.#note(`the link from the ${role} is cut`);
    }
  }

  /** What the two say to each other comes so, in both directions. */
  async degradeLink(condition: Partial<LinkCondition>): Promise<void> {
    const link = { from: this.#hostOf('primary'), to: this.#hostOf('standby') };
    await this.#pair.lab.network.degrade(link, condition);
    this.#note(`the link is ${JSON.stringify(condition)}`);
  }

  /** The host's clock of what time of day it is; no other one. */
  async stepClock(role: Role, seconds: number): Promise<void> {
    await this.#step(this.side(role), seconds);
    this.#steppedClocks.set(this.side(role), seconds);
    this.#note(`the ${role}'s clock is stepped by ${seconds} s`);
  }

  /** Clocks are stepped back. */
  async mendClocks(): Promise<void> {
    for (const [side, seconds] of this.#steppedClocks) await this.#step(side, -seconds);
    this.#steppedClocks.clear();
    this.#note('clocks are right again');
  }

  /** The arbiter's words do not come to these any more. Clients are answered as before. */
  async cutArbiter(...roles: readonly Role[]): Promise<void> {
    const { outside } = this.#pair.lab;
    for (const role of roles) {
      const rule = `from ${outside.address} to ${this.#pair.host(this.side(role)).address} blackhole`;
      await this.#outside(`ip rule add ${rule}`);
      this.#arbiterRules.push(rule);
      this.#note(`the ${role} is cut from the arbiter`);
    }
  }

  async loseLeader(): Promise<void> {
    this.#note(`etcd has lost its leader, ${await this.#pair.etcd.loseLeader()}`);
  }

  async mendArbiter(): Promise<void> {
    await this.#pair.etcd.mend();
    this.#note('etcd is whole again');
  }

  async mendNetwork(): Promise<void> {
    await this.#pair.lab.network.restore();
    for (const rule of this.#arbiterRules.splice(0)) await this.#outside(`ip rule del ${rule}`);
    this.#note('the network is mended');
  }

  /** The name that its network knows that side's host by. */
  #hostOf(role: Role): string {
    return this.#pair.host(this.side(role)).name;
  }

  async #step(side: Side, seconds: number): Promise<void> {
    const { status, stderr } = await this.#pair.host(side).run(`date -s @$(($(date +%s) + ${seconds}))`);
    if (status !== 0) throw new Error(`date: ${stderr.trim()}`);
  }

  async #outside(command: string): Promise<void> {
    const { status, stderr } = await this.#pair.lab.outside.run(command);
    if (status !== 0) throw new Error(`${command}: ${stderr.trim()}`);
  }

  async #vmm(role: Role, signal: NodeJS.Signals): Promise<void> {
    const vmm = this.#pair.vmm[this.side(role)];
    vmm?.kill(signal);
    if (signal === 'SIGKILL') await vmm?.exit;
  }

  #lose(role: Role, what: string): void {
    this.#forget(role, what);
    this.#gone.add(this.side(role));
  }

  #forget(role: Role, what: string): void {
    delete this.#status[this.side(role)];
    this.#note(`the ${role}'s ${what}`);
  }
}
