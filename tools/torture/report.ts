/** A look at the guest's clock, and when the host's showed the same: a guest with much to do answers late. */
export interface ClockLook {
  readonly guestMs: number;
  readonly hostMs: number;
  /** The guest may have looked so much before or after `hostMs`: half of the time from the question to the answer. */
  readonly errorMs: number;
}

/** How far a busy guest has come (see tortureInit), and what went wrong in it. */
export interface GuestReport {
  /** Rounds of each processor's load. */
  readonly sums: readonly number[];
  /** Rounds of the clock's loop, and the longest of them: it sleeps 50 ms. */
  readonly clockRounds: number;
  readonly longestRoundMs: number;
  /** Whether fio still runs, and sectors that it wrote. */
  readonly disks: number;
  readonly sectorsWritten: number;
  readonly wrong: readonly string[];
}

/** @throws if the text is not a whole report */
export function parseReport(text: string): GuestReport {
  const lines = text.trim().split('\n');
  if (lines.at(-1) !== 'end') throw new Error(`the guest's report is cut: ${text}`);
  const all = (word: string): string[][] =>
    lines.filter((line) => line.startsWith(word)).map((line) => line.split(' ').slice(1));
  const numbers = (word: string): number[] => (all(word)[0] ?? []).map(Number);
  const [clockRounds = 0, longest = 0] = numbers('clock ');
  const [disks = 0, sectorsWritten = 0] = numbers('fio ');
  return {
    sums: all('cpu-').map(([count]) => Number(count)),
    clockRounds,
    longestRoundMs: longest * 10,
    disks,
    sectorsWritten,
    wrong: all('wrong ').map((words) => words.join(' ')),
  };
}

/** What the host's side of a torture found. */
export interface TortureResult {
  readonly rounds: number;
  /** Time that passed for nobody in the guest. */
  readonly stoppedMs: number;
  /** The longest that a single round stopped the guest. */
  readonly longestStopMs: number;
  /** The farthest that the guest's clock had to go at once, to show again what time it was. */
  readonly longestJumpMs: number;
  /** Bytes that the echo server gave back, as they were sent. */
  readonly echoedBytes: number;
  readonly pings: { readonly sent: number; readonly received: number; readonly doubled: number };
  readonly before: GuestReport & { readonly clock: ClockLook };
  readonly after: GuestReport & { readonly clock: ClockLook };
}

/** The guest's clock against the host's, less the time it was stopped: how much the guest is ahead, in ms. */
export function clockDriftMs({ before, after, stoppedMs }: TortureResult): number {
  return after.clock.guestMs - before.clock.guestMs - (after.clock.hostMs - before.clock.hostMs - stoppedMs);
}

/** How far the drift may be from what it is, for all that the two looks tell, in ms. */
export function clockErrorMs({ before, after }: TortureResult): number {
  return before.clock.errorMs + after.clock.errorMs;
}

/**
 * A task may wait so much longer than the clock jumped: who is charged with a step, a 32nd of the jump, stands back until a
 * handful of others have had as much, in a guest that has a share of one emulated processor. Were a task charged with the
 * whole jump, it would not run for many times as long.
 */
const allowedStallMs = 10_000;

/** What is wrong with a result, in sentences; none if nothing is. */
export function complaints(result: TortureResult, allowedDriftMs: number): string[] {
  const { before, after, echoedBytes, pings } = result;
  const drift = clockDriftMs(result);
  const driftErrorMs = clockErrorMs(result);
  const stuck = after.sums.filter((count, index) => !(count > (before.sums[index] ?? 0)));
  return [
    ...after.wrong.filter((sentence) => !before.wrong.includes(sentence)),
    ...(stuck.length > 0 || after.sums.length !== before.sums.length ? ['a processor came no further'] : []),
    ...(after.clockRounds > before.clockRounds ? [] : ['the clock loop came no further']),
    ...(after.longestRoundMs <= result.longestJumpMs + allowedStallMs
      ? []
      : [`a loop that sleeps 50 ms did not run for ${after.longestRoundMs} ms`]),
    ...(after.disks > 0 ? [] : ['fio ended']),
    ...(after.sectorsWritten > before.sectorsWritten ? [] : ['the disk came no further']),
    ...(echoedBytes > 0 ? [] : ['nothing was echoed']),
    ...(pings.received > 0 ? [] : ['no ping was answered']),
    ...(pings.doubled === 0 ? [] : [`${pings.doubled} pings were answered twice`]),
    ...(Math.abs(drift) <= allowedDriftMs + driftErrorMs
      ? []
      : [`the guest's clock is off by ${drift.toFixed(0)} ms, ${driftErrorMs.toFixed(0)} ms more or less`]),
  ];
}
