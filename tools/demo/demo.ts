import { chooseMode, readModeFacts } from '../lab/mode.ts';
import { progressToStderr } from '../packages/progress.ts';
import { isWhole } from './judge.ts';
import { LabPair } from './lab-pair.ts';
import { playRound, type RoundOutcome } from './round.ts';
import { Show } from './show.ts';
import { seconds, thousands } from './view.ts';

const protectedMs = 12_000;
const afterwardsMs = 8000;

/**
 * `npm start`: what this project is for. Two hosts, a guest with a service that writes each answer to its disk first, clients that
 * ask all the time. The primary's host loses its power; the clients are answered on. True if nothing that was answered is lost.
 */
export async function demonstrate(): Promise<boolean> {
  const { mode, reason } = chooseMode(readModeFacts(), process.env.LAB);
  tell(
    mode === 'emulated'
      ? `Two emulated hosts, for ${reason}: all of it is 5 to 20 times slower than on bare metal.`
      : `Two hosts, namespaces of this machine: ${reason}.`,
  );
  tell('Debian packages are fetched by name once and unpacked in the cache; nothing is installed.');
  const began = performance.now();
  const pair = await LabPair.make(progressToStderr('  '));
  try {
    tell(`Two hosts, etcd and clients outside them: ready after ${seconds(performance.now() - began)}.\n`);
    tell(`  a# ${shown(pair.command('a'))}\n`);
    tell(`  b# ${shown(pair.command('b'))}\n`);
    const show = new Show();
    const outcome = await playRound(pair, show, { fault: 'power cut', protectedMs, afterwardsMs }).finally(() =>
      show.end(),
    );
    for (const line of summaryLines(outcome)) tell(line);
    return isWhole(outcome.verdict);
  } finally {
    await pair.close();
  }
}

function summaryLines({ verdict, silenceMs, before: { stops, epoch, mode }, answersBefore }: RoundOutcome): string[] {
  return [
    '',
    isWhole(verdict)
      ? "The primary's host lost its power, and clients were answered on: every answer is in the survivor's history."
      : "The primary's host lost its power, and something else was lost with it:",
    ...verdict.problems.map((problem) => `  ${problem}`),
    '',
    `  answers           ${thousands(verdict.answers)}`,
    `  lost              ${thousands(verdict.lost)}`,
    `  doubled           ${thousands(verdict.doubled + verdict.invented)}`,
    `  longest silence   ${seconds(silenceMs)}`,
    `  checkpoints       ${thousands(epoch)} (${mode}), ${perThousand(epoch, answersBefore)} for each 1,000 answers`,
    ...(stops === undefined
      ? []
      : [`  guest stopped     ${stops.median.toFixed(1)} ms for each (median), ${stops.worst.toFixed(1)} ms at worst`]),
    '',
  ];
}

function perThousand(checkpoints: number, answers: number): string {
  return answers === 0 ? 'an unknown number' : thousands(Math.round((checkpoints * 1000) / answers));
}

function shown(command: readonly string[]): string {
  return command.map((word) => (/^[\w./:,=-]+$/.test(word) ? word : `'${word}'`)).join(' ');
}

function tell(text: string): void {
  process.stdout.write(`${text}\n`);
}
