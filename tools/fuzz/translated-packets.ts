import { transportChecksum } from '../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { sackBlockBytes } from '../../src/colo/packet/tcp-options.ts';
import { tcpFlag, wordAt } from '../../src/colo/packet/wire.ts';
import { defaultTranslateSettings } from '../../src/colo/translate/settings.ts';
import type { Translator } from '../../src/colo/translate/translator.ts';
import type { TranslatorState } from '../../src/colo/translate/translator-state.ts';
import { tcpPacket } from '../../test/support/packets.ts';
import { randomNumbers } from '../../test/support/random.ts';
import type { Coverage } from './coverage.ts';
import type { Random } from './fuzz-target.ts';
import { icmpChecksum, rightFrame, rightSegmentBack, spoilt } from './hostile-frames.ts';

export type MakeTranslator = (...parts: ConstructorParameters<typeof Translator>) => Translator;

/** Small, so that cases reach it. */
const settings = { ...defaultTranslateSettings, flows: 3 };
const mostSteps = 60;
/** Right frames are made once, the same for all cases. */
const rightFrames = 500;
/** Bytes before and behind each packet. */
const around = 32;
const slotBytes = 70_000;
const patienceMs = settings.idleMs;

/** What a run must have tried, and what must have come of it. */
export const translatedOutcomes = [
  ...['guest', 'network', 'guest live', 'network live', 'piece', 'sack', 'times', 'partial', 'error'],
  ...['withheld', 'full', 'checkpoint', 'inherited', 'takeover', 'forgotten'],
].map((what) => `translated ${what}`);

/**
 * Frames of a hostile guest and a hostile network against a translator, beside P's guest and after a takeover. What is not a number of a
 * connection stays as it is, a checksum that was right is right; it holds no more than it may, and what it saves another one loads.
 */
