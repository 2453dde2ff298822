import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { QmpClient } from '../../src/vmm/client/qmp-client.ts';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { ClientsOptions } from '../chaos/clients.ts';
import { servicePort } from '../chaos/guest/service.ts';
import { guestCpuFlags } from '../guest-flags.ts';
import { guestKernel, imageSuites } from '../images/kernel.ts';
import { bundle } from '../lab/bundle.ts';
import type { RemoteProcess } from '../lab/connection.ts';
import type { Host } from '../lab/host.ts';
import { type Lab, startLab } from '../lab/lab.ts';
import { fetchPackages } from '../packages/package-set.ts';
import type { Progress } from '../packages/progress.ts';
import { vmmBundle, vmmFiles, vmmInHost } from '../vmm-files.ts';
import type { ClientsReport } from './client-program.ts';
import { guestNetwork, otherGuest, type ServiceGuest, serviceGuest } from './guest.ts';
import { LabEtcd } from './lab-etcd.ts';
import { textOf, until } from './waiting.ts';

export type Side = 'a' | 'b';

/** Who the hosts of the lab are to each other; the third one is a spare. */
const hostNames = ['a', 'b', 'c'] as const;

const pairName = 'web';
/** Where things are on both hosts. */
export const labFiles = {
  kernel: '/opt/guest/vmlinuz',
  initrd: '/opt/guest/initrd.cpio',
  disk: '/tmp/disk.img',
  serial: '/tmp/serial.log',
  packets: '/tmp/packets.pcapng',
};
const control = '/run/web.sock';
const keysInHost = '/etc/colo-vmm';
const peerPort = 7000;
const watchMs = 1500;

/**
 * Emulated hosts share the cores of this machine with each other: one that computes may let the other wait for a second. A
 * host of its own would be asked for 200 ms.
 */
export const labDetectionMs = { emulated: 3000, native: 200 } as const;

/** How a pair is made besides what the demonstration shows. */
export interface PairSettings {
  /** --insecure in place of keys. */
  readonly isInsecure?: boolean;
  readonly checkpointDelayMs?: number;
  /** Both guests run, and their answers are compared; else --mode buffered. */
  readonly isCompared?: boolean;
  /** Default: {@link LabPair.detectionMs}. */
  readonly detectionMs?: number;
  /** What became of each packet is written to {@link labFiles}.packets. */
  readonly isRecorded?: boolean;
  /** Of the guest. Default 1. */
  readonly cpus?: number;
  /** The guest's card has no offloads. */
  readonly hasNoOffloads?: boolean;
  /** No pair at all: a guest on each host, the second one {@link otherGuest}. */
  readonly areTwo?: boolean;
}

/** Two hosts of a lab with a guest that is a service on host a, its standby on host b, and outside both clients and etcd. */
export class LabPair {
  readonly lab: Lab;
  readonly detectionMs: number;
  readonly guest: ServiceGuest;
  /** Which host of the lab is that side's now. A spare takes the place of one that is lost, which is the spare from then on. */
  readonly #seats: Record<Side, number> = { a: 0, b: 1 };
  #spare = 2;
  /** Where the guest is started, or went since; its standby is on the other host. */
  primary: Side = 'a';
  /** What the VMM of each side has said on standard error. */
  readonly said: Record<Side, string> = { a: '', b: '' };
  readonly vmm: Partial<Record<Side, RemoteProcess>> = {};
  readonly #keys: string;
  #etcd: LabEtcd | undefined;
  #pairs = 0;
  /** A standby is to look for who was left alone on the other host. */
  #mayHaveSurvivor = false;
  #settings: PairSettings = {};

  private constructor(lab: Lab, detectionMs: number, guest: ServiceGuest, keys: string) {
    this.lab = lab;
    this.detectionMs = detectionMs;
    this.guest = guest;
    this.#keys = keys;
  }

