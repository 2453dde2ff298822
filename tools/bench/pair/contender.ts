import type { QmpClient } from '../../../src/vmm/client/qmp-client.ts';
import type { Side } from '../../demo/lab-pair.ts';
import type { RemoteProcess } from '../../lab/connection.ts';
import type { Checkpoints } from './service-report.ts';

/** How our pair is run: `--mode` of its primary. */
export const pairModes = ['comparing', 'buffered'] as const;
export type PairMode = (typeof pairModes)[number];

/** Of the guest. No other mapping of a VMM has this size. */
export const memoryMib = 136;

/** One stop of a protected guest, in milliseconds. */
export interface Stop {
  readonly ms: number;
  /** Where it went, if that is known of this one. */
  readonly parts?: Readonly<Record<string, number>>;
}

/** What is protected beside what: a VMM on each host, the same guest, the same clients. */
export interface Contender {
  readonly name: 'ours' | 'qemu';
  /** Nothing of an earlier pair is left; the guest runs on host a, alone, and serves. */
  boot(): Promise<void>;
  /**
   * Has it protected, and resolves when it is.
   *
   * @param copying told when RAM begins to be copied while the guest runs, and when all of it has been
   * @returns how long the guest was stopped for the beginning, ms
   */
  protect(copying: (isGoingOn: boolean) => void): Promise<number>;
  setDelay(ms: number): Promise<void>;
  /** Checkpoints until now. */
  checkpoints(): Promise<Checkpoints>;
  /** Stops of the guest from now on, for so long. */
  stops(forMs: number): Promise<readonly Stop[]>;
  /** Kills the primary's process; resolves when the survivor has been told all that it is told. */
  kill(): Promise<void>;
  /** Resident memory of the standby, in MiB. */
  standbyMib(): Promise<number>;
  /** Another connection to the monitor of that side, before anybody has said anything. */
  connect(side: Side): RemoteProcess;
  end(): Promise<void>;
}

/** What QMP's `migrate-set-parameters` is asked in both. */
export async function setDelay(monitor: QmpClient, ms: number): Promise<void> {
  await monitor.execute('migrate-set-parameters', { 'x-checkpoint-delay': ms });
}
