import { test } from 'tap';
import { converse, type Ending, type Plan } from '../../../support/mirrored-pair.ts';

/** More with TRANSLATE_SEEDS. */
const seeds = Number(process.env.TRANSLATE_SEEDS ?? 8);
const pointsPerSeed = 14;

/** What is wrong with an ending; undefined: the client saw one stream, and so did the guest. */
function fault(ending: Ending): string | undefined {
  if (ending.isReset) return 'the connection was reset';
  if (!ending.isDone) return `the conversation did not end in ${ending.steps} steps`;
  if (!isSame(ending.clientRead, ending.clientShould)) return 'the client read something else';
  if (!isSame(ending.guestRead, ending.guestShould)) return 'the guest read something else';
  if (ending.fallenTimes > 0) return 'timestamps fell';
  return undefined;
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

function faultsOf(plans: readonly Plan[]): { faults: string[]; endings: Ending[] } {
  const endings = plans.map(converse);
  const faults = endings.flatMap((ending, at) => {
    const what = fault(ending);
    return what === undefined ? [] : [`${JSON.stringify(plans[at])}: ${what}`];
  });
  return { faults, endings };
}

const all = Array.from({ length: seeds }, (_, seed) => seed + 1);
const lengths = new Map(all.map((seed) => [seed, converse({ seed }).steps]));

/** Points spread over the whole of a conversation, its beginning above all. */
function pointsOf(seed: number): number[] {
  const steps = lengths.get(seed) ?? 0;
  return Array.from({ length: pointsPerSeed }, (_, at) => Math.floor(steps * (at / pointsPerSeed) ** 2));
}

test('conversations with a pair end as with one guest', async (t) => {
  const { faults, endings } = faultsOf(all.map((seed) => ({ seed })));
  t.same(faults, []);
  t.ok(
    endings.some(({ checkpoints }) => checkpoints === 0),
    'some need no checkpoint at all',
  );
});

test('and so they do with a takeover at any point', async (t) => {
  const plans = all.flatMap((seed) => pointsOf(seed).map((takeoverAt) => ({ seed, takeoverAt })));
  const { faults, endings } = faultsOf(plans);
  t.same(faults, []);
  t.ok(endings.some(({ isTranslated }) => isTranslated));
});

test('and with a checkpoint at any point and a takeover after it', async (t) => {
  const plans = all.flatMap((seed) =>
    pointsOf(seed).map((checkpointAt, at) => ({ seed, checkpointAt, takeoverAt: checkpointAt + at * at })),
  );
  t.same(faultsOf(plans).faults, []);
});
