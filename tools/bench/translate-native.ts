import { tcpFlag } from '../../src/colo/packet/wire.ts';
import { defaultTranslateSettings } from '../../src/colo/translate/settings.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import { long, type TcpParts, tcpPacket } from '../../test/support/packets.ts';
import { heapGrowth } from './net-native.ts';
import { median, rounded } from './statistics.ts';

/** What it costs on one core to give a packet the numbers of the other guest. In CPU time: others may be busy. */
export interface TranslateNativeRow {
  readonly name: string;
  readonly packetsPerSecond: number;
  readonly nsPerPacket: number;
  /** Of V8's heap; there should be none. */
  readonly bytesAllocatedPerPacket: number;
}

export interface TranslateNativeResult {
  readonly bench: 'translate-native';
  readonly rows: readonly TranslateNativeRow[];
  readonly rounds: number;
}

const packetsPerRound = 300_000;
/** Few enough that V8 seldom collects garbage meanwhile, which would hide what was allocated. */
const packetsPerWindow = 1024;
const connections = 1000;
const ports = { guest: 80, first: 10_000 } as const;

interface Traffic {
  readonly name: string;
  readonly way: 'out' | 'in';
  readonly parts: TcpParts;
  /** Connections are there to be translated. */
  readonly isOpen: boolean;
}

const timestamps = [1, 1, 8, 10, ...long(1000), ...long(2000)];
const sack = [1, 1, 5, 18, ...[10, 20, 30, 40].flatMap(long)];
const big = new Uint8Array(64_240).fill(0x55);
const segment = big.subarray(0, 1460);

const traffics: readonly Traffic[] = [
  { name: 'from the guest, TCP 1460', way: 'out', parts: { payload: segment }, isOpen: true },
  { name: 'from the guest, timestamps', way: 'out', parts: { payload: segment, options: timestamps }, isOpen: true },
  { name: 'from the guest, 64240, partial', way: 'out', parts: { payload: big, partialChecksum: true }, isOpen: true },
  { name: 'to the guest, acknowledgements', way: 'in', parts: { options: timestamps }, isOpen: true },
  { name: 'to the guest, 2 SACK blocks', way: 'in', parts: { options: [...timestamps, ...sack] }, isOpen: true },
  { name: 'to the guest, IPv6', way: 'in', parts: { version: 6, options: timestamps }, isOpen: true },
  { name: 'to the guest, not translated', way: 'in', parts: { options: timestamps }, isOpen: false },
];

/** Medians over `rounds`, after one that does not count. */
export function benchTranslateNative(rounds: number, progress: (line: string) => void): TranslateNativeResult {
  const rows = traffics.map((traffic) => {
    const row = runTraffic(traffic, rounds);
    progress(`${row.name}: ${row.packetsPerSecond} packets a second, ${row.bytesAllocatedPerPacket} bytes a packet`);
    return row;
  });
  return { bench: 'translate-native', rows, rounds };
}

function runTraffic(traffic: Traffic, rounds: number): TranslateNativeRow {
  const run = translating(traffic);
  run(packetsPerRound);
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    run(packetsPerRound);
    const { user, system } = process.cpuUsage(start);
    times.push(((user + system) * 1000) / packetsPerRound);
  }
  const allocated = heapGrowth(() => run(packetsPerWindow)) - heapGrowth(() => run(0));
  const ns = median(times);
  return {
    name: traffic.name,
    packetsPerSecond: Math.round(1e9 / ns),
    nsPerPacket: rounded(ns, 0),
    bytesAllocatedPerPacket: rounded(allocated / packetsPerWindow, 1),
  };
}

/** So many packets of a thousand connections in turn. */
function translating({ way, parts, isOpen }: Traffic): (packets: number) => void {
  const translator = new Translator({ settings: defaultTranslateSettings, seed: 1 });
  const version = parts.version ?? 4;
  const guest = version === 4 ? [192, 0, 2, 1] : [0x20, 1, ...new Array(13).fill(0), 1];
  const client = version === 4 ? [198, 51, 100, 7] : [0x20, 1, ...new Array(13).fill(0), 7];
  const outgoing = { version, source: guest, destination: client, sourcePort: ports.guest };
  const incoming = { version, source: client, destination: guest, destinationPort: ports.guest };
  for (let connection = 0; connection < connections; connection++) {
    const port = ports.first + connection;
    const options = timestamps;
    // As long as one connection is translated, the packets of all others are looked at.
    const theirs = isOpen || connection === 0 ? port : 1;
    const flags = tcpFlag.syn | tcpFlag.ack;
    const answer = tcpPacket({ ...outgoing, destinationPort: theirs, sequence: port, flags, options });
    translator.outgoing(0, answer, 0, answer.length, 0);
    const first = tcpPacket({ ...incoming, sourcePort: theirs, sequence: 500, acknowledgement: 1, options });
    translator.incoming(0, first, 0, first.length, 0);
    const spoken = tcpPacket({ ...outgoing, destinationPort: theirs, sequence: port + 1, payload: 'x', options });
    translator.outgoing(0, spoken, 0, spoken.length, 0);
  }
  const packet = tcpPacket(way === 'out' ? { ...outgoing, ...parts } : { ...incoming, ...parts });
  const ipBytes = version === 4 ? 20 : 40;
  const port = 12 + 14 + ipBytes + (way === 'out' ? 2 : 0);
  return (packets) => {
    const wanted = translator.facts.translated + packets;
    for (let at = 0; at < packets; at++) {
      const number = ports.first + (at % connections);
      packet[port] = number >> 8;
      packet[port + 1] = number;
      if (way === 'out') translator.outgoing(0, packet, 0, packet.length, at);
      else translator.incoming(0, packet, 0, packet.length, at);
    }
    if (isOpen && translator.facts.translated !== wanted) throw new Error('packets were not translated');
  };
}
