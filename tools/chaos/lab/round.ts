import { setTimeout as sleep } from 'node:timers/promises';
import type { Side } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import type { LabClients } from './clients.ts';
import type { LabFault, Moment } from './faults.ts';
import type { Role } from './ground.ts';
import { type GuestPlan, type LabLife, type ProtectedAgain, patienceMs, type TroublePlan } from './life.ts';
import { isExpected, type Outcome, outcomeOf } from './verdict.ts';

/** What a round does, all of it out of the seed. Times in ms. */
export interface RoundPlan {
  readonly fault: LabFault;
  readonly moment: Moment;
  /** A new pair with a new guest; undefined: that of the round before is protected again. */
  readonly newGuest: GuestPlan | undefined;
  /** What happens while it is; undefined: it is a new one. */
  readonly trouble: TroublePlan | undefined;
  /** How long the guest is protected before. */
  readonly protectedMs: number;
  /** From the moment on, until the fault. */
  readonly waitMs: number;
}

export interface LabRoundResult {
  readonly fault: string;
  readonly moment: Moment;
  readonly primary: Side;
  readonly guest: GuestPlan;
  /** How the guest was protected again before; undefined: it is another guest, or was protected still. */
  readonly again: ProtectedAgain | undefined;
  readonly outcome: Outcome | undefined;
  /** The longest time in which somebody asked the counter and nobody was answered, from the fault on. */
  readonly silenceMs: number;
  /** Of this round. */
  readonly answers: number;
  /** What the side that may not go on says of itself. */
  readonly loser: string | undefined;
  readonly violations: readonly string[];
}

/** How long clients ask on when all is settled. */
const afterwardsMs = 2000;
/** Of something that must change nothing: longer than it takes to notice a loss and ask who may go on. */
const unchangedMs = 12_000;

/**
 * One round of a guest that is protected: struck at its moment, served on, mended, judged. Nothing that is wrong is an error: it is a
 * violation.
 *
 * @throws LabError if the lab failed
 */
export async function strikeOnce(
  life: LabLife,
  { fault, moment, protectedMs, waitMs }: RoundPlan,
  note: (text: string) => void,
): Promise<Omit<LabRoundResult, 'again'>> {
  const { pair, ground, clients, found, guest } = life;
  const { primary } = pair;
  const answersBefore = clients.answers;
  await clients.order('ask');
  await until('all services to answer', patienceMs, () => clients.hasAll);
  await sleep(protectedMs);
  await life.isStillProtected();

  await reach(moment, clients);
  const load = moment === 'mid-load' ? life.startLoad() : undefined;
  await sleep(waitMs);
  note(moment);
  await clients.order('forget');
  await fault.strike(ground);
  await clients.order('ask');
  const winner = await winnerOf(fault, life);
  await fault.mend?.(ground);
  const outcome = await settled(winner, life);
  if (outcome !== undefined && !isExpected(outcome, fault.expected)) {
    ground.violate(`the ${outcome} runs the guest, not the ${fault.expected}`);
  }
  const { silenceMs } = clients;
  await sleep(afterwardsMs);
  for (const line of (await load?.end()) ?? []) ground.violate(line);
  await clients.order('pause');
  await until('nobody to wait', patienceMs, () => clients.waiting.length === 0).catch((error: Error) =>
    ground.violate(`${error.message}: ${clients.waiting.join(', ')}`),
  );

  const survivor: Role = outcome === 'standby' ? 'standby' : 'primary';
  const loser: Role = survivor === 'primary' ? 'standby' : 'primary';
  for (const line of life.takeSpeakersViolations()) ground.violate(line);
  if (life.speaker !== ground.side(survivor)) ground.violate(`host ${life.speaker ?? 'none'} spoke last`);
  const last = found(loser).status;
  if (pair.lab.failure !== undefined) throw pair.lab.failure;
  return {
    fault: fault.name,
    moment,
    primary,
    guest,
    outcome,
    silenceMs,
    answers: clients.answers - answersBefore,
    loser: outcome === 'both' || last === undefined ? undefined : `${last.headline}: ${last.why}`,
    violations: ground.takeViolations(),
  };
}

/** Clients ask all the time, wait for one answer each, or for none. */
async function reach(moment: Moment, clients: LabClients): Promise<void> {
  if (moment === 'mid-load') return;
  await clients.order('pause');
  await until('nobody to wait', patienceMs, () => clients.waiting.length === 0);
  if (moment === 'mid-transaction') await clients.order('once');
}

/** Waits until somebody runs the guest alone and answers, or until it is plain that nothing has happened. */
async function winnerOf(fault: LabFault, { ground, clients, found }: LabLife): Promise<Outcome | undefined> {
  if (fault.expected === 'both') await sleep(unchangedMs);
  let winner: Outcome | undefined;
  const answered = clients.asked + 1;
  await until('somebody to serve', patienceMs, () => {
    const alone = (['primary', 'standby'] as const).find((role) => found(role).status?.headline === 'UNPROTECTED');
    winner = alone ?? (fault.expected === 'both' ? 'both' : undefined);
    // Who asked before may have been told by a primary that is lost now.
    return winner !== undefined && clients.counted > answered;
  }).catch((error: Error) => ground.violate(error.message));
  return winner;
}

/** Waits until the other side knows, too, that it is not the one. */
async function settled(winner: Outcome | undefined, { ground, found }: LabLife): Promise<Outcome | undefined> {
  let outcome: Outcome | undefined;
  await until('both sides to know who goes on', patienceMs, () => {
    outcome = outcomeOf(found('primary'), found('standby'));
    return outcome !== undefined;
  }).catch(() => {
    const words = (role: Role): string => found(role).status?.headline ?? (found(role).isGone ? 'gone' : 'silent');
    ground.violate(`nobody knows who goes on: the primary is ${words('primary')}, the standby ${words('standby')}`);
  });
  // A primary that went on alone may have its standby again.
  if (outcome === 'both' && winner !== 'both') {
    if (winner === 'standby') ground.violate('the standby had taken over, and the primary is protected again');
    return 'primary';
  }
  return outcome;
}
