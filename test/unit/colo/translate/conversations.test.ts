import { test } from 'tap';
import { Comparator } from '../../../../src/colo/compare/comparator.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { Translator } from '../../../../src/colo/translate/translator.ts';
import type { EndedConnection, Ending, Plan } from '../../../support/conversation-plan.ts';
import { converse } from '../../../support/mirrored-pair.ts';

/** More with TRANSLATE_SEEDS. */
const seeds = Number(process.env.TRANSLATE_SEEDS ?? 8);
const pointsPerSeed = 14;
/** Of one conversation every point is tried: the shortest one. */
const everyPointOf = 1;

/** What is wrong with an ending; undefined: the client saw one stream, and so did the guest. */
function fault({ isDone, steps, connections, fallenTimes, translatedAfter }: Ending): string | undefined {
  if (!isDone) return `the conversation did not end in ${steps} steps`;
  for (const [at, connection] of connections.entries()) {
    const what = faultOf(connection);
    if (what !== undefined) return `connection ${at + 1}: ${what}`;
  }
  if (fallenTimes > 0) return 'timestamps fell';
  if (translatedAfter > 0) return `${translatedAfter} connections are still translated`;
  return undefined;
}

function faultOf(connection: EndedConnection): string | undefined {
  const { isAborted, wasReset, clientRead, clientShould, guestRead = [], guestShould } = connection;
  if (wasReset && !isAborted) return 'it was reset';
  // One that is broken off may end anywhere.
  const isAsMuch = (read: readonly number[], should: readonly number[]): boolean =>
    (isAborted || read.length === should.length) && read.every((byte, at) => byte === should[at]);
  if (!isAsMuch(clientRead, clientShould)) return 'the client read something else';
  if (!isAsMuch(guestRead, guestShould)) return 'the guest read something else';
  return undefined;
}

function faultsOf(plans: readonly Plan[]): { faults: string[]; endings: Ending[] } {
  const endings: Ending[] = [];
  const faults = plans.flatMap((plan) => {
    try {
      const ending = converse(plan);
      endings.push(ending);
      const what = fault(ending);
      return what === undefined ? [] : [`${JSON.stringify(plan)}: ${what}`];
    } catch (error) {
      return [`${JSON.stringify(plan)}: ${error}`];
    }
  });
  return { faults, endings };
}

const all = Array.from({ length: seeds }, (_, seed) => seed + 1);

/** How long conversations last with nothing but talking. */
const lengthOf = (plan: Plan): number => converse(plan).steps;
const lengths = new Map(all.map((seed) => [seed, lengthOf({ seed })]));
const reused = all.map((seed) => ({ seed, connections: 3 }));
const reusedLengths = new Map(reused.map((plan) => [plan.seed, lengthOf(plan)]));

/** Points spread over the whole of a conversation, its beginning above all. */
function pointsOf(seed: number): number[] {
  const steps = lengths.get(seed) ?? 0;
  return Array.from({ length: pointsPerSeed }, (_, at) => Math.floor(steps * (at / pointsPerSeed) ** 2));
}

/** Points spread evenly over conversations whose ports are used again. */
function reusedPoints(count: number): { seed: number; connections: number; at: number }[] {
  return reused.flatMap((plan) =>
    Array.from({ length: count }, (_, at) => ({
      ...plan,
      at: Math.floor(((reusedLengths.get(plan.seed) ?? 0) * at) / count),
    })),
  );
}

test('conversations with a pair end as with one guest', async (t) => {
  const { faults, endings } = faultsOf(all.map((seed) => ({ seed })));
  t.same(faults, []);
  t.ok(
    endings.some(({ checkpoints }) => checkpoints === 0),
    'some need no checkpoint at all',
  );
  t.ok(
    endings.some(({ parts }) => parts > 0),
    'of some packets a part leaves first',
  );
});

test('and so they do with a takeover at any point', async (t) => {
  const everyPoint = Array.from({ length: lengths.get(everyPointOf) ?? 0 }, (_, takeoverAt) => ({
    seed: everyPointOf,
    takeoverAt,
  }));
  const plans = all.flatMap((seed) => pointsOf(seed).map((takeoverAt) => ({ seed, takeoverAt })));
  const { faults, endings } = faultsOf([...everyPoint, ...plans]);
  t.same(faults, []);
  t.ok(endings.some(({ isTranslated }) => isTranslated));
});

test('and with a checkpoint at any point and a takeover after it', async (t) => {
  const plans = all.flatMap((seed) =>
    pointsOf(seed).map((checkpointAt, at) => ({ seed, checkpointAt, takeoverAt: checkpointAt + at * at })),
  );
  t.same(faultsOf(plans).faults, []);
});

