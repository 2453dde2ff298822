import type { ClockMode } from '../vmstate/clock-state.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import type { MachineEvents } from './machine-events.ts';
import type { RunState } from './run-state.ts';

/** A disk, as it was configured and found. */
export interface DiskFacts {
  readonly id: string;
  readonly path: string;
  /** File that takes what is written; `path` is its base. */
  readonly overlay?: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly direct: boolean;
}

/** A network card. */
export interface CardFacts {
  readonly tap: string;
  readonly mac: string;
  /** Somebody has removed the TAP, and the guest has no carrier. */
  readonly gone: boolean;
}

/** What a machine is made of. */
export interface MachineFacts {
  readonly memoryBytes: number;
  /** Kernel id of each vCPU's thread. */
  readonly cpuThreads: readonly number[];
  readonly disks: readonly DiskFacts[];
  readonly cards: readonly CardFacts[];
}

/** A machine as its monitor sees it. */
export interface MonitoredMachine {
  readonly state: RunState;
  readonly facts: MachineFacts;
  readonly events: MachineEvents;
  /** How long the guest's clocks were stopped, last, in ms. */
  readonly heldMs: number;
  /** What the guest's clocks still are behind the time that they are to show, in ms: they go there in steps. */
  readonly clockBehindMs: number;
  /** @throws DiskError as `settleDisks` */
  pause(): void;
  /** Brings the files of disks to where the guest was told they are, if it is paused, and stays so. @throws DiskError */
  settleDisks(): void;
  /**
   * @param clock what becomes of the time that it was paused; default `keep`
   * @param last is given what wakes the guest, to call it soon; default: that is done at once
   */
  resume(clock?: ClockMode, last?: (wake: () => void) => void): void;
  save(): MachineState;
  load(state: MachineState): void;
  pressPowerButton(): void;
  /** What the guest's own request for a reboot does. */
  reset(by: string): void;
  stop(by: string, exitCode: number): void;
}
