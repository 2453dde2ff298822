import type { Ground } from './ground.ts';
import type { Scarce } from './host/hosts.ts';

/** Who may run the guest after a fault. `either` is one of the two, and on a slow host both may have stayed a pair. */
export type Expected = 'primary' | 'standby' | 'either';

export interface Fault {
  readonly name: string;
  readonly expected: Expected;
  /** What this machine must be able to take from a host for it. */
  readonly needs?: Scarce;
  /** Does it, waits, and mends what can be mended. */
  readonly happen: (ground: Ground) => Promise<void>;
}
