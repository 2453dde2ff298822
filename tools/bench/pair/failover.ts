import { setTimeout as sleep } from 'node:timers/promises';
import { serviceGuest } from '../../demo/guest.ts';
import { LabPair } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import type { Again } from '../protected-again.ts';
import { Asking } from './asking.ts';
import { type Contender, memoryMib, type PairMode } from './contender.ts';
import { type FailoverResult, type FaultName, failoverResult, faults, type Silence } from './failover-report.ts';
import { OurPair } from './ours.ts';
import { QemuPair } from './qemu.ts';

const protectedMs = 3000;
const patienceMs = 90_000;
/** Of whatever is on its way. The clients report more often. */
const settlingMs = 500;
/** Under both, answers take longer than that now and then; who asks again is answered twice, and counts once. */
const asking = { clients: 1, thinkMs: 10, retransmitMs: 200 };
const mostFailures = 5;
/** Kills after which a standby is started again, where the primary was: that takes longer than all else of a round. */
const protectedAgain = 5;

/**
 * How long a client waits when its server's host is lost: ours and QEMU's COLO in turn, a new pair each round, on the same two hosts of
 * a lab.
 */
export async function benchFailover(
  rounds: number,
  mode: PairMode,
  progress: (line: string) => void,
  names: readonly FaultName[] = faults,
): Promise<FailoverResult> {
  const pair = await LabPair.make(progress, await serviceGuest(progress, memoryMib));
  try {
    const qemu = await QemuPair.make(pair, progress);
    const found: Record<FaultName, Silence[]> = { ours: [], plaintext: [], lost: [], switchover: [], qemu: [] };
    const again: Again[] = [];
    let isFollowed = true;
    const failures: string[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const name of names) {
        const contender =
          name === 'qemu'
            ? qemu
            : new OurPair(pair, { isInsecure: name === 'plaintext', isCompared: mode === 'comparing' });
        while (found[name].length < round && failures.length < mostFailures) {
          try {
            const { silence, diedAt } = await strike(
              pair,
              contender,
              name,
              name === 'ours' && isFollowed && round <= protectedAgain,
            );
            found[name].push(silence);
            progress(`round ${round} of ${rounds}: ${name}: ${silence.ms.toFixed(0)} ms`);
            if (diedAt === undefined || !(contender instanceof OurPair)) continue;
            // The silence stands, whatever becomes of this.
            isFollowed = false;
            again.push(await contender.protectedAgain(diedAt));
            isFollowed = true;
            progress(`round ${round} of ${rounds}: protected again: ${JSON.stringify(again.at(-1))}`);
          } catch (error) {
            if (pair.lab.failure !== undefined) throw pair.lab.failure;
            failures.push(`${name}: ${(error as Error).message}`);
            progress(failures.at(-1) ?? '');
          } finally {
            await contender.end();
          }
        }
      }
    }
    return failoverResult(pair.lab.mode, mode, found, failures, again);
  } finally {
    await pair.close();
  }
}

/** @param isFollowed it is to be known when the primary died, by the clock of the survivor */
async function strike(
  pair: LabPair,
  contender: Contender,
  name: FaultName,
  isFollowed: boolean,
): Promise<{ readonly silence: Silence; readonly diedAt: number | undefined }> {
  await contender.boot();
  await contender.protect(() => {});
  const clock = isFollowed && contender instanceof OurPair ? await contender.standbysClock() : undefined;
  const clients = await Asking.begin(pair, asking);
  await sleep(protectedMs + Math.random() * 500);
  const promisedMs = name === 'lost' && contender instanceof OurPair ? await contender.promisedMs() : undefined;
  clients.forgetSilence();
  const diedAt = clock?.();
  if (name === 'lost' && contender instanceof OurPair) await contender.cutPower();
  else if (name === 'switchover' && contender instanceof OurPair) await contender.switchOver();
  else await contender.kill();
  // What the primary had let go has come by then.
  await sleep(settlingMs);
  const { answers } = clients;
  await until('the survivor to answer', patienceMs, () => clients.answers > answers + 2 * asking.clients);
  const { summary, violations } = await clients.end();
  if (contender instanceof OurPair) await contender.survived();
  if (violations[0] !== undefined) throw new Error(violations[0]);
  const silence = { ms: summary.longestSilenceMs, ...(promisedMs === undefined ? {} : { promisedMs }) };
  return { silence, diedAt };
}
