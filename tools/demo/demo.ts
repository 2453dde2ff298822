import { setTimeout as sleep } from 'node:timers/promises';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { chooseMode, readModeFacts } from '../lab/mode.ts';
import { progressToStderr } from '../packages/progress.ts';
import { isWhole, type Verdict } from './judge.ts';
import { LabPair } from './lab-pair.ts';
import { Round } from './round.ts';
import { Show } from './show.ts';
import { seconds, thousands } from './view.ts';

/** How long the guest is protected, the first time and the second, and how long it is asked on alone. */
const protectedMs = 12_000;
const protectedAgainMs = 5000;
const aloneMs = 4000;

/** What was seen, in ms, and what came of it. */
interface Outcome {
  readonly verdict: Verdict;
  /** The longest time without an answer, when the primary's host lost its power and when the roles were changed. */
  readonly failoverMs: number;
  readonly switchoverMs: number;
  /** From the start of another standby until it could take over. */
  readonly protectedAgainAfterMs: number;
  /** Of the first primary, before its host lost its power, and how many answers were given under its protection. */
  readonly before: { readonly status: ColoStatus; readonly answers: number };
}

/**
 * `npm start`: what this project is for. Two hosts, a guest with a service that writes each answer to its disk first, clients that
 * ask all the time. The primary's host loses its power; the clients are answered on. It comes back as a new machine, and is the
 * guest's standby; then the roles are changed, as for maintenance. True if nothing that was answered is lost.
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
    await pair.renew({ isCompared: true });
    tell(`Two hosts, etcd and clients outside them: ready after ${seconds(performance.now() - began)}.\n`);
    tell(`  a# ${shown(pair.command('a'))}\n`);
    tell(`  b# ${shown(pair.command('b'))}\n`);
    const show = new Show();
    const outcome = await play(pair, show).finally(() => show.end());
    for (const line of summaryLines(outcome)) tell(line);
    return isWhole(outcome.verdict);
  } finally {
    await pair.close();
  }
}

async function play(pair: LabPair, show: Show): Promise<Outcome> {
  const round = await Round.begin(pair, show);
  await round.protect();
  const before = await round.goOn(protectedMs);
  const failoverMs = await round.failOver();
  await sleep(aloneMs);
  await round.repair();
  const protectedAgainAfterMs = await round.protect();
  await round.goOn(protectedAgainMs);
  const switchoverMs = await round.switchOver();
  await sleep(aloneMs);
  return { verdict: await round.end(), failoverMs, switchoverMs, protectedAgainAfterMs, before };
}

function summaryLines({ verdict, before, ...took }: Outcome): string[] {
  const { stops, epoch, mode } = before.status;
  return [
    '',
    isWhole(verdict)
      ? "The primary's host lost its power, came back, and got the guest again: clients were answered all along, and every answer is " +
        "in the guest's history."
      : "The primary's host lost its power, and something else was lost with it:",
    ...verdict.problems.map((problem) => `  ${problem}`),
    '',
    `  answers           ${thousands(verdict.answers)}`,
    `  lost              ${thousands(verdict.lost)}`,
    `  doubled           ${thousands(verdict.doubled + verdict.invented)}`,
    `  longest silence   ${seconds(took.failoverMs)} when the power was cut, ${seconds(took.switchoverMs)} at the switchover`,
    `  protected again   ${seconds(took.protectedAgainAfterMs)} after another standby was started`,
    `  checkpoints       ${thousands(epoch)} before the power was cut (${mode}), ${perThousand(epoch, before.answers)} for each 1,000 answers`,
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
