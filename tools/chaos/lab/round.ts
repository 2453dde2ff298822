import { setTimeout as sleep } from 'node:timers/promises';
import { guestNetwork } from '../../demo/guest.ts';
import { type LabPair, until } from '../../demo/lab-pair.ts';
import type { Progress } from '../../packages/progress.ts';
import { Speakers } from '../speakers.ts';
import { LabClients } from './clients.ts';
import type { LabFault, Moment } from './faults.ts';
import { LabGround, type Role } from './ground.ts';
import { servicesReady } from './guest.ts';
import { readGuestDisk } from './survivor-disk.ts';
import { compareWithDisk, isExpected, type Outcome, outcomeOf } from './verdict.ts';

/** What a round does, all of it out of the seed. Times in ms. */
export interface RoundPlan {
  readonly fault: LabFault;
  readonly moment: Moment;
  readonly primary: 'a' | 'b';
  /** How long the guest is protected before. */
  readonly protectedMs: number;
  /** From the moment on, until the fault. */
  readonly waitMs: number;
}

export interface LabRoundResult {
  readonly fault: string;
  readonly moment: Moment;
  readonly primary: 'a' | 'b';
  readonly outcome: Outcome | undefined;
  /** The longest time in which somebody asked the counter and nobody was answered, from the fault on. */
  readonly silenceMs: number;
  readonly answers: number;
  /** What the side that may not go on says of itself. */
  readonly loser: string | undefined;
  readonly violations: readonly string[];
}

/** Emulated hosts on a busy machine are slow. */
const patienceMs = 180_000;
/** A pair that lives has consent again within this time. */
const consentMs = 10_000;
/** How long clients ask on when all is settled. */
const afterwardsMs = 2000;
/** Of something that must change nothing: longer than it takes to notice a loss and ask who may go on. */
const unchangedMs = 12_000;

/**
 * One round with a pair of its own: served, protected, struck at its moment, served on, mended, judged. Nothing that is wrong is an
 * error: it is a violation.
 *
 * @throws LabError if the lab failed, Error if the pair never became one
 */
export async function playLabRound(
  pair: LabPair,
  plan: RoundPlan,
  { note, progress, compare = false }: { note: (text: string) => void; progress: Progress; compare?: boolean },
): Promise<LabRoundResult> {
  pair.primary = plan.primary;
  await pair.renew({ isCompared: compare, isRecorded: compare });
  note('both hosts are ready');
  const speakers = new Speakers();
  const sideOf = new Map([
    [pair.host('a').name, 'a'],
    [pair.host('b').name, 'b'],
  ] as const);
  await pair.lab.network.watch(guestNetwork.mac, (name) => {
    const side = sideOf.get(name);
    if (side === undefined) return;
    if (speakers.speaker !== side) note(`host ${side} speaks as the guest`);
    speakers.spoke(side, Buffer.alloc(0));
  });
  const ground = new LabGround(pair, note);
  const found = (role: Role) => ({ status: ground.status(role), isGone: ground.isGone(role) });
  const { primary, standby } = pair;
  const heard =
    (side: 'a' | 'b') =>
    (line: string): void =>
      note(`${side}: ${line.replace(/^colo-vmm: /, '')}`);
  pair.start(primary, heard(primary));
  await pair.up(primary);
  await until('the guest to serve', patienceMs, async () => (await pair.serial(primary)).includes(servicesReady));
  note('the guest serves');
  const clients = new LabClients(pair.lab.outside);
  try {
    // An emulated host copies memory slowly enough without anybody asking.
    await clients.order('once');
    pair.start(standby, heard(standby));
    await pair.up(standby);
    for (const side of [primary, standby]) pair.watch(side, (status) => ground.heard(side, status));
    const isProtected = (): boolean => outcomeOf(found('primary'), found('standby')) === 'both';
    await until('the guest to be protected', patienceMs, isProtected);
    note('protected');
    await clients.order('ask');
    await until('all services to answer', patienceMs, () => clients.hasAll);
    await sleep(plan.protectedMs);
    // An emulated host may be late with a heartbeat.
    await until('the guest to be protected still', consentMs, isProtected).catch(() => {
      throw new Error(`the guest is not protected any more: ${pair.said[primary].slice(-500)}`);
    });

    await reach(plan.moment, clients);
    await sleep(plan.waitMs);
    note(plan.moment);
    await clients.order('forget');
    const { fault } = plan;
    await fault.strike(ground);
    await clients.order('ask');
    const winner = await winnerOf(fault, ground, clients, found);
    await fault.mend?.(ground);
    const outcome = await settled(winner, ground, found);
    if (outcome !== undefined && !isExpected(outcome, fault.expected)) {
      ground.violate(`the ${outcome} runs the guest, not the ${fault.expected}`);
    }
    const { silenceMs } = clients;
    await sleep(afterwardsMs);
    const report = await clients.stop();

    const survivor: Role = outcome === 'standby' ? 'standby' : 'primary';
    const loser: Role = survivor === 'primary' ? 'standby' : 'primary';
    for (const line of speakers.violations) ground.violate(line);
    if (speakers.speaker !== ground.side(survivor)) ground.violate(`host ${speakers.speaker ?? 'none'} spoke last`);
    const last = found(loser).status;
    await pair.end();
    const disk = await readGuestDisk(await pair.disk(ground.side(survivor)), progress);
    for (const line of compareWithDisk(report, disk)) ground.violate(line);
    if (pair.lab.failure !== undefined) throw pair.lab.failure;
    return {
      fault: fault.name,
      moment: plan.moment,
      primary,
      outcome,
      silenceMs,
      answers: clients.answers,
      loser: outcome === 'both' || last === undefined ? undefined : `${last.headline}: ${last.why}`,
      violations: ground.violations,
    };
  } finally {
    clients.end();
  }
}

/** Clients ask all the time, wait for one answer each, or for none. */
async function reach(moment: Moment, clients: LabClients): Promise<void> {
  if (moment === 'mid-load') return;
  await clients.order('pause');
  await until('nobody to wait', patienceMs, () => clients.waiting.length === 0);
  if (moment === 'mid-transaction') await clients.order('once');
}

type FoundBy = (role: Role) => Parameters<typeof outcomeOf>[0];

/** Waits until somebody runs the guest alone and answers, or until it is plain that nothing has happened. */
async function winnerOf(
  fault: LabFault,
  ground: LabGround,
  clients: LabClients,
  found: FoundBy,
): Promise<Outcome | undefined> {
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
async function settled(winner: Outcome | undefined, ground: LabGround, found: FoundBy): Promise<Outcome | undefined> {
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
