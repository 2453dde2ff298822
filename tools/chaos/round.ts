import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { Clients } from './clients.ts';
import { compareDisk } from './disk-history.ts';
import type { Expected, Fault } from './fault.ts';
import { mostFailovers, tooSoon } from './flapping.ts';
import { type Ground, patienceMs } from './ground.ts';
import type { HostName } from './net/network.ts';
import type { Pair } from './pair/pair.ts';
import type { Speakers } from './speakers.ts';

/** Who runs the guest after a round. */
export type Outcome = 'both' | 'primary' | 'standby';

export interface RoundResult {
  readonly fault: string;
  readonly outcome: Outcome;
  /** How often a side went on without the other one. */
  readonly failovers: number;
  /** The longest time in which somebody waited and nobody was answered, ms. */
  readonly silenceMs: number;
  readonly answers: number;
  readonly retransmissions: number;
  /** What a side that may not go on says of itself. */
  readonly loser?: string;
  readonly violations: readonly string[];
}

export interface RoundParts {
  readonly ground: Ground;
  readonly pair: Pair;
  readonly clients: Clients;
  readonly speakers: Speakers;
  readonly note: (text: string) => void;
}

/** How long clients ask before and after the fault, ms. */
const askingMs = { least: 30, most: 400 } as const;

/** A fault, at a random moment, and everything that has to be true then and afterwards. The pair is protected. */
export async function runRound(
  fault: Fault,
  { ground, pair, clients, speakers, note }: RoundParts,
): Promise<RoundResult> {
  const before = clients.summary;
  const begunAt = performance.now();
  const term = (await pair.status())[pair.primaryHost]?.term;
  clients.start();
  await ground.wait(askingMs.least, askingMs.most);
  clients.forgetSilence();
  await fault.happen(ground);
  const expected = ground.isOpen ? 'either' : fault.expected;
  await ground.mend();
  note('mended');
  if (!(await ground.isServed())) ground.violate('nobody serves, though all is mended');
  const silenceMs = clients.summary.longestSilenceMs;
  await ground.wait(askingMs.least, askingMs.most);
  clients.stop();
  if (!(await clients.settled(patienceMs))) ground.violate(`${clients.waiting} requests were never answered`);
  const { outcome, loser, term: lastTerm } = await outcomeOf(expected, ground, pair, term);
  note(`outcome: ${outcome}${loser === undefined ? '' : `; the other side says ${loser}`}`);

  const survivor = outcome === 'standby' ? pair.standbyHost : pair.primaryHost;
  if (speakers.speaker !== survivor) ground.violate(`host ${speakers.speaker ?? 'none'} spoke last`);
  for (const line of compareDisk(pair.disk(survivor), clients.told))
    ground.violate(`disk of host ${survivor}: ${line}`);
  for (const line of [...speakers.violations, ...clients.violations]) ground.violate(line);
  for (const vmm of Object.values(pair.vmms)) {
    if (vmm.endedByItself) ground.violate(`${vmm.name} has ended: ${vmm.log.trim().split('\n').at(-1)}`);
  }
  const failovers = (lastTerm ?? 0) - (term ?? 0);
  for (const line of await flapping(pair, ground.detectionMs, failovers, performance.now() - begunAt))
    ground.violate(line);
  const after = clients.summary;
  return {
    fault: fault.name,
    outcome,
    failovers,
    silenceMs,
    answers: after.answers - before.answers,
    retransmissions: after.retransmissions - before.retransmissions,
    ...(loser === undefined ? {} : { loser }),
    violations: [...ground.violations],
  };
}

/**
 * Waits until both sides know what they are, and says what that is.
 *
 * @param term before the fault: a pair in a later one is a primary that went on alone, and has its standby again
 */
async function outcomeOf(
  expected: Expected,
  ground: Ground,
  pair: Pair,
  term: number | undefined,
): Promise<{ outcome: Outcome; loser?: string; term: number | undefined }> {
  const deadline = performance.now() + patienceMs;
  let status = await pair.status();
  let found = decided(pair, status);
  while (found === undefined && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    status = await pair.status();
    found = decided(pair, status);
  }
  if (found === undefined) {
    const words = (host: HostName): string =>
      status[host] === undefined ? 'is gone' : `says ${inWords(status[host])} in phase ${status[host].phase}`;
    ground.violate(`nobody knows who goes on: host a ${words('a')}; host b ${words('b')}`);
    return { outcome: status[pair.primaryHost] === undefined ? 'standby' : 'primary', term };
  }
  const outcome = found === 'both' && status[pair.primaryHost]?.term !== term ? 'primary' : found;
  if (expected !== 'either' && outcome !== expected) {
    ground.violate(`the outcome is ${outcome}, not ${expected}`);
  }
  const [survivor, loser] =
    outcome === 'standby' ? [pair.standbyHost, pair.primaryHost] : [pair.primaryHost, pair.standbyHost];
  const lastTerm = status[survivor]?.term;
  if (found === 'both' || pair.vmms[loser]?.isAlive !== true) return { outcome, term: lastTerm };
  return { outcome, term: lastTerm, loser: status[loser] === undefined ? 'nothing' : inWords(status[loser]) };
}

/** Failovers that follow each other come further and further apart: each takes a term. */
async function flapping(pair: Pair, detectionMs: number, failovers: number, ms: number): Promise<string[]> {
  const found: string[] = [];
  const most = mostFailovers(ms, detectionMs);
  if (failovers > most) found.push(`the pair flaps: ${failovers} failovers in ${ms.toFixed(0)} ms`);
  for (const vmm of Object.values(pair.vmms)) {
    for (const line of tooSoon(await vmm.events(), detectionMs)) found.push(`the pair flaps: ${vmm.name}: ${line}`);
  }
  return found;
}

function inWords({ headline, why }: ColoStatus): string {
  return `${headline}: ${why}`;
}

/** Undefined: not yet. */
function decided(pair: Pair, status: Record<HostName, ColoStatus | undefined>): Outcome | undefined {
  const [primary, standby] = [status[pair.primaryHost]?.headline, status[pair.standbyHost]?.headline];
  if (primary === 'PROTECTED' && standby === 'PROTECTING') return 'both';
  // What is alive has to know that it is not the one.
  const isOut = (host: HostName): boolean => {
    const headline = status[host]?.headline;
    if (headline === undefined) return pair.vmms[host]?.isAlive !== true;
    return headline === 'FENCED' || headline === 'ENDED' || headline === 'LISTENING';
  };
  if (primary === 'UNPROTECTED' && isOut(pair.standbyHost)) return 'primary';
  if (standby === 'UNPROTECTED' && isOut(pair.primaryHost)) return 'standby';
  return undefined;
}
