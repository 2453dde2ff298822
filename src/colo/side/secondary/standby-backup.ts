import type { ColoBackup } from '../../../vmm/monitor/colo-control.ts';
import type { SecondaryPhase } from '../../core/secondary/secondary-phase.ts';
import { type BackupReport, makeBackup } from '../../disk/backup/backup.ts';
import type { CheckpointCopy } from '../../disk/backup/checkpoint-copy.ts';
import type { StandbyDisks } from '../../disk/standby/standby-disks.ts';
import type { Term } from '../../protocol/numbers.ts';
import type { EventLog } from '../event-log.ts';

/** A change of the guest's waits for no backup for longer than this. */
const patienceMs = 1000;

/** The side that a backup is made on. */
export interface BackedUp {
  readonly phase: SecondaryPhase;
  readonly term: Term;
  /** Absent: there is no machine. */
  readonly disks: StandbyDisks | undefined;
}

/** Backups of the last checkpoint's disks, one at a time. */
export class StandbyBackup {
  readonly #pair: string;
  readonly #log: EventLog;
  readonly #now: () => number;
  #path: string | undefined;
  #copy: CheckpointCopy | undefined;

  constructor(pair: string, log: EventLog, now: () => number) {
    this.#pair = pair;
    this.#log = log;
    this.#now = now;
  }

  /** What `status` shows of the one that is being made. */
  get progress(): ColoBackup | undefined {
    if (this.#path === undefined || this.#copy === undefined) return undefined;
    const { epoch, point } = this.#copy;
    return { path: this.#path, epoch, totalBytes: point.totalBytes, copiedBytes: point.copiedBytes };
  }

  /** @param path of a folder that is not there, absolute. @throws Error with one sentence; then nothing is left behind */
  async make(path: string, side: BackedUp): Promise<BackupReport> {
    const { disks, term } = side;
    const refusal = this.#path === undefined ? whyNoBackup(side) : `a backup to ${this.#path} is being made already`;
    if (refusal !== undefined || disks === undefined) throw new Error(refusal ?? 'there is no machine');
    this.#path = path;
    try {
      const report = await makeBackup({
        source: disks,
        begin: () => {
          this.#copy = disks.beginCopy(this.#now);
          this.#log.add('disk', `a backup of epoch ${this.#copy.epoch} to ${path} begins`);
          return this.#copy;
        },
        path,
        pair: this.#pair,
        term,
        now: this.#now,
        patienceMs,
      });
      this.#log.add('disk', `the backup of epoch ${report.epoch} is in ${path}`);
      return report;
    } catch (error) {
      const reason = `there is no backup in ${path}: ${(error as Error).message}`;
      this.#log.add('disk', reason);
      throw new Error(reason, { cause: error });
    } finally {
      this.#path = undefined;
      this.#copy = undefined;
    }
  }
}

function whyNoBackup({ phase, disks }: BackedUp): string | undefined {
  switch (phase) {
    case 'protecting':
      return disks?.disks.length === 0 ? 'this machine has no disks' : undefined;
    case 'greeting':
    case 'seeding':
    case 'ready':
      return 'its disks are being copied from the primary: there is a checkpoint once status says PROTECTING';
    case 'live':
      return 'this side has taken over and runs the guest itself: make the backup on its next standby';
    case 'listening':
    case 'taking-over':
    case 'leaving':
    case 'claiming':
    case 'going-live':
    case 'refused':
    case 'failed':
    case 'ended':
      return 'this standby protects no guest now: a backup is made while status says PROTECTING';
    default:
      phase satisfies never;
      return undefined;
  }
}
