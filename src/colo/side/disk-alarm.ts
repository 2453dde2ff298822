import type { EventLog } from './event-log.ts';

/** A disk that was not heard of for so long was well meanwhile, ms. */
const quietMs = 10 * 60_000;

/**
 * Tells programs of disks that fail. One that fails once fails for each request, and several may fail by turns: each failure is told once,
 * until the guest is resumed, or it was not heard of for some time.
 */
export class DiskAlarm {
  readonly #log: EventLog;
  readonly #now: () => number;
  /** When each failure was heard of last. Its words name the disk. */
  readonly #heardAt = new Map<string, number>();

  /** @param now a clock that never goes back, ms */
  constructor(log: EventLog, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  failed(error: string): void {
    const now = this.#now();
    const before = this.#heardAt.get(error) ?? Number.NEGATIVE_INFINITY;
    this.#heardAt.set(error, now);
    if (now - before >= quietMs) this.#log.add('disk', error, 'disk-error');
  }

  /** The guest is resumed. Whoever does that after a disk failed has made room on it, say, and wants to know if it fails again. */
  resumed(): void {
    this.#heardAt.clear();
  }
}
