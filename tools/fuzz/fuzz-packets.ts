import { Comparator } from '../../src/colo/compare/comparator.ts';
import { type Divergence, type DivergenceReason, divergenceText } from '../../src/colo/compare/divergence.ts';
import { type PortPolicy, policyOfPorts } from '../../src/colo/compare/flow-policy.ts';
import type { CompareSettings } from '../../src/colo/compare/settings.ts';
import { pseudoHeaderSum, transportChecksum } from '../../src/colo/packet/checksum.ts';
import { copyFront, mayBeCut, takeFront } from '../../src/colo/packet/cut.ts';
import { FlowKey } from '../../src/colo/packet/flow-key.ts';
import { type PacketKind, PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import { udpPacket } from '../../test/support/packets.ts';
import { randomNumbers } from '../../test/support/random.ts';
import type { Coverage } from './coverage.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import type { Random } from './fuzz-target.ts';
import { rightFrame, spoilt } from './hostile-frames.ts';
import { type MakeTranslator, TranslatedPackets, translatedOutcomes } from './translated-packets.ts';

export interface PacketsFuzzOptions {
  /** Of the first case; each further one has the next number. */
  readonly seed: number;
  readonly runs: number;
  readonly coverage: Coverage;
  readonly log?: ((line: string) => void) | undefined;
  readonly started?: (seed: number) => void;
  /** What is attacked; comparison and translation themselves, unless a test says otherwise. */
  readonly makeComparator?: (...parts: ConstructorParameters<typeof Comparator>) => Comparator;
  readonly makeTranslator?: MakeTranslator;
}

/** Small, so that cases reach them. */
const settings: CompareSettings = { timeoutMs: 3000, disagreeMs: 40, flows: 6, packetsPerFlow: 6, storeBytes: 1 };
/** What the store makes of the least room. */
const storeBytes = 65_536;
const mostSteps = 60;
/** Right frames are made once, the same for all cases. */
const rightFrames = 4000;
const slotBytes = 70_000;
const policies: readonly PortPolicy[] = [
  { port: 7, policy: 'pass' },
  { port: 8, policy: 'buffer' },
];

/** What a run must have tried, and what must have come of it. */
const kinds = Object.keys(packetKind);
const reasons: readonly DivergenceReason[] = [
  ...(['payload', 'end', 'options', 'reset', 'reuse', 'unknown', 'timeout', 'overflow', 'buffered'] as const),
];
const outcomes = ['release', 'part', 'drop', 'stale', 'pass'] as const;

/**
 * Frames of hostile guests, and of the network, against the reader of packets, the comparison and the translation.
 *
 * @throws FuzzFailure at the first case that fails
 */
export function fuzzPackets(options: PacketsFuzzOptions): void {
  const { makeTranslator = (...parts) => new Translator(...parts), log } = options;
  const ground = new PacketGround(options.coverage);
  const translated = new TranslatedPackets(options.coverage);
  for (let seed = options.seed; seed < options.seed + options.runs; seed++) {
    options.started?.(seed);
    try {
      ground.run(randomNumbers(seed), options);
      translated.run(randomNumbers(seed), makeTranslator, log);
    } catch (error) {
      throw new FuzzFailure('packets', seed, `packets --seed ${seed} --runs 1`, error);
    }
  }
}

/** What a long run must have seen, and did not. */
export function notCoveredByPackets(coverage: Coverage): string[] {
  return [
    ...kinds.map((kind) => `kind ${kind}`),
    ...reasons.map((reason) => `reason ${reason}`),
    ...outcomes.map((outcome) => `outcome ${outcome}`),
    ...translatedOutcomes,
  ].filter((name) => coverage.of(name) === 0);
}

/** What cases share. */
class PacketGround {
  readonly #coverage: Coverage;
  readonly #view = new PacketView();
  readonly #again = new PacketView();
  readonly #key = new FlowKey(1);
  readonly #lent = new Uint8Array(slotBytes);
  readonly #surrounded = new Uint8Array(slotBytes);
  readonly #frames: readonly Uint8Array[];

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
    const random = randomNumbers(1);
    this.#frames = Array.from({ length: rightFrames }, () => rightFrame(random));
  }

  run(random: Random, { log, makeComparator = (...parts) => new Comparator(...parts) }: PacketsFuzzOptions): void {
    const handles = new Handles(this.#coverage, log);
    const comparator = makeComparator(
      { settings, outcome: handles, policyOf: policyOfPorts(policies), seed: random(2 ** 31) },
      0,
    );
    let [epoch, now] = [0, random(2 ** 31)];
    let last: Uint8Array | undefined;
    for (let left = 1 + random(mostSteps); left > 0; left--) {
      const act = random(40);
      if (act === 0) {
        log?.(`end of epoch ${epoch}`);
        handles.endEpoch();
        comparator.endEpoch(epoch++);
      } else if (act === 1) {
        if (random(4) > 0) comparator.secondaryRuns(now);
        now += random(4000);
        log?.(`scan at ${now}`);
        comparator.scan(now);
      } else if (act <= 4) {
        comparator.releaseParts();
      } else {
        const packet =
          last !== undefined && random(2) === 0
            ? this.#partOf(random, last)
            : spoilt(random, this.#frames[random(rightFrames)] as Uint8Array);
        last = random(3) === 0 ? undefined : packet;
        this.#read(random, packet);
        const isPrimary = random(2) === 0;
        const isAhead = random(60) === 0;
        const of = isAhead ? epoch + 1 : random(30) === 0 ? epoch - random(2) : epoch;
        if (isAhead) {
          handles.endEpoch();
          epoch++;
        }
        log?.(`${isPrimary ? 'P' : 'S'} in epoch ${of}: ${Buffer.from(packet).toString('hex')}`);
        if (isPrimary) this.#primary(comparator, handles, packet, of, now, of < epoch);
        else this.#secondary(comparator, handles, random, packet, of, now);
      }
      const { flows, waiting, storedBytes: stored } = comparator.sizes;
      if (flows > settings.flows || waiting > flows || stored > storeBytes) {
        throw new Error(`${flows} connections, ${waiting} of which wait, and ${stored} bytes are kept`);
      }
    }
    this.#coverage.count(comparator.facts.stale > 0 ? 'outcome stale' : 'outcome in time');
    if (comparator.facts.passed > 0) this.#coverage.count('outcome pass');
    handles.endEpoch();
    comparator.endEpoch(epoch);
    this.#serveOne(comparator, handles, epoch + 1, now);
  }

  /** The packet stays where it is until it is released or the epoch ends. */
  #primary(
    comparator: Comparator,
    handles: Handles,
    packet: Uint8Array,
    epoch: number,
    now: number,
    isOver: boolean,
  ): void {
    const place = new Uint8Array(packet.length + 2 * guardBytes).fill(guard);
    place.set(packet, guardBytes);
    const handle = handles.primary(isOver, place);
    if (this.#isDatagram(packet)) handles.answers.set(handle, this.#contentOf(packet));
    comparator.primary(epoch, 0, place, guardBytes, packet.length, handle, now);
    if (!equal(place.subarray(guardBytes, place.length - guardBytes), packet))
      throw new Error("a packet of P's was changed");
  }

  /** Now and then the beginning of it. */
  #partOf(random: Random, packet: Uint8Array): Uint8Array {
    const view = this.#view;
    view.read(packet, 0, packet.length);
    const bytes = 1 + random(Math.max(1, view.payloadBytes));
    if (random(3) > 0 || !mayBeCut(view, bytes)) return packet;
    const front = new Uint8Array(packet.length);
    return front.subarray(0, copyFront(view, bytes, front, this.#again));
  }

  /** The bytes are something else afterwards. */
  #secondary(
    comparator: Comparator,
    handles: Handles,
    random: Random,
    packet: Uint8Array,
    epoch: number,
    now: number,
  ): void {
    const offset = random(16);
    this.#lent.set(packet, offset);
    if (epoch >= comparator.epoch && this.#isDatagram(packet)) handles.say(this.#contentOf(packet));
    comparator.secondary(epoch, 0, this.#lent, offset, packet.length, handles.secondary(), now);
    if (!equal(this.#lent.subarray(offset, offset + packet.length), packet))
      throw new Error("a packet of S's was changed");
    this.#lent.fill(random(256), 0, Math.min(slotBytes, offset + packet.length));
  }

  /** What a view says of a packet does not depend on what lies around it, and lies within it. */
  #read(random: Random, packet: Uint8Array): void {
    const view = this.#view;
    const kind = view.read(packet, 0, packet.length);
    this.#coverage.count(`kind ${nameOf(kind)}`);
    const { length } = packet;
    const around = this.#surrounded;
    around.fill(random(256), 0, Math.min(slotBytes, length + 64));
    around.set(packet, 32);
    const again = this.#again;
    if (again.read(around, 32, length) !== kind)
      throw new Error(`the packet is ${nameOf(kind)}, and ${nameOf(again.kind)}`);
    if (again.vlans !== view.vlans || again.frameBytes !== view.frameBytes)
      throw new Error('its frame depends on others');
    this.#key.setOutgoing(0, view);
    const { hash } = this.#key;
    this.#key.setOutgoing(0, again);
    if (this.#key.hash !== hash) throw new Error('its connection depends on what lies around it');
    this.#key.setIncoming(0, view);
    if (kind === packetKind.opaque) return;
    if (view.payload < view.ethernet || view.payloadBytes < 0 || view.payload + view.payloadBytes > length) {
      throw new Error(`its payload are ${view.payloadBytes} bytes from ${view.payload} on, of ${length}`);
    }
    if (again.payload !== view.payload + 32 || again.payloadBytes !== view.payloadBytes) {
      throw new Error('its payload depends on what lies around it');
    }
    if (kind <= packetKind.arp) return;
    if (pseudoHeaderSum(view) !== pseudoHeaderSum(again)) throw new Error('its addresses depend on others');
    if (kind !== packetKind.tcp && kind !== packetKind.udp) return;
    if (view.checksum + 2 > length) throw new Error('its checksum is outside of it');
    if (transportChecksum(view) !== transportChecksum(again)) throw new Error('its checksum depends on others');
    if (kind !== packetKind.tcp) return;
    const { timestamps, sack, sackBlocks } = view.tcpOptions;
    if ((timestamps > 0 && timestamps + 8 > view.payload) || sack + 8 * sackBlocks > view.payload) {
      throw new Error('its options end outside of the header');
    }
  }

  /** Something that leaves only if S has said an equal one. */
  #isDatagram(packet: Uint8Array): boolean {
    const view = this.#view;
    const kind = view.read(packet, 0, packet.length);
    if (kind === packetKind.udp) return view.sourcePort !== 7 && view.destinationPort !== 7;
    return kind === packetKind.icmp || kind === packetKind.fragment || kind === packetKind.opaque;
  }

  /** What of the packet in view must be said by both. */
  #contentOf(packet: Uint8Array): string {
    const { kind, payload, payloadBytes, ethernet, ip, icmpType, vlans } = this.#view;
    const [from, to] = kind === packetKind.opaque ? [ethernet, packet.length] : [payload, payload + payloadBytes];
    const place = kind === packetKind.fragment ? 2 * ip.fragmentOffset + Number(ip.moreFragments) : icmpType;
    const head = kind === packetKind.fragment || kind === packetKind.icmp ? `${vlans} ${place}` : '';
    return `${kind} ${head} ${Buffer.from(packet.buffer, packet.byteOffset + from, to - from).toString('latin1')}`;
  }

  /** Whatever was before, two guests that agree are let out. */
  #serveOne(comparator: Comparator, handles: Handles, epoch: number, now: number): void {
    const packet = udpPacket({ sourcePort: 1234, payload: 'still there' });
    const handle = handles.primary(false, packet);
    comparator.primary(epoch, 0, packet, 0, packet.length, handle, now);
    const said = handles.secondary();
    comparator.secondary(epoch, 0, packet, 0, packet.length, said, now);
    if (!handles.released.has(handle)) throw new Error('equal packets do not leave any more');
    if (handles.keeps(said)) throw new Error('what has left is not dropped');
    handles.endEpoch();
    comparator.endEpoch(epoch);
    const { waiting, storedBytes } = comparator.sizes;
    if (waiting > 0 || storedBytes > 0)
      throw new Error(`${waiting} connections, ${storedBytes} bytes wait after a checkpoint`);
  }
}

/** A packet of P's that waits, and how much of it has left. */
interface Waits {
  readonly place: Uint8Array;
  from: number;
}

/** What lies around a packet of P's. */
const guardBytes = 32;
const guard = 0xa5;

/** What has become of each packet. */
class Handles {
  readonly #coverage: Coverage;
  readonly #log: ((line: string) => void) | undefined;
  /** P's that may leave by a word of S. */
  readonly #held = new Map<number, Waits>();
  readonly #view = new PacketView();
  readonly #front = new PacketView();
  readonly #kept = new Set<number>();
  readonly released = new Set<number>();
  /** What S must have said before P's packet of this handle leaves. */
  readonly answers = new Map<number, string>();
  /** What S has said in this epoch, and how often. */
  readonly #said = new Map<string, number>();
  #count = 0;
  #wanted = 0;

  constructor(coverage: Coverage, log: ((line: string) => void) | undefined) {
    this.#coverage = coverage;
    this.#log = log;
  }

  /** A packet of S is not dropped. */
  keeps(handle: number): boolean {
    return this.#kept.has(handle);
  }

  /** @param place where it lies, with {@link guardBytes} on either side */
  primary(isOver: boolean, place: Uint8Array): number {
    const handle = ++this.#count;
    // Of an epoch that is over only what is never compared leaves.
    this.#held.set(handle, { place, from: guardBytes });
    if (isOver) this.#log?.(`  ${handle}: its checkpoint lets it out`);
    return handle;
  }

  say(content: string): void {
    this.#said.set(content, (this.#said.get(content) ?? 0) + 1);
  }

  secondary(): number {
    const handle = ++this.#count;
    this.#kept.add(handle);
    return handle;
  }

  endEpoch(): void {
    this.#held.clear();
    this.#said.clear();
    // The checkpoint undoes what S has said.
    this.#kept.clear();
    this.#wanted = 0;
  }

  release(handle: number): void {
    this.#log?.(`  ${handle} leaves`);
    this.#coverage.count('outcome release');
    if (!this.#held.delete(handle)) throw new Error(`packet ${handle} leaves, which is not held`);
    this.released.add(handle);
    const answer = this.answers.get(handle);
    if (answer === undefined) return;
    const times = this.#said.get(answer) ?? 0;
    if (times === 0) throw new Error(`packet ${handle} leaves, and S has not said it`);
    this.#said.set(answer, times - 1);
  }

  releasePart(handle: number, bytes: number): boolean {
    const waits = this.#held.get(handle);
    this.#log?.(`  ${bytes} bytes of ${handle} leave`);
    if (waits === undefined) throw new Error(`a part of packet ${handle} leaves, which is not held`);
    const { place, from } = waits;
    const view = this.#view;
    view.read(place, from, place.length - guardBytes - from);
    if (bytes <= 0 || bytes >= view.payloadBytes) throw new Error(`${bytes} of ${view.payloadBytes} bytes are no part`);
    if (!mayBeCut(view, bytes)) return false;
    this.#coverage.count('outcome part');
    const all = this.#payloadOf(view);
    const part = new Uint8Array(place.length);
    copyFront(view, bytes, part, this.#front);
    takeFront(view, bytes);
    waits.from += bytes;
    if (this.#payloadOf(this.#front) + this.#payloadOf(view) !== all)
      throw new Error('the two parts are not what was whole');
    const isOutside = (at: number): boolean => at < guardBytes || at >= place.length - guardBytes;
    if (place.some((byte, at) => isOutside(at) && byte !== guard)) throw new Error('a cut wrote outside of the packet');
    return true;
  }

  #payloadOf({ bytes, payload, payloadBytes }: PacketView): string {
    return Buffer.from(bytes.subarray(payload, payload + payloadBytes)).toString('latin1');
  }

  drop(handle: number): void {
    this.#log?.(`  ${handle} is dropped`);
    this.#coverage.count('outcome drop');
    if (!this.#kept.delete(handle)) throw new Error(`packet ${handle} is dropped, which is not kept`);
  }

  wantCheckpoint(divergence: Divergence): void {
    this.#log?.(`  ${divergenceText(divergence)}`);
    this.#coverage.count(`reason ${divergence.reason}`);
    // Once for each connection, and once for those that found no room; connections may be forgotten and found again.
    if (++this.#wanted > mostSteps + 1) throw new Error('checkpoints are wanted without end');
  }
}

function nameOf(kind: PacketKind): string {
  return kinds[kind] ?? String(kind);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
