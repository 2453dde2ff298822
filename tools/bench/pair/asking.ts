import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientsReport } from '../../demo/client-program.ts';
import type { LabClients, LabPair } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';

const patienceMs = 90_000;
/** Fewer tell nothing of a second. */
const fewest = 5;

/** Who are slower than this are many, not lost: to ask again would only make the guest slower. */
const patientlyMs = 10_000;

export interface AskingOptions {
  readonly clients: number;
  /** Each answer is like no other guest's. */
  readonly isDiffering?: boolean;
  readonly thinkMs?: number;
  readonly retransmitMs?: number;
}

/** So that a later client is not taken for an earlier one that asks again. */
let numbered = 0;
const mostRequests = 1_000_000;

/** Clients outside both hosts, and how often they are answered. */
export class Asking {
  readonly #clients: LabClients;
  #answers = 0;
  #atMs = 0;

  private constructor(pair: LabPair, { clients, isDiffering = false, thinkMs = 0, retransmitMs }: AskingOptions) {
    // A request for pages gets an answer that no other guest would give (tools/demo/guest.ts).
    numbered += mostRequests;
    const options = {
      ...{ clients, thinkMs, retransmitMs: retransmitMs ?? patientlyMs, pages: isDiffering ? 1 : 0 },
      numberedFrom: numbered,
    };
    this.#clients = pair.clients(options, (report) => {
      this.#answers = report.summary.answers;
      this.#atMs = performance.now();
    });
  }

  /** They ask, and have been answered. */
  static async begin(pair: LabPair, options: AskingOptions): Promise<Asking> {
    const asking = new Asking(pair, options);
    await until('the guest to answer', patienceMs, () => asking.answers > 0);
    return asking;
  }

  get answers(): number {
    return this.#answers;
  }

  /** Answers until now, and when they were counted: see {@link perSecond}. */
  get reading(): Reading {
    return { answers: this.#answers, atMs: this.#atMs };
  }

  forgetSilence(): void {
    this.#clients.forgetSilence();
  }

  /** Answers a second in the next `ms`, or as long as it takes until there are some. */
  async rate(ms: number): Promise<number> {
    const before = this.reading;
    await sleep(ms);
    await until('answers to count', patienceMs, () => this.answers >= before.answers + fewest);
    return perSecond(before, this.reading);
  }

  end(): Promise<ClientsReport> {
    return this.#clients.stop();
  }
}

export interface Reading {
  readonly answers: number;
  readonly atMs: number;
}

export function perSecond(from: Reading, to: Reading): number {
  return ((to.answers - from.answers) * 1000) / (to.atMs - from.atMs);
}