export class TranslatedPackets {
  readonly #coverage: Coverage;
  readonly #view = new PacketView();
  readonly #slot = new Uint8Array(slotBytes);
  readonly #before = new Uint8Array(slotBytes);
  readonly #sent: readonly Uint8Array[];
  readonly #received: readonly Uint8Array[];

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
    const random = randomNumbers(2);
    this.#sent = Array.from({ length: rightFrames }, () => rightFrame(random));
    this.#received = Array.from({ length: rightFrames }, () => rightSegmentBack(random));
  }

  run(random: Random, make: MakeTranslator, log: ((line: string) => void) | undefined): void {
    const parts = { settings, seed: random(2 ** 31) };
    let translator = make(parts);
    let isLive = false;
    let now = random(2 ** 31);
    for (let left = 1 + random(mostSteps); left > 0; left--) {
      const act = random(60);
      if (act === 0) {
        log?.('a checkpoint');
        translator.checkpoint(now);
        this.#count('checkpoint');
      } else if (act === 1 && !isLive) {
        log?.('a takeover');
        translator.takeOver(random(200));
        isLive = true;
        this.#count('takeover');
      } else if (act === 2) {
        log?.('another one goes on with what this one saves');
        translator = this.#inherited(make(parts), translator, now);
        isLive = false;
      } else if (act === 3) {
        now += random(2) === 0 ? random(5000) : patienceMs;
        const { size } = translator;
        log?.(`scan at ${now}`);
        translator.scan(now);
        if (translator.size < size) this.#count('forgotten');
      } else {
        const isSent = random(2) === 0;
        const packet = this.#makePacket(random, isSent);
        log?.(`${isSent ? 'the guest' : 'the network'}: ${Buffer.from(packet).toString('hex')}`);
        this.#packet(translator, packet, isSent, random(256), now, isLive);
      }
      if (translator.size > settings.flows) throw new Error(`${translator.size} connections are translated`);
    }
    translator.scan(now + patienceMs);
    if (translator.size > 0) throw new Error(`${translator.size} connections are never forgotten`);
    this.#serveOne(translator, isLive, now);
  }

  /** Mostly right, and from the side that it says. */
  #makePacket(random: Random, isSent: boolean): Uint8Array {
    const of = isSent === random(20) > 0 ? this.#sent : this.#received;
    return spoilt(random, of[random(rightFrames)] as Uint8Array);
  }

  #packet(
    translator: Translator,
    packet: Uint8Array,
    isSent: boolean,
    filler: number,
    now: number,
    isLive: boolean,
  ): void {
    const { length } = packet;
    const [slot, before] = [this.#slot, this.#before];
    const all = length + 2 * around;
    before.fill(filler, 0, all);
    before.set(packet, around);
    slot.set(before.subarray(0, all));
    const { size } = translator;
    if (isSent) {
      const maySee = translator.outgoing(0, slot, around, length, now);
      if (!maySee) this.#count(size === settings.flows ? 'full' : 'withheld');
      if (!maySee && isLive) throw new Error('a packet is withheld though nobody compares any more');
    } else translator.incoming(0, slot, around, length, now);
    if (isLive && translator.size > size) throw new Error('a connection is taken up after a takeover');
    this.#check(length, isSent, isLive);
  }

  /** Compares what became of a packet with what it was. */
  #check(length: number, isSent: boolean, isLive: boolean): void {
    const all = length + 2 * around;
    const after = this.#slot.subarray(0, all);
    const before = this.#before.subarray(0, all);
    if (equal(after, before)) return;
    const view = this.#view;
    const kind = view.read(before, around, length);
    const isPiece = kind === packetKind.fragment && view.openFirstFragment();
    if (kind === packetKind.icmp || kind === packetKind.icmp6) {
      this.#checkError(before, after, length, isSent);
      return;
    }
    if (kind !== packetKind.tcp && !isPiece) throw new Error('what has no number was changed');
    if (!isSent && (view.tcpFlags & tcpFlag.ack) === 0) throw new Error('a number that means nothing was changed');
    const wasRight = !isPiece && wordAt(before, view.checksum) === transportChecksum(view);
    const isPartial = view.partialChecksum === view.checksum;
    const { timestamps, sack, sackBlocks } = view.tcpOptions;
    const fields = {
      number: [view.transport + (isSent ? 4 : 8), 4],
      times: [timestamps + (isSent ? 0 : 4), timestamps === 0 ? 0 : 4],
      sack: [sack, isSent ? 0 : sackBlocks * sackBlockBytes],
      checksum: [view.checksum, isPartial ? 0 : 2],
    } as const;
    this.#count(`${isSent ? 'guest' : 'network'}${isLive ? ' live' : ''}`);
    if (isPiece) this.#count('piece');
    if (isPartial) this.#count('partial');
    for (const [name, [at, bytes]] of Object.entries(fields)) {
      if (equal(before.subarray(at, at + bytes), after.subarray(at, at + bytes))) continue;
      if (name === 'sack' || name === 'times') this.#count(name);
      before.set(after.subarray(at, at + bytes), at);
    }
    if (!equal(after, before)) throw new Error('more than numbers was changed');
    view.read(after, around, length);
    if (wasRight && wordAt(after, view.checksum) !== transportChecksum(view)) {
      throw new Error('a checksum that was right is wrong');
    }
  }

  /** Of an ICMP error no more is changed than the sequence number that it quotes, and its checksum. */
  #checkError(before: Uint8Array, after: Uint8Array, length: number, isSent: boolean): void {
    const view = this.#view;
    const { kind, checksum, payload } = view;
    if (isSent) throw new Error('an error of the guest was changed');
    this.#count('error');
    const isWhole = view.partialChecksum !== checksum;
    const wasRight = wordAt(before, checksum) === icmpChecksum(view, kind);
    const headerBytes = kind === packetKind.icmp6 ? 40 : ((before[payload] as number) & 0xf) * 4;
    const fields = [
      [payload + headerBytes + 4, 4],
      [checksum, isWhole ? 2 : 0],
    ] as const;
    for (const [at, bytes] of fields) before.set(after.subarray(at, at + bytes), at);
    if (!equal(after, before)) throw new Error('more than numbers was changed');
    view.read(after, around, length);
    if (isWhole && wasRight && wordAt(after, checksum) !== icmpChecksum(view, kind)) {
      throw new Error('a checksum that was right is wrong');
    }
  }

  #inherited(next: Translator, translator: Translator, now: number): Translator {
    const saved = JSON.stringify(translator.save());
    next.checkpoint(now, JSON.parse(saved) as TranslatorState);
    if (next.size > 0) this.#count('inherited');
    const [mine, theirs] = [translator, next].map((one) =>
      one
        .save()
        .flows.map((flow) => JSON.stringify(flow))
        .sort(),
    );
    if (String(mine) !== String(theirs)) throw new Error('another one has not all that was saved');
    return next;
  }

  /** Whatever was before, a connection of two guests that agree is translated beside P's guest, and none is taken up after a takeover. */
  #serveOne(translator: Translator, isLive: boolean, now: number): void {
    translator.checkpoint(now);
    const [mine, theirs, clients] = [700, 90_000, 5];
    const ends = { sourcePort: 99, destinationPort: 100 };
    const answer = tcpPacket({ ...ends, flags: tcpFlag.syn | tcpFlag.ack, sequence: mine, acknowledgement: clients });
    translator.outgoing(0, answer, 0, answer.length, now);
    if (translator.size !== (isLive ? 0 : 1)) throw new Error(`${translator.size} connections are taken up`);
    const back = { source: [198, 51, 100, 7], destination: [192, 0, 2, 1], sourcePort: 100, destinationPort: 99 };
    const heard = tcpPacket({ ...back, sequence: clients, acknowledgement: theirs + 1 });
    translator.incoming(0, heard, 0, heard.length, now);
    const data = tcpPacket({ ...ends, sequence: mine + 1, acknowledgement: clients, payload: 'still there' });
    translator.outgoing(0, data, 0, data.length, now);
    this.#view.read(data, 0, data.length);
    if (this.#view.sequence !== (isLive ? mine : theirs) + 1) throw new Error('a new connection has other numbers');
  }

  #count(what: string): void {
    this.#coverage.count(`translated ${what}`);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
