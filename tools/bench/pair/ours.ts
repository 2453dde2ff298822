import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { QmpClient } from '../../../src/vmm/client/qmp-client.ts';
import type { ColoEvent, ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import type { LabPair, PairSettings, Side } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import type { RemoteProcess } from '../../lab/connection.ts';
import { type Again, againOf } from '../protected-again.ts';
import { type Contender, type Stop, setDelay } from './contender.ts';
import { processOf } from './footprint.ts';
import type { Checkpoints } from './service-report.ts';

const patienceMs = 180_000;
/** Each question takes of a host's one CPU what its guest then has not. */
const askMs = 1000;
const clockQuestions = 5;
const clockProgram = "process.stdin.on('data', () => process.stdout.write(String(Date.now())))";
/** The log keeps some hundred checkpoints: it is read before they are forgotten. */
const readLogMs = 2000;

/** Two of ours, as the demonstration has them. */
export class OurPair implements Contender {
  readonly name = 'ours';
  readonly #pair: LabPair;
  readonly #settings: PairSettings;
  readonly #said: (line: string) => void;
  #monitor: QmpClient | undefined;
  /** The standby's monitor, once that has {@link survived}. */
  #survivor: QmpClient | undefined;
  /** Of the last stop that was seen, by the primary's clock. */
  #seenMs = Number.NEGATIVE_INFINITY;

  /** @param said called with what the VMMs say on standard error */
  constructor(pair: LabPair, settings: PairSettings, said: (line: string) => void = () => {}) {
    this.#pair = pair;
    this.#settings = settings;
    this.#said = said;
  }

  async boot(): Promise<void> {
    const pair = this.#pair;
    await pair.renew({ checkpointDelayMs: 500, ...this.#settings });
    this.#seenMs = Number.NEGATIVE_INFINITY;
    pair.start('a', this.#said);
    await pair.up('a');
    await until('the guest to serve', patienceMs, async () => (await pair.serial('a')).includes(pair.guest.ready));
    this.#monitor = pair.monitor('a');
    await this.#ask('qmp_capabilities');
  }

  async protect(copying: (isGoingOn: boolean) => void): Promise<number> {
    const pair = this.#pair;
    pair.start('b', this.#said);
    await pair.up('b');
    let isCopying = false;
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const { headline, phase } = await this.#status();
      if (!isCopying && (phase === 'synchronising' || phase === 'seeding')) {
        isCopying = true;
        copying(true);
      }
      if (headline === 'PROTECTED') break;
      if (performance.now() > deadline) throw new Error(`the guest is not protected: ${pair.said.a}`);
      await sleep(askMs);
    }
    if (isCopying) copying(false);
    const [first] = await this.#newStops();
    if (first === undefined) throw new Error('the log has no stop of the beginning');
    return first.ms;
  }

  setDelay(ms: number): Promise<void> {
    return setDelay(this.#client, ms);
  }

  async checkpoints(): Promise<Checkpoints> {
    const { headline, epoch, totals, compared } = await this.#status();
    if (headline !== 'PROTECTED' && headline !== 'WAITING')
      throw new Error(`the guest is not protected any more: ${this.#pair.said.a}`);
    return {
      count: epoch ?? 0,
      reasons: totals?.reasons ?? {},
      ...(compared === undefined ? {} : { divergences: compared.recent }),
    };
  }

  async stops(forMs: number): Promise<readonly Stop[]> {
    await this.#newStops();
    const stops: Stop[] = [];
    const end = performance.now() + forMs;
    while (performance.now() < end) {
      await sleep(Math.min(readLogMs, end - performance.now()));
      const { stops: last, headline } = await this.#status();
      // A moment without the standby's consent is one on an emulated host, and no end of protection.
      if (headline !== 'PROTECTED' && headline !== 'WAITING')
        throw new Error(`the guest is not protected any more: ${this.#pair.said.a}`);
      const found = await this.#newStops();
      const parts = last?.parts;
      stops.push(
        ...found.slice(0, -1),
        ...found.slice(-1).map((stop) => (parts === undefined ? stop : { ...stop, parts })),
      );
    }
    return stops;
  }

  async kill(): Promise<void> {
    this.#pair.vmm.a?.kill('SIGKILL');
    await this.#primaryEnded();
  }

  /** Cuts the power of the primary's host. */
  async cutPower(): Promise<void> {
    await this.#pair.host('a').powerLoss();
  }

  /** The guest moves to the standby in order. */
  async switchOver(): Promise<void> {
    await this.#ask('x-colo-switchover');
    await this.#primaryEnded();
  }

  /**
   * Resolves when the standby says that it has taken over. Once nobody's silence is measured: a program that connects to its monitor begins
   * on its host's one CPU.
   */
  async survived(): Promise<void> {
    const survivor = this.#pair.monitor('b');
    this.#survivor = survivor;
    await survivor.execute('qmp_capabilities');
    await until('the standby to take over', patienceMs, async () => {
      const { headline } = (await survivor.execute('x-colo-status')) as ColoStatus;
      return headline === 'UNPROTECTED';
    });
  }

  /** Tells the time by the clock of the standby's host, ms since 1970, as long as the two clocks go alike. */
  async standbysClock(): Promise<() => number> {
    const clock = this.#pair.host('b').spawn(['node', '-e', clockProgram]);
    clock.stderr.resume();
    const ended = clock.exit.then(() => {
      throw new Error('host b does not tell the time');
    });
    ended.catch(() => {});
    let ahead = 0;
    // Once it has told the time it takes no longer to hear a question than to answer it.
    for (let asked = 0; asked < clockQuestions; asked++) {
      const before = performance.now();
      clock.stdin.write('\n');
      const [answer] = (await Promise.race([once(clock.stdout, 'data'), ended])) as [Buffer];
      ahead = Number(answer) - (before + performance.now()) / 2;
    }
    clock.stdin.end();
    return () => performance.now() + ahead;
  }

  /** The primary was killed, and its host gets a standby: until the guest is protected again. @param diedAt by the survivor's clock */
  async protectedAgain(diedAt: number): Promise<Again> {
    const pair = this.#pair;
    pair.primary = 'b';
    await pair.repair('a');
    pair.start('a', this.#said);
    const survivor = this.#survivor;
    if (survivor === undefined) throw new Error('nobody has survived');
    let diskMs = 0;
    await until('the guest to be protected again', patienceMs, async () => {
      const { headline, disk } = (await survivor.execute('x-colo-status')) as Partial<ColoStatus>;
      diskMs = (disk?.synchronised?.seconds ?? 0) * 1000;
      return headline === 'PROTECTED';
    });
    return againOf(diedAt, (await survivor.execute('x-colo-events', { all: true })) as readonly ColoEvent[], diskMs);
  }

  /** How long it is to take until the survivor speaks when its peer is silent: detection and consent, ms. */
  async promisedMs(): Promise<number> {
    const { failover } = await this.#status();
    if (failover === undefined) throw new Error('the pair does not say how long a failover takes');
    return failover.detectionMs + failover.consentMs;
  }

  async standbyMib(): Promise<number> {
    const { stdout } = await this.#pair.host('b').run(`grep VmRSS /proc/${processOf('standby')}/status`);
    return Number(/\d+/.exec(stdout)) / 1024;
  }

  connect(side: Side): RemoteProcess {
    return this.#pair.bridge(side);
  }

  async end(): Promise<void> {
    await this.#pair.end();
    this.#pair.primary = 'a';
  }

  /** It is told by its host, not by the standby's. */
  async #primaryEnded(): Promise<void> {
    let hasEnded = false;
    this.#pair.vmm.a?.exit
      .catch(() => {})
      .finally(() => {
        hasEnded = true;
      });
    await until('the primary to end', patienceMs, () => hasEnded);
  }

  get #client(): QmpClient {
    if (this.#monitor === undefined) throw new Error('nothing runs');
    return this.#monitor;
  }

  #ask(command: string, given?: object): Promise<unknown> {
    return this.#client.execute(command, given);
  }

  async #status(): Promise<Partial<ColoStatus>> {
    return (await this.#ask('x-colo-status')) as Partial<ColoStatus>;
  }

  /** Those that the log has and that were not seen yet. */
  async #newStops(): Promise<Stop[]> {
    const events = (await this.#ask('x-colo-events', { all: true })) as readonly ColoEvent[];
    const stops = events.flatMap(({ monotonicMs, text }) => {
      const [, ms] = /the guest was stopped for ([\d.]+) ms/.exec(text) ?? [];
      return ms === undefined || monotonicMs <= this.#seenMs ? [] : [{ ms: Number(ms), monotonicMs }];
    });
    this.#seenMs = stops.at(-1)?.monotonicMs ?? this.#seenMs;
    return stops;
  }
}
