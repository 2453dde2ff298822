import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { halted } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { behindRouter, namespace, type RoutedSegment, routedSegment, settle } from '../../support/routed-segment.ts';
import { freeName, ip, noTaps } from '../../support/taps.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const noBridge = spawnSync('bridge', ['-V']).status === 0 ? false : 'no bridge command: apt-get install iproute2';
const skip = noKvm() || noTaps() || noBridge;

const guest = { mac: '02:00:00:ab:cd:01', ipv4: '10.0.0.2', ipv6: 'fd00:1::2' } as const;

interface Segment extends RoutedSegment {
  /** Namespace of a client behind the router. Both know the guest from before. */
  readonly client: string;
}

function segment(t: Test): Segment {
  const made = routedSegment(t, '10.0.0.1/24', 'fd00:1::1/64');
  const { router, inside } = made;
  for (const address of [guest.ipv4, guest.ipv6])
    ip('-n', router, 'neigh', 'replace', address, 'lladdr', guest.mac, 'dev', inside);
  const client = namespace(t);
  settle(client, behindRouter(t, made, '10.0.1.1/24', 'fd00:2::1/64'), '10.0.1.2/24', 'fd00:2::2/64');
  ip('-n', client, 'route', 'add', 'default', 'via', '10.0.1.1');
  ip('-n', client, 'route', 'add', 'default', 'via', 'fd00:2::1');
  return { ...made, client };
}

const datagrams = 50;
const datagramBytes = 1000;

/** Through which of the ports datagrams to the guest leave the switch. What else is sent there is much less. */
async function reached({ ports }: Segment, from: string, address: string): Promise<readonly boolean[]> {
  const sent = (port: string): number => Number(readFileSync(`/sys/class/net/${port}/statistics/tx_bytes`, 'latin1'));
  const before = ports.map(sent);
  const script = `for i in {1..${datagrams}}; do printf '%0${datagramBytes}d' 0 > /dev/udp/${address}/9; done`;
  execFileSync('ip', ['netns', 'exec', from, 'bash', '-c', script]);
  const are = (): boolean[] =>
    ports.map((port, index) => sent(port) - (before[index] as number) > datagrams * datagramBytes);
  await until(() => are().includes(true));
  return are();
}

/** Whether the switch has learned that the guest is behind the port. */
function isLearned(port: string): boolean {
  return execFileSync('bridge', ['fdb', 'show', 'dev', port], { encoding: 'utf8' })
    .split('\n')
    .some((line) => line.startsWith(`${guest.mac} `) && !line.includes('permanent'));
}

test('a silent guest restored on a second host is reached there, from its segment and through a router', {
  skip,
}, async (t) => {
  const folder = temporaryFolder(t);
  const env = { COLO_VMM_RUNTIME: folder };
  const place = segment(t);
  const [port, otherPort] = place.ports;
  const vmm = (...args: readonly string[]): VmmProcess => {
    const process = new VmmProcess(args, { env });
    t.teardown(() => process.child.kill('SIGKILL'));
    return process;
  };
  const net = `tap=${freeName()},bridge=${place.hosts[0]},mac=${guest.mac}`;
  const machine = vmm('run', '--kernel', kernelFile(folder, halted('.')), '--memory', '16M', '--net', net);
  await machine.printed('.');
  // As by a packet of the guest's, of which it will send no more.
  execFileSync('bridge', ['fdb', 'replace', guest.mac, 'dev', port, 'master', 'dynamic']);
  t.strictSame(await reached(place, place.router, guest.ipv4), [true, false], 'it is on the first host');
  const file = join(folder, 'a.snap');
  t.equal((await runVmm(['snapshot', '--stop', file], { env })).code, 0);
  await machine.ended;
  t.ok(isLearned(port), 'the switch has not noticed');

  vmm('restore', file, '--net', `tap=${freeName()},bridge=${place.hosts[1]}`);
  await until(() => isLearned(otherPort));

  t.notOk(isLearned(port));
  for (const from of [place.router, place.client]) {
    for (const address of [guest.ipv4, guest.ipv6]) {
      const where = `${address} from ${from === place.router ? 'its segment' : 'behind the router'}`;
      t.strictSame(await reached(place, from, address), [false, true], where);
    }
  }
});
