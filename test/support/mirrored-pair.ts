import { Comparator } from '../../src/colo/compare/comparator.ts';
import { defaultCompareSettings } from '../../src/colo/compare/settings.ts';
import { PacketView } from '../../src/colo/packet/packet-view.ts';
import { distance } from '../../src/colo/packet/sequence.ts';
import { longAt } from '../../src/colo/packet/wire.ts';
import { defaultTranslateSettings } from '../../src/colo/translate/settings.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import { randomNumbers } from './random.ts';
import { TcpEndpoint } from './tcp-endpoint.ts';

type Opener = 'client' | 'guest' | 'both';

/** What is to happen in a conversation besides talking. */
export interface Plan {
  readonly seed: number;
  /** Steps before which P's guest becomes S's, and after which S takes over; none if beyond the end. */
  readonly checkpointAt?: number;
  readonly takeoverAt?: number;
}

export interface Ending {
  readonly steps: number;
  /** Everything that a side read, and what it had to. */
  readonly clientRead: readonly number[];
  readonly clientShould: readonly number[];
  readonly guestRead: readonly number[];
  readonly guestShould: readonly number[];
  readonly isDone: boolean;
  readonly isReset: boolean;
  /** Segments of S after a takeover with a timestamp below one that P sent. */
  readonly fallenTimes: number;
  readonly checkpoints: number;
  readonly reasons: readonly string[];
  readonly isTranslated: boolean;
  /** Connections that are still translated, long after the end. */
  readonly translatedAfter: number;
}

const requestBytes = 3;
const mostSteps = 20_000;
const aheadTicks = 100;

/**
 * A client in conversation with P's guest, mirrored to S's guest, which has other initial sequence numbers, timestamps, timing and
 * segments. P's output leaves when the comparison says so. Networks lose and reorder; all of it is decided by the seed.
 */
export function converse({ seed, checkpointAt = Infinity, takeoverAt = Infinity }: Plan): Ending {
  return new Conversation(seed).run(checkpointAt, takeoverAt);
}

class Conversation {
  readonly #random: (limit: number) => number;
  readonly #opener: Opener;
  readonly #requests: number[][];
  readonly #client: TcpEndpoint;
  readonly #guestP: TcpEndpoint;
  readonly #guestS: TcpEndpoint;
  readonly #comparator: Comparator;
  readonly #translator: Translator;
  /** On their way, with the time at which they arrive. */
  readonly #toGuest: [at: number, packet: Uint8Array][] = [];
  readonly #toClient: [at: number, packet: Uint8Array][] = [];
  /** Mirrored, not yet with S's guest. */
  #mirrored: Uint8Array[] = [];
  /** From S's guest, translated, not yet compared; and what was compared in this epoch. */
  #handedOver: Uint8Array[] = [];
  #kept: Uint8Array[] = [];
  readonly #held = new Map<number, Uint8Array>();
  #handles = 0;
  #epoch = 0;
  #now = 0;
  #isTakenOver = false;
  #wantsCheckpoint = false;
  #checkpoints = 0;
  #requested = 0;
  readonly #reasons: string[] = [];
  readonly #view = new PacketView();
  /** The greatest timestamp that P sent. */
  #lastTime: number | undefined;
  #fallenTimes = 0;

