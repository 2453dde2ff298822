import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mode } from '../../../src/colo/protocol/numbers.ts';
import { randomNumbers } from '../../../test/support/random.ts';
import { guestNetwork6 } from '../../demo/guest.ts';
import { LabPair, labFiles, type Side } from '../../demo/lab-pair.ts';
import { chooseMode, readModeFacts } from '../../lab/mode.ts';
import type { Progress } from '../../packages/progress.ts';
import { drawCopyPoint } from './copy-point.ts';
import { labFaults, moments } from './faults.ts';
import { servicesGuest } from './guest.ts';
import { guestCredentials } from './guest-credentials.ts';
import { type GuestPlan, LabLife, type LifeOptions, type TroublePlan, troubleInWords } from './life.ts';
import { LoadTools } from './load-tools.ts';
import { type LabRoundResult, type RoundPlan, strikeOnce } from './round.ts';
import { labTroubles } from './troubles.ts';
import type { Outcome } from './verdict.ts';

export interface LabCampaignOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Only faults whose names have this in them. */
  readonly faults: string;
  /** One guest lives through so many rounds, protected again from one to the next. At least 1. */
  readonly life: number;
  /** How output leaves, of one guest after the other, again and again. At least one. */
  readonly modes: readonly Mode[];
  /** What is left of a round that went wrong comes into a folder here; absent: nothing is kept. */
  readonly keep?: string;
  readonly progress: Progress;
  readonly onNote?: (text: string) => void;
  readonly onRound?: (round: number, result: LabRoundResult) => void;
}

export interface LabCampaignResult {
  readonly results: readonly LabRoundResult[];
  readonly kept: string | undefined;
}

/** A host that waits for this machine's processors, because others want them too, is not to be taken for lost. */
const detectionMs = 5000;
const protectedMs = { least: 1000, most: 4000 } as const;
const waitMs = 600;
/** Of a trouble that passes: for less than a loss takes to be noticed, and for longer. */
const troubleMs = { least: 1000, most: 12_000 } as const;
/** Members of etcd: any one may be lost. */
const arbiters = 3;

/**
 * All rounds of a seed: each fault once before any comes again, at moments in turn, a guest's first primary on either host; so each trouble
 * while it is protected again, at some point of the copy. Modes take turns; of what else a guest is, each kind comes once before any
 * comes again.
 */
export function planRounds({
  rounds,
  seed,
  faults,
  life,
  modes,
}: Pick<LabCampaignOptions, 'rounds' | 'seed' | 'faults' | 'life' | 'modes'>): RoundPlan[] {
  const random = randomNumbers(seed);
  const chosen = labFaults.filter(({ name }) => name.includes(faults));
  if (chosen.length === 0) throw new Error(`no fault is called "${faults}"`);
  const plans: RoundPlan[] = [];
  const [faultDeck, momentDeck] = [deckOf(chosen, random), deckOf(moments, random)];
  const troubleDeck = deckOf(labTroubles, random);
  const [cpusDeck, offloadsDeck] = [deckOf([1, 2], random), deckOf([true, false], random)];
  const familyDeck = deckOf([true, false], random);
  const newGuest = (lives: number): GuestPlan => ({
    mode: modes[lives % modes.length] as Mode,
    primary: random(2) === 0 ? 'a' : 'b',
    cpus: cpusDeck(),
    hasOffloads: offloadsDeck(),
    isIpv6First: familyDeck(),
  });
  const nextTrouble = (): TroublePlan => ({
    trouble: troubleDeck(),
    at: drawCopyPoint(random),
    lastsMs: between(troubleMs, random),
  });
  while (plans.length < rounds) {
    plans.push({
      fault: faultDeck(),
      moment: momentDeck(),
      newGuest: plans.length % life > 0 ? undefined : newGuest(plans.length / life),
      trouble: plans.length % life > 0 ? nextTrouble() : undefined,
      protectedMs: between(protectedMs, random),
      waitMs: random(waitMs),
    });
  }
  return plans;
}

function between({ least, most }: { least: number; most: number }, random: (limit: number) => number): number {
  return least + random(most - least);
}

/** Draws from `cards`, shuffled again whenever they are at an end. */
function deckOf<T>(cards: readonly T[], random: (limit: number) => number): () => T {
  let deck: T[] = [];
  return () => {
    if (deck.length === 0) deck = [...cards];
    return deck.splice(random(deck.length), 1)[0] as T;
  };
}

/** Rounds one after another, in one lab. It ends with the first one that went wrong. */
export async function runLabCampaign(options: LabCampaignOptions): Promise<LabCampaignResult> {
  const plans = planRounds(options);
  if (chooseMode(readModeFacts(), process.env.LAB).mode === 'native') {
    throw new Error(
      "the lab's hosts are namespaces of this machine, whose frames nobody watches: set LAB=emulated, or use chaos -- small",
    );
  }
  const pair = await LabPair.make(options.progress, await servicesGuest(options.progress), detectionMs, arbiters);
  try {
    await useIpv6(pair);
    const { progress } = options;
    const { authority } = await guestCredentials(progress);
    const load = await LoadTools.make(pair.lab.outside, progress);
    const campaign = new LabCampaign(pair, options, { authority, load });
    try {
      return await campaign.run(plans);
    } finally {
      campaign.close();
    }
  } finally {
    await pair.close();
  }
}

