import type { LabGround } from './ground.ts';

/** What clients do at the moment of a fault. */
export type Moment = 'idle' | 'mid-transaction' | 'mid-load';
export const moments: readonly Moment[] = ['idle', 'mid-transaction', 'mid-load'];

/** Who runs the guest afterwards: `either` is one of the two, `both` is a pair that nothing has happened to. */
export type Expected = 'primary' | 'standby' | 'either' | 'both';

export interface LabFault {
  readonly name: string;
  readonly expected: Expected;
  /** Resolves when it is so. */
  readonly strike: (ground: LabGround) => Promise<void>;
  /** What is mended when somebody serves again; absent: nothing can be. */
  readonly mend?: (ground: LabGround) => Promise<void>;
}

/** As a clock that was wrong for long and is put right by hand. */
export const clockStepSeconds = 3600;

const sides = ['primary', 'standby'] as const;
const other = { primary: 'standby', standby: 'primary' } as const;

export const labFaults: readonly LabFault[] = [
  ...sides.flatMap((side): LabFault[] => [
    {
      name: `the ${side}'s process is killed`,
      expected: other[side],
      strike: (ground) => ground.kill(side),
    },
    {
      name: `the ${side}'s host loses its power`,
      expected: other[side],
      strike: (ground) => ground.powerLoss(side),
    },
    {
      name: `the ${side}'s process is frozen, and thawed`,
      expected: other[side],
      strike: (ground) => ground.freeze(side),
      mend: (ground) => ground.thaw(side),
    },
    {
      name: `the ${side}'s host is frozen, and thawed`,
      expected: other[side],
      strike: (ground) => ground.hang(side),
      mend: (ground) => ground.unhang(side),
    },
    {
      name: `the link from the ${side} is cut`,
      expected: 'either',
      strike: (ground) => ground.cutLink(side),
      mend: (ground) => ground.mendNetwork(),
    },
    {
      name: `the link is cut, and the ${side} from the arbiter`,
      expected: other[side],
      strike: async (ground) => {
        await ground.cutArbiter(side);
        await ground.cutLink('primary', 'standby');
      },
      mend: (ground) => ground.mendNetwork(),
    },
    {
      name: `the ${side}'s clock is stepped`,
      expected: 'both',
      strike: (ground) => ground.stepClock(side, clockStepSeconds),
      mend: (ground) => ground.mendClocks(),
    },
  ]),
  {
    name: 'the link is cut in both directions',
    expected: 'either',
    strike: (ground) => ground.cutLink('primary', 'standby'),
    mend: (ground) => ground.mendNetwork(),
  },
  {
    name: "etcd's leader is lost",
    expected: 'both',
    strike: (ground) => ground.loseLeader(),
    mend: (ground) => ground.mendArbiter(),
  },
  {
    name: "the primary's process is killed, and etcd's leader with it",
    expected: 'standby',
    strike: async (ground) => {
      await ground.loseLeader();
      await ground.kill('primary');
    },
    mend: (ground) => ground.mendArbiter(),
  },
  {
    name: 'both are cut from the arbiter',
    expected: 'both',
    strike: (ground) => ground.cutArbiter('primary', 'standby'),
    mend: (ground) => ground.mendNetwork(),
  },
];