test('and with buffered epochs in between, and a takeover in them or after them', async (t) => {
  const plans = all.flatMap((seed) =>
    pointsOf(seed).map((bufferedAt, at) => ({ seed, bufferedAt, takeoverAt: bufferedAt + 9 * at })),
  );
  t.same(faultsOf([...plans, ...plans.map(({ seed, bufferedAt }) => ({ seed, bufferedAt }))]).faults, []);
});

test('and with a survivor that is protected again and taken over from', async (t) => {
  const plans = all.flatMap((seed) =>
    pointsOf(seed).map((takeoverAt, at) => ({ seed, takeoverAt, pairedAfter: 1 + at, secondTakeoverAfter: at * at })),
  );
  const { faults, endings } = faultsOf(plans);
  t.same(faults, []);
  t.ok(endings.some(({ isTranslated }) => isTranslated));
});

test('and with somebody who sends data in the name of the client, whose acknowledgements he does not know', async (t) => {
  const plans = all.flatMap((seed) =>
    pointsOf(seed).flatMap((point, at) => [
      { seed, isDisturbed: true, takeoverAt: point },
      { seed, isDisturbed: true, checkpointAt: point, takeoverAt: point + at * at },
    ]),
  );
  const { faults, endings } = faultsOf([...all.map((seed) => ({ seed, isDisturbed: true })), ...plans]);
  t.same(faults, []);
  t.ok(endings.some(({ isTranslated }) => isTranslated));
});

test('ports that are used again, and connections that an end breaks off', async (t) => {
  const { faults, endings } = faultsOf([
    ...reused,
    ...reusedPoints(10).map(({ at, ...plan }) => ({ ...plan, takeoverAt: at })),
    ...reusedPoints(6).map(({ at, ...plan }, n) => ({
      ...plan,
      takeoverAt: at,
      pairedAfter: n % 7,
      secondTakeoverAfter: n,
    })),
    ...reusedPoints(4).map(({ at, ...plan }, n) => ({ ...plan, bufferedAt: at, takeoverAt: at + 3 * n })),
  ]);
  t.same(faults, []);
  const connections = endings.flatMap((ending) => ending.connections);
  t.ok(connections.some(({ isAborted, wasReset }) => isAborted && wasReset));
  t.ok(connections.some(({ isAborted }) => !isAborted));
});

const view = new PacketView();

/** Lets out what acknowledges, whatever S has acknowledged. */
class AheadOfAcknowledgements extends Comparator {
  override primary(...args: Parameters<Comparator['primary']>): void {
    const [epoch, , bytes, offset, length, handle] = args;
    const isAcknowledgement =
      view.read(bytes, offset, length) === packetKind.tcp &&
      (view.tcpFlags & (tcpFlag.syn | tcpFlag.fin | tcpFlag.rst)) === 0 &&
      view.payloadBytes === 0;
    if (isAcknowledgement && epoch === this.epoch) this.release(handle);
    else super.primary(...args);
  }
}

/** Lets out what S has not said. */
class Hasty extends Comparator {
  override primary(...args: Parameters<Comparator['primary']>): void {
    this.release(args[5]);
  }
}

class KeepsNumbers extends Translator {
  override checkpoint(): void {}
}

class ForgetsAtTakeover extends Translator {
  override takeOver(aheadTicks: number): void {
    this.checkpoint(0);
    super.takeOver(aheadTicks);
  }
}

class IsNotAhead extends Translator {
  override takeOver(): void {
    super.takeOver(-1000);
  }
}

for (const [what, broken] of [
  [
    'an acknowledgement is released ahead of that of S',
    { makeComparator: (...parts) => new AheadOfAcknowledgements(...parts) },
  ],
  ['output is released that S has not said', { makeComparator: (...parts) => new Hasty(...parts) }],
  ['numbers of before a checkpoint are kept', { makeTranslator: (...parts) => new KeepsNumbers(...parts) }],
  ['a takeover ends translation', { makeTranslator: (...parts) => new ForgetsAtTakeover(...parts) }],
  ["timestamps fall behind P's", { makeTranslator: (...parts) => new IsNotAhead(...parts) }],
] as const satisfies readonly [string, Pick<Plan, 'makeComparator' | 'makeTranslator'>][]) {
  test(`it is seen when ${what}`, async (t) => {
    const plans = all.flatMap((seed) =>
      pointsOf(seed).flatMap((point, at) => [
        { seed, ...broken, takeoverAt: point },
        { seed, ...broken, checkpointAt: point, takeoverAt: point + at * at },
      ]),
    );
    t.ok(plans.some((plan) => faultsOf([plan]).faults.length > 0));
  });
}