/** Clients ask over IPv6 too. No duplicate of their address is looked for, which would take a second. */
async function useIpv6({ lab }: LabPair): Promise<void> {
  const { status, stderr } = await lab.outside.run(`set -e
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip address add ${guestNetwork6.outside}/${guestNetwork6.bits} dev eth0`);
  if (status !== 0) throw new Error(`the machine outside the hosts has no IPv6: ${stderr.trim()}`);
}

class LabCampaign {
  readonly #pair: LabPair;
  readonly #options: LabCampaignOptions;
  readonly #results: LabRoundResult[] = [];
  readonly #means: Pick<LifeOptions, 'authority' | 'load'>;
  #life: LabLife | undefined;
  #guest: GuestPlan | undefined;
  #outcome: Outcome = 'both';
  /** What happened since the guest was started. */
  #history: string[] = [];
  #began = performance.now();

  constructor(pair: LabPair, options: LabCampaignOptions, means: Pick<LifeOptions, 'authority' | 'load'>) {
    this.#pair = pair;
    this.#options = options;
    this.#means = means;
  }

  async run(plans: readonly RoundPlan[]): Promise<LabCampaignResult> {
    const { keep: parent, seed, onRound } = this.#options;
    for (const [index, plan] of plans.entries()) {
      const next = plans[index + 1];
      const isLast = next === undefined || next.newGuest !== undefined;
      const result = await this.#round(plan, isLast).catch((error: Error) => {
        if (this.#pair.lab.failure !== undefined) throw this.#pair.lab.failure;
        return failed(plan, this.#pair.primary, this.#guest as GuestPlan, error);
      });
      this.#results.push(result);
      onRound?.(index + 1, result);
      if (result.violations.length === 0) continue;
      const kept =
        parent === undefined ? undefined : await keep(parent, seed, index + 1, this.#pair, this.#history, result);
      return { results: this.#results, kept };
    }
    return { results: this.#results, kept: undefined };
  }

  close(): void {
    this.#life?.abandon();
  }

  /** @param isLast of this guest */
  async #round(plan: RoundPlan, isLast: boolean): Promise<LabRoundResult> {
    const { newGuest, trouble } = plan;
    let again: LabRoundResult['again'];
    if (newGuest !== undefined) this.#life = await this.#newLife(newGuest);
    const life = this.#life as LabLife;
    if (trouble !== undefined && this.#outcome !== 'both') {
      this.#note(`protected again: ${troubleInWords(trouble)}`);
      again = await life.protectAgain(this.#outcome, trouble);
    }
    const result = await strikeOnce(life, plan, (text) => this.#note(text));
    this.#outcome = result.outcome ?? 'both';
    const wrong = isLast && result.violations.length === 0 ? await this.#endLife(life) : [];
    return { ...result, again, violations: [...result.violations, ...wrong] };
  }

  #newLife(guest: GuestPlan): Promise<LabLife> {
    this.#history = [];
    this.#began = performance.now();
    this.#guest = guest;
    const { progress } = this.#options;
    const note = (text: string): void => this.#note(text);
    return LabLife.begin(this.#pair, guest, { ...this.#means, progress, note });
  }

  async #endLife(life: LabLife): Promise<string[]> {
    this.#life = undefined;
    try {
      return await life.end();
    } finally {
      life.abandon();
    }
  }

  #note(text: string): void {
    const line = `${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${text}`;
    this.#history.push(line);
    this.#options.onNote?.(line);
  }
}

/** A round that did not come to a verdict. */
function failed({ fault, moment }: RoundPlan, primary: Side, guest: GuestPlan, error: Error): LabRoundResult {
  return {
    ...{ fault: fault.name, moment, primary, guest, again: undefined, outcome: undefined },
    ...{ silenceMs: 0, answers: 0, loser: undefined },
    violations: [`no verdict: ${error.message}`],
  };
}

async function keep(
  parent: string,
  seed: number,
  round: number,
  pair: LabPair,
  history: readonly string[],
  { violations }: LabRoundResult,
): Promise<string> {
  const folder = join(parent, `csm-lab-seed-${seed}-round-${round}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'history.txt'), [...history, '', ...violations, ''].join('\n'));
  for (const side of ['a', 'b'] as const) {
    writeFileSync(join(folder, `${side}.log`), pair.said[side]);
    // Only of guests that are compared, and of a host that has not lost its power.
    const packets = await pair
      .host(side)
      .pull(labFiles.packets)
      .catch(() => undefined);
    if (packets !== undefined) writeFileSync(join(folder, `${side}.pcapng`), packets);
  }
  return folder;
}
