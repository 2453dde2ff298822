import { libc } from '../libc/library.ts';

const CLOCK_MONOTONIC = 1;
/** struct timespec: seconds and nanoseconds, 8 bytes each. */
const timespec = new Int32Array(4);
let clockGettime: ((clock: number, timespec: Int32Array) => number) | undefined;

/**
 * Milliseconds that pass on the host, modulo some days: for the time between two looks. Unlike performance.now, whose result
 * is a number on the heap, it allocates nothing. Hot path.
 */
export function monotonicMs(): number {
  clockGettime ??= libc.func('clock_gettime', 'int', ['int', 'void *']) as unknown as NonNullable<typeof clockGettime>;
  clockGettime(CLOCK_MONOTONIC, timespec);
  return ((timespec[0] as number) & 0x7_ffff) * 1000 + (((timespec[2] as number) / 1_000_000) | 0);
}

const CLOCK_BOOTTIME = 7;

/** Milliseconds since the host began, with those that it slept: what a promise for a time is measured by. */
export function bootTimeMs(): number {
  clockGettime ??= libc.func('clock_gettime', 'int', ['int', 'void *']) as unknown as NonNullable<typeof clockGettime>;
  clockGettime(CLOCK_BOOTTIME, timespec);
  // Seconds of 2^32 and more are 136 years.
  return ((timespec[0] as number) >>> 0) * 1000 + (timespec[2] as number) / 1_000_000;
}

const CLOCK_THREAD_CPUTIME_ID = 3;
/** How Linux makes a clock's number of a thread's (include/linux/posix-timers.h). */
const CPUCLOCK_SCHED = 2;
const CPUCLOCK_PERTHREAD = 4;

/**
 * Milliseconds that a thread of this process has run, in the kernel too; 0 if there is none.
 *
 * @param tid the kernel's number of it; default: this thread
 */
export function threadMs(tid?: number): number {
  clockGettime ??= libc.func('clock_gettime', 'int', ['int', 'void *']) as unknown as NonNullable<typeof clockGettime>;
  const clock = tid === undefined ? CLOCK_THREAD_CPUTIME_ID : (~tid << 3) | CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED;
  if (clockGettime(clock, timespec) !== 0) return 0;
  return ((timespec[0] as number) >>> 0) * 1000 + (timespec[2] as number) / 1_000_000;
}
