import { setTimeout as sleep } from 'node:timers/promises';
import { serviceGuest } from '../../demo/guest.ts';
import { LabPair } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import { Asking } from './asking.ts';
import { type Contender, memoryMib } from './contender.ts';
import { type FailoverResult, type FaultName, failoverResult, faults, type Silence } from './failover-report.ts';
import { OurPair } from './ours.ts';
import { QemuPair } from './qemu.ts';

const protectedMs = 3000;
const patienceMs = 90_000;
/** Under both, answers take longer than that now and then; who asks again is answered twice, and counts once. */
const asking = { clients: 1, thinkMs: 10, retransmitMs: 200 };
const mostFailures = 5;

/**
 * How long a client waits when its server's host is lost: ours and QEMU's COLO in turn, a new pair each round, on the same two hosts of
 * a lab.
 */
export async function benchFailover(
  rounds: number,
  progress: (line: string) => void,
  names: readonly FaultName[] = faults,
): Promise<FailoverResult> {
  const pair = await LabPair.make(progress, await serviceGuest(progress, memoryMib));
  try {
    const qemu = await QemuPair.make(pair, progress);
    const found: Record<FaultName, Silence[]> = { ours: [], plaintext: [], lost: [], qemu: [] };
    const failures: string[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const name of names) {
        const contender = name === 'qemu' ? qemu : new OurPair(pair, { isInsecure: name === 'plaintext' });
        while (found[name].length < round && failures.length < mostFailures) {
          try {
            const silence = await strike(pair, contender, name);
            found[name].push(silence);
            progress(`round ${round} of ${rounds}: ${name}: ${silence.ms.toFixed(0)} ms`);
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
    return failoverResult(pair.lab.mode, found, failures);
  } finally {
    await pair.close();
  }
}

async function strike(pair: LabPair, contender: Contender, name: FaultName): Promise<Silence> {
  await contender.boot();
  await contender.protect(() => {});
  const clients = await Asking.begin(pair, asking);
  await sleep(protectedMs + Math.random() * 500);
  const promisedMs = name === 'lost' && contender instanceof OurPair ? await contender.promisedMs() : undefined;
  clients.forgetSilence();
  if (name === 'lost' && contender instanceof OurPair) await contender.cutPower();
  else await contender.kill();
  // What the primary had let go may still have come.
  const { answers } = clients;
  await until('the survivor to answer', patienceMs, () => clients.answers > answers + 2 * asking.clients);
  const { summary, violations } = await clients.end();
  if (violations[0] !== undefined) throw new Error(violations[0]);
  return { ms: summary.longestSilenceMs, ...(promisedMs === undefined ? {} : { promisedMs }) };
}
