import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { bundle } from '../../lab/bundle.ts';
import { endProcess } from '../../lab/end-process.ts';
import { here, Namespace, quiet } from './namespace.ts';

/** The two hosts of a pair. */
export type HostName = 'a' | 'b';
export const hostNames: readonly HostName[] = ['a', 'b'];
export function otherHost(host: HostName): HostName {
  return host === 'a' ? 'b' : 'a';
}

/** A way that can be cut: what host says to the other or to the arbiter, what it hears of the arbiter, and it and the clients. */
export type Way = `link from ${HostName}` | `arbiter of ${HostName}` | `clients of ${HostName}`;

/** A link that takes little: what does not fit waits, and what finds no room to wait is lost. */
export interface Narrowness {
  readonly bitsPerSecond: number;
  readonly roomBytes: number;
}

export const guestAddress = '10.77.0.2';
export const guestMac = '02:00:00:00:00:07';
export const arbiterAddress = '10.77.3.1';
/** Where copies of what the guest says are sent, each in a VXLAN packet whose number says from which host. */
export const watchPort = 4790;
/** VXLAN network identifier of each host's copies. */
export const watchNumber: Readonly<Record<HostName, number>> = { a: 1, b: 2 };

export function linkAddress(host: HostName): string {
  return `10.77.4.${host === 'a' ? 1 : 2}`;
}

/** The bridge of a host that its guest's TAP is in. */
export const bridgeOfHost = 'csmbr';

/**
 * Two hosts, and in the middle, where this process is, the clients and the arbiter. All interfaces' names begin with csm.
 *
 *     host a  csmbr  guest's TAP, csmup ---- csmca |          | csmcb ---- csmup ...  host b
 *                                                  |  csmbr   |
 *             csmarb -------------- csmea    (clients: 10.77.0.1)    csmeb ---- csmarb
 *             csmwx -- csmw ------- csmwa   lo 10.77.3.1: etcd       csmwb ---- csmw
 *             csmlink ------------------------------------------------------- csmlink
 *
 * What the guest says is copied where it leaves a host's bridge, before anything can be cut, and comes to one socket here in the
 * order in which it was said (csmw: nothing else is on it).
 */
export class Network {
  readonly #hosts: Readonly<Record<HostName, Namespace>>;
  readonly #strangers: ChildProcess[] = [];

  private constructor(hosts: Readonly<Record<HostName, Namespace>>) {
    this.#hosts = hosts;
  }

