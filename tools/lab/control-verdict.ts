/** What the control's guest says on its console, counted. */
export interface GuestAccount {
  /** Times /init began, less the first. */
  readonly resets: number;
  readonly roundsRight: number;
  readonly roundsWrong: number;
  readonly ticks: number;
  /** The longest that `sleep 1` took on the guest's own clock, in seconds. */
  readonly longestTickS: number;
  /** The guest's uptime at its last tick, in seconds. */
  readonly uptimeS: number;
  /** Lines in which the kernel complains. */
  readonly complaints: readonly string[];
}

/** Reads the console of a guest that runs the control's /init. */
export function readAccount(consoleText: string): GuestAccount {
  const count = (pattern: RegExp) => [...consoleText.matchAll(pattern)].length;
  const ticks = [...consoleText.matchAll(/^tick \d+ ([\d.]+) ([\d.]+)\r?$/gm)];
  const spans = ticks.map(([, before, after]) => Number(after) - Number(before));
  return {
    resets: Math.max(0, count(/^guest: init\r?$/gm) - 1),
    roundsRight: count(/^round \d+ right\r?$/gm),
    roundsWrong: count(/^round \d+ wrong\r?$/gm),
    ticks: ticks.length,
    longestTickS: Math.max(0, ...spans),
    uptimeS: Number(ticks.at(-1)?.[2] ?? 0),
    complaints: [
      ...consoleText.matchAll(/^.*(?:Kernel panic|BUG:|Oops|soft lockup|rcu_\w+ (?:self-)?detected).*$/gm),
    ].map(([line]) => line.trim()),
  };
}

/** The guest and what was done to it from outside. */
export interface ControlRun {
  readonly guest: GuestAccount;
  readonly pauses: number;
  /** Wall time from the guest's first line to the end, in seconds. */
  readonly durationS: number;
  /** Wall time since the guest last said anything, in seconds. */
  readonly silenceS: number;
  /** Why the inner VMM ended before its time, if it did. */
  readonly endedEarly: string | undefined;
}

/** A tick is due each second and a round takes a few; an emulated host can be busy, never this long. */
const longestSilenceS = 30;
const longestTickAllowedS = 10;

/** What speaks against the lab; nothing, if it is sound. */
export function faultsOf(run: ControlRun): string[] {
  const { guest } = run;
  const faults: string[] = [];
  if (run.endedEarly !== undefined) faults.push(`the inner VMM ended early: ${run.endedEarly}`);
  if (guest.resets > 0) faults.push(`the guest reset itself ${guest.resets} times`);
  if (guest.roundsWrong > 0) faults.push(`memory held wrong contents in ${guest.roundsWrong} rounds`);
  if (guest.roundsRight === 0) faults.push('the guest finished no round');
  if (guest.ticks === 0) faults.push("the guest's timer never ticked");
  if (guest.longestTickS > longestTickAllowedS) {
    faults.push(`a sleep of 1 s took ${guest.longestTickS.toFixed(1)} s on the guest's clock`);
  }
  if (run.silenceS > longestSilenceS) faults.push(`the guest said nothing for the last ${run.silenceS.toFixed(0)} s`);
  for (const line of guest.complaints) faults.push(`the guest's kernel: ${line}`);
  return faults;
}
