import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd } from '../../test/support/etcd.ts';
import { randomNumbers } from '../../test/support/random.ts';
import { Clients } from './clients.ts';
import type { Fault } from './fault.ts';
import { chooseFaults, type FaultChoice } from './faults.ts';
import type { Holding } from './flatness.ts';
import { Ground } from './ground.ts';
import { servicePort } from './guest/service.ts';
import { Hosts } from './host/hosts.ts';
import { arbiterAddress, guestAddress, type HostName, Network } from './net/network.ts';
import { makeKeys, Pair } from './pair/pair.ts';
import { type RoundResult, runRound } from './round.ts';
import { Watch } from './watch.ts';

/** Faults that this machine cannot have. */
export interface LeftOut {
  readonly why: string;
  readonly faults: readonly string[];
}

export interface CampaignOptions extends Omit<FaultChoice, 'isSoak'> {
  readonly rounds: number;
  readonly seed: number;
  /** Silence that means loss, ms. */
  readonly detectionMs: number;
  /** No encryption between the hosts. */
  readonly insecure: boolean;
  /** Both guests run, and their answers are compared. */
  readonly compare?: boolean;
  /** A soak: a pair is let be for so long before each takeover, ms, with checkpoints all the time. */
  readonly restMs?: number;
  /** What is left of a round that went wrong comes here. */
  readonly keep: string;
  /** What these faults need is not to be had on this machine: they do not come. */
  readonly onLeftOut: (left: LeftOut) => void;
  readonly onRound: (round: number, result: RoundResult) => void;
}

/** In a soak a checkpoint is made this often, and it is looked as often whether all is well, ms. */
const soakPaceMs = 500;
/** A pair becomes protected within so long, ms. */
const protectionMs = 30_000;

/** Where rounds are, and what comes in them. */
interface CampaignParts {
  readonly faults: readonly Fault[];
  readonly network: Network;
  readonly hosts: Hosts;
  readonly arbiter: Etcd;
  readonly watch: Watch;
}

/** Rounds one after another, each with a pair that is protected. It ends with the first one that went wrong. */
export class Campaign {
  readonly results: RoundResult[] = [];
  /** What a pair held at the end of each rest. */
  readonly holdings: Holding[] = [];
  /** Pairs that were made. */
  pairs = 0;
  /** Where what is left of the round that went wrong is. */
  kept: string | undefined;
  readonly #options: CampaignOptions;
  readonly #random: (limit: number) => number;
  readonly #network: Network;
  readonly #hosts: Hosts;
  readonly #faults: readonly Fault[];
  readonly #arbiter: Etcd;
  readonly #watch: Watch;
  #pair: Pair | undefined;
  #clients: Clients | undefined;
  #history: string[] = [];
  #stopped = false;

  private constructor(options: CampaignOptions, { faults, network, hosts, arbiter, watch }: CampaignParts) {
    this.#options = options;
    this.#random = randomNumbers(options.seed);
    this.#faults = faults;
    this.#network = network;
    this.#hosts = hosts;
    this.#arbiter = arbiter;
    this.#watch = watch;
  }

  /** In a network namespace and a mount namespace of its own. @throws Error if no fault is called so, or can be had here */
  static async open(options: CampaignOptions): Promise<Campaign> {
    const named = chooseFaults({ ...options, isSoak: options.restMs !== undefined });
    await makeKeys(join(tmpdir(), 'keys'));
    const hosts = await Hosts.make(new Set(named.flatMap(({ needs }) => needs ?? [])));
    let network: Network | undefined;
    try {
      const lacks = ({ needs }: Fault): boolean => needs !== undefined && hosts.lacking[needs] !== undefined;
      for (const [scarce, why] of Object.entries(hosts.lacking)) {
        const left = named.filter(({ needs }) => needs === scarce);
        options.onLeftOut({ why, faults: left.map(({ name }) => name) });
      }
      const chosen = named.filter((fault) => !lacks(fault));
      if (chosen.length === 0) throw new Error('nothing is left to be done');
      network = await Network.make();
      const arbiter = await Etcd.start(arbiterAddress);
      return new Campaign(options, { faults: chosen, network, hosts, arbiter, watch: await Watch.open() });
    } catch (error) {
      await network?.close();
      await hosts.close();
      throw error;
    }
  }

  /** Ends after the round at hand. */
  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<void> {
    let deck: Fault[] = [];
    for (let round = 1; round <= this.#options.rounds && !this.#stopped; round++) {
      if (deck.length === 0) deck = this.#shuffled(this.#faults);
      const fault = deck.pop() as Fault;
      const result = await this.#round(round, fault);
      this.results.push(result);
      this.#options.onRound(round, result);
      if (result.violations.length > 0) {
        this.kept = await this.#keep(round, result);
        return;
      }
      if (result.outcome === 'standby') this.#pair?.rolesChanged();
    }
  }

  async close(): Promise<void> {
    await this.#hosts.mend();
    await this.#endPair();
    this.#watch.close();
    await this.#arbiter.close();
    await this.#network.close();
    await this.#hosts.close();
  }

