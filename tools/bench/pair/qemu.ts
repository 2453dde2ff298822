import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QmpClient } from '../../../src/vmm/client/qmp-client.ts';
import { type LabPair, labFiles, type Side } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import { imageSuites } from '../../images/kernel.ts';
import type { RemoteProcess } from '../../lab/connection.ts';
import { execute } from '../../packages/execute.ts';
import { fetchPackages, type PackageSet } from '../../packages/package-set.ts';
import type { Progress } from '../../packages/progress.ts';
import { commandFromSet } from '../../packages/run-from-set.ts';
import { type Contender, type Stop, setDelay } from './contender.ts';
import {
  beginColo,
  imageNames,
  mirrorDisk,
  type Order,
  ports,
  primaryCommand,
  type QemuPairPlaces,
  secondaryCommand,
  serveDisk,
  takeOver,
} from './qemu-colo.ts';
import type { Checkpoints } from './service-report.ts';

const patienceMs = 120_000;
const images = '/tmp/qcow2';
const serial = '/tmp/qemu-serial.log';

/** Debian's QEMU 7.2 on each host, as a COLO pair, led by a script on the machine outside. */
export class QemuPair implements Contender {
  readonly name = 'qemu';
  readonly #pair: LabPair;
  readonly #tools: PackageSet;
  readonly #vmm: Partial<Record<Side, RemoteProcess>> = {};
  readonly #monitors: Partial<Record<Side, QmpClient>> = {};
  readonly #said: Record<Side, string> = { a: '', b: '' };
  /** STOP and RESUME of the primary, by its own clock. */
  #events: { readonly name: string; readonly atMs: number }[] = [];

  private constructor(pair: LabPair, tools: PackageSet) {
    this.#pair = pair;
    this.#tools = tools;
  }

  static async make(pair: LabPair, progress: Progress): Promise<QemuPair> {
    return new QemuPair(pair, await fetchPackages({ names: ['qemu-utils'], suites: imageSuites, progress }));
  }

