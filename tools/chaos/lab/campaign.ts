import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomNumbers } from '../../../test/support/random.ts';
import { LabPair, labFiles } from '../../demo/lab-pair.ts';
import { chooseMode, readModeFacts } from '../../lab/mode.ts';
import type { Progress } from '../../packages/progress.ts';
import { labFaults, moments } from './faults.ts';
import { servicesGuest } from './guest.ts';
import { type LabRoundResult, playLabRound, type RoundPlan } from './round.ts';

export interface LabCampaignOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Only faults whose names have this in them. */
  readonly faults: string;
  /** Both guests run, and their answers are compared. */
  readonly compare?: boolean;
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

/** All rounds of a seed: each fault once before any comes again, at moments in turn, the primary on either host. */
export function planRounds({
  rounds,
  seed,
  faults,
}: Pick<LabCampaignOptions, 'rounds' | 'seed' | 'faults'>): RoundPlan[] {
  const random = randomNumbers(seed);
  const chosen = labFaults.filter(({ name }) => name.includes(faults));
  if (chosen.length === 0) throw new Error(`no fault is called "${faults}"`);
  const plans: RoundPlan[] = [];
  const [faultDeck, momentDeck] = [deckOf(chosen, random), deckOf(moments, random)];
  while (plans.length < rounds) {
    plans.push({
      fault: faultDeck(),
      moment: momentDeck(),
      primary: random(2) === 0 ? 'a' : 'b',
      protectedMs: protectedMs.least + random(protectedMs.most - protectedMs.least),
      waitMs: random(waitMs),
    });
  }
  return plans;
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
  const results: LabRoundResult[] = [];
  const pair = await LabPair.make(options.progress, await servicesGuest(options.progress), detectionMs);
  try {
    for (const [index, plan] of plans.entries()) {
      const history: string[] = [];
      const began = performance.now();
      const note = (text: string): void => {
        const line = `${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${text}`;
        history.push(line);
        options.onNote?.(line);
      };
      const result = await playLabRound(pair, plan, {
        note,
        progress: options.progress,
        compare: options.compare === true,
      }).catch((error: Error) => {
        if (pair.lab.failure !== undefined) throw pair.lab.failure;
        return failed(plan, error);
      });
      results.push(result);
      options.onRound?.(index + 1, result);
      if (result.violations.length === 0) continue;
      const kept =
        options.keep === undefined
          ? undefined
          : await keep(options.keep, options.seed, index + 1, pair, history, result);
      return { results, kept };
    }
    return { results, kept: undefined };
  } finally {
    await pair.close();
  }
}

/** A round that did not come to a verdict. */
function failed({ fault, moment, primary }: RoundPlan, error: Error): LabRoundResult {
  return {
    ...{ fault: fault.name, moment, primary, outcome: undefined, silenceMs: 0, answers: 0, loser: undefined },
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
