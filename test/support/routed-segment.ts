import { spawnSync } from 'node:child_process';
import type { Test } from 'tap';
import { freeName, ip, makeInterface } from './taps.ts';

/** Two hosts' bridges at one switch, and a router there. */
export interface RoutedSegment {
  /** Bridges of the hosts, and the ports of the switch where they are. */
  readonly hosts: readonly [string, string];
  readonly ports: readonly [string, string];
  /** Namespace of the router, and its interface at the switch. */
  readonly router: string;
  readonly inside: string;
}

/**
 *     host 0 ---+
 *               switch --- router
 *     host 1 ---+
 *
 * Gone after the test.
 *
 * @param addresses the router's in the segment, with prefixes
 */
export function routedSegment(t: Test, ...addresses: readonly string[]): RoutedSegment {
  const theSwitch = bridge(t);
  const [first, firstPort] = host(t, theSwitch);
  const [second, secondPort] = host(t, theSwitch);
  const router = namespace(t);
  const [, inside] = cable(t, theSwitch);
  settle(router, inside, ...addresses);
  for (const setting of ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'])
    ip('netns', 'exec', router, 'sh', '-c', `echo 1 > /proc/sys/${setting}`);
  return { hosts: [first, second], ports: [firstPort, secondPort], router, inside };
}

/** Another interface of the router, with those addresses; the name of its far end, which is in no namespace yet. */
export function behindRouter(t: Test, { router }: RoutedSegment, ...addresses: readonly string[]): string {
  const outside = freeName();
  const remote = makeInterface(t, 'veth', outside);
  settle(router, outside, ...addresses);
  return remote;
}

/** Names a network namespace of its own for the test. */
export function namespace(t: Test): string {
  const name = freeName();
  ip('netns', 'add', name);
  t.teardown(() => spawnSync('ip', ['netns', 'delete', name]));
  ip('-n', name, 'link', 'set', 'lo', 'up');
  return name;
}

/** Moves an interface to a namespace, with addresses of either family. */
export function settle(where: string, name: string, ...addresses: readonly string[]): void {
  ip('link', 'set', name, 'netns', where);
  for (const address of addresses)
    ip('-n', where, 'address', 'add', address, 'dev', name, ...(address.includes(':') ? ['nodad'] : []));
  ip('-n', where, 'link', 'set', name, 'up');
}

function bridge(t: Test): string {
  const name = makeInterface(t, 'bridge');
  ip('link', 'set', name, 'up');
  return name;
}

/** A host's bridge, and the port of the switch where it is. */
function host(t: Test, theSwitch: string): [string, string] {
  const name = bridge(t);
  const [port, uplink] = cable(t, theSwitch);
  ip('link', 'set', uplink, 'master', name, 'up');
  return [name, port];
}

/** A cable between two new interfaces, of which the first is a port of the bridge; their names. */
function cable(t: Test, master: string): [string, string] {
  const far = freeName();
  const near = makeInterface(t, 'veth', far);
  ip('link', 'set', near, 'master', master, 'up');
  return [near, far];
}
