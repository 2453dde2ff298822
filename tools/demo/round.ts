import { setTimeout as sleep } from 'node:timers/promises';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { ClientsReport } from './client-program.ts';
import { serviceReady } from './guest.ts';
import { judge, type Verdict } from './judge.ts';
import { type LabPair, type Side, until } from './lab-pair.ts';

/** What happens to the primary, or to its host. */
export type LabFault = 'power cut' | 'kill' | 'freeze and thaw';
export const labFaults: readonly LabFault[] = ['power cut', 'kill', 'freeze and thaw'];

/** Hears of a round as it goes. */
export interface Audience {
  /** A VMM said a line on standard error. */
  said(side: Side, line: string): void;
  status(side: Side, status: ColoStatus): void;
  clients(report: ClientsReport): void;
  happened(text: string): void;
  /** The fault is there now. */
  struck(fault: LabFault): void;
}

export interface RoundOptions {
  readonly fault: LabFault;
  /** How long the service is protected before. */
  readonly protectedMs: number;
  /** How long clients ask on when they are answered again. */
  readonly afterwardsMs: number;
}

export interface RoundOutcome {
  readonly verdict: Verdict;
  /** The longest time for which nobody was answered, from the moment the guest was protected on. */
  readonly silenceMs: number;
  /** Of the primary, before the fault. */
  readonly before: ColoStatus;
  /** Answers from when the guest was protected until then. */
  readonly answersBefore: number;
}

/** Emulated hosts on a busy machine are slow. */
const patienceMs = 180_000;
const asking = { clients: 4, retransmitMs: 300, thinkMs: 10 };

/**
 * One round with a pair of which nothing runs yet: the guest serves, is protected, and its primary is struck; clients outside ask all
 * the time. What they were told is held against the survivor's disk.
 *
 * @throws LabError if the lab failed, Error if it did not come to a verdict
 */
export async function playRound(pair: LabPair, audience: Audience, options: RoundOptions): Promise<RoundOutcome> {
  const status: Partial<Record<Side, ColoStatus>> = {};
  let report: ClientsReport | undefined;
  const answers = (): number => report?.summary.answers ?? 0;
  const watch = (side: Side) =>
    pair.watch(side, (now) => {
      status[side] = now;
      audience.status(side, now);
    });

  pair.start('a', (line) => audience.said('a', line));
  audience.happened('host a: the guest boots');
  await pair.up('a');
  await until('the guest to serve', patienceMs, async () => (await pair.serial('a')).includes(serviceReady));
  const clients = pair.clients(asking, (now) => {
    report = now;
    audience.clients(now);
  });
  await until('the guest to answer', patienceMs, () => answers() > 0);
  audience.happened('host a: the guest answers, unprotected');
  pair.start('b', (line) => audience.said('b', line));
  await pair.up('b');
  watch('a');
  watch('b');
  const isProtected = (): boolean => status.a?.headline === 'PROTECTED' && status.b?.headline === 'PROTECTING';
  await until('the guest to be protected', patienceMs, isProtected);
  clients.forgetSilence();
  const answersAlone = answers();
  await sleep(options.protectedMs);
  const before = status.a;
  if (before === undefined || !isProtected()) {
    throw new Error(`the guest is not protected any more: ${pair.said.a.trim().split('\n').at(-1)}`);
  }

  const answered = answers();
  audience.struck(options.fault);
  await strike(pair, options.fault);
  // What the primary had let go may still arrive.
  const isServed = (): boolean => status.b?.headline === 'UNPROTECTED' && answers() > answered + asking.clients;
  await until('the survivor to answer', patienceMs, isServed);
  audience.happened('the clients are answered again');
  if (options.fault === 'freeze and thaw') {
    pair.vmm.a?.kill('SIGCONT');
    audience.happened('host a: the VMM goes on where it was');
    await until('the thawed primary to be fenced', patienceMs, () => status.a?.headline === 'FENCED');
  }
  await sleep(options.afterwardsMs);
  const end = await clients.stop();
  const verdict = judge(end, await pair.disk('b'));
  if (pair.lab.failure !== undefined) throw pair.lab.failure;
  return { verdict, silenceMs: end.summary.longestSilenceMs, before, answersBefore: answered - answersAlone };
}

async function strike(pair: LabPair, fault: LabFault): Promise<void> {
  if (fault === 'power cut') await pair.host('a').powerLoss();
  else pair.vmm.a?.kill(fault === 'kill' ? 'SIGKILL' : 'SIGSTOP');
}
