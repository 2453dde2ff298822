import type { Expected, Fault } from './fault.ts';
import type { Ground } from './ground.ts';
import { overloadFaults } from './overload.ts';

/** Longer than both sides need to notice, and to be sure that the other one is silent, ms. */
const longMs = 700;
/** Up to so long nobody should take a side for lost, on a host that is not busy. */
const shortMs = 120;

/**
 * Whatever it lasts, somebody serves during it; a while later it is mended.
 *
 * @param mayWait asked when nobody did: it was no fault of theirs, and either side may go on afterwards
 */
async function served(ground: Ground, mend: () => Promise<void> | void, mayWait = (): boolean => false): Promise<void> {
  const isServed = await ground.isServed();
  const isExcused = !isServed && mayWait();
  await ground.wait(0, longMs);
  await mend();
  if (isExcused) ground.becomesOpen();
  else if (!isServed) ground.violate('nobody served before it was mended');
}

function cut(name: string, expected: Expected, ways: (ground: Ground) => Parameters<Ground['cut']>): Fault {
  return {
    name,
    expected,
    happen: async (ground) => {
      await ground.cut(...ways(ground));
      await served(ground, () => ground.mend());
    },
  };
}

/** As {@link cut}, but not for long: nobody need notice. */
function cutForAWhile(name: string, mostMs: number, ways: (ground: Ground) => Parameters<Ground['cut']>): Fault {
  return {
    name,
    expected: 'either',
    happen: async (ground) => {
      await ground.cut(...ways(ground));
      await ground.wait(5, mostMs);
      await ground.mend();
    },
  };
}

