/**
 * Those who ask one service, as a program of the machine outside the hosts. Bundled into one text. The argument is
 * {@link ServiceLoad} as JSON; a line of standard output is {@link ServiceReading}, the last one at the end of the time.
 */
import type { Asker } from './asker.ts';
import { openAsker, type ServiceName, type ServicePlaces } from './service-askers.ts';

export interface ServiceLoad extends ServicePlaces {
  readonly service: ServiceName;
  readonly askers: number;
  /** Answers of the first so many ms do not count. */
  readonly warmUpMs: number;
  readonly measuredMs: number;
  /** Where a second guest is that is asked the same at the same time: an answer is one when both have given it. */
  readonly other?: string;
}

/** Of the time that counts. */
export interface ServiceReading {
  readonly answers: number;
  readonly seconds: number;
  /** Answers of the time before too, which does not count. */
  readonly all: number;
  /** How long each answer that counts took, ms. */
  readonly latencies: readonly number[];
  /** Why somebody had to stop asking. */
  readonly failures: readonly string[];
}

const load = JSON.parse(process.argv.at(-1) ?? '') as ServiceLoad;
const latencies: number[] = [];
const failures: string[] = [];
let all = 0;
const askers = await Promise.all(Array.from({ length: load.askers }, (_, index) => open(index)));
const begunAt = performance.now() + load.warmUpMs;
const endsAt = begunAt + load.measuredMs;
await Promise.all(
  askers.map(async (asker) => {
    try {
      for (;;) {
        const askedAt = performance.now();
        if (askedAt >= endsAt) return;
        await asker.ask();
        all++;
        const now = performance.now();
        if (now >= begunAt && now < endsAt) latencies.push(Math.round((now - askedAt) * 1000) / 1000);
      }
    } catch (error) {
      failures.push((error as Error).message);
    } finally {
      asker.close();
    }
  }),
);
const reading: ServiceReading = {
  answers: latencies.length,
  seconds: load.measuredMs / 1000,
  all,
  latencies,
  failures,
};
process.stdout.write(`${JSON.stringify(reading)}\n`);

async function open(index: number): Promise<Asker> {
  const one = await openAsker(load.service, load, index);
  if (load.other === undefined) return one;
  const two = await openAsker(load.service, { ...load, address: load.other }, index);
  return {
    ask: async () => {
      await Promise.all([one.ask(), two.ask()]);
    },
    close: () => {
      one.close();
      two.close();
    },
  };
}
