import { setTimeout as sleep } from 'node:timers/promises';
import { clockStepSeconds } from './faults.ts';
import type { LabTrouble } from './life.ts';

const slowLink = { loss: 0.005, delayMs: 5, bytesPerSecond: 4_000_000 } as const;

export const noTrouble: LabTrouble = { name: 'nothing', extent: 'throughout', happen: async () => {} };

export const labTroubles: readonly LabTrouble[] = [
  noTrouble,
  {
    name: 'the link cut',
    extent: 'while',
    happen: async (life, lastsMs) => {
      await life.ground.cutLink('primary', 'standby');
      await sleep(lastsMs);
      await life.serves();
      await life.ground.mendNetwork();
    },
  },
  {
    name: 'the standby killed',
    extent: 'moment',
    happen: async (life) => {
      await life.ground.kill('standby');
      await life.serves();
      await life.anotherStandby();
    },
  },
  {
    name: "the standby's host without power",
    extent: 'moment',
    happen: async (life) => {
      await life.ground.powerLoss('standby');
      await life.serves();
      await life.anotherStandby();
    },
  },
  {
    name: 'over a slow link that loses frames',
    extent: 'throughout',
    happen: (life) => life.ground.degradeLink(slowLink),
    mend: (life) => life.ground.mendNetwork(),
  },
  {
    name: 'no arbiter',
    extent: 'while',
    happen: async (life, lastsMs) => {
      await life.ground.cutArbiter('primary', 'standby');
      await sleep(lastsMs);
      await life.serves();
      await life.ground.mendNetwork();
    },
  },
  ...(['primary', 'standby'] as const).map(
    (side): LabTrouble => ({
      name: `the ${side}'s clock stepped`,
      extent: 'moment',
      happen: (life) => life.ground.stepClock(side, clockStepSeconds),
      mend: (life) => life.ground.mendClocks(),
    }),
  ),
];