  get #places(): QemuPairPlaces {
    const { lab } = this.#pair;
    return {
      ...{
        mode: lab.mode,
        memoryMib: this.#pair.guest.memoryMib,
        kernel: labFiles.kernel,
        initrd: labFiles.initrd,
        serial,
        images,
      },
      primary: addressOf(this.#pair, 'a'),
      secondary: addressOf(this.#pair, 'b'),
    };
  }

  async boot(): Promise<void> {
    await this.#pair.renew();
    this.#events = [];
    const { disk, empty } = await imagesOf(await this.#pair.disk('a'), this.#tools);
    for (const side of ['a', 'b'] as const) {
      const host = this.#pair.host(side);
      for (const name of imageNames) {
        await host.push(name === 'primary' || name === 'secondary' ? disk : empty, `${images}/${name}`);
      }
      const made = await host.run(`rm -f ${serial}; ip tuntap add dev tap0 mode tap vnet_hdr
ip link set tap0 master br0 && ip link set tap0 up`);
      if (made.status !== 0) throw new Error(`there is no TAP on host ${side}: ${made.stderr}`);
    }
    await this.#start('a', primaryCommand(this.#places));
    await until('the guest to serve', patienceMs, async () =>
      (await this.#pair.host('a').run(`cat ${serial}`)).stdout.includes(this.#pair.guest.ready),
    );
  }

  async protect(): Promise<number> {
    const places = this.#places;
    const [primary, secondary] = [this.#monitor('a'), await this.#start('b', secondaryCommand(places))];
    await tell(secondary, serveDisk(places));
    await tell(primary, [mirrorDisk(places)]);
    const jobs = async () => (await primary.execute('query-block-jobs')) as { ready: boolean }[];
    await until('the disk to be copied', patienceMs, async () => (await jobs())[0]?.ready === true);
    await primary.execute('stop');
    await primary.execute('block-job-cancel', { device: 'resync' });
    while ((await jobs()).length > 0) await sleep(10);
    await tell(primary, beginColo(places, 500));
    await until('QEMU to be in COLO', patienceMs, async () => {
      const { status } = (await primary.execute('query-migrate')) as { status?: string };
      if (status === 'failed') throw new Error(`the migration failed: ${this.#said.a}${this.#said.b}`);
      return status === 'colo' && this.#events.some(({ name }) => name === 'RESUME');
    });
    const [beginning] = this.#stopsSince(0);
    if (beginning === undefined) throw new Error('QEMU did not stop its guest');
    return beginning.ms;
  }

  setDelay(ms: number): Promise<void> {
    return setDelay(this.#monitor('a'), ms);
  }

  async checkpoints(): Promise<Checkpoints> {
    const { status } = (await this.#monitor('a').execute('query-migrate')) as { status?: string };
    if (status !== 'colo') throw new Error(`the pair is ${status}: ${this.#said.a}${this.#said.b}`);
    return { count: this.#stopsSince(0).length };
  }

  async stops(forMs: number): Promise<readonly Stop[]> {
    const from = this.#events.length;
    await sleep(forMs);
    const { status } = (await this.#monitor('a').execute('query-migrate')) as { status?: string };
    if (status !== 'colo') throw new Error(`the pair is ${status}: ${this.#said.a}${this.#said.b}`);
    return this.#stopsSince(from);
  }

  async kill(): Promise<void> {
    const [primary, secondary] = [this.#monitor('a'), this.#monitor('b')];
    this.#vmm.a?.kill('SIGKILL');
    // The kernel closes a dead process's connections: nobody could know it earlier.
    await primary.ended;
    await tell(secondary, takeOver);
  }

  async standbyMib(): Promise<number> {
    const resident = [...(await this.#smaps('b')).matchAll(/^Rss:\s+(\d+) kB/gm)];
    return resident.reduce((sum, [, kib]) => sum + Number(kib), 0) / 1024;
  }

  connect(side: Side): RemoteProcess {
    return this.#bridge(side, ports.qmpBeside);
  }

  async end(): Promise<void> {
    for (const side of ['a', 'b'] as const) {
      const vmm = this.#vmm[side];
      vmm?.kill('SIGKILL');
      await vmm?.exit.catch(() => {});
      delete this.#vmm[side];
      delete this.#monitors[side];
      this.#said[side] = '';
      await this.#pair.host(side).run(`ip link delete tap0; rm -rf ${images}`);
    }
  }

  async #start(side: Side, command: readonly string[]): Promise<QmpClient> {
    const host = this.#pair.host(side);
    const vmm = host.spawn(command);
    this.#vmm[side] = vmm;
    vmm.exit.catch(() => {});
    vmm.stdin.end();
    for (const stream of [vmm.stdout, vmm.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said[side] = (this.#said[side] + text).slice(-4000);
      });
    }
    await until(`QEMU on host ${side} to be there`, patienceMs, async () => {
      if (await Promise.race([vmm.exit.then(() => true), sleep(0, false)])) {
        throw new Error(`QEMU on host ${side} ended: ${this.#said[side]}`);
      }
      return (await host.run(`ss -Htln sport = :${ports.qmp}`)).stdout !== '';
    });
    const bridge = this.#bridge(side, ports.qmp);
    const monitor = new QmpClient(bridge.stdout, bridge.stdin, (name, _data, atMs) => {
      if (side === 'a' && (name === 'STOP' || name === 'RESUME')) this.#events.push({ name, atMs });
    });
    await monitor.execute('qmp_capabilities');
    this.#monitors[side] = monitor;
    return monitor;
  }

  #bridge(side: Side, port: number): RemoteProcess {
    const address = addressOf(this.#pair, side);
    const bridge = this.#pair.lab.outside.spawn(['node', '-e', bridgeProgram(address, port)]);
    bridge.exit.catch(() => {});
    bridge.stderr.resume();
    return bridge;
  }

  #monitor(side: Side): QmpClient {
    const monitor = this.#monitors[side];
    if (monitor === undefined) throw new Error(`no QEMU runs on host ${side}`);
    return monitor;
  }

  #stopsSince(index: number): Stop[] {
    const stops: Stop[] = [];
    let stoppedAt: number | undefined;
    for (const { name, atMs } of this.#events.slice(index)) {
      if (name === 'STOP') stoppedAt = atMs;
      else if (stoppedAt !== undefined) {
        stops.push({ ms: atMs - stoppedAt });
        stoppedAt = undefined;
      }
    }
    return stops;
  }

  async #smaps(side: Side): Promise<string> {
    return (await this.#pair.host(side).run(`cat /proc/$(pgrep -o qemu-system)/smaps`)).stdout;
  }
}

async function tell(monitor: QmpClient, orders: readonly Order[]): Promise<void> {
  for (const [command, given] of orders) await monitor.execute(command, given);
}

function addressOf(pair: LabPair, side: Side): string {
  const { address } = pair.host(side);
  if (address === undefined) throw new Error('the lab has no network');
  return address;
}

const bridgeProgram = (address: string, port: number): string => `
const socket = require('net').connect(${port}, '${address}');
socket.setNoDelay(true);
process.stdin.pipe(socket);
socket.on('error', () => {}).on('close', () => process.exit()).pipe(process.stdout);
`;

/** A guest's disk as a qcow2 image, and one of the same size of nothing. */
async function imagesOf(raw: Buffer, tools: PackageSet): Promise<{ readonly disk: Buffer; readonly empty: Buffer }> {
  const { program, args } = commandFromSet(tools.root, 'usr/bin/qemu-img');
  const folder = await mkdtemp(join(tmpdir(), 'colo-vmm-qcow2-'));
  try {
    const [from, disk, empty] = ['raw', 'disk', 'empty'].map((name) => join(folder, name)) as [string, string, string];
    await writeFile(from, raw);
    await execute(program, [...args, 'convert', '-f', 'raw', '-O', 'qcow2', from, disk]);
    await execute(program, [...args, 'create', '-q', '-f', 'qcow2', empty, String(raw.length)]);
    return { disk: await readFile(disk), empty: await readFile(empty) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
