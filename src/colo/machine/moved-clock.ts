import type { ClockState } from '../../vmm/vmstate/clock-state.ts';

const mask64 = 0xffff_ffff_ffff_ffffn;

/**
 * What time it is for the guest `byMs` later (spec B.12): kvmclock, the wall clock and every TSC have gone as far. Time never
 * runs backwards: what is no positive number moves nothing. Timers of the TSC stay armed for when they were, and fire at once
 * if that is past.
 */
export function movedClock(clock: ClockState, byMs: number): ClockState {
  const byNs = nanoseconds(byMs);
  const cycles = (byNs * BigInt(clock.tscKhz)) / 1_000_000n;
  return {
    kvmclockNs: (clock.kvmclockNs + byNs) & mask64,
    realtimeNs: (clock.realtimeNs + byNs) & mask64,
    tscKhz: clock.tscKhz,
    tsc: clock.tsc.map((tsc) => (tsc + cycles) & mask64),
  };
}

/** Milliseconds in whole nanoseconds; 0 for what is no positive number. */
export function nanoseconds(ms: number): bigint {
  return Number.isFinite(ms) && ms > 0 ? BigInt(Math.round(ms * 1e6)) : 0n;
}