  constructor(seed: number) {
    const random = randomNumbers(seed);
    this.#random = random;
    this.#opener = (['client', 'guest', 'both'] as const)[random(3)] as Opener;
    this.#requests = Array.from({ length: 1 + random(6) }, () => [random(256), random(20), random(256)]);
    const version = random(3) === 0 ? 6 : 4;
    const addresses =
      version === 4
        ? ([
            [198, 51, 100, 7],
            [192, 0, 2, 1],
          ] as const)
        : ([
            [...net6, 7],
            [...net6, 1],
          ] as const);
    const shared = { version, partialChecksum: random(2) === 0, bufferBytes: 600 + 2 * random(4000) } as const;
    const options = { hasTimestamps: random(4) > 0, hasSack: random(3) > 0 };
    const guest = { ...shared, ...options, address: addresses[1], port: 80, other: addresses[0], otherPort: 40_112 };
    const client = { ...shared, address: addresses[0], port: 40_112, other: addresses[1], otherPort: 80 };
    const own = () => ({ random: randomNumbers(random(2 ** 32)), mss: 100 + random(1300) });
    this.#client = new TcpEndpoint({
      ...client,
      ...own(),
      hasTimestamps: random(5) > 0,
      hasSack: random(4) > 0,
      send: (packet) => this.#travel(this.#toGuest, packet),
      program: () => {},
    });
    this.#guestP = new TcpEndpoint({
      ...guest,
      ...own(),
      send: (packet) => this.#primarySends(packet),
      program: answer,
    });
    this.#guestS = new TcpEndpoint({
      ...guest,
      ...own(),
      send: (packet) => this.#secondarySends(packet),
      program: answer,
    });
    const outcome = {
      release: (handle: number) => {
        const packet = this.#held.get(handle);
        if (packet === undefined) throw new Error('a packet was released twice');
        this.#held.delete(handle);
        this.#noteTime(packet);
        this.#travel(this.#toClient, packet);
      },
      drop: () => {},
      wantCheckpoint: ({ reason }: { reason: string }) => {
        this.#reasons.push(reason);
        this.#wantsCheckpoint = true;
      },
    };
    const settings = { ...defaultCompareSettings, flows: 16, storeBytes: 1 << 20, timeoutMs: 300 };
    this.#comparator = new Comparator({ settings, outcome, policyOf: () => 'compare', seed }, 0);
    this.#comparator.secondaryRuns(0);
    this.#translator = new Translator({ settings: { ...defaultTranslateSettings, flows: 16 }, seed });
  }

  run(checkpointAt: number, takeoverAt: number): Ending {
    if (this.#opener !== 'guest') {
      if (this.#opener === 'client') for (const guest of [this.#guestP, this.#guestS]) guest.listen();
      this.#client.open();
    } else this.#client.listen();
    if (this.#opener !== 'client') for (const guest of [this.#guestP, this.#guestS]) guest.open();
    let steps = 0;
    let isTranslated = false;
    for (; steps < mostSteps && !this.#isDone(); steps++) {
      if (steps === checkpointAt) this.#checkpoint();
      if (steps === takeoverAt) this.#takeOver();
      this.#step();
      if (this.#isTakenOver && this.#translator.size > 0) isTranslated = true;
    }
    const guest = this.#isTakenOver ? this.#guestS : this.#guestP;
    this.#translator.scan(this.#now + defaultTranslateSettings.idleMs - 1);
    const answers = this.#requests.flatMap(answerTo);
    return {
      steps,
      clientRead: this.#client.state.read,
      clientShould: answers,
      guestRead: guest.state.read,
      guestShould: this.#requests.flat(),
      isDone: this.#isDone(),
      isReset: this.#client.state.phase === 'reset' || guest.state.phase === 'reset',
      fallenTimes: this.#fallenTimes,
      checkpoints: this.#checkpoints,
      reasons: this.#reasons,
      isTranslated,
      translatedAfter: this.#translator.size,
    };
  }

  #isDone(): boolean {
    const guest = this.#isTakenOver ? this.#guestS : this.#guestP;
    const hasAll = guest.state.inbox.length === 0 && this.#client.state.inbox.length === 0;
    return this.#client.isDone && guest.isDone && hasAll;
  }

  #step(): void {
    const random = this.#random;
    this.#now += 1 + random(5);
    if (random(4) === 0) this.#request();
    this.#arrive(this.#toClient, (packet) => this.#client.receive(packet));
    this.#arrive(this.#toGuest, (packet) => this.#input(packet));
    this.#client.poll(this.#now);
    if (!this.#isTakenOver) {
      this.#guestP.poll(this.#now);
      for (let count = random(4); count > 0; count--) this.#mirror();
      // S's guest is a little behind.
      if (random(4) > 0) this.#guestS.poll(Math.max(this.#guestS.now, this.#now - 20));
      for (let count = random(4); count > 0; count--) this.#compare();
      this.#comparator.scan(this.#now);
      if (this.#wantsCheckpoint) this.#checkpoint();
    } else this.#guestS.poll(this.#now);
  }

  /** The client says its requests, a piece at a time, and ends when it has said all. */
  #request(): void {
    const all = this.#requests.flat();
    if (this.#client.state.phase !== 'open') return;
    const piece = all.slice(this.#requested, this.#requested + 1 + this.#random(4));
    this.#requested += piece.length;
    this.#client.write(piece);
    if (this.#requested === all.length) this.#client.close();
  }

  #travel(way: [number, Uint8Array][], packet: Uint8Array): void {
    if (this.#random(12) === 0) return;
    for (let copies = this.#random(20) === 0 ? 2 : 1; copies > 0; copies--) {
      way.push([this.#now + this.#random(this.#random(5) === 0 ? 60 : 10), packet.slice()]);
    }
  }

  #arrive(way: [number, Uint8Array][], receive: (packet: Uint8Array) => void): void {
    const due = way.filter(([at]) => at <= this.#now).sort(([a], [b]) => a - b);
    const rest = way.filter(([at]) => at > this.#now);
    way.splice(0, way.length, ...rest);
    for (const [, packet] of due) receive(packet);
  }

  /** A packet for the guest, whichever it is. */
  #input(packet: Uint8Array): void {
    if (this.#isTakenOver) this.#toSecondary(packet);
    else {
      this.#mirrored.push(packet.slice());
      this.#guestP.receive(packet);
    }
  }

  #mirror(): void {
    const packet = this.#mirrored.shift();
    if (packet !== undefined) this.#toSecondary(packet);
  }

  #toSecondary(packet: Uint8Array): void {
    this.#translator.incoming(0, packet, 0, packet.length, this.#now);
    this.#guestS.receive(packet);
  }

  #primarySends(packet: Uint8Array): void {
    const handle = ++this.#handles;
    this.#held.set(handle, packet);
    this.#comparator.primary(this.#epoch, 0, packet, 0, packet.length, handle, this.#now);
  }

  #secondarySends(packet: Uint8Array): void {
    const mayBeSeen = this.#translator.outgoing(0, packet, 0, packet.length, this.#now);
    if (this.#isTakenOver) {
      const time = this.#timeOf(packet);
      const isOpen = this.#guestS.state.phase === 'open';
      if (isOpen && time !== undefined && distance(time, this.#lastTime ?? time) < 0) this.#fallenTimes++;
      this.#travel(this.#toClient, packet);
    } else if (mayBeSeen) this.#handedOver.push(packet);
  }

  #timeOf(packet: Uint8Array): number | undefined {
    this.#view.read(packet, 0, packet.length);
    const { timestamps } = this.#view.tcpOptions;
    return timestamps === 0 ? undefined : longAt(packet, timestamps);
  }

  #noteTime(packet: Uint8Array): void {
    const time = this.#timeOf(packet);
    if (time !== undefined && distance(time, this.#lastTime ?? time) >= 0) this.#lastTime = time;
  }

  #compare(): void {
    const packet = this.#handedOver.shift();
    if (packet === undefined) return;
    this.#kept.push(packet);
    this.#comparator.secondary(this.#epoch, 0, packet, 0, packet.length, 0, this.#now);
  }

  #checkpoint(): void {
    if (this.#isTakenOver) return;
    this.#wantsCheckpoint = false;
    this.#checkpoints++;
    this.#comparator.endEpoch(this.#epoch++);
    this.#comparator.secondaryRuns(this.#now);
    for (const packet of this.#held.values()) {
      this.#noteTime(packet);
      this.#travel(this.#toClient, packet);
    }
    this.#held.clear();
    this.#mirrored = [];
    this.#handedOver = [];
    this.#kept = [];
    this.#guestS.state = structuredClone(this.#guestP.state);
    this.#guestS.now = this.#guestP.now;
    this.#translator.checkpoint(this.#now);
  }

  /** P dies. What it held is lost; what S handed over is sent again (spec B.15), or is lost as well. */
  #takeOver(): void {
    this.#isTakenOver = true;
    const isLost = this.#random(2) === 0;
    // Of what was mirrored some has arrived.
    const input = this.#mirrored.slice(0, this.#random(this.#mirrored.length + 1));
    this.#translator.takeOver(aheadTicks);
    this.#now += 10;
    // Its clock is moved to where P's was (spec B.12).
    this.#guestS.now = this.#now;
    if (!isLost) for (const packet of [...this.#kept, ...this.#handedOver]) this.#travel(this.#toClient, packet);
    for (const packet of input) this.#toSecondary(packet);
  }
}

const net6 = [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0)];

/** The guest's program: answers each request, and ends when the client has. */
function answer(endpoint: TcpEndpoint): void {
  const { state } = endpoint;
  while (state.read.length - state.answered >= requestBytes) {
    endpoint.write(answerTo(state.read.slice(state.answered, state.answered + requestBytes)));
    state.answered += requestBytes;
  }
  if (state.hasPeerFin && state.inbox.length === 0) endpoint.close();
}

function answerTo(request: readonly number[]): number[] {
  const [first = 0, size = 0, more = 0] = request;
  return Array.from({ length: size * 150 + more }, (_, at) => (first + at * 7 + (at >> 8)) & 0xff);
}
