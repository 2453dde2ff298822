import type { Expected, Fault } from './fault.ts';
import { backOffMs } from './flapping.ts';
import type { Ground, Side } from './ground.ts';
import type { Scarce } from './host/hosts.ts';

/** A host, or the link, that has too much to do: everything is there, and slow, or stands still for a while. */
interface Overload {
  readonly of: string;
  /** What this machine must be able to take from a host for it. */
  readonly needs?: Scarce;
  /** It is mended by {@link Ground.mend}, or by what comes back, before that. */
  readonly begin: (ground: Ground) => Promise<(() => Promise<void>) | undefined>;
  /** Why nobody may be answered while it lasts; absent: somebody has to be. */
  readonly silentBecause?: string;
}

const sides: readonly Side[] = ['primary', 'standby'];

/** What is left to a VMM that is starved, at least and at most: from too little for a heartbeat to too little for many answers. */
const sharePerMille = { least: 5, most: 60 } as const;
/** It stands still for most of a period: always for less than it takes to be given up, or always for longer. */
const periodsMs: readonly number[] = [50, 100, 300, 1000];

/** A link as of long ago, bits/s. A pair of the small guest wants more than most of them. */
const linkBits: readonly number[] = [200_000, 500_000, 1_000_000, 4_000_000];

function starved(of: string, ...who: readonly Side[]): Overload {
  return {
    of,
    needs: 'processor',
    begin: async (ground) => {
      const periodMs = pick(ground, periodsMs);
      for (const side of who) {
        const perMille = sharePerMille.least + ground.random(sharePerMille.most - sharePerMille.least);
        ground.starve(side, { share: perMille / 1000, periodMs });
      }
      return undefined;
    },
    ...(who.length > 1 ? { silentBecause: 'neither side has a processor' } : {}),
  };
}

function stoppedDisk(side: Side): Overload {
  return {
    of: `the ${side}'s disk, which stands still`,
    needs: 'disk',
    begin: async (ground) => {
      await ground.stopDisk(side);
      return undefined;
    },
    ...(side === 'primary' ? { silentBecause: "the guest's writes wait for its disk, as on any machine" } : {}),
  };
}

/** It stands still for moments, most of the time. */
function slowDisk(side: Side): Overload {
  return {
    of: `the ${side}'s disk, which is slow`,
    needs: 'disk',
    begin: async (ground) => {
      let isOver = false;
      const going = (async () => {
        while (!isOver) {
          await ground.stopDisk(side);
          await ground.wait(20, ground.detectionMs);
          await ground.letDiskGo(side);
          await ground.wait(1, 20);
        }
      })();
      return async () => {
        isOver = true;
        await going;
      };
    },
  };
}

/** Somebody else wants more of it than there is: what the pair says waits behind that, or is lost. */
function fullLink(of: string, ...from: readonly Side[]): Overload {
  return {
    of,
    begin: async (ground) => {
      const bitsPerSecond = pick(ground, linkBits);
      const waitMs = 20 + ground.random(ground.detectionMs * 2);
      const roomBytes = 3000 + Math.round((bitsPerSecond / 8000) * waitMs);
      for (const side of from) {
        await ground.narrow(side, { bitsPerSecond, roomBytes });
        await ground.fill(side, (bitsPerSecond / 8) * 1.3);
      }
      return undefined;
    },
  };
}

/** It takes little, and what finds no room is lost. */
const slowLink: Overload = {
  of: 'the link, which is slow and loses packets',
  begin: async (ground) => {
    const bitsPerSecond = pick(ground, linkBits);
    const roomBytes = 3000 + ground.random(8000);
    for (const side of sides) await ground.narrow(side, { bitsPerSecond, roomBytes });
    return undefined;
  },
};

const overloads: readonly Overload[] = [
  ...sides.map((side) => starved(`the ${side}'s processors`, side)),
  starved('the processors of both', 'primary', 'standby'),
  ...sides.map(stoppedDisk),
  ...sides.map(slowDisk),
  fullLink('the link', 'primary', 'standby'),
  fullLink('the link from the primary', 'primary'),
  fullLink('the link from the standby', 'standby'),
  slowLink,
];

/** For as long as a loss takes to be noticed, or a little longer. */
async function shortly(ground: Ground, overload: Overload): Promise<void> {
  await during(ground, overload, () => ground.wait(ground.detectionMs * 0.6, ground.detectionMs * 2.5));
}

