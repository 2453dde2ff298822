/**
 * The clients of all the guest's services, as a program of the machine outside the hosts. Bundled into one text. The argument is
 * {@link LabClientsOptions} as JSON; a line on standard input is an {@link Order}; standard output has a {@link LabReport} a line.
 */
import { createInterface } from 'node:readline';
import type { ClientsReport } from '../../demo/client-program.ts';
import { Clients, type ClientsOptions } from '../clients.ts';
import type { guestPorts } from './guest.ts';
import {
  openConnection,
  PageClient,
  type Place,
  redisClient,
  type ServiceClient,
  shellClient,
  together,
} from './service-clients.ts';
import { DownloadClient, uploadClient } from './stream-clients.ts';

export interface LabClientsOptions extends Omit<ClientsOptions, 'address'> {
  /** The guest's, of both kinds: services are asked at one and the other in turn. */
  readonly addresses: readonly [string, string];
  readonly ports: typeof guestPorts;
  readonly page: string;
  readonly tls: { readonly ca: string; readonly servername: string };
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
/** An emulated host may be slow, and a page waits for its client's next SYN. */
const settleMs = 60_000;

const options = JSON.parse(process.argv.at(-1) ?? '') as LabClientsOptions;
const { addresses, ports, page, tls } = options;
const counter = await Clients.open({ ...options, address: addresses[0] });

interface Service {
  /** How often it is asked, unless somebody waits, ms. What costs an emulated host much is asked less often. */
  readonly everyMs: number;
  readonly make: (host: string) => ServiceClient;
}

const get = (host: string, name: string, isKept: boolean): ServiceClient =>
  new PageClient({ host, port: ports.web }, { name, page, isKept });
const getOverTls = (host: string, name: string, isKept: boolean): ServiceClient =>
  new PageClient({ host, port: ports.tls }, { name, page, isKept, tls });
const at = (host: string, port: number): Place => ({ host, port });
const services = (
  [
    {
      everyMs: 50,
      make: (host) => together([redisClient(at(host, ports.redis)), redisClient(at(host, ports.redis), 'other')]),
    },
    { everyMs: 50, make: (host) => openConnection(at(host, ports.lines)) },
    { everyMs: 50, make: (host) => together([get(host, 'page', false), get(host, 'page', false)]) },
    { everyMs: 50, make: (host) => together([get(host, 'kept page', true), get(host, 'kept page', true)]) },
    { everyMs: 500, make: (host) => getOverTls(host, 'TLS page', false) },
    { everyMs: 200, make: (host) => getOverTls(host, 'kept TLS page', true) },
    { everyMs: 200, make: (host) => shellClient(at(host, ports.shell)) },
    { everyMs: 300, make: (host) => new DownloadClient(at(host, ports.download)) },
    { everyMs: 300, make: (host) => uploadClient(at(host, ports.upload)) },
  ] satisfies Service[]
).map(({ everyMs, make }, index) => ({ everyMs, client: make(addresses[(index + 1) % 2] as string) }));
const clients = services.map(({ client }) => client);
let isAsking = false;
let order: Order | undefined;

function waiting(): string[] {
  const names = clients.filter(({ isWaiting }) => isWaiting).map(({ name }) => name);
  return counter.waiting > 0 ? ['counter', ...names] : names;
}

function report(last: Partial<ClientsReport> = {}): void {
  const { summary, silenceMs, violations } = counter;
  const line: LabReport = {
    counter: { summary, silenceMs, violations: violations.slice(0, 20), ...last },
    answers: Object.fromEntries(clients.map(({ name, answers }) => [name, answers])),
    waiting: waiting(),
    violations: clients.flatMap((client) => client.violations),
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
  for (const asker of askers) clearInterval(asker);
  report({
    settled: waiting().length === 0,
    told: [...counter.told.values()].map(
      ({ counter: value, client, number }) => [`${value}`, `${client}`, `${number}`] as const,
    ),
  });
  counter.close();
  for (const client of clients) client.close();
  process.stdin.destroy();
}

const timer = setInterval(report, reportMs);
const askers = services.map(({ everyMs, client }) =>
  setInterval(() => {
    if (isAsking) client.ask();
  }, everyMs),
);
createInterface(process.stdin).on('line', (line) => {
  order = line as Order;
  switch (order) {
    case 'ask':
    case 'pause':
      setAsking(order === 'ask');
      break;
    case 'once':
      setAsking(true);
      for (const client of clients) client.ask();
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
