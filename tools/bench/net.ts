import { dynamicLinker, libraryFolder, programFiles } from '../images/program-files.ts';
import type { Host } from '../lab/host.ts';
import { type BenchGuest, patienceMs } from './bench-guest.ts';
import { prepare, withBenchHost } from './bench-host.ts';
import { type CardSpec, type GuestSpec, type NetContestant, netContestants } from './contestants.ts';
import { iperfProgram, parseIperf, parseSockperf, sockperfProgram, type Traffic } from './net-tools.ts';
import { type RowsResult, rowsResult } from './row-report.ts';
import { type Row, runRows } from './rows.ts';
import { mountDebugfs } from './usage.ts';

/** A card and the two addresses of its link. */
interface Link extends CardSpec {
  readonly hostAddress: string;
  readonly guestAddress: string;
}

interface GuestLinks {
  readonly offloaded: Link;
  readonly plain: Link;
}

const link = (tap: string, subnet: number, offload: boolean): Link => ({
  tap,
  offload,
  mac: `52:54:00:b0:00:${subnet.toString(16)}`,
  hostAddress: `192.168.${subnet}.1`,
  guestAddress: `192.168.${subnet}.2`,
});

/** Each guest has a card with offloads and one without. */
const links: Readonly<Record<NetContestant, GuestLinks>> = {
  ours: { offloaded: link('ours-offload', 70, true), plain: link('ours-plain', 71, false) },
  qemu: { offloaded: link('qemu-offload', 72, true), plain: link('qemu-plain', 73, false) },
};

/** Programs lie below this folder of the host with libraries of their own. */
const toolsRoot = '/opt/bench';
const mib = 1024 * 1024;
const rrPort = 11111;
const packetBytes = 64;
/** sockperf's smallest message. */
const rrBytes = 14;
/** As many as make 64 KiB, which is what a sender on a fast link gets to. */
const segmentsAtATime = 44;
/** A stream comes in bursts of tens of milliseconds, and which of them meet with what is chance: many make a row. */
const rowSeconds = 5;
/** What a row's seconds do not include: connecting, warming up, asking the other side for its figures. */
const overheadSeconds = 60;

interface NetRow {
  readonly name: string;
  readonly request: string;
  readonly nominal: number;
  readonly path: keyof GuestLinks;
  /** The client's command, run by the host against the server in the guest. */
  readonly client: (guestAddress: string, seconds: number) => readonly string[];
  readonly parse: (text: string) => Traffic;
}

const iperf =
  (...flags: string[]): NetRow['client'] =>
  (address, seconds) => [...tool('iperf3'), ...['-c', address, '-t', String(seconds), '-J', ...flags]];
const fromGuest = '-R';
const flood = ['-u', '-b', '0', '-l', String(packetBytes)];
const stream = { request: 'MiB', nominal: 256, parse: (text: string) => parseIperf(text, mib) } as const;
const packets = {
  request: 'packets',
  nominal: 10_000,
  path: 'offloaded',
  parse: (text: string) => parseIperf(text, packetBytes),
} as const;

const netRows: readonly NetRow[] = [
  { ...stream, name: 'tcp-to-guest', path: 'offloaded', client: iperf() },
  { ...stream, name: 'tcp-from-guest', path: 'offloaded', client: iperf(fromGuest) },
  { ...stream, name: 'tcp-to-guest-no-offload', path: 'plain', client: iperf() },
  { ...stream, name: 'tcp-from-guest-no-offload', path: 'plain', client: iperf(fromGuest) },
  {
    name: 'tcp-request-response',
    request: 'round trips',
    nominal: 1000,
    path: 'offloaded',
    client: (address, seconds) => [
      ...tool('sockperf'),
      ...['ping-pong', '--tcp', '--no-rdtsc', '-i', address, '-p', String(rrPort)],
      ...['-m', String(rrBytes), '-t', String(seconds)],
    ],
    parse: parseSockperf,
  },
  { ...packets, name: 'udp-to-guest', client: iperf(...flood) },
  { ...packets, name: 'udp-from-guest', client: iperf(...flood, fromGuest) },
];

