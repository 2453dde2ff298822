/**
 * The clients of all the guest's services, as a program of the machine outside the hosts. Bundled into one text. The argument is
 * {@link LabClientsOptions} as JSON; a line on standard input is an {@link Order}; standard output has a {@link LabReport} a line.
 */
import { createInterface } from 'node:readline';
import type { ClientsReport } from '../../demo/client-program.ts';
import { Clients, type ClientsOptions } from '../clients.ts';
import { openConnection, PageClient, redisClient, type ServiceClient } from './service-clients.ts';

export interface LabClientsOptions extends ClientsOptions {
  readonly ports: { readonly lines: number; readonly redis: number; readonly web: number };
  readonly page: string;
}

/**
 * `ask`: everybody asks, and asks on. `pause`: nobody asks anything new. `once`: everybody asks one thing more. `forget`: silences
 * until now do not count. `stop`: the end, with all answers.
 */
export type Order = 'ask' | 'pause' | 'once' | 'forget' | 'stop';

export interface LabReport {
  /** Of the counter. The last report has all answers. */
  readonly counter: ClientsReport;
  /** Answers of each other service. */
  readonly answers: Readonly<Record<string, number>>;
  /** Services whose clients wait for an answer. */
  readonly waiting: readonly string[];
  readonly violations: readonly string[];
  /** The order that was carried out last. */
  readonly order: Order | undefined;
}

const reportMs = 200;
/** How often clients of the other services ask, ms. */
const thinkMs = 50;
/** An emulated host may be slow, and a page waits for its client's next SYN. */
const settleMs = 60_000;

const options = JSON.parse(process.argv.at(-1) ?? '') as LabClientsOptions;
const counter = await Clients.open(options);
const { address, ports, page } = options;
const services: readonly ServiceClient[] = [
  redisClient(address, ports.redis),
  openConnection(address, ports.lines),
  new PageClient(`http://${address}:${ports.web}/`, page),
];
let isAsking = false;
let order: Order | undefined;

function waiting(): string[] {
  const names = services.filter(({ isWaiting }) => isWaiting).map(({ name }) => name);
  return counter.waiting > 0 ? ['counter', ...names] : names;
}

function report(last: Partial<ClientsReport> = {}): void {
  const { summary, silenceMs, violations } = counter;
  const line: LabReport = {
    counter: { summary, silenceMs, violations: violations.slice(0, 20), ...last },
    answers: Object.fromEntries(services.map(({ name, answers }) => [name, answers])),
    waiting: waiting(),
    violations: services.flatMap((service) => service.violations),
    order,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function setAsking(value: boolean): void {
  isAsking = value;
  if (value) counter.start();
  else counter.stop();
}

async function stop(): Promise<void> {
  setAsking(false);
  const deadline = performance.now() + settleMs;
  while (waiting().length > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  clearInterval(timer);
  clearInterval(thinker);
  report({
    settled: waiting().length === 0,
    told: [...counter.told.values()].map(
      ({ counter: value, client, number }) => [`${value}`, `${client}`, `${number}`] as const,
    ),
  });
  counter.close();
  for (const service of services) service.close();
  process.stdin.destroy();
}

const timer = setInterval(report, reportMs);
const thinker = setInterval(() => {
  if (isAsking) for (const service of services) service.ask();
}, thinkMs);
createInterface(process.stdin).on('line', (line) => {
  order = line as Order;
  switch (order) {
    case 'ask':
    case 'pause':
      setAsking(order === 'ask');
      break;
    case 'once':
      setAsking(true);
      for (const service of services) service.ask();
      setAsking(false);
      break;
    case 'forget':
      counter.forgetSilence();
      break;
    case 'stop':
      void stop();
      return;
  }
  report();
});