  async #round(round: number, fault: Fault): Promise<RoundResult> {
    this.#note(`round ${round}: ${fault.name}`);
    const { detectionMs } = this.#options;
    const note = (text: string): void => this.#note(text);
    for (;;) {
      const [pair, clients] = await this.#pairAtHand();
      const found = await this.#becomesProtected(pair);
      if (found === 'taken over') {
        // A busy machine's silence is as good as a death: a failover that nobody asked for, and right.
        note('the standby took over before anything was done to it');
        this.#pair?.rolesChanged();
        continue;
      }
      if (found === 'late') {
        const violations = [`no protection within ${protectionMs} ms`];
        return {
          fault: 'none',
          outcome: 'primary',
          failovers: 0,
          silenceMs: 0,
          answers: 0,
          retransmissions: 0,
          violations,
        };
      }
      if (!(await this.#rests(pair))) continue;
      const ground = new Ground(
        {
          ...{ network: this.#network, hosts: this.#hosts, arbiter: this.#arbiter },
          ...{ pair, clients, random: this.#random, detectionMs },
        },
        note,
      );
      return runRound(fault, { ground, pair, clients, speakers: this.#watch.speakers, note });
    }
  }

  /** A soak's pair is let be. False: it is no pair any more, though nobody did anything. */
  async #rests(pair: Pair): Promise<boolean> {
    const { restMs = 0 } = this.#options;
    if (restMs === 0) return true;
    const until = performance.now() + restMs;
    while (performance.now() < until && !this.#stopped) {
      await new Promise((resolve) => setTimeout(resolve, soakPaceMs));
      if (await pair.isProtected()) continue;
      this.#note('the pair came apart while nothing was done to it');
      return false;
    }
    const both = Object.values(pair.vmms).map(({ holding }) => holding ?? { mib: 0, files: 0 });
    const holding = both.reduce((sum, { mib, files }) => ({ mib: sum.mib + mib, files: sum.files + files }));
    this.holdings.push(holding);
    this.#note(`the pair holds ${holding.mib.toFixed(0)} MiB and ${holding.files} open files`);
    return true;
  }

  /** The pair of the round before, with another standby if it needs one, or another pair. */
  async #pairAtHand(): Promise<readonly [Pair, Clients]> {
    let [pair, clients] = [this.#pair, this.#clients];
    if (pair === undefined || clients === undefined) {
      [pair, clients] = await this.#newPair();
    } else if (!(await pair.isProtected())) {
      if (!(await this.#isLeftToPair(pair))) {
        await this.#anotherStandby(pair);
      }
      // Whoever is there now never spoke. It may take over as soon as it protects, which may be over before anybody looks.
      this.#watch.speakers.isPair();
    }
    return [pair, clients];
  }

  async #anotherStandby(pair: Pair): Promise<void> {
    this.#note('another standby');
    await pair.vmm(pair.standbyHost).kill();
    pair.startStandby();
  }

  /** A standby that lost its primary waits for it again, and may find it. */
  async #isLeftToPair(pair: Pair): Promise<boolean> {
    const status = (await pair.status())[pair.standbyHost];
    const waits = status?.headline === 'LISTENING' || status?.headline === 'PAIRING';
    return waits && this.#random(2) === 0;
  }

  async #becomesProtected(pair: Pair): Promise<'protected' | 'taken over' | 'late'> {
    const deadline = performance.now() + protectionMs;
    while (!(await pair.isProtected())) {
      if (await pair.isTakenOver()) return 'taken over';
      if (performance.now() > deadline) return 'late';
      // Given up again and again, on a machine that is busy, it would wait for longer each time.
      if ((await pair.status())[pair.standbyHost]?.headline === 'FENCED') await this.#anotherStandby(pair);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.#watch.speakers.isPair();
    this.#note(`protected, primary on host ${pair.primaryHost}`);
    return 'protected';
  }

  async #newPair(): Promise<readonly [Pair, Clients]> {
    this.#history = this.#history.slice(-1);
    this.#watch.speakers.begin();
    await this.#arbiter.wipe();
    await this.#network.forget();
    const primary: HostName = this.#random(2) === 0 ? 'a' : 'b';
    const { insecure, compare = false, detectionMs, restMs } = this.#options;
    this.pairs++;
    const name = `pair-${this.pairs}`;
    const pair = Pair.start({
      folder: join(tmpdir(), name),
      folderOn: (host) => this.#hosts.folder(host, name),
      network: this.#network,
      primary,
      arbiter: `etcd:${this.#arbiter.url}`,
      compare,
      keys: insecure ? undefined : join(tmpdir(), 'keys'),
      detectionMs,
      ...(restMs === undefined ? {} : { checkpointDelayMs: soakPaceMs }),
    });
    this.#pair = pair;
    const count = 1 + this.#random(8);
    const thinkMs = this.#random(5);
    this.#note(`another pair, primary on host ${primary}; ${count} clients, ${thinkMs} ms between their requests`);
    this.#clients = await Clients.open({ address: guestAddress, port: servicePort, clients: count, thinkMs });
    return [pair, this.#clients];
  }

  async #endPair(): Promise<void> {
    this.#clients?.close();
    const pair = this.#pair;
    this.#pair = undefined;
    this.#clients = undefined;
    if (pair === undefined) return;
    await pair.close();
    pair.remove();
  }

  /** What both sides logged and remember, their disks, and what was done to them. The folder. */
  async #keep(round: number, result: RoundResult): Promise<string> {
    const { seed, keep } = this.#options;
    const folder = join(keep, `csm-seed-${seed}-round-${round}`);
    mkdirSync(folder, { recursive: true });
    for (const vmm of Object.values(this.#pair?.vmms ?? {})) await vmm.keepHistory();
    for (const kept of this.#pair?.folders ?? [])
      cpSync(kept, folder, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    writeFileSync(join(folder, 'history.txt'), [...this.#history, ...result.violations, ''].join('\n'));
    return folder;
  }

  #note(text: string): void {
    this.#history.push(`${new Date().toISOString().slice(11, 23)} ${text}`);
  }

  #shuffled(list: readonly Fault[]): Fault[] {
    const deck = [...list];
    for (let index = deck.length - 1; index > 0; index--) {
      const other = this.#random(index + 1);
      [deck[index], deck[other]] = [deck[other] as Fault, deck[index] as Fault];
    }
    return deck;
  }
}
