import { Comparator } from '../../src/colo/compare/comparator.ts';
import { defaultCompareSettings } from '../../src/colo/compare/settings.ts';
import { putLong, tcpFlag } from '../../src/colo/packet/wire.ts';
import { tcpPacket, udpPacket } from '../../test/support/packets.ts';
import { heapGrowth } from './net-native.ts';
import { median, rounded } from './statistics.ts';

/** What comparing an equal pair costs on one core: a packet of P and what S said of the same. In CPU time: others may be busy. */
export interface CompareNativeRow {
  readonly name: string;
  readonly pairsPerSecond: number;
  readonly nsPerPair: number;
  /** Of V8's heap; there should be none. */
  readonly bytesAllocatedPerPair: number;
}

export interface CompareNativeResult {
  readonly bench: 'compare-native';
  readonly rows: readonly CompareNativeRow[];
  readonly rounds: number;
}

const pairsPerRound = 200_000;
/** Few enough that V8 seldom collects garbage meanwhile, which would hide what was allocated. */
const pairsPerWindow = 512;
const connections = 1000;
/** Packets of one side before the other one speaks. */
const lead = 16;
const bigBytes = 64_240;
const segmentBytes = 1460;

interface Traffic {
  readonly name: string;
  /** Of P's packet. */
  readonly payloadBytes: number;
  readonly protocol: 'tcp' | 'udp';
  /** S says it in so many packets. */
  readonly cuts: number;
  readonly first: 'primary' | 'secondary';
}

const traffics: readonly Traffic[] = [
  { name: 'TCP acknowledgements', payloadBytes: 0, protocol: 'tcp', cuts: 1, first: 'primary' },
  { name: 'TCP 100', payloadBytes: 100, protocol: 'tcp', cuts: 1, first: 'primary' },
  { name: 'TCP 100, S first', payloadBytes: 100, protocol: 'tcp', cuts: 1, first: 'secondary' },
  { name: 'TCP 1460', payloadBytes: segmentBytes, protocol: 'tcp', cuts: 1, first: 'primary' },
  { name: 'TCP 1460, S first', payloadBytes: segmentBytes, protocol: 'tcp', cuts: 1, first: 'secondary' },
  { name: 'TCP 64240', payloadBytes: bigBytes, protocol: 'tcp', cuts: 1, first: 'primary' },
  { name: 'TCP 64240, S in 44 segments', payloadBytes: bigBytes, protocol: 'tcp', cuts: 44, first: 'primary' },
  { name: 'UDP 100', payloadBytes: 100, protocol: 'udp', cuts: 1, first: 'primary' },
];

/** Medians over `rounds`, after one that does not count. */
export function benchCompareNative(rounds: number, progress: (line: string) => void): CompareNativeResult {
  const rows = traffics.map((traffic) => {
    const row = runTraffic(traffic, rounds);
    progress(`${row.name}: ${row.pairsPerSecond} pairs a second, ${row.bytesAllocatedPerPair} bytes a pair`);
    return row;
  });
  return { bench: 'compare-native', rows, rounds };
}

function runTraffic(traffic: Traffic, rounds: number): CompareNativeRow {
  const bench = new CompareBench(traffic);
  const pairs = Math.max(lead, Math.floor(pairsPerRound / Math.max(1, traffic.payloadBytes / 2000) / lead) * lead);
  bench.pairs(pairs);
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    bench.pairs(pairs);
    const { user, system } = process.cpuUsage(start);
    times.push(((user + system) * 1000) / pairs);
  }
  const allocated = heapGrowth(() => bench.pairs(pairsPerWindow)) - heapGrowth(() => bench.pairs(0));
  const ns = median(times);
  return {
    name: traffic.name,
    pairsPerSecond: Math.round(1e9 / ns),
    nsPerPair: rounded(ns, 0),
    bytesAllocatedPerPair: rounded(allocated / pairsPerWindow, 1),
  };
}

/** Two guests that agree, on a thousand connections in turn. */
class CompareBench {
  readonly #traffic: Traffic;
  readonly #comparator: Comparator;
  /** As in an outbox: P's packets stay where they are until they leave. */
  readonly #outbox: Uint8Array;
  readonly #slotBytes: number;
  readonly #packetBytes: number;
  /** S's, one after the other. */
  readonly #inbox: Uint8Array;
  readonly #cutBytes: number;
  readonly #cutPacketBytes: number;
  #released = 0;
  #sent = 0;
  #now = 0;

