import { fewestRounds, growthOf } from '../chaos/flatness.ts';
import type { PairMode } from './pair/contender.ts';

/** What one side of an idle pair holds and uses. */
export interface IdleSide {
  /** Resident memory at the end of each minute, MiB. The first is from when the guest had just been protected. */
  readonly residentMib: readonly number[];
  /** Open files at the same times. */
  readonly files: readonly number[];
  /** Of one processor, in percent. */
  readonly cpuPercent: number;
}

export interface IdleFigures {
  readonly minutes: number;
  readonly mode: PairMode;
  readonly checkpoints: number;
  readonly primary: IdleSide;
  readonly standby: IdleSide;
  /** What grew on which side. Null: there were too few minutes to say. */
  readonly grown: readonly string[] | null;
}

export function idleFigures(
  minutes: number,
  mode: PairMode,
  checkpoints: number,
  primary: IdleSide,
  standby: IdleSide,
): IdleFigures {
  const grown = [primary, standby].map(({ residentMib, files }) =>
    growthOf(residentMib.map((mib, minute) => ({ mib, files: files[minute] ?? Number.NaN }))),
  );
  const [ofPrimary = [], ofStandby = []] = grown;
  const of = (side: string, what: string): string => `the ${side}'s ${what.replace("the pair's ", '')}`;
  const said = [...ofPrimary.map((what) => of('primary', what)), ...ofStandby.map((what) => of('standby', what))];
  return {
    minutes,
    mode,
    checkpoints,
    primary,
    standby,
    grown: primary.residentMib.length < fewestRounds ? null : said,
  };
}

/** The figures as a table, with a verdict in front. */
export function formatIdle({ minutes, mode, checkpoints, primary, standby, grown }: IdleFigures): string {
  const row = (name: string, { residentMib, files, cpuPercent }: IdleSide): string =>
    `${name.padEnd(8)} ${residentMib[0]} MiB at first, ${Math.max(...residentMib)} at most, ${residentMib.at(-1)} at the end; ` +
    `${files[0]} files open, then ${files.at(-1)}; ${cpuPercent} % of a processor`;
  return [
    grown === null
      ? `?   memory and open files: fewer than ${fewestRounds} looks say nothing`
      : grown.length === 0
        ? 'yes memory and open files are flat'
        : `NO  ${grown.join('; ')}`,
    '',
    `${minutes} min ${mode}, ${checkpoints} checkpoints`,
    row('primary', primary),
    row('standby', standby),
    '',
  ].join('\n');
}
