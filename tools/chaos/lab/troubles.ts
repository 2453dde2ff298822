import { setTimeout as sleep } from 'node:timers/promises';
import type { LabTrouble } from './life.ts';

/** Longer than it takes to notice that nothing comes any more. */
const cutMs = 8000;
const steppedSeconds = 3600;
const slowLink = { loss: 0.005, delayMs: 5, bytesPerSecond: 4_000_000 } as const;

export const noTrouble: LabTrouble = { name: 'nothing', happen: async () => {} };

export const labTroubles: readonly LabTrouble[] = [
  noTrouble,
  {
    name: 'the link cut meanwhile',
    happen: async (life) => {
      await life.ground.cutLink('primary', 'standby');
      await sleep(cutMs);
      await life.serves();
      await life.ground.mendNetwork();
    },
  },
  {
    name: 'the standby killed meanwhile',
    happen: async (life) => {
      await life.ground.kill('standby');
      await life.serves();
      await life.anotherStandby();
    },
  },
  {
    name: "the standby's host without power meanwhile",
    happen: async (life) => {
      await life.ground.powerLoss('standby');
      await life.serves();
      await life.anotherStandby();
    },
  },
  {
    name: 'over a slow link that loses frames',
    happen: (life) => life.ground.degradeLink(slowLink),
    mend: (life) => life.ground.mendNetwork(),
  },
  {
    name: 'without the arbiter for a while',
    happen: async (life) => {
      await life.ground.cutArbiter('primary', 'standby');
      await sleep(cutMs);
      await life.serves();
      await life.ground.mendNetwork();
    },
  },
  {
    name: "the primary's clock stepped meanwhile",
    happen: async (life) => {
      await life.ground.stepClock('primary', steppedSeconds);
    },
    mend: (life) => life.ground.stepClock('primary', -steppedSeconds),
  },
];
