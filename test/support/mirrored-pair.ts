import { Comparator } from '../../src/colo/compare/comparator.ts';
import { defaultCompareSettings } from '../../src/colo/compare/settings.ts';
import { copyFront, takeFront } from '../../src/colo/packet/cut.ts';
import { PacketView } from '../../src/colo/packet/packet-view.ts';
import { distance } from '../../src/colo/packet/sequence.ts';
import { longAt } from '../../src/colo/packet/wire.ts';
import { defaultTranslateSettings } from '../../src/colo/translate/settings.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import type { Ending, Plan } from './conversation-plan.ts';
import { randomNumbers } from './random.ts';
import { TcpEndpoint } from './tcp-endpoint.ts';
import { TcpGuest } from './tcp-guest.ts';

type Opener = 'client' | 'guest' | 'both';

const requestBytes = 3;
const mostSteps = 20_000;
const aheadTicks = 100;
/** No client says so many bytes. */
const longestConversation = 1 << 20;

/** Steps of buffered mode, in which there is a checkpoint at each of so many. */
const bufferedSteps = 60;
const checkpointSteps = 12;

/**
 * A client in conversation with P's guest, mirrored to S's guest, which has other initial sequence numbers, timestamps, timing and
 * segments. P's output leaves when the comparison says so. Networks lose and reorder; all of it is decided by the seed.
 */
export function converse(plan: Plan): Ending {
  return new Conversation(plan).run();
}

/** A guest, and what translates for it: of P nothing, unless it has taken over. */
interface Side {
  readonly guest: TcpGuest;
  readonly translator: Translator;
}

/** What a client is to say in a connection. */
interface Told {
  readonly requests: readonly number[][];
  said: number;
  /** Who breaks it off, and after how much of what it reads. */
  readonly breaksOff: 'client' | 'guest' | undefined;
  readonly after: number;
  clientIsn: number | undefined;
  clientRead: readonly number[];
  wasReset: boolean;
}

class Conversation {
  readonly #plan: Plan;
  readonly #random: (limit: number) => number;
  readonly #opener: Opener;
  readonly #client: TcpEndpoint;
  readonly #newGuest: () => TcpGuest;
  /** Connections so far, the last of which there is. */
  readonly #told: Told[] = [];
  readonly #connections: number;
  #speaker: Side;
  #replica: Side | undefined;
  #comparator: Comparator;
  /** On their way, with the time at which they arrive. */
  readonly #toGuest: [at: number, packet: Uint8Array][] = [];
  readonly #toClient: [at: number, packet: Uint8Array][] = [];
  /** Mirrored, not yet with S's guest. */
  #mirrored: Uint8Array[] = [];
  /** From S's guest, translated, not yet compared; and what was said in this epoch and has not left with P's. */
  #handedOver: [handle: number, packet: Uint8Array][] = [];
  readonly #kept = new Map<number, Uint8Array>();
  readonly #held = new Map<number, Uint8Array>();
  #handles = 0;
  #epoch = 0;
  #now = 0;
  #steps = 0;
  #takenOverAt: number | undefined;
  #takeovers = 0;
  /** Until this step nobody compares. */
  #bufferedUntil = 0;
  #restartAt: number | undefined;
  #wantsCheckpoint = false;
  #checkpoints = 0;
  #parts = 0;
  readonly #reasons: string[] = [];
  readonly #view = new PacketView();
  /** The greatest timestamp that got to the client, and in which connection. */
  #lastTime = 0;
  #lastTimeOf: number | undefined;
  #fallenTimes = 0;

