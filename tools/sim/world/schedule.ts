import type { RecoveryTimes } from '../../../src/colo/core/fencing/recovery.ts';
import type { Rules } from '../../../src/colo/core/rules.ts';
import type { Settings } from '../../../src/colo/core/settings.ts';
import type { Role } from '../../../src/colo/protocol/numbers.ts';
import type { Fault } from '../faults.ts';
import type { ArbiterKind } from './fakes/arbiter.ts';
import type { ResyncRules } from './resync/disk-history.ts';
import type { MachineRules } from './side/machine-rules.ts';

/** A schedule: everything that a run depends on. The same one gives the same run. */
export interface Schedule {
  readonly seed: number;
  readonly faults: readonly Fault[];
  readonly arbiter: ArbiterKind;
  /** Frames travel as bytes through the codec. */
  readonly asBytes: boolean;
  /** Virtual ms. */
  readonly lengthMs: number;
  readonly settings: Settings;
  /** The guest lives on through many pairs (see ../cycles.ts, ../overload.ts); the seed draws what happens to them. */
  readonly life?: 'cycles' | 'overload' | 'slow-disk';
  /** Liveness: from this time on this side, its clients and the arbiter are well; or the arbiter is as it was. */
  readonly healthy?: { readonly side: Role; readonly fromMs: number; readonly withoutArbiter?: true };
}

/** How a schedule is run. */
export interface WorldOptions {
  readonly rules?: Rules;
  readonly resyncRules?: ResyncRules;
  readonly machineRules?: MachineRules;
  readonly recoveryTimes?: RecoveryTimes;
  readonly counts?: Map<string, number>;
  readonly history?: string[];
  /** Told of every effect: how many there were, and its kind. */
  readonly onEffect?: (nth: number, kind: string) => void;
}

/** What is not as the product has it. */
export type Broken = Pick<WorldOptions, 'rules' | 'resyncRules' | 'machineRules' | 'recoveryTimes'>;
