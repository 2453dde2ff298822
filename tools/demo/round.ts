import { setTimeout as sleep } from 'node:timers/promises';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { ClientsReport } from './client-program.ts';
import { serviceReady } from './guest.ts';
import { judge, type Verdict } from './judge.ts';
import type { LabClients, LabPair, Side } from './lab-pair.ts';
import { until } from './waiting.ts';

/** Hears of a round as it goes. */
export interface Audience {
  /** A VMM said a line on standard error. */
  said(side: Side, line: string): void;
  status(side: Side, status: ColoStatus): void;
  clients(report: ClientsReport): void;
  happened(text: string): void;
  /** That host has lost its power. */
  struck(side: Side): void;
  /** That host is well again, and nothing runs there yet. */
  repaired(side: Side): void;
  /** The guest of that host is the other's, and its VMM ends. */
  handedOver(side: Side): void;
}

/** Emulated hosts on a busy machine are slow. */
const patienceMs = 180_000;
/** At most 200 answers a second, on whatever hosts: the guest's disk has room for those of two minutes. */
const asking = { clients: 4, retransmitMs: 300, thinkMs: 20 };

type Asking = typeof asking;

/**
 * What a pair goes through, a step after the other, while clients outside ask all the time. Which host has the guest's primary, the
 * pair knows. What the clients were told is held against the disk of the last one.
 */
export class Round {
  readonly #pair: LabPair;
  readonly #audience: Audience;
  readonly #status: Partial<Record<Side, ColoStatus>> = {};
  readonly #clients: LabClients;
  readonly #asking: Asking;
  #report: ClientsReport | undefined;

  private constructor(pair: LabPair, audience: Audience, how: Asking) {
    this.#pair = pair;
    this.#audience = audience;
    this.#asking = how;
    this.#clients = pair.clients(how, (report) => {
      this.#report = report;
      audience.clients(report);
    });
  }

  /**
   * With a pair of which nothing runs yet: the guest serves, unprotected.
   *
   * @param how clients ask
   */
  static async begin(pair: LabPair, audience: Audience, how = asking): Promise<Round> {
    const { primary } = pair;
    pair.start(primary, (line) => audience.said(primary, line));
    audience.happened(`host ${primary}: the guest boots`);
    await pair.up(primary);
    await until('the guest to serve', patienceMs, async () => (await pair.serial(primary)).includes(serviceReady));
    const round = new Round(pair, audience, how);
    await until('the guest to answer', patienceMs, () => round.#answers > 0);
    audience.happened(`host ${primary}: the guest answers, unprotected`);
    round.#watch(primary);
    return round;
  }

  /** A standby is started on the other host. How long it took until the guest was protected, ms. */
  async protect(): Promise<number> {
    const pair = this.#pair;
    const { standby } = pair;
    const began = performance.now();
    pair.start(standby, (line) => this.#audience.said(standby, line));
    await pair.up(standby);
    this.#watch(standby);
    await until('the guest to be protected', patienceMs, () => this.#isProtected);
    this.#clients.forgetSilence();
    return performance.now() - began;
  }

  /** It runs on, protected, for so long. What the primary says then, and how many answers there were meanwhile. */
  async goOn(ms: number): Promise<{ readonly status: ColoStatus; readonly answers: number }> {
    const answered = this.#answers;
    await sleep(ms);
    const { primary, said } = this.#pair;
    const status = this.#status[primary];
    if (status === undefined || !this.#isProtected) {
      throw new Error(`the guest is not protected any more: ${said[primary].trim().split('\n').at(-1)}`);
    }
    return { status, answers: this.#answers - answered };
  }

  /** The primary's host loses its power, and the standby takes over. For how long nobody was answered, ms. */
  async failOver(): Promise<number> {
    const { primary } = this.#pair;
    const answered = this.#answers;
    this.#audience.struck(primary);
    await this.#pair.host(primary).powerLoss();
    await this.#changed(answered);
    return this.#silenceMs;
  }

  /** The standby's host loses its power, and the primary goes on alone. */
  async loseStandby(): Promise<void> {
    const { primary, standby } = this.#pair;
    const answered = this.#answers;
    this.#audience.struck(standby);
    await this.#pair.host(standby).powerLoss();
    await this.#serves(primary, answered);
  }

  /** A third machine takes the place of the standby's host, which lost its power. Nothing runs there yet. */
  async replace(): Promise<void> {
    const { standby } = this.#pair;
    await this.#pair.replace(standby);
    delete this.#status[standby];
    this.#audience.repaired(standby);
  }

  /** The host that lost its power has it again: as a new machine, for all that it had was in its memory. */
  async repair(): Promise<void> {
    const { standby } = this.#pair;
    await this.#pair.repair(standby);
    delete this.#status[standby];
    this.#audience.repaired(standby);
  }

  /** The roles change, as an operator asks for. For how long nobody was answered, ms. */
  async switchOver(): Promise<number> {
    const { primary } = this.#pair;
    const answered = this.#answers;
    this.#clients.forgetSilence();
    this.#audience.happened(`host ${primary}# colo-vmm switchover`);
    await this.#pair.ask(primary, 'switchover');
    this.#audience.handedOver(primary);
    await this.#changed(answered);
    return this.#silenceMs;
  }

  /** The clients stop asking. What they were told, against the disk of the host that has the guest now. */
  async end(): Promise<Verdict> {
    const report = await this.#clients.stop();
    const verdict = judge(report, await this.#pair.disk(this.#pair.primary));
    if (this.#pair.lab.failure !== undefined) throw this.#pair.lab.failure;
    return verdict;
  }

  get #answers(): number {
    return this.#report?.summary.answers ?? 0;
  }

  get #silenceMs(): number {
    return this.#report?.summary.longestSilenceMs ?? 0;
  }

  get #isProtected(): boolean {
    const { primary, standby } = this.#pair;
    return this.#status[primary]?.headline === 'PROTECTED' && this.#status[standby]?.headline === 'PROTECTING';
  }

  #watch(side: Side): void {
    this.#pair.watch(side, (status) => {
      this.#status[side] = status;
      this.#audience.status(side, status);
    });
  }

  /** The standby has the guest, and answers more than what the primary may have let go. */
  async #changed(answered: number): Promise<void> {
    const heir = this.#pair.standby;
    await this.#serves(heir, answered);
    this.#pair.primary = heir;
  }

  async #serves(side: Side, answered: number): Promise<void> {
    const isServed = (): boolean =>
      this.#status[side]?.headline === 'UNPROTECTED' && this.#answers > answered + this.#asking.clients;
    await until('the side that is left to answer', patienceMs, isServed);
    this.#audience.happened('the clients are answered again');
  }
}