/** For so long that either side has noticed; somebody serves nevertheless. */
async function long(ground: Ground, overload: Overload): Promise<void> {
  await during(ground, overload, async () => {
    await ground.wait(ground.detectionMs * 2, ground.detectionMs * 8);
    if (overload.silentBecause !== undefined) ground.note(`who is not answered has to wait: ${overload.silentBecause}`);
    else if (!(await ground.isServed())) ground.violate('nobody served while it lasted');
  });
}

async function during(ground: Ground, { begin }: Overload, happens: () => Promise<void>): Promise<void> {
  const end = await begin(ground);
  await happens();
  await end?.();
  await ground.mend();
}

/** Once, for about as long as a loss takes to be noticed, or for several times as long. */
function once(overload: Overload): Fault {
  return {
    ...named(`overload ${overload.of}`, overload),
    happen: (ground) => (ground.random(3) === 0 ? shortly(ground, overload) : long(ground, overload)),
  };
}

/**
 * Two or three times: in between it lets go for moments, in which nobody can be sure that it is over, or for so long that who was given up
 * is back, for the first time.
 */
function again(overload: Overload): Fault {
  return {
    ...named(`overload ${overload.of}, again and again`, overload),
    happen: async (ground) => {
      const calmMs = backOffMs(1, ground.detectionMs);
      for (let times = 2 + ground.random(2); times > 0; times--) {
        await (ground.random(3) === 0 ? shortly(ground, overload) : long(ground, overload));
        if (times === 1) return;
        if (ground.random(2) === 0) await ground.wait(5, calmMs * 0.8);
        else await ground.wait(calmMs, calmMs * 2.5);
      }
    },
  };
}

function named(name: string, { needs }: Overload): { name: string; expected: Expected; needs?: Scarce } {
  return { name, expected: 'either', ...(needs === undefined ? {} : { needs }) };
}

/** Overload is not death, and this is both: a side ends, or seems to, while a disk stands still. */
const deaths: readonly Fault[] = [
  {
    // It finds its primary silent, and could not go on: the arbiter is not to give it the guest.
    name: "overload the standby's disk, which stands still, and freeze the primary meanwhile",
    expected: 'primary',
    needs: 'disk',
    happen: async (ground) => {
      await ground.stopDisk('standby');
      ground.freeze('primary');
      await ground.wait(ground.detectionMs * 2, ground.detectionMs * 4);
      ground.thaw('primary');
      if (!(await ground.isServed())) ground.violate('nobody served before it was mended');
      await ground.letDiskGo('standby');
    },
  },
  ...sides.map((side): Fault => {
    const survivor = side === 'primary' ? 'standby' : 'primary';
    return {
      // Its kernel keeps its connections open for as long as one of its threads waits for the disk: only its silence tells.
      ...diskStandsStill(side, side, survivor),
      happen: async (ground) => {
        await ground.stopDisk(side);
        await ground.wait(0, ground.detectionMs);
        const gone = ground.kill(side);
        if (!(await ground.isServed())) ground.violate('nobody served before it was mended');
        await ground.wait(0, ground.detectionMs * 3);
        await ground.letDiskGo(side);
        await gone;
      },
    };
  }),
  ...sides.map((survivor): Fault => {
    const killed = survivor === 'primary' ? 'standby' : 'primary';
    return {
      ...diskStandsStill(survivor, killed, survivor),
      happen: async (ground) => {
        await ground.stopDisk(survivor);
        // Soon: who was given up before is not to go on.
        await ground.wait(0, ground.detectionMs / 2);
        await ground.kill(killed);
        ground.note('who is not answered has to wait: what the survivor writes down has to last');
        await ground.wait(0, ground.detectionMs * 8);
        await ground.letDiskGo(survivor);
      },
    };
  }),
];

function diskStandsStill(disk: Side, killed: Side, expected: Expected): Omit<Fault, 'happen'> {
  return {
    name: `overload the ${disk}'s disk, which stands still, and kill the ${killed} meanwhile`,
    expected,
    needs: 'disk',
  };
}

function pick<T>(ground: Ground, from: readonly T[]): T {
  return from[ground.random(from.length)] as T;
}

export const overloadFaults: readonly Fault[] = [...overloads.map(once), ...overloads.map(again), ...deaths];
