import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd } from '../../test/support/etcd.ts';
import { Clients, type ClientsOptions } from '../chaos/clients.ts';
import { mostPages, servicePort } from '../chaos/guest/service.ts';
import { arbiterAddress, guestAddress, Network } from '../chaos/net/network.ts';
import { makeKeys, Pair } from '../chaos/pair/pair.ts';
import { median, rounded } from './statistics.ts';

/** What protection costs the small guest, and what its clients see of the loss of its primary. Times in ms. */
export interface FailoverFigures {
  /**
   * From kill -9 of the primary to the first answer of the standby, as the client sees it. Only where that was an answer to what
   * it had asked: a request that comes to a host whose VMM is dead is lost there, and how long a client waits before it asks
   * again is its own affair.
   */
  readonly silence: { readonly median: number; readonly worst: number; readonly all: readonly number[] };
  /** Kills after which the client had to ask again. */
  readonly askedAgain: number;
  /** How long the guest stands still for a checkpoint, in which every request writes to so many pages. */
  readonly stops: readonly StopRow[];
  readonly answersPerSecond: readonly AnswersRow[];
}

interface StopRow {
  readonly pagesWritten: number;
  /** Pages of the last checkpoint. */
  readonly pages: number;
  readonly median: number;
  readonly worst: number;
  /** Of the last stop. */
  readonly parts: Readonly<Record<string, number>>;
}

interface AnswersRow {
  readonly clients: number;
  readonly unprotected: number;
  readonly protected: number;
  readonly insecure: number;
}

const detectionMs = 200;
/** Longer than a takeover: a client that asks again within one would hide a packet that was lost. */
const retransmitMs = 1000;
/** As long as QMP's figures reach back, and a little. */
const stopsMs = 20_000;
const warmUpMs = 2000;
const measuredMs = 5000;

/** In a network namespace of its own (tools/chaos/net/private-network.ts). */
export async function benchFailoverNative(rounds: number, progress: (line: string) => void): Promise<FailoverFigures> {
  await makeKeys(join(tmpdir(), 'keys'));
  const network = await Network.make();
  const arbiter = await Etcd.start(arbiterAddress);
  const bench = new Bench(network, arbiter);
  try {
    const silences: number[] = [];
    let askedAgain = 0;
    // One more, which does not count, for what a first round has to load.
    for (let round = 0; round <= rounds; round++) {
      const found = await bench.kill();
      if (round === 0) continue;
      if (found.askedAgain) askedAgain++;
      else silences.push(rounded(found.silenceMs));
      progress(`kill ${round}/${rounds}: ${found.askedAgain ? 'asked again' : `${rounded(found.silenceMs)} ms`}`);
    }
    if (silences.length === 0) throw new Error('the client had to ask again each time: more rounds are needed');
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
    return {
      silence: { median: rounded(median(silences)), worst: Math.max(...silences), all: silences },
      askedAgain,
      stops,
      answersPerSecond,
    };
  } finally {
    await arbiter.close();
    await network.close();
  }
}

type Protection = 'unprotected' | 'protected' | 'insecure';

class Bench {
  readonly #network: Network;
  readonly #arbiter: Etcd;
  #pairs = 0;

  constructor(network: Network, arbiter: Etcd) {
    this.#network = network;
    this.#arbiter = arbiter;
  }

  /** A client asks, and the primary is killed. */
  kill(): Promise<{ silenceMs: number; askedAgain: boolean }> {
    return this.#with('protected', { clients: 1 }, async (pair, clients) => {
      await sleep(warmUpMs + Math.random() * 100);
      const before = clients.summary.retransmissions;
      clients.forgetSilence();
      const killed = pair.vmm(pair.primaryHost).kill();
      const { asked } = clients;
      while (clients.answers < asked + 10) await sleep(2);
      await killed;
      const { longestSilenceMs, retransmissions } = clients.summary;
      return { silenceMs: longestSilenceMs, askedAgain: retransmissions > before };
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

/** The figures as a table. */
export function formatFailover({ silence, askedAgain, stops, answersPerSecond }: FailoverFigures): string {
  const lines = [
    `kill -9 of the primary: ${silence.all.length + askedAgain} times; silence ${silence.median} ms at the median, ` +
      `${silence.worst} ms at worst, but for ${askedAgain} times when the client had to ask again`,
    '',
    'stop of the guest, ms      pages  median   worst  parts of the last one',
    ...stops.map(({ pages, median: middle, worst, parts }) =>
      [
        ' '.repeat(22),
        String(pages).padStart(9),
        String(middle).padStart(7),
        String(worst).padStart(7),
        ` ${inWords(parts)}`,
      ].join(' '),
    ),
    '',
    'answers a second         clients  unprotected  protected  protected, plaintext',
    ...answersPerSecond.map((row) =>
      [
        ' '.repeat(24),
        String(row.clients).padStart(7),
        String(row.unprotected).padStart(12),
        `${row.protected} (${Math.round((100 * row.protected) / row.unprotected)} %)`.padStart(10),
        String(row.insecure).padStart(20),
      ].join(' '),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function inWords(parts: Readonly<Record<string, number>>): string {
  return Object.entries(parts)
    .map(([part, ms]) => `${part} ${ms}`)
    .join(', ');
}
