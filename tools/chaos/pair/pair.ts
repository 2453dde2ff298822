import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ColoStatus } from '../../../src/vmm/monitor/colo-control.ts';
import { runVmm } from '../../../test/support/vmm-process.ts';
import { servicePort } from '../guest/service.ts';
import { smallGuest, smallGuestMemory } from '../guest/small-guest.ts';
import {
  bridgeOfHost,
  guestAddress,
  guestMac,
  type HostName,
  linkAddress,
  type Network,
  otherHost,
} from '../net/network.ts';
import { Vmm } from './vmm.ts';

const diskBytes = 4 << 20;
const peerPort = 7000;
const pairName = 'small';

export interface PairOptions {
  readonly folder: string;
  /** Where a host keeps the pair's disk and state; undefined: in that folder as well. */
  readonly folderOn?: (host: HostName) => string | undefined;
  readonly network: Network;
  /** The host of the first primary. */
  readonly primary: HostName;
  /** Where etcd is. */
  readonly arbiter: string;
  /** Folder with the hosts' keys; undefined: without encryption. */
  readonly keys: string | undefined;
  readonly detectionMs: number;
  /** Both guests run, and their answers are compared. */
  readonly compare?: boolean;
  /** A checkpoint at least so often; default: as the product has it. */
  readonly checkpointDelayMs?: number;
}

/** Two VMMs that are a pair, one on each host. */
export class Pair {
  readonly folder: string;
  readonly vmms: Partial<Record<HostName, Vmm>> = {};
  #primaryHost: HostName;
  readonly #options: PairOptions;
  #started = 0;

  private constructor(options: PairOptions) {
    this.folder = options.folder;
    this.#primaryHost = options.primary;
    this.#options = options;
  }

  /** Starts both sides; the guest runs soon, and is protected later. */
  static start(options: PairOptions): Pair {
    const pair = new Pair(options);
    pair.#makeFolder();
    pair.startStandby();
    const standby = `${linkAddress(pair.standbyHost)}:${peerPort}`;
    const { checkpointDelayMs } = options;
    const pace = checkpointDelayMs === undefined ? [] : ['--checkpoint-delay', String(checkpointDelayMs)];
    const mode = options.compare === true ? [] : ['--mode', 'buffered'];
    const flags = [...pace, ...mode, ...pair.#flags(pair.primaryHost)];
    pair.#start(pair.primaryHost, ['run', ...pair.#boot, '--standby', standby, ...flags]);
    return pair;
  }

  /** A primary that nobody protects, nor ever will. */
  static alone(options: Omit<PairOptions, 'arbiter' | 'keys'>): Pair {
    const pair = new Pair({ ...options, arbiter: 'manual', keys: undefined });
    pair.#makeFolder();
    pair.#start(options.primary, ['run', ...pair.#boot]);
    return pair;
  }

  /** Host of the side that is the primary, or was one last. */
  get primaryHost(): HostName {
    return this.#primaryHost;
  }

  get standbyHost(): HostName {
    return otherHost(this.primaryHost);
  }

  vmm(host: HostName): Vmm {
    const vmm = this.vmms[host];
    if (vmm === undefined) throw new Error(`nothing was started on host ${host}`);
    return vmm;
  }

  disk(host: HostName): string {
    return join(this.folderOn(host), `disk-${host}.img`);
  }

  /** Where a host keeps its disk and its state. */
  folderOn(host: HostName): string {
    return this.#options.folderOn?.(host) ?? this.folder;
  }

  /** The standby has taken over: it is the primary from now on, and the other host is to get a standby. */
  rolesChanged(): void {
    this.#primaryHost = this.standbyHost;
  }

  /**
   * Starts a standby, the first one or another one after its predecessor on that host has ended. What is on its disk stays there. It
   * looks for a survivor on the other host.
   */
  startStandby(): void {
    const host = this.standbyHost;
    const places = [
      ...['--listen', `${linkAddress(host)}:${peerPort}`],
      ...['--peer', `${linkAddress(otherHost(host))}:${peerPort}`],
    ];
    this.#start(host, ['standby', ...places, ...this.#flags(host)]);
  }

  get #boot(): readonly string[] {
    return ['--kernel', this.#kernel, '--memory', smallGuestMemory, '--reboot', 'exit'];
  }

  /** What a host is told of its pair. */
  #flags(host: HostName): string[] {
    const { arbiter, keys, detectionMs } = this.#options;
    return [
      ...['--state', join(this.folderOn(host), `${host}.state`)],
      ...['--arbiter', arbiter, '--detection', String(detectionMs)],
      ...(keys === undefined ? ['--insecure'] : ['--tls', `dir=${join(keys, host)}`]),
    ];
  }

  #start(host: HostName, command: readonly string[]): void {
    const { network, folder } = this.#options;
    const disk = this.disk(host);
    makeDisk(disk);
    this.vmms[host] = new Vmm({
      name: `${host}${++this.#started}`,
      folder,
      namespace: network.host(host),
      args: [
        ...command,
        ...['--name', pairName, '--disk', `path=${disk},id=disk`, '--serial', 'none'],
        ...['--net', `tap=csmtap,mac=${guestMac},bridge=${bridgeOfHost}`],
      ],
    });
  }

  #makeFolder(): void {
    for (const folder of this.folders) mkdirSync(folder, { recursive: true });
    writeFileSync(this.#kernel, smallGuest({ address: guestAddress, port: servicePort }));
  }

  /** Of both sides. */
  async status(): Promise<Record<HostName, ColoStatus | undefined>> {
    const [a, b] = await Promise.all([this.vmms.a?.status(), this.vmms.b?.status()]);
    return { a, b };
  }

  /** Both say that the guest is safe. */
  async isProtected(): Promise<boolean> {
    const status = await this.status();
    return status[this.primaryHost]?.headline === 'PROTECTED' && status[this.standbyHost]?.headline === 'PROTECTING';
  }

  /** The standby is the guest's primary, and alone. */
  async isTakenOver(): Promise<boolean> {
    const status = (await this.status())[this.standbyHost];
    return status?.role === 'primary' && status.headline === 'UNPROTECTED';
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.vmms).map((vmm) => vmm.kill()));
  }

  /** Nothing is left of it: {@link close} before. */
  remove(): void {
    for (const folder of this.folders) rmSync(folder, { recursive: true, force: true });
  }

  /** All that it keeps is in these. */
  get folders(): ReadonlySet<string> {
    return new Set([this.folder, this.folderOn('a'), this.folderOn('b')]);
  }

  get #kernel(): string {
    return join(this.folder, 'small.elf');
  }
}

/** Keys for both hosts, in folders of their names. */
export async function makeKeys(folder: string): Promise<void> {
  const { code, stderr } = await runVmm(['keys', '--pair', pairName, '--hosts', 'a,b', folder]);
  if (code !== 0) throw new Error(stderr);
}

function makeDisk(path: string): void {
  const file = openSync(path, 'a');
  ftruncateSync(file, diskBytes);
  closeSync(file);
}
