import { Tap, TapPort } from '../../src/host/net/tap.ts';
import { TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 } from '../../src/host/net/tap-abi.ts';
import { here, Namespace } from '../chaos/net/namespace.ts';
import { addresses, type End } from './addresses.ts';
import type { Take, TraceCase } from './trace-case.ts';

/** One end: a network namespace, and the TAP in it. */
export interface Host {
  readonly namespace: Namespace;
  readonly tap: Tap;
}

/**
 * Two network stacks of this kernel, each with a TAP whose frames this process gets: what lies between them is up to it (wire.ts).
 *
 *     guest's namespace: TAP <--- this process ---> TAP: client's namespace
 */
export class Network {
  readonly guest: Host;
  readonly client: Host;

  private constructor(guest: Host, client: Host) {
    this.guest = guest;
    this.client = client;
  }

  /** This process must be in a network namespace of its own, which takes all of it along when the process ends. */
  static async make(trace: TraceCase, take: Take): Promise<Network> {
    return new Network(await makeHost('guest', trace, take), await makeHost('client', trace, take));
  }

  async close(): Promise<void> {
    for (const { namespace, tap } of [this.guest, this.client]) {
      tap.close();
      await namespace.close();
    }
  }
}

async function makeHost(end: End, trace: TraceCase, { mtu, offload }: Take): Promise<Host> {
  const name = `tr${end}`;
  const { ethernet, 4: ipv4, 6: ipv6 } = addresses[end];
  const namespace = await Namespace.make();
  const tap = new Tap({ name, address: Uint8Array.from(ethernet) });
  new TapPort(tap.fd).setOffload(offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0);
  const inside = (...command: readonly [string, ...string[]]): Promise<string> => namespace.run(...command);
  await inside('sh', '-c', 'for which in all default; do echo 0 > /proc/sys/net/ipv6/conf/$which/disable_ipv6; done');
  const { guestSystem = {}, clientSystem = {}, windowScale, routeMetrics = [] } = trace;
  for (const [file, value] of Object.entries(end === 'guest' ? guestSystem : clientSystem)) {
    await inside('sh', '-c', `echo ${value} > /proc/sys/net/ipv4/${file}`);
  }
  // It goes there, and its descriptor stays here.
  await here.run('ip', 'link', 'set', name, 'netns', `${namespace.pid}`);
  await inside('ip', 'link', 'set', name, 'mtu', `${mtu}`, 'up');
  await inside('ip', 'address', 'add', `${ipv4}/24`, 'dev', name);
  await inside('ip', 'address', 'add', `${ipv6}/64`, 'dev', name, 'nodad');
  // The most that a window may be; the kernel takes the scale that has room for it.
  const metrics = ['window', `${0xffff << windowScale}`, ...routeMetrics];
  await inside('ip', 'route', 'change', '192.0.2.0/24', 'dev', name, 'src', ipv4, ...metrics);
  await inside('ip', '-6', 'route', 'replace', '2001:db8::/64', 'dev', name, 'metric', '1', ...metrics);
  return { namespace, tap };
}
