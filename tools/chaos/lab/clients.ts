import { createInterface } from 'node:readline';
import { guestNetwork, guestNetwork6 } from '../../demo/guest.ts';
import { until } from '../../demo/waiting.ts';
import { bundle } from '../../lab/bundle.ts';
import type { RemoteProcess } from '../../lab/connection.ts';
import type { Host } from '../../lab/host.ts';
import { servicePort } from '../guest/service.ts';
import type { LabClientsOptions, LabReport, Order } from './clients-program.ts';
import { guestPorts, page } from './guest.ts';
import { guestName } from './guest-credentials.ts';

const patienceMs = 120_000;

/** The clients outside the hosts, as the campaign has them in hand. */
export class LabClients {
  readonly #process: RemoteProcess;
  #report: LabReport | undefined;
  #said = '';
  #hasEnded = false;

  /**
   * Connections are made at once: the guest's services must be there.
   *
   * @param authority what the guest shows over TLS is signed by
   */
  constructor(outside: Host, authority: string, isIpv6First: boolean) {
    const { address } = guestNetwork;
    const options: LabClientsOptions = {
      ...{ port: servicePort, clients: 4, retransmitMs: 300, thinkMs: 20 },
      addresses: isIpv6First ? [guestNetwork6.address, address] : [address, guestNetwork6.address],
      ports: guestPorts,
      page,
      tls: { ca: authority, servername: guestName },
    };
    const program = bundle(new URL('./clients-program.ts', import.meta.url).href);
    this.#process = outside.spawn(['node', '--input-type=module', '-e', program, '--', JSON.stringify(options)]);
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
    createInterface(this.#process.stdout).on('line', (line) => {
      this.#report = JSON.parse(line) as LabReport;
    });
    void this.#process.exit.then(
      () => {
        this.#hasEnded = true;
      },
      () => {
        this.#hasEnded = true;
      },
    );
  }

  /** Of all services. */
  get answers(): number {
    const { counter, answers = {} } = this.#report ?? {};
    return Object.values(answers).reduce((sum, count) => sum + count, counter?.summary.answers ?? 0);
  }

  get asked(): number {
    return this.#report?.counter.summary.asked ?? 0;
  }

  /** Of the counter. */
  get counted(): number {
    return this.#report?.counter.summary.answers ?? 0;
  }

  /** Every service has answered. */
  get hasAll(): boolean {
    return this.counted > 0 && Object.values(this.#report?.answers ?? {}).every((count) => count > 0);
  }

  get waiting(): readonly string[] {
    return this.#report?.waiting ?? [];
  }

  get silenceMs(): number {
    return this.#report?.counter.summary.longestSilenceMs ?? 0;
  }

  /** Resolves when it is carried out. */
  async order(order: Exclude<Order, 'stop'>): Promise<void> {
    this.#process.stdin.write(`${order}\n`);
    await this.#until(`the clients to "${order}"`, () => this.#report?.order === order);
  }

  /** The end: all that was asked is answered, or is not in time. */
  async stop(): Promise<LabReport> {
    this.#process.stdin.write('stop\n');
    await this.#until('the clients to end', () => this.#report?.counter.told !== undefined);
    return this.#report as LabReport;
  }

  end(): void {
    this.#process.kill('SIGKILL');
  }

  #until(what: string, isSo: () => boolean): Promise<void> {
    return until(what, patienceMs, () => {
      if (this.#hasEnded && !isSo()) throw new Error(`the clients ended: ${this.#said.slice(-1000)}`);
      return isSo();
    });
  }
}
