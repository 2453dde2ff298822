/**
 * The clients, as a program of the machine outside the hosts. Bundled into one text. The argument is their options as JSON. A line
 * "forget" on standard input forgets how long nobody was answered, "stop" ends the asking. Standard output has a
 * {@link ClientsReport} a line, the last one with all answers.
 */
import { createInterface } from 'node:readline';
import { Clients, type ClientsOptions, type ClientsSummary } from '../chaos/clients.ts';

export interface ClientsReport {
  readonly summary: ClientsSummary;
  readonly silenceMs: number;
  readonly violations: readonly string[];
  /** The last report only: each answer as counter, client and number of the request. */
  readonly told?: readonly (readonly [counter: string, client: string, number: string])[];
  /** The last report only: nobody waits for an answer any more. */
  readonly settled?: boolean;
}

const reportMs = 250;
/** An emulated host may be slow. */
const settleMs = 30_000;

const options = JSON.parse(process.argv.at(-1) ?? '') as ClientsOptions;
const clients = await Clients.open(options);

function report(last: Partial<ClientsReport> = {}): void {
  const { summary, silenceMs, violations } = clients;
  process.stdout.write(
    `${JSON.stringify({ summary, silenceMs, violations: violations.slice(0, 20), ...last } satisfies ClientsReport)}\n`,
  );
}

clients.start();
const timer = setInterval(report, reportMs);
createInterface(process.stdin).on('line', async (line) => {
  if (line === 'forget') {
    clients.forgetSilence();
    return;
  }
  clients.stop();
  const settled = await clients.settled(settleMs);
  clearInterval(timer);
  report({
    settled,
    told: [...clients.told.values()].map(
      ({ counter, client, number }) => [`${counter}`, `${client}`, `${number}`] as const,
    ),
  });
  clients.close();
  process.stdin.destroy();
});