/** A program in the host, run by the linker and the libraries it came with. */
function tool(name: string): string[] {
  return [
    `${toolsRoot}/${dynamicLinker}`,
    ...['--library-path', `${toolsRoot}/${libraryFolder}`, `${toolsRoot}/usr/bin/${name}`],
  ];
}

/** Traffic between a guest and its host over TAPs: ours and QEMU microvm without vhost. */
export async function benchNet(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
  { seconds = rowSeconds, warmUp = true, contestants: contestantsOf = netContestants } = {},
): Promise<RowsResult> {
  const files = [...(await programFiles(iperfProgram)), ...(await programFiles(sockperfProgram))];
  const unique = [...new Map(files.map((file) => [file.path, file])).values()];
  const initramfs = { modules: ['virtio_mmio', 'virtio_net'], files: unique };
  const inHost = unique.map((file) => ({ ...file, path: `${toolsRoot}/${file.path}` }));
  const rows = netRows.map((row) => toRow(row, seconds));
  return withBenchHost(
    async (host, mode) => {
      await prepare(host, [mountDebugfs, '[ -c /dev/net/tun ] || modprobe tun']);
      for (const each of Object.values(links)) await addTaps(host, each);
      const cards = { ours: Object.values(links.ours), qemu: Object.values(links.qemu) };
      const contestants = contestantsOf(guest, mode, cards);
      const measurements = await runRows({ host, contestants, rows, rounds, warmUp, setUp, progress });
      return rowsResult('net', rows, measurements, rounds, mode);
    },
    { initramfs, files: inHost },
  );
}

async function addTaps(host: Host, { offloaded, plain }: GuestLinks): Promise<void> {
  for (const { tap, hostAddress } of [offloaded, plain]) {
    await prepare(host, [
      `ip tuntap add ${tap} mode tap`,
      `echo 1 > /proc/sys/net/ipv6/conf/${tap}/disable_ipv6`,
      `ip addr add ${hostAddress}/24 dev ${tap}`,
      `ip link set ${tap} up`,
    ]);
  }
}

/** Gives the guest's cards their addresses and starts its servers. */
async function setUp(guest: BenchGuest): Promise<void> {
  const { session, host } = guest;
  await session.run('ip link set lo up', patienceMs);
  // Segments handed to a card at a time follow from the speed that TCP sees: where every step is slow it would stay at
  // two for ever, and a stream would be a sequence of small packets.
  await session.run(`echo ${segmentsAtATime} > /proc/sys/net/ipv4/tcp_min_tso_segs`, patienceMs);
  for (const { mac, guestAddress, hostAddress } of Object.values(linksOf(guest))) {
    // The order in which a guest finds its cards is its VMM's affair.
    await session.run(`card=$(basename $(dirname $(grep -l ${mac} /sys/class/net/*/address)))`, patienceMs);
    await session.run(`ip addr add ${guestAddress}/24 dev $card && ip link set $card up`, patienceMs);
    const ping = await host.run(['ping', '-c', '1', '-W', '20', guestAddress]);
    if (ping.status !== 0)
      throw new Error(`${guest.name}: no way from ${hostAddress} to ${guestAddress}: ${ping.stdout}`);
  }
  await session.run('iperf3 -s -D', patienceMs);
  const server = `sockperf server --tcp -i ${linksOf(guest).offloaded.guestAddress} -p ${rrPort}`;
  await session.run(`(${server} > /tmp/sockperf.log 2>&1 &)`, patienceMs);
}

function linksOf(guest: BenchGuest): GuestLinks {
  const found = Object.entries(links).find(([name]) => name === guest.name);
  if (found === undefined) throw new Error(`${guest.name} has no links`);
  return found[1];
}

function toRow({ name, request, nominal, path, client, parse }: NetRow, seconds: number): Row {
  let said = '';
  return {
    name,
    request,
    nominal,
    run: async (guest) => {
      const command = client(linksOf(guest)[path].guestAddress, seconds);
      const { stdout, stderr } = await guest.host.run(command, { timeoutMs: (seconds + overheadSeconds) * 1000 });
      said = `${stdout}${stderr}`;
    },
    result: async () => parse(said),
  };
}