  constructor(plan: Plan) {
    this.#plan = plan;
    const random = randomNumbers(plan.seed);
    this.#random = random;
    this.#connections = plan.connections ?? 1;
    this.#opener = (['client', 'guest', 'both'] as const)[random(3)] as Opener;
    this.#told.push(this.#newTold());
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
    this.#newGuest = () => {
      const made: TcpGuest = new TcpGuest({
        ...guest,
        ...own(),
        send: (packet) => this.#guestSends(made, packet),
        program: (endpoint) => this.#answer(endpoint),
      });
      return made;
    };
    this.#speaker = { guest: this.#newGuest(), translator: this.#newTranslator() };
    this.#replica = { guest: this.#newGuest(), translator: this.#newTranslator() };
    this.#comparator = this.#newComparator();
  }

  run(): Ending {
    const guests = [this.#speaker, this.#replica].flatMap((side) => side?.guest ?? []);
    if (this.#opener !== 'guest') {
      if (this.#opener === 'client') for (const guest of guests) guest.listen();
      this.#client.open();
      this.#current.clientIsn = this.#opener === 'client' ? this.#client.state.iss : undefined;
    } else this.#client.listen();
    if (this.#opener !== 'client') for (const guest of guests) guest.open();
    let isTranslated = false;
    for (; this.#steps < mostSteps && !this.#isDone(); this.#steps++) {
      this.#asPlanned();
      this.#step();
      if (this.#takeovers > 0 && this.#speaker.translator.size > 0) isTranslated = true;
    }
    const { guest, translator } = this.#speaker;
    translator.scan(this.#now + defaultTranslateSettings.lingerMs);
    this.#endOfConnection();
    return {
      steps: this.#steps,
      connections: this.#told.map(({ requests, clientIsn, clientRead, breaksOff, wasReset }) => ({
        clientRead,
        clientShould: requests.flatMap(answerTo),
        guestRead: guest.readOf(clientIsn),
        guestShould: requests.flat(),
        isAborted: breaksOff !== undefined,
        wasReset,
      })),
      isDone: this.#isDone(),
      fallenTimes: this.#fallenTimes,
      checkpoints: this.#checkpoints,
      parts: this.#parts,
      reasons: this.#reasons,
      isTranslated,
      translatedAfter: translator.size,
    };
  }

  get #current(): Told {
    return this.#told.at(-1) as Told;
  }

  get #isBuffered(): boolean {
    return this.#steps < this.#bufferedUntil;
  }

  #newTold(): Told {
    const random = this.#random;
    const requests = Array.from({ length: 1 + random(6) }, () => [random(256), random(20), random(256)]);
    const isLast = this.#told.length + 1 === this.#connections;
    const breaksOff = isLast ? undefined : (['client', 'guest', undefined, undefined] as const)[random(4)];
    const after = breaksOff === undefined ? 0 : random(breaksOff === 'guest' ? requests.flat().length : 2000);
    return { requests, said: 0, breaksOff, after, clientIsn: undefined, clientRead: [], wasReset: false };
  }

  #newTranslator(): Translator {
    const { seed, makeTranslator = (...parts) => new Translator(...parts) } = this.#plan;
    return makeTranslator({ settings: { ...defaultTranslateSettings, flows: 16 }, seed });
  }

  #newComparator(): Comparator {
    const { seed, makeComparator = (...parts) => new Comparator(...parts) } = this.#plan;
    const outcome = {
      release: (handle: number) => {
        const packet = this.#held.get(handle);
        if (packet === undefined) throw new Error('a packet was released twice');
        this.#held.delete(handle);
        // What acknowledges ahead of bytes that are held: its time is none that a client keeps before it has those (RFC 7323, 4.3).
        if ([...this.#held.keys()].some((older) => older < handle)) this.#travel(this.#toClient, packet);
        else this.#leaves(packet);
      },
      releasePart: (handle: number, bytes: number) => {
        const packet = this.#held.get(handle);
        if (packet === undefined) throw new Error('a part of a packet was released that does not wait');
        this.#held.set(handle, this.#leavesInPart(packet, bytes));
        return true;
      },
      drop: (handle: number) => {
        this.#kept.delete(handle);
      },
      wantCheckpoint: ({ reason }: { reason: string }) => {
        this.#reasons.push(reason);
        this.#wantsCheckpoint = true;
      },
    };
    const settings = { ...defaultCompareSettings, flows: 16, storeBytes: 1 << 20, timeoutMs: 300 };
    const comparator = makeComparator({ settings, outcome, policyOf: () => 'compare', seed }, this.#epoch);
    comparator.secondaryRuns(this.#now);
    return comparator;
  }

  #asPlanned(): void {
    const { checkpointAt, bufferedAt, takeoverAt, pairedAfter = Infinity, secondTakeoverAfter = Infinity } = this.#plan;
    const step = this.#steps;
    if (step === checkpointAt || (this.#isBuffered && step % checkpointSteps === 0)) this.#checkpoint();
    if (step === bufferedAt && this.#replica !== undefined) {
      this.#checkpoint();
      this.#bufferedUntil = step + bufferedSteps;
    } else if (step === this.#bufferedUntil && step > 0) {
      // What is known of connections is old.
      this.#checkpoint();
      this.#comparator.forget();
    }
    if (step === takeoverAt) this.#takeOver();
    if (this.#takeovers !== 1 || this.#takenOverAt === undefined) return;
    if (step === this.#takenOverAt + pairedAfter) this.#pair();
    if (step === this.#takenOverAt + pairedAfter + secondTakeoverAfter) this.#takeOver();
  }

  #isDone(): boolean {
    const { guest } = this.#speaker;
    const hasAll = guest.state.inbox.length === 0 && this.#client.state.inbox.length === 0;
    return this.#told.length === this.#connections && this.#client.isDone && guest.isDone && hasAll;
  }

  #step(): void {
    const random = this.#random;
    this.#now += 1 + random(5);
    if (random(4) === 0) this.#request();
    if (this.#plan.isDisturbed && random(3) === 0) this.#client.forge([0xee, 0xee]);
    this.#arrive(this.#toClient, (packet) => this.#client.receive(packet));
    this.#arrive(this.#toGuest, (packet) => this.#input(packet));
    this.#client.poll(this.#now);
    this.#speaker.guest.poll(this.#now);
    this.#nextConnection();
    if (this.#replica === undefined || this.#isBuffered) return;
    const { guest } = this.#replica;
    for (let count = random(4); count > 0; count--) this.#mirror();
    // S's guest is a little behind.
    if (random(4) > 0) guest.poll(Math.max(guest.now, this.#now - 20));
    for (let count = random(4); count > 0; count--) this.#compare();
    if (this.#steps % 2 === 0) this.#comparator.releaseParts();
    this.#comparator.scan(this.#now);
    if (this.#wantsCheckpoint) this.#checkpoint();
  }

  /** The client says its requests, a piece at a time, and ends when it has said all, or breaks it off before. */
  #request(): void {
    const told = this.#current;
    const all = told.requests.flat();
    const { phase, read } = this.#client.state;
    if (phase !== 'open') return;
    const piece = all.slice(told.said, told.said + 1 + this.#random(4));
    told.said += piece.length;
    this.#client.write(piece);
    if (told.breaksOff === 'client' && read.length >= told.after) this.#client.abort();
    else if (told.said === all.length) this.#client.close();
  }

  /** When the client has done with a connection, it opens the next one after a while, with the same ports. */
  #nextConnection(): void {
    if (this.#told.length === this.#connections || !this.#client.isDone || this.#client.state.inbox.length > 0) return;
    this.#restartAt ??= this.#steps + this.#random(100);
    if (this.#steps < this.#restartAt) return;
    this.#restartAt = undefined;
    this.#endOfConnection();
    this.#told.push(this.#newTold());
    this.#client.restart();
    this.#current.clientIsn = this.#client.state.iss;
    this.#client.open();
  }

  #endOfConnection(): void {
    const { phase, read } = this.#client.state;
    this.#current.clientRead = read;
    this.#current.wasReset = phase === 'reset';
  }

  /** The guest's program: answers each request, and ends when the client has. */
  #answer(endpoint: TcpEndpoint): void {
    const { state } = endpoint;
    const { breaksOff, after } = this.#toldOf(endpoint as TcpGuest);
    if (breaksOff === 'guest' && state.read.length > after) {
      endpoint.abort();
      return;
    }
    while (state.read.length - state.answered >= requestBytes) {
      endpoint.write(answerTo(state.read.slice(state.answered, state.answered + requestBytes)));
      state.answered += requestBytes;
    }
    if (state.hasPeerFin && state.inbox.length === 0) endpoint.close();
  }

  #toldOf({ clientIsn }: TcpGuest): Told {
    return this.#told.find((told) => told.clientIsn === clientIsn) ?? this.#current;
  }

  /** False: it is lost. */
  #travel(way: [number, Uint8Array][], packet: Uint8Array): boolean {
    if (this.#random(12) === 0) return false;
    for (let copies = this.#random(20) === 0 ? 2 : 1; copies > 0; copies--) {
      way.push([this.#now + this.#random(this.#random(5) === 0 ? 60 : 10), packet.slice()]);
    }
    return true;
  }

  #arrive(way: [number, Uint8Array][], receive: (packet: Uint8Array) => void): void {
    const due = way.filter(([at]) => at <= this.#now).sort(([a], [b]) => a - b);
    const rest = way.filter(([at]) => at > this.#now);
    way.splice(0, way.length, ...rest);
    for (const [, packet] of due) receive(packet);
  }

  /** A packet for the guest, whichever it is. */
  #input(packet: Uint8Array): void {
    if (this.#replica !== undefined) this.#mirrored.push(packet.slice());
    this.#enters(this.#speaker, packet);
  }

  #mirror(): void {
    const packet = this.#mirrored.shift();
    if (packet !== undefined && this.#replica !== undefined) this.#enters(this.#replica, packet);
  }

  /** P's translator knows no connection as long as it has not taken over. */
  #enters({ guest, translator }: Side, packet: Uint8Array): void {
    translator.incoming(0, packet, 0, packet.length, this.#now);
    guest.receive(packet);
  }

  #guestSends(guest: TcpGuest, packet: Uint8Array): void {
    if (guest === this.#speaker.guest) this.#speakerSends(packet);
    else if (this.#replica?.translator.outgoing(0, packet, 0, packet.length, this.#now)) {
      const handle = ++this.#handles;
      this.#kept.set(handle, packet);
      this.#handedOver.push([handle, packet]);
    }
  }

  #speakerSends(packet: Uint8Array): void {
    if (this.#takeovers > 0) this.#speaker.translator.outgoing(0, packet, 0, packet.length, this.#now);
    if (this.#replica === undefined) {
      this.#leaves(packet);
      return;
    }
    const handle = ++this.#handles;
    this.#held.set(handle, packet);
    if (!this.#isBuffered) this.#comparator.primary(this.#epoch, 0, packet, 0, packet.length, handle, this.#now);
  }

  #leaves(packet: Uint8Array): void {
    const { phase, iss, recentTime, hasTimestamps } = this.#client.state;
    const time = this.#timeOf(packet);
    const acknowledges = distance(this.#view.acknowledgement, iss);
    const isOfConnection = phase === 'open' && acknowledges > 0 && acknowledges < longestConversation;
    // A client knows no time of a packet that is lost.
    const arrives = this.#travel(this.#toClient, packet);
    if (time === undefined || !hasTimestamps || !isOfConnection) return;
    if (iss !== this.#lastTimeOf) this.#lastTime = recentTime;
    this.#lastTimeOf = iss;
    const by = distance(time, this.#lastTime);
    if (by < 0 && this.#takeovers > 0 && this.#speaker.guest.state.phase === 'open') this.#fallenTimes++;
    if (arrives && by >= 0) this.#lastTime = time;
  }

  /** What is left of the packet, in the same bytes. */
  #leavesInPart(packet: Uint8Array, bytes: number): Uint8Array {
    const view = new PacketView();
    view.read(packet, 0, packet.length);
    const front = new Uint8Array(packet.length);
    this.#leaves(front.subarray(0, copyFront(view, bytes, front, new PacketView())));
    takeFront(view, bytes);
    this.#parts++;
    return packet.subarray(bytes);
  }

  #timeOf(packet: Uint8Array): number | undefined {
    this.#view.read(packet, 0, packet.length);
    const { timestamps } = this.#view.tcpOptions;
    return timestamps === 0 ? undefined : longAt(packet, timestamps);
  }

  #compare(): void {
    const [handle, packet] = this.#handedOver.shift() ?? [];
    if (handle === undefined || packet === undefined) return;
    this.#comparator.secondary(this.#epoch, 0, packet, 0, packet.length, handle, this.#now);
  }

  #checkpoint(): void {
    const replica = this.#replica;
    if (replica === undefined) return;
    this.#wantsCheckpoint = false;
    this.#checkpoints++;
    this.#comparator.endEpoch(this.#epoch++);
    this.#comparator.secondaryRuns(this.#now);
    for (const packet of this.#held.values()) this.#leaves(packet);
    this.#held.clear();
    this.#equal(replica);
  }

  /** S's guest becomes P's, and what that has translated is translated for it. */
  #equal({ guest, translator }: Side): void {
    this.#mirrored = [];
    this.#handedOver = [];
    this.#kept.clear();
    guest.become(this.#speaker.guest);
    translator.checkpoint(this.#now, this.#speaker.translator.save());
  }

  /** P dies. What it held is lost; what S handed over is sent again (spec B.15), or is lost as well. */
  #takeOver(): void {
    const replica = this.#replica;
    if (replica === undefined) return;
    const isLost = this.#random(2) === 0;
    // Of what was mirrored some has arrived.
    const input = this.#mirrored.slice(0, this.#random(this.#mirrored.length + 1));
    const kept = [...this.#kept.values()];
    this.#speaker = replica;
    this.#replica = undefined;
    this.#bufferedUntil = 0;
    this.#takeovers++;
    this.#takenOverAt = this.#steps;
    this.#held.clear();
    replica.translator.takeOver(aheadTicks);
    this.#now += 10;
    // Its clock is moved to where P's was (spec B.12).
    replica.guest.now = this.#now;
    if (!isLost) for (const packet of kept) this.#travel(this.#toClient, packet);
    for (const packet of input) this.#enters(replica, packet);
  }

  /** The survivor has a standby again. */
  #pair(): void {
    this.#wantsCheckpoint = false;
    this.#replica = { guest: this.#newGuest(), translator: this.#newTranslator() };
    this.#comparator = this.#newComparator();
    this.#equal(this.#replica);
  }
}

const net6 = [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0)];

function answerTo(request: readonly number[]): number[] {
  const [first = 0, size = 0, more = 0] = request;
  return Array.from({ length: size * 150 + more }, (_, at) => (first + at * 7 + (at >> 8)) & 0xff);
}