  /** This process must be in a network namespace of its own. */
  static async make(): Promise<Network> {
    await quiet(here);
    await here.run('ip', 'link', 'set', 'lo', 'up');
    await here.run('ip', 'address', 'add', `${arbiterAddress}/32`, 'dev', 'lo');
    await here.run(
      'ip',
      'link',
      'add',
      'csmbr',
      'address',
      '02:00:00:00:00:01',
      'type',
      'bridge',
      'mcast_snooping',
      '0',
    );
    await here.run('ip', 'address', 'add', '10.77.0.1/24', 'dev', 'csmbr');
    await here.run('ip', 'link', 'set', 'csmbr', 'up');
    const network = new Network({ a: await Namespace.make(), b: await Namespace.make() });
    try {
      for (const host of hostNames) await network.#connect(host);
      await here.run('ip', 'link', 'add', 'csmla', 'type', 'veth', 'peer', 'name', 'csmlb');
      for (const host of hostNames) {
        const run = network.#runner(host);
        await here.run('ip', 'link', 'set', `csml${host}`, 'name', 'csmlink', 'netns', String(network.host(host).pid));
        await run('ip', 'address', 'add', `${linkAddress(host)}/30`, 'dev', 'csmlink');
        await run('ip', 'link', 'set', 'csmlink', 'up');
      }
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  host(host: HostName): Namespace {
    return this.#hosts[host];
  }

  /** Switches forget where the guest was: another guest with its address may be somewhere else, and says nothing by itself. */
  async forget(): Promise<void> {
    const flush = ['link', 'set', 'dev', 'csmbr', 'type', 'bridge', 'fdb_flush'];
    await here.run('ip', ...flush);
    for (const host of hostNames) await this.host(host).run('ip', ...flush);
  }

  /** Nothing comes through any more, and nobody is told. Packets of a way that is cut are lost, as in a dead switch. */
  async cut(...ways: readonly Way[]): Promise<void> {
    for (const together of cutsInOrder(ways)) await Promise.all(together.map((way) => this.#set(way, true)));
  }

  /** What a host says to the other one finds a link that takes little, until that way is restored. */
  async narrow(host: HostName, { bitsPerSecond, roomBytes }: Narrowness): Promise<void> {
    const bucket = ['tbf', 'rate', `${bitsPerSecond}bit`, 'burst', '4kb', 'limit', `${roomBytes}b`];
    await this.host(host).run('tc', 'qdisc', 'replace', 'dev', 'csmlink', 'root', ...bucket);
  }

  /** Somebody else on that host has so much to say to the other one, until {@link sendAway}. Returns when it has begun. */
  async fill(host: HostName, bytesPerSecond: number): Promise<void> {
    const program = bundle(new URL('./stranger.ts', import.meta.url).href);
    const node = [process.execPath, '--input-type=module', '-e', program, '--'] as const;
    const [command, args] = this.host(host).command(
      ...['setpriv', '--pdeathsig', 'KILL', ...node, linkAddress(otherHost(host)), String(bytesPerSecond)],
    );
    const stranger = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
    this.#strangers.push(stranger);
    await once(stranger.stdout as never, 'data');
  }

  /** Nobody else is on the link any more. */
  async sendAway(): Promise<void> {
    await Promise.all(this.#strangers.splice(0).map(endProcess));
  }

  async restore(...ways: readonly Way[]): Promise<void> {
    await Promise.all(ways.map((way) => this.#set(way, false)));
  }

  async close(): Promise<void> {
    await this.sendAway();
    for (const host of hostNames) await this.#hosts[host].close();
  }

  async #connect(host: HostName): Promise<void> {
    const run = this.#runner(host);
    const number = watchNumber[host];
    const veth = (ours: string, theirs: string): Promise<string> =>
      here.run('ip', 'link', 'add', ours, 'type', 'veth', 'peer', 'name', theirs, 'netns', String(this.host(host).pid));

    await run('ip', 'link', 'add', bridgeOfHost, 'type', 'bridge', 'mcast_snooping', '0');
    await run('ip', 'link', 'set', bridgeOfHost, 'up');
    await veth(`csmc${host}`, 'csmup');
    await run('ip', 'link', 'set', 'csmup', 'master', bridgeOfHost, 'up');
    await here.run('ip', 'link', 'set', `csmc${host}`, 'master', 'csmbr', 'up');

    await veth(`csme${host}`, 'csmarb');
    await here.run('ip', 'address', 'add', `10.77.${number}.2/30`, 'dev', `csme${host}`);
    await here.run('ip', 'link', 'set', `csme${host}`, 'up');
    await run('ip', 'address', 'add', `10.77.${number}.1/30`, 'dev', 'csmarb');
    await run('ip', 'link', 'set', 'csmarb', 'up');
    await run('ip', 'route', 'add', arbiterAddress, 'via', `10.77.${number}.2`);

    await veth(`csmw${host}`, 'csmw');
    await here.run('ip', 'address', 'add', `10.77.1${number}.2/30`, 'dev', `csmw${host}`);
    await here.run('ip', 'link', 'set', `csmw${host}`, 'up');
    await run('ip', 'address', 'add', `10.77.1${number}.1/30`, 'dev', 'csmw');
    await run('ip', 'link', 'set', 'csmw', 'up');
    const tunnel = ['id', String(number), 'remote', `10.77.1${number}.2`, 'dstport', String(watchPort), 'nolearning'];
    await run('ip', 'link', 'add', 'csmwx', 'type', 'vxlan', ...tunnel);
    await run('ip', 'link', 'set', 'csmwx', 'up');
    await run('tc', 'qdisc', 'add', 'dev', 'csmup', 'clsact');
    const copy = ['match', 'ether', 'src', guestMac, 'action', 'mirred', 'egress', 'mirror', 'dev', 'csmwx'];
    await run('tc', 'filter', 'add', 'dev', 'csmup', 'egress', 'protocol', 'all', 'u32', ...copy);
  }

  #runner(host: HostName): (program: string, ...args: string[]) => Promise<string> {
    return (program, ...args) => this.host(host).run(program, ...args);
  }

  async #set(way: Way, isCut: boolean): Promise<void> {
    const host = way.slice(-1) as HostName;
    if (way.startsWith('clients')) {
      // 0 is disabled, 3 forwarding.
      await here.run('bridge', 'link', 'set', 'dev', `csmc${host}`, 'state', isCut ? '0' : '3');
      return;
    }
    const device = way.startsWith('link') ? 'csmlink' : 'csmarb';
    await lose((...args) => this.host(host).run(...args), device, isCut);
    if (device === 'csmarb') await lose(here.run, `csme${host}`, isCut);
  }
}

/**
 * Which ways are cut together, one group after the other. Each takes a process, and on a busy machine the last one may come after
 * the silence that means loss: whoever is to be without its arbiter when the link goes must be so before, or it asks in time, and wins.
 */
export function cutsInOrder(ways: readonly Way[]): readonly (readonly Way[])[] {
  const isArbiters = (way: Way): boolean => way.startsWith('arbiter');
  return [ways.filter(isArbiters), ways.filter((way) => !isArbiters(way))];
}

type Run = (program: string, ...args: readonly string[]) => Promise<string>;

/** A bucket that no packet fits in loses all of them. */
async function lose(run: Run, device: string, isCut: boolean): Promise<void> {
  if (isCut) {
    const nothing = ['tbf', 'rate', '8kbit', 'burst', '10b', 'limit', '10b'];
    await run('tc', 'qdisc', 'replace', 'dev', device, 'root', ...nothing);
  } else await run('tc', 'qdisc', 'del', 'dev', device, 'root').catch(() => {});
}