  /**
   * Hosts up, bridges made, keys in their places, etcd answering. No VMM runs.
   *
   * @param arbiters members of etcd's cluster
   * @param spares hosts without power, besides the two: 0 or 1
   */
  static async make(
    progress: Progress,
    wanted?: ServiceGuest,
    detectionMs?: number,
    arbiters = 1,
    spares: 0 | 1 = 0,
  ): Promise<LabPair> {
    const guest = wanted ?? (await serviceGuest(progress));
    const kernel = await guestKernel('cloud', { progress });
    const etcd = await fetchPackages({ names: ['etcd-server'], suites: imageSuites, progress });
    const lab = await startLab({
      hosts: 2 + spares,
      spares,
      outside: true,
      files: [...vmmFiles, { source: kernel, path: labFiles.kernel }, { source: guest.initrd, path: labFiles.initrd }],
      progress,
    });
    const keys = await mkdtemp(join(tmpdir(), 'colo-vmm-keys-'));
    const pair = new LabPair(lab, detectionMs ?? labDetectionMs[lab.mode], guest, keys);
    try {
      const made = ['keys', '--pair', pairName, '--hosts', hostNames.join(','), join(keys, 'keys')];
      await promisify(execFile)(process.execPath, [vmmBundle, ...made]);
      const starting = LabEtcd.start(lab.outside, join(etcd.root, 'usr/bin/etcd'), arbiters);
      [pair.#etcd] = await Promise.all([starting, pair.#prepare('a'), pair.#prepare('b')]);
    } catch (error) {
      await pair.close();
      throw error;
    }
    return pair;
  }

  /**
   * Another pair: both VMMs end, and the hosts are made as they were. Nothing is left of the pair before; a host without power gets it
   * again.
   */
  async renew(settings: PairSettings = {}): Promise<void> {
    this.#settings = settings;
    this.#mayHaveSurvivor = false;
    if (this.#pairs++ === 0) return;
    await this.end();
    for (const side of ['a', 'b'] as const) this.said[side] = '';
    await this.lab.network.restore();
    await Promise.all(
      (['a', 'b'] as const).map(async (side) => {
        const host = this.host(side);
        if (host.state === 'hung') await host.powerLoss();
        if (host.state === 'off') await host.powerOn();
        else await host.run(`rm -rf /tmp/state ${control} ${labFiles.serial} ${labFiles.packets}; ip link delete br0`);
        await this.#prepare(side);
      }),
    );
    // Who asks for the guest's address anew is answered, and switches learn on which host it is now.
    await this.lab.outside.run('ip neighbour flush dev eth0');
  }

  /**
   * A host without power gets it again, with nothing of what it had; on one that has it, what runs of ours ends. Who is left alone on the
   * other one is to find a standby there.
   */
  async repair(side: Side): Promise<void> {
    const vmm = this.vmm[side];
    delete this.vmm[side];
    const host = this.host(side);
    if (host.state === 'off') {
      await host.powerOn();
      await this.#prepare(side);
    } else {
      vmm?.kill('SIGKILL');
      await vmm?.exit.catch(() => {});
      await host.run(`rm -f ${control} ${labFiles.serial}`);
    }
    this.#mayHaveSurvivor = true;
  }

  /** The spare host takes the place of that side's, which has no power. Who is left alone on the other one is to find a standby there. */
  async replace(side: Side): Promise<void> {
    const lost = this.#seats[side];
    this.#seats[side] = this.#spare;
    this.#spare = lost;
    await this.repair(side);
  }

  /** Ends both VMMs, the standby's first, as a process is killed. */
  async end(): Promise<void> {
    for (const side of [this.standby, this.primary]) {
      const vmm = this.vmm[side];
      delete this.vmm[side];
      if (this.host(side).state !== 'running') continue;
      vmm?.kill('SIGKILL');
      await vmm?.exit.catch(() => {});
    }
  }

  get etcd(): LabEtcd {
    if (this.#etcd === undefined) throw new Error('etcd was not started');
    return this.#etcd;
  }

  get standby(): Side {
    return this.primary === 'a' ? 'b' : 'a';
  }

  /** A bridge in place of the card, which never delays a port, the keys, and a new disk. */
  async #prepare(side: Side): Promise<void> {
    const host = this.host(side);
    for (const name of ['pair.pem', 'certificate.pem', 'key.pem']) {
      await host.push(join(this.#keys, 'keys', this.nameOf(side), name), `${keysInHost}/${name}`, 0o600);
    }
    const { status, stderr } = await host.run(`modprobe -a tun bridge
set -e
ip link add br0 type bridge forward_delay 0 stp_state 0
ip link set br0 address $(cat /sys/class/net/eth0/address)
ip address flush dev eth0
ip link set eth0 master br0
ip address add ${host.address}/24 dev br0
ip link set br0 up
rm -f ${labFiles.disk} ${labFiles.disk}.standby
${this.guest.makeDisk} ${labFiles.disk}`);
    if (status !== 0) throw new Error(`${host.name} could not be prepared: ${stderr.trim()}`);
  }

  host(side: Side): Host {
    const host = this.lab.hosts[this.#seats[side]];
    if (host === undefined) throw new Error('this lab has no spare host');
    return host;
  }

  /** Who that side's host is: a, b, or the spare, c. */
  nameOf(side: Side): string {
    return hostNames[this.#seats[side]] ?? side;
  }

  /** A connection to the monitor on that side: what is written to its standard input is said there. */
  bridge(side: Side): RemoteProcess {
    const bridge = this.host(side).spawn(['node', '-e', bridgeProgram]);
    bridge.exit.catch(() => {});
    bridge.stderr.resume();
    return bridge;
  }

  /** A client of the monitor on that side. */
  monitor(side: Side): QmpClient {
    const { stdout, stdin } = this.bridge(side);
    return new QmpClient(stdout, stdin);
  }

  /** The command that is typed on that host. */
  command(side: Side): string[] {
    const { areTwo, isInsecure, checkpointDelayMs, isCompared, isRecorded } = this.#settings;
    const { detectionMs = this.detectionMs, cpus = 1, hasNoOffloads = false } = this.#settings;
    const isOther = areTwo === true && side !== this.primary;
    const cmdline = `console=ttyS0 quiet panic=-1${isOther ? ` address=${otherGuest.address}` : ''}`;
    const machine = [
      ...['--kernel', labFiles.kernel, '--initrd', labFiles.initrd, '--cmdline', cmdline],
      ...['--cpus', String(cpus), '--memory', `${this.guest.memoryMib}M`, ...guestCpuFlags(this.lab.mode)],
    ];
    const files = ['--serial', `file=${labFiles.serial}`, '--control', control];
    const { mac } = isOther ? otherGuest : guestNetwork;
    const card = `tap=tap0,mac=${mac},bridge=br0${hasNoOffloads ? ',offload=off' : ''}`;
    const devices = ['--disk', `path=${labFiles.disk}`, '--net', card];
    if (areTwo === true) return ['node', vmmInHost, 'run', ...machine, ...devices, ...files];
    const guest = [
      ...machine,
      ...['--standby', `${this.host(this.standby).address}:${peerPort}`, '--listen', `0.0.0.0:${peerPort}`],
      ...(isCompared === true ? [] : ['--mode', 'buffered']),
      ...(checkpointDelayMs === undefined ? [] : ['--checkpoint-delay', String(checkpointDelayMs)]),
    ];
    const standby = [
      ...['standby', '--listen', `0.0.0.0:${peerPort}`],
      ...(this.#mayHaveSurvivor ? ['--peer', `${this.host(this.primary).address}:${peerPort}`] : []),
    ];
    // Of a new pair, etcd knows nothing yet.
    const prefix = this.#pairs === 0 ? '' : `,prefix=/pair-${this.#pairs}/`;
    return [
      ...['node', vmmInHost],
      ...(side === this.primary ? ['run', ...guest] : standby),
      ...['--name', pairName, '--state', '/tmp/state'],
      ...devices,
      ...(isInsecure ? ['--insecure'] : ['--tls', `dir=${keysInHost}`]),
      ...['--arbiter', `${this.etcd.arbiter}${prefix}`, '--detection', String(detectionMs)],
      ...(isRecorded === true ? ['--pcap', labFiles.packets] : []),
      ...files,
    ];
  }

  /** Types it. `said` is called with each line that it says on standard error. */
  start(side: Side, said: (line: string) => void = () => {}): RemoteProcess {
    const vmm = this.host(side).spawn(this.command(side));
    vmm.stdin.end();
    vmm.exit.catch(() => {});
    vmm.stdout.resume();
    createInterface(vmm.stderr).on('line', (line) => {
      this.said[side] += `${line}\n`;
      said(line);
    });
    this.vmm[side] = vmm;
    return vmm;
  }

  /** `colo-vmm COMMAND` on that host; what it printed. */
  async ask(side: Side, ...command: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.host(side).run(['node', vmmInHost, ...command, '--control', control]);
    if (status !== 0) throw new Error(`colo-vmm ${command.join(' ')} on host ${side}: ${stderr.trim()}`);
    return stdout;
  }

  /**
   * Calls `seen` every second or two with the status of that side, until it ends. One small program does it all: to start `colo-vmm
   * status` anew would cost an emulated host seconds.
   */
  watch(side: Side, seen: (status: ColoStatus) => void): void {
    const process = this.host(side).spawn(['node', '-e', watchProgram]);
    process.exit.catch(() => {});
    process.stdin.end();
    process.stderr.resume();
    createInterface(process.stdout).on('line', (line) => {
      const { return: status } = JSON.parse(line) as { return?: ColoStatus };
      if (status?.headline !== undefined) seen(status);
    });
  }

  /** Waits until the control socket of that side is there. */
  async up(side: Side): Promise<void> {
    await until(`colo-vmm on host ${side} to be there`, 120_000, async () => {
      const ended = await Promise.race([this.vmm[side]?.exit.then(() => true), sleep(0, false)]);
      if (ended) throw new Error(`colo-vmm on host ${side} ended: ${this.said[side]}`);
      return (await this.host(side).run(`test -S ${control}`)).status === 0;
    });
  }

  /** What the guest has said on that side's serial port; nothing, as long as it has none. */
  async serial(side: Side): Promise<string> {
    return (await this.host(side).run(`cat ${labFiles.serial}`)).stdout;
  }

  async disk(side: Side): Promise<Buffer> {
    return this.host(side).pull(labFiles.disk);
  }

  /** Clients outside both hosts, who ask all the time. */
  clients(options: Omit<ClientsOptions, 'address' | 'port'>, seen: (report: ClientsReport) => void): LabClients {
    return new LabClients(this.lab.outside, { ...options, address: guestNetwork.address, port: servicePort }, seen);
  }

  async close(): Promise<void> {
    await this.lab.close();
    await rm(this.#keys, { recursive: true, force: true });
  }
}

export class LabClients {
  readonly #process: RemoteProcess;
  readonly #last: Promise<ClientsReport>;

  constructor(outside: Host, options: ClientsOptions, seen: (report: ClientsReport) => void) {
    const program = bundle(new URL('./client-program.ts', import.meta.url).href);
    this.#process = outside.spawn(['node', '--input-type=module', '-e', program, '--', JSON.stringify(options)]);
    const said = textOf(this.#process.stderr);
    this.#last = new Promise((resolve, reject) => {
      createInterface(this.#process.stdout).on('line', (line) => {
        const report = JSON.parse(line) as ClientsReport;
        seen(report);
        if (report.told !== undefined) resolve(report);
      });
      void this.#process.exit.then(
        () => reject(new Error(`the clients ended: ${said()}`)),
        (error: Error) => reject(error),
      );
    });
    this.#last.catch(() => {});
  }

  /** Silences until now do not count. */
  forgetSilence(): void {
    this.#process.stdin.write('forget\n');
  }

  /** Nobody asks anything new; resolves when nobody waits any more, or nobody is answered. */
  stop(): Promise<ClientsReport> {
    this.#process.stdin.end('stop\n');
    return this.#last;
  }
}

const watchProgram = `
const socket = require('net').connect('${control}');
const ask = (execute) => socket.write(JSON.stringify({ execute }) + '\\n');
ask('qmp_capabilities');
setInterval(ask, ${watchMs}, 'x-colo-status');
socket.on('error', () => {}).on('close', () => process.exit()).pipe(process.stdout);
`;

/** Between the control socket and standard input and output. */
const bridgeProgram = `
const socket = require('net').connect('${control}');
process.stdin.pipe(socket);
socket.on('error', () => {}).on('close', () => process.exit()).pipe(process.stdout);
`;
