import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd } from '../../test/support/etcd.ts';
import { arbiterAddress, Network } from '../chaos/net/network.ts';
import { makeKeys, Pair } from '../chaos/pair/pair.ts';
import { type IdleFigures, type IdleSide, idleFigures } from './idle-report.ts';
import type { PairMode } from './pair/contender.ts';
import { rounded } from './statistics.ts';
import { parseUsage } from './usage.ts';

const detectionMs = 1000;
const checkpointDelayMs = 500;
const minuteMs = 60_000;
const MiB = 1024 * 1024;
const pageBytes = 4096;

/** A protected guest whom nobody asks anything. In a network namespace of its own (tools/chaos/net/private-network.ts). */
export async function benchIdleNative(
  minutes: number,
  mode: PairMode,
  progress: (line: string) => void,
): Promise<IdleFigures> {
  const keys = join(tmpdir(), 'keys');
  await makeKeys(keys);
  const network = await Network.make();
  const arbiter = await Etcd.start(arbiterAddress);
  const pair = Pair.start({
    folder: join(tmpdir(), 'idle-pair'),
    network,
    primary: 'a',
    arbiter: `etcd:${arbiter.url}`,
    keys,
    detectionMs,
    checkpointDelayMs,
    compare: mode === 'comparing',
  });
  try {
    const deadline = performance.now() + minuteMs;
    while (!(await pair.isProtected())) {
      if (performance.now() > deadline)
        throw new Error(`it is not protected within a minute: ${JSON.stringify(await pair.status())}`);
      await sleep(100);
    }
    const primary = pair.vmm(pair.primaryHost);
    const sides = [primary, pair.vmm(pair.standbyHost)].map(({ child }) => new Watch(child.pid as number));
    const epoch = async (): Promise<number> => (await primary.status())?.epoch ?? Number.NaN;
    const firstEpoch = await epoch();
    const begun = performance.now();
    for (let minute = 1; minute <= minutes; minute++) {
      await sleep(begun + minute * minuteMs - performance.now());
      if (!(await pair.isProtected())) throw new Error(`after ${minute} minutes it is not protected any more`);
      const held = sides.map((side) => `${side.look()} MiB`);
      progress(`${minute}/${minutes} min: primary ${held[0]}, standby ${held[1]}`);
    }
    const [ofPrimary, ofStandby] = sides.map((side) => side.figures()) as [IdleSide, IdleSide];
    return idleFigures(minutes, mode, (await epoch()) - firstEpoch, ofPrimary, ofStandby);
  } finally {
    await pair.close();
    await arbiter.close();
    await network.close();
  }
}

/** A process that is looked at from time to time. */
class Watch {
  readonly #pid: number;
  readonly #resident: number[];
  readonly #begun = performance.now();
  readonly #cpuAtFirst: number;
  readonly #files: number[];

  constructor(pid: number) {
    this.#pid = pid;
    this.#resident = [this.#residentMib];
    this.#cpuAtFirst = this.#cpuSeconds;
    this.#files = [this.#descriptors];
  }

  look(): number {
    const now = this.#residentMib;
    this.#resident.push(now);
    this.#files.push(this.#descriptors);
    return now;
  }

  figures(): IdleSide {
    const seconds = (performance.now() - this.#begun) / 1000;
    return {
      residentMib: this.#resident,
      files: this.#files,
      cpuPercent: rounded(((this.#cpuSeconds - this.#cpuAtFirst) / seconds) * 100),
    };
  }

  get #residentMib(): number {
    // Pages: all of it, and what of it is resident.
    const [, resident] = readFileSync(`/proc/${this.#pid}/statm`, 'latin1').split(' ');
    return rounded((Number(resident) * pageBytes) / MiB);
  }

  get #cpuSeconds(): number {
    return parseUsage(readFileSync(`/proc/${this.#pid}/stat`, 'latin1')).cpuSeconds;
  }

  get #descriptors(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
