import { guestInWords } from './life.ts';
import type { LabRoundResult } from './round.ts';

/** What was done in one round, how long nobody was answered, and what came of it: a line, and one for each violation. */
export function roundLines(round: number, rounds: number, result: LabRoundResult): string[] {
  const { fault, moment, primary, guest, again, outcome, silenceMs, answers, loser, violations } = result;
  const silence = `silent for ${(silenceMs / 1000).toFixed(1)} s`;
  const verdict = violations.length === 0 ? 'right' : `${violations.length} VIOLATIONS`;
  const who = { primary: 'the primary runs on', standby: 'the standby took over', both: 'still a pair' };
  return [
    ...(again === undefined
      ? []
      : [`         protected again in ${(again.ms / 1000).toFixed(1)} s; trouble: ${again.trouble}`]),
    `${String(round).padStart(3)}/${rounds}  ${fault}, ${moment} (primary on host ${primary}; ${guestInWords(guest)})`,
    `         ${outcome === undefined ? 'no outcome' : who[outcome]}; ${silence}; ${answers} answers; ${verdict}`,
    ...(loser === undefined ? [] : [`         the other side: ${loser}`]),
    ...violations.map((line) => `         VIOLATION: ${line}`),
  ];
}

/** All rounds summed up. */
export function labSummary(
  results: readonly LabRoundResult[],
  { seed, seconds, kept }: { seed: number; seconds: number; kept: string | undefined },
): string[] {
  const sum = (of: (result: LabRoundResult) => number): number => results.reduce((total, one) => total + of(one), 0);
  const silences = results.map(({ silenceMs }) => silenceMs).sort((one, other) => one - other);
  const inSeconds = (ms: number | undefined): string => `${((ms ?? 0) / 1000).toFixed(1)} s`;
  return [
    '',
    `${results.length} rounds in ${Math.round(seconds)} s, seed ${seed}: ${sum(({ answers }) => answers)} answers; ` +
      `silent for ${inSeconds(silences[silences.length >> 1])} (median), ${inSeconds(silences.at(-1))} at worst; ` +
      `${sum(({ violations }) => violations.length)} violations`,
    ...(kept === undefined ? [] : [`logs and history: ${kept}`]),
  ];
}
