import { type Progress, progressToStderr } from '../packages/progress.ts';
import { checkDisks, closeDisks, createDisks, type DiskRequest } from './disks.ts';
import { LabError } from './errors.ts';
import { Host } from './host.ts';
import { chooseMode, type LabMode, readModeFacts } from './mode.ts';
import { hostAddress, type LabNetwork } from './network.ts';
import { emulatedPlatform, nativePlatform } from './platform.ts';

export interface LabOptions {
  /** How many; default 1. */
  readonly hosts?: number;
  /** Of them, the last ones have no power at first: so many. */
  readonly spares?: number;
  /** One more machine on the hosts' network, for clients and witnesses: see {@link Lab.outside}. */
  readonly outside?: boolean;
  /** Of each emulated host; default 1024. */
  readonly memoryMib?: number;
  /** Default: the variable LAB, or what this machine can do. */
  readonly mode?: LabMode;
  /** Files of this machine to have in every host, at every start of it. */
  readonly files?: readonly { readonly source: string; readonly path: string; readonly mode?: number }[];
  /** Disks every host has, each its own: {@link Host.disks} says where. They end with the lab. */
  readonly disks?: readonly DiskRequest[];
  /**
   * The first one of the disks is each host's system, with its own init as process 1 and its own network: what is done
   * there outlives a power loss. A Debian with systemd; in emulated hosts only.
   */
  readonly bootsDisk?: boolean;
  /** Tells what is fetched and built when the images are not there; default standard error. */
  readonly progress?: Progress;
}

/** Hosts that are up, and the network between them. */
export interface Lab {
  readonly mode: LabMode;
  readonly hosts: readonly Host[];
  /**
   * The machine outside the hosts: namespaces of this one in both modes, so that it is as fast and its clock as good as
   * this one's. It has none of the files and disks of hosts. Throws in a lab without.
   */
  readonly outside: Host;
  /** Disturbs the links between the hosts. Throws in a lab of one, which has none. */
  readonly network: LabNetwork;
  /** The first way in which the lab itself failed; a test that fails after this says nothing about what it tests. */
  readonly failure: LabError | undefined;
  /** Ends all of it. Safe to call twice. */
  close(): Promise<void>;
}

const defaultMemoryMib = 1024;
/** The last byte of an address counts them. */
const mostHosts = 200;

/** Its name on the network. */
export const outsideName = 'outside';

/** Starts `options.hosts` hosts at once; resolves when commands run on all of them. On failure nothing is left. */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const count = options.hosts ?? 1;
  if (!Number.isInteger(count) || count < 1 || count > mostHosts) {
    throw new RangeError(`a lab has 1 to ${mostHosts} hosts, not ${count}`);
  }
  const mode = options.mode ?? chooseMode(readModeFacts(), process.env.LAB).mode;
  const names = Array.from({ length: count }, (_, index) => `host${index + 1}`);
  const hasOutside = options.outside === true;
  const isNetworked = count > 1 || hasOutside;
  const requests = options.disks ?? [];
  checkDisks(requests);
  const bootsDisk = options.bootsDisk === true;
  if (bootsDisk && (mode !== 'emulated' || requests.length === 0)) {
    throw new LabError('a host that boots a disk is an emulated one, and has a disk');
  }
  const disks = await createDisks(count, requests);
  const platform = await (mode === 'emulated' ? emulatedPlatform : nativePlatform)({
    names,
    ...(hasOutside ? { outside: outsideName } : {}),
    memoryMib: options.memoryMib ?? defaultMemoryMib,
    disks: disks.map((own) => own.map(({ fd }) => fd)),
    bootsDisk,
    progress: options.progress ?? progressToStderr('lab: '),
  }).catch(async (error: unknown) => {
    await closeDisks(disks);
    throw error;
  });
  let failure: LabError | undefined;
  const machine = (name: string, index: number, isOutside: boolean) =>
    new Host({
      name,
      address: isNetworked ? hostAddress(index) : undefined,
      disks: isOutside ? [] : requests.map((_, disk) => platform.diskPath(disk)),
      boot: () => platform.boot(index),
      prepare: async (host) => {
        if (isOutside) return;
        for (const { source, path, mode: bits } of options.files ?? []) await host.push(source, path, bits);
      },
      onFailure: (error) => {
        failure ??= error;
      },
    });
  const hosts = names.map((name, index) => machine(name, index, false));
  const outside = hasOutside ? machine(outsideName, count, true) : undefined;
  const all = outside === undefined ? hosts : [...hosts, outside];
  const spares = hosts.slice(count - (options.spares ?? 0));
  const close = async () => {
    await Promise.all(all.map((host) => host.powerLoss()));
    await platform.close();
    await closeDisks(disks);
  };
  const started = await Promise.allSettled(all.filter((host) => !spares.includes(host)).map((host) => host.powerOn()));
  const refused = started.find((result) => result.status === 'rejected');
  if (refused !== undefined) {
    await close();
    throw refused.reason;
  }
  return {
    mode,
    hosts,
    get outside() {
      if (outside === undefined) throw new LabError('this lab has no machine outside its hosts');
      return outside;
    },
    get network() {
      if (platform.network === undefined) throw new LabError('a lab of one host has no network');
      return platform.network;
    },
    get failure() {
      return failure;
    },
    close,
  };
}
