import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitCode } from '../../src/vmm/vcpu/guest-end.ts';
import { Etcd } from '../../test/support/etcd.ts';
import { Clients, type ClientsOptions } from '../chaos/clients.ts';
import { mostPages, servicePort } from '../chaos/guest/service.ts';
import { arbiterAddress, guestAddress, Network } from '../chaos/net/network.ts';
import { makeKeys, Pair } from '../chaos/pair/pair.ts';
import {
  type AnswersRow,
  type Change,
  type FailoverFigures,
  failoverFigures,
  type StopRow,
} from './failover-native-report.ts';
import type { PairMode } from './pair/contender.ts';
import { type Again, againOf } from './protected-again.ts';
import { rounded } from './statistics.ts';

const detectionMs = 200;
/** Longer than a takeover: a client that asks again within one would hide a packet that was lost. */
const retransmitMs = 1000;
/** As long as QMP's figures reach back, and a little. */
const stopsMs = 20_000;
const warmUpMs = 2000;
const patienceMs = 60_000;
/** Kills after which a standby is started again. */
const protectedAgain = 5;
const measuredMs = 5000;

/** In a network namespace of its own (tools/chaos/net/private-network.ts). */
export async function benchFailoverNative(
  rounds: number,
  mode: PairMode,
  progress: (line: string) => void,
): Promise<FailoverFigures> {
  await makeKeys(join(tmpdir(), 'keys'));
  const network = await Network.make();
  const arbiter = await Etcd.start(arbiterAddress);
  const bench = new Bench(network, arbiter, mode);
  try {
    const found: Record<'kill' | 'switchover', Change[]> = { kill: [], switchover: [] };
    // One more, which does not count, for what a first round has to load.
    for (let round = 0; round <= rounds; round++) {
      for (const how of ['kill', 'switchover'] as const) {
        const change = await bench.change(how);
        if (round === 0) continue;
        found[how].push(change);
        progress(
          `${how} ${round}/${rounds}: ${rounded(change.silenceMs)} ms${change.askedAgain ? ', asked again' : ''}`,
        );
      }
    }
    const again: Again[] = [];
    for (let round = 1; round <= protectedAgain; round++) {
      again.push(await bench.again());
      progress(`protected again ${round}/${protectedAgain}: ${JSON.stringify(again.at(-1))}`);
    }
    const stops: StopRow[] = [];
    for (const pages of [0, 1000]) {
      stops.push(await bench.stops(pages));
      progress(`stops: ${JSON.stringify(stops.at(-1))}`);
    }
    const answersPerSecond: AnswersRow[] = [];
    for (const clients of [1, 32]) {
      const row = {
        clients,
        unprotected: await bench.answers(clients, 'unprotected'),
        protected: await bench.answers(clients, 'protected'),
        insecure: await bench.answers(clients, 'insecure'),
      };
      answersPerSecond.push(row);
      progress(`answers: ${JSON.stringify(row)}`);
    }
    return failoverFigures({ mode, ...found, again, stops, answersPerSecond });
  } finally {
    await arbiter.close();
    await network.close();
  }
}

type Protection = 'unprotected' | 'protected' | 'insecure';

class Bench {
  readonly #network: Network;
  readonly #arbiter: Etcd;
  readonly #mode: PairMode;
  #pairs = 0;

  constructor(network: Network, arbiter: Etcd, mode: PairMode) {
    this.#network = network;
    this.#arbiter = arbiter;
    this.#mode = mode;
  }

  /** A client asks, and the primary is killed, or hands the guest over. */
  change(how: 'kill' | 'switchover'): Promise<Change> {
    return this.#with('protected', { clients: 1 }, async (pair, clients) => {
      await sleep(warmUpMs);
      const before = clients.summary.retransmissions;
      const primary = pair.vmm(pair.primaryHost);
      clients.forgetSilence();
      if (how === 'kill') {
        // A timer of this process, where the client lives, rings most often when that has just asked.
        await primary.killIn(Math.random() * 100);
      } else {
        primary.mayEndWith(exitCode.handedOver);
        await primary.command('x-colo-switchover');
        await until('the primary to hand its guest over', () => !primary.isAlive);
      }
      const { asked } = clients;
      await until('the standby to answer', () => clients.answers >= asked + 10);
      const { longestSilenceMs, retransmissions } = clients.summary;
      return { silenceMs: longestSilenceMs, askedAgain: retransmissions > before };
    });
  }

  /** The primary is killed, and a standby started on its host, whose disk is as it left it. */
  again(): Promise<Again> {
    return this.#with('protected', { clients: 1 }, async (pair) => {
      await sleep(warmUpMs);
      const diedAt = Date.now();
      await pair.vmm(pair.primaryHost).kill();
      pair.rolesChanged();
      pair.startStandby();
      await until('the guest to be protected again', () => pair.isProtected());
      const survivor = pair.vmm(pair.primaryHost);
      const { disk } = (await survivor.status()) ?? {};
      return againOf(diedAt, await survivor.events(), (disk?.synchronised?.seconds ?? 0) * 1000);
    });
  }

  /** A client asks, whose requests write to `pages` pages each. */
  stops(pages: number): Promise<StopRow> {
    if (pages > mostPages) throw new RangeError(`the guest writes to ${mostPages} pages at most`);
    return this.#with('protected', { clients: 1, thinkMs: 1, pages }, async (pair) => {
      await sleep(stopsMs);
      const stops = (await pair.vmm(pair.primaryHost).status())?.stops;
      if (stops === undefined) throw new Error('the guest was never stopped');
      const { median: middle, worst, pages: last, parts } = stops;
      const short = Object.fromEntries(Object.entries(parts).map(([part, ms]) => [part, rounded(ms, 3)]));
      return { pagesWritten: pages, pages: last, median: rounded(middle, 3), worst: rounded(worst, 3), parts: short };
    });
  }

  answers(clients: number, protection: Protection): Promise<number> {
    return this.#with(protection, { clients }, async (_pair, asking) => {
      await sleep(warmUpMs);
      const before = asking.answers;
      const begun = performance.now();
      await sleep(measuredMs);
      return Math.round(((asking.answers - before) * 1000) / (performance.now() - begun));
    });
  }

  /** A new pair whose guest is being asked, and protected if it is to be. */
  async #with<T>(
    protection: Protection,
    options: Pick<ClientsOptions, 'clients' | 'pages' | 'thinkMs'>,
    use: (pair: Pair, clients: Clients) => Promise<T>,
  ): Promise<T> {
    await this.#arbiter.wipe();
    await this.#network.forget();
    const common = {
      folder: join(tmpdir(), `pair-${++this.#pairs}`),
      network: this.#network,
      primary: 'a',
      detectionMs,
      compare: this.#mode === 'comparing',
    } as const;
    const keys = protection === 'insecure' ? undefined : join(tmpdir(), 'keys');
    const pair =
      protection === 'unprotected'
        ? Pair.alone(common)
        : Pair.start({ ...common, arbiter: `etcd:${this.#arbiter.url}`, keys });
    const clients = await Clients.open({ address: guestAddress, port: servicePort, retransmitMs, ...options });
    try {
      while (protection !== 'unprotected' && !(await pair.isProtected())) await sleep(20);
      clients.start();
      const deadline = performance.now() + 10_000;
      while (clients.answers === 0) {
        if (performance.now() > deadline) throw new Error('the guest does not answer');
        await sleep(20);
      }
      const found = await use(pair, clients);
      if (clients.violations.length > 0) throw new Error(clients.violations[0]);
      return found;
    } finally {
      clients.close();
      await pair.close();
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(2);
  }
}
