import { echoTarget } from './echo-target.ts';
import type { FuzzTarget } from './fuzz-target.ts';

/** The devices there are to attack, each made by name. */
export const fuzzTargets: Readonly<Record<string, () => FuzzTarget>> = {
  echo: echoTarget,
};