  constructor(traffic: Traffic) {
    this.#traffic = traffic;
    const fail = (what: string): never => {
      throw new Error(`equal packets did not compare equal: ${what}`);
    };
    const outcome = {
      release: () => {
        this.#released++;
      },
      drop: () => {},
      wantCheckpoint: ({ reason }: { reason: string }) => fail(reason),
    };
    const settings = { ...defaultCompareSettings, flows: 4 * connections };
    this.#comparator = new Comparator({ settings, outcome, policyOf: () => 'compare', seed: 1 }, 0);
    const packet = this.#packet(traffic.payloadBytes);
    this.#packetBytes = packet.length;
    this.#slotBytes = Math.ceil(packet.length / 64) * 64;
    this.#outbox = new Uint8Array(new SharedArrayBuffer(lead * this.#slotBytes));
    for (let slot = 0; slot < lead; slot++) this.#outbox.set(packet, slot * this.#slotBytes);
    this.#cutBytes = traffic.payloadBytes / traffic.cuts;
    this.#inbox = this.#packet(this.#cutBytes);
    this.#cutPacketBytes = this.#inbox.length;
    if (traffic.protocol === 'tcp') this.#open();
  }

  #packet(payloadBytes: number): Uint8Array {
    const payload = new Uint8Array(payloadBytes).fill(0x55);
    return this.#traffic.protocol === 'tcp' ? tcpPacket({ payload }) : udpPacket({ payload });
  }

  #open(): void {
    for (let connection = 0; connection < connections; connection++) {
      const parts = { destinationPort: connection, flags: tcpFlag.syn | tcpFlag.ack };
      const mine = tcpPacket({ ...parts, sequence: 0 });
      const theirs = tcpPacket({ ...parts, sequence: connection });
      this.#comparator.primary(0, 0, mine, 0, mine.length, 0, 0);
      this.#comparator.secondary(0, 0, theirs, 0, theirs.length, 0, 0);
    }
    this.#released = 0;
  }

  /** So many pairs, a multiple of {@link lead}. */
  pairs(count: number): void {
    const wanted = this.#released + count;
    for (let left = count; left > 0; left -= lead) {
      this.#now++;
      if (this.#traffic.first === 'primary') {
        for (let slot = 0; slot < lead; slot++) this.#primary(slot);
        for (let slot = 0; slot < lead; slot++) this.#secondary(slot);
      } else {
        for (let slot = 0; slot < lead; slot++) this.#secondary(slot);
        for (let slot = 0; slot < lead; slot++) this.#primary(slot);
      }
      this.#sent += lead;
    }
    if (this.#released !== wanted) throw new Error(`${this.#released} packets left, not ${wanted}`);
  }

  #primary(slot: number): void {
    const offset = slot * this.#slotBytes;
    this.#address(this.#outbox, offset, slot, 0);
    this.#comparator.primary(0, 0, this.#outbox, offset, this.#packetBytes, slot, this.#now);
  }

  #secondary(slot: number): void {
    for (let cut = 0; cut < this.#traffic.cuts; cut++) {
      this.#address(this.#inbox, 0, slot, cut * this.#cutBytes);
      this.#comparator.secondary(0, 0, this.#inbox, 0, this.#cutPacketBytes, slot, this.#now);
    }
  }

  /** Whose packet it is, and of which part of its stream. */
  #address(bytes: Uint8Array, offset: number, slot: number, into: number): void {
    const number = this.#sent + slot;
    const connection = number % connections;
    const transport = offset + 12 + 14 + 20;
    bytes[transport + 2] = connection >> 8;
    bytes[transport + 3] = connection;
    if (this.#traffic.protocol === 'udp') return;
    const turn = Math.floor(number / connections);
    putLong(bytes, transport + 4, (1 + Math.imul(turn, this.#traffic.payloadBytes) + into) | 0);
    putLong(bytes, transport + 8, (500 + turn) | 0);
  }
}
