import { blockTarget } from './block-target.ts';
import { echoTarget } from './echo-target.ts';
import type { FuzzTarget } from './fuzz-target.ts';
import { netTarget } from './net-target.ts';
import { rngTarget } from './rng-target.ts';

/** The devices there are to attack, each made by name. */
export const fuzzTargets: Readonly<Record<string, () => FuzzTarget>> = {
  echo: echoTarget,
  block: blockTarget,
  net: netTarget,
  rng: rngTarget,
};