/** Somebody dies, or stands still, or is not reached any more: from one moment to the next. */
const suddenFaults: readonly Fault[] = [
  {
    name: 'kill the primary',
    expected: 'standby',
    happen: (ground) => ground.kill('primary'),
  },
  {
    name: 'kill the standby',
    expected: 'primary',
    happen: (ground) => ground.kill('standby'),
  },
  {
    name: "lose the primary's host",
    expected: 'standby',
    happen: async (ground) => {
      const { primary } = ground;
      await ground.cut(`link from ${primary}`, `arbiter of ${primary}`, `clients of ${primary}`);
      await ground.kill('primary');
      await served(ground, () => ground.mend());
    },
  },
  {
    name: "lose the standby's host",
    expected: 'primary',
    happen: async (ground) => {
      const { standby } = ground;
      await ground.cut(`link from ${standby}`, `arbiter of ${standby}`, `clients of ${standby}`);
      await ground.kill('standby');
      await served(ground, () => ground.mend());
    },
  },
  ...(['primary', 'standby'] as const).flatMap((side): Fault[] => [
    {
      name: `freeze the ${side} for long`,
      expected: side === 'primary' ? 'standby' : 'primary',
      happen: async (ground) => {
        ground.freeze(side);
        await served(ground, () => ground.thaw(side));
      },
    },
    {
      name: `freeze the ${side} for a moment`,
      expected: 'either',
      happen: async (ground) => {
        ground.freeze(side);
        await ground.wait(1, shortMs);
        ground.thaw(side);
      },
    },
    {
      name: `freeze the ${side} about as long as nobody notices`,
      expected: 'either',
      happen: async (ground) => {
        ground.freeze(side);
        await ground.wait(ground.detectionMs * 0.6, ground.detectionMs * 2.5);
        ground.thaw(side);
      },
    },
  ]),
  {
    name: 'freeze the primary for a moment, and kill the standby meanwhile',
    expected: 'primary',
    happen: async (ground) => {
      ground.freeze('primary');
      await ground.wait(0, 30);
      await ground.kill('standby');
      await ground.wait(0, 30);
      ground.thaw('primary');
    },
  },
  {
    name: 'cut the link, and kill the primary meanwhile',
    expected: 'standby',
    happen: async (ground) => {
      const begun = performance.now();
      await ground.cut(`link from ${ground.primary}`, `link from ${ground.standby}`);
      await ground.wait(0, ground.detectionMs / 2);
      // On a starved machine that took longer: the primary may have gone on alone, and if it died then, nobody might.
      if (performance.now() - begun > ground.detectionMs * 0.75) ground.becomesOpen();
      else await ground.kill('primary');
      await served(ground, () => ground.mend());
    },
  },
  {
    name: 'end the standby in order',
    expected: 'primary',
    happen: (ground) => ground.end('standby'),
  },
  {
    // The primary hears that its standby has left, and may be the first one to ask the arbiter.
    name: 'hand the guest over, by command',
    expected: 'either',
    happen: (ground) => ground.handOver(),
  },
  {
    name: 'switch over',
    expected: 'standby',
    happen: (ground) => ground.switchOver(),
  },
  {
    name: 'switch over without an arbiter',
    expected: 'standby',
    happen: async (ground) => {
      const starvedMs = ground.watchProcessors();
      ground.freezeArbiter();
      await ground.switchOver();
      // Two sides that were starved apart cannot know who goes on before the arbiter is back.
      const mayWait = (): boolean => starvedMs() > ground.detectionMs / 2;
      await served(ground, () => ground.thawArbiter(), mayWait);
    },
  },
  {
    name: 'switch over, and kill the primary meanwhile',
    expected: 'standby',
    happen: async (ground) => {
      await ground.switchOver();
      await ground.wait(0, 30);
      await ground.kill('primary');
    },
  },
  {
    name: 'switch over, and cut the link meanwhile',
    expected: 'either',
    happen: async (ground) => {
      await ground.switchOver();
      await ground.wait(0, 30);
      await ground.cut(`link from ${ground.primary}`, `link from ${ground.standby}`);
      await served(ground, () => ground.mend());
    },
  },
  cut('cut the link', 'either', ({ primary, standby }) => [`link from ${primary}`, `link from ${standby}`]),
  cut('cut the link from the primary', 'either', ({ primary }) => [`link from ${primary}`]),
  cut('cut the link from the standby', 'either', ({ standby }) => [`link from ${standby}`]),
  cut('cut the primary from the standby and the arbiter', 'standby', ({ primary, standby }) => [
    `link from ${primary}`,
    `link from ${standby}`,
    `arbiter of ${primary}`,
  ]),
  cut('cut the standby from the primary and the arbiter', 'primary', ({ primary, standby }) => [
    `link from ${primary}`,
    `link from ${standby}`,
    `arbiter of ${standby}`,
  ]),
  {
    name: 'cut the link and the arbiter, and bring the arbiter back',
    expected: 'either',
    happen: async (ground) => {
      const { primary, standby } = ground;
      const arbiter = [`arbiter of ${primary}`, `arbiter of ${standby}`] as const;
      await ground.cut(...arbiter, `link from ${primary}`, `link from ${standby}`);
      await ground.wait(0, longMs);
      await ground.restore(...arbiter);
      await served(ground, () => ground.mend());
    },
  },
  cutForAWhile('cut the link for a moment', shortMs, ({ primary, standby }) => [
    `link from ${primary}`,
    `link from ${standby}`,
  ]),
  cutForAWhile('cut the arbiter', longMs, ({ primary, standby }) => [`arbiter of ${primary}`, `arbiter of ${standby}`]),
  cutForAWhile("cut the primary's clients", longMs, ({ primary }) => [`clients of ${primary}`]),
  cutForAWhile("cut the standby's clients", longMs, ({ standby }) => [`clients of ${standby}`]),
  {
    name: 'freeze the arbiter, and kill the primary meanwhile',
    expected: 'standby',
    happen: async (ground) => {
      ground.freezeArbiter();
      await ground.kill('primary');
      await ground.wait(0, longMs);
      ground.thawArbiter();
    },
  },
  {
    name: 'freeze the arbiter, and kill the standby meanwhile',
    expected: 'primary',
    happen: async (ground) => {
      ground.freezeArbiter();
      await ground.kill('standby');
      await ground.wait(0, longMs);
      ground.thawArbiter();
    },
  },
  {
    name: 'nothing',
    expected: 'either',
    happen: (ground) => ground.wait(100, 500),
  },
];

export const faults: readonly Fault[] = [...suddenFaults, ...overloadFaults];

export interface FaultChoice {
  /** Only faults whose names have this in them. */
  readonly faults: string;
  /** No faults whose names have this in them. */
  readonly without?: string;
  /** Only faults that end with the standby running the guest: a soak is of takeovers, and of the standby that follows. */
  readonly isSoak: boolean;
}

/** @throws Error if there is none */
export function chooseFaults({ faults: word, without, isSoak }: FaultChoice): Fault[] {
  const named = faults.filter(({ name }) => name.includes(word) && (without === undefined || !name.includes(without)));
  if (named.length === 0) throw new Error(`no fault is called ${word}`);
  const chosen = isSoak ? named.filter(({ expected }) => expected === 'standby') : named;
  if (chosen.length === 0)
    throw new Error(`no fault that is called ${word} has the standby take over, as a soak wants`);
  return chosen;
}
