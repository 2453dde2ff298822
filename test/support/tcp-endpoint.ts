import { transportChecksum } from '../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { advanced, distance } from '../../src/colo/packet/sequence.ts';
import { longAt, tcpFlag, wordAt } from '../../src/colo/packet/wire.ts';
import { long, tcpPacket } from './packets.ts';

const { syn, fin, rst, ack } = tcpFlag;

type Phase = 'closed' | 'listen' | 'syn-sent' | 'syn-received' | 'open' | 'reset';

/** Who an endpoint is, and how it behaves. */
export interface EndpointParts {
  readonly address: readonly number[];
  readonly port: number;
  readonly other: readonly number[];
  readonly otherPort: number;
  readonly version: 4 | 6;
  readonly partialChecksum: boolean;
  readonly random: (limit: number) => number;
  readonly mss: number;
  readonly bufferBytes: number;
  readonly hasTimestamps: boolean;
  readonly hasSack: boolean;
  readonly send: (packet: Uint8Array) => void;
  /** What the program at this end does with bytes that it read: says something, and perhaps ends. */
  readonly program: (endpoint: TcpEndpoint) => void;
}

/** All that an endpoint is at a moment: plain data, so that a guest can be made equal to another one. */
function freshState(iss: number, timeOffset: number) {
  return {
    phase: 'closed' as Phase,
    iss,
    timeOffset,
    sendUna: iss,
    sendNext: iss,
    sendMax: iss,
    /** Bytes from {@link sendUna} on, or from behind the SYN. */
    unacked: [] as number[],
    isClosing: false,
    hasSentFin: false,
    sendWindow: 0,
    sendScale: 0,
    sacked: [] as [number, number][],
    dupAcks: 0,
    rtoMs: 200,
    rtoAt: Number.POSITIVE_INFINITY,
    receiveNext: 0,
    receiveScale: 0,
    /** Received in order, not read yet. */
    inbox: [] as number[],
    outOfOrder: [] as { at: number; bytes: number[]; fin: boolean }[],
    hasPeerFin: false,
    ackAt: Number.POSITIVE_INFINITY,
    hasTimestamps: false,
    hasSack: false,
    recentTime: 0,
    /** Everything that the program read. */
    read: [] as number[],
    /** How much of that it has answered. */
    answered: 0,
    wasToldEnd: false,
  };
}

export type EndpointState = ReturnType<typeof freshState>;

/**
 * A TCP endpoint by the rules of RFC 9293, 7323 and 2018, as far as conversations need them: handshake from either side or both,
 * segments of any size, delayed acknowledgements, retransmission by timer and by duplicates, SACK, timestamps with PAWS, window scale,
 * zero windows and probes, keep-alive, half-close, RST. What a rule leaves open (sizes, delays, when to read) chance decides.
 */
export class TcpEndpoint {
  state: EndpointState;
  now = 0;
  readonly #parts: EndpointParts;
  readonly #view = new PacketView();

  constructor(parts: EndpointParts) {
    this.#parts = parts;
    this.state = freshState(parts.random(2 ** 32) | 0, parts.random(2 ** 32) | 0);
  }

  /** It has no connection any more: the next one has numbers of its own. */
  restart(): void {
    const { random } = this.#parts;
    this.state = freshState(random(2 ** 32) | 0, random(2 ** 32) | 0);
  }

  listen(): void {
    this.state.phase = 'listen';
  }

  open(): void {
    const { state } = this;
    state.phase = 'syn-sent';
    this.#sendSyn(syn);
  }

  write(bytes: Iterable<number>): void {
    this.state.unacked.push(...bytes);
  }

  close(): void {
    this.state.isClosing = true;
  }

  abort(): void {
    if (this.state.phase === 'open') this.#segment(this.state.sendNext, [], rst | ack);
    this.state.phase = 'reset';
  }

  /** Somebody else sends data in its name, who knows its number and not what it has got. */
  forge(payload: readonly number[]): void {
    const { phase, iss, sendUna, receiveNext } = this.state;
    if (phase !== 'open' || distance(sendUna, iss) <= 1) return;
    this.#segment(sendUna, payload, ack, advanced(receiveNext, 1 << 29));
  }

  /** Both directions have ended, and everything was acknowledged. */
  get isDone(): boolean {
    const { phase, hasSentFin, hasPeerFin, sendUna, sendMax } = this.state;
    return phase === 'reset' || (hasSentFin && hasPeerFin && sendUna === sendMax);
  }

  receive(packet: Uint8Array): void {
    const view = this.#view;
    if (view.read(packet, 0, packet.length) !== packetKind.tcp) throw new Error('this is no TCP packet');
    if (wordAt(packet, view.checksum) !== transportChecksum(view)) throw new Error('wrong checksum');
    switch (this.state.phase) {
      case 'closed':
      case 'reset':
        this.#refuse(view);
        break;
      case 'listen':
        this.#receiveSyn(view);
        break;
      case 'syn-sent':
        this.#receiveAnswer(view);
        break;
      default:
        this.#receiveOpen(view);
    }
    this.#read();
  }

  /** Lets timers run out, reads, and sends what may be sent. */
  poll(now: number): void {
    this.now = now;
    const { state } = this;
    const { random } = this.#parts;
    this.#read();
    if (now >= state.rtoAt) this.#timeout();
    if (state.phase !== 'open') return;
    this.#sendNew();
    if (now >= state.ackAt) this.#acknowledge();
    // Keep-alive: a byte that was acknowledged long ago.
    if (random(400) === 0) this.#segment(advanced(state.sendUna, -1), [], ack);
  }

  #refuse(view: PacketView): void {
    if ((view.tcpFlags & rst) !== 0) return;
    if ((view.tcpFlags & ack) !== 0) this.#segment(view.acknowledgement, [], rst);
    else this.#segment(0, [], rst | ack, advanced(view.sequence, view.payloadBytes + 1));
  }

  #receiveSyn(view: PacketView): void {
    if ((view.tcpFlags & rst) !== 0) return;
    if ((view.tcpFlags & ack) !== 0) this.#refuse(view);
    else if ((view.tcpFlags & syn) !== 0) {
      this.#agree(view);
      this.state.phase = 'syn-received';
      this.#sendSyn(syn | ack);
    }
  }

  #receiveAnswer(view: PacketView): void {
    const { state } = this;
    const flags = view.tcpFlags;
    const isAnswer = (flags & ack) !== 0;
    if (isAnswer && view.acknowledgement !== advanced(state.iss, 1)) {
      if ((flags & rst) === 0) this.#segment(view.acknowledgement, [], rst);
      return;
    }
    if ((flags & rst) !== 0) {
      if (isAnswer) state.phase = 'reset';
      return;
    }
    if ((flags & syn) === 0) return;
    this.#agree(view);
    if (isAnswer) {
      this.#opened(view);
      this.#acknowledge();
    } else {
      state.phase = 'syn-received';
      this.#sendSyn(syn | ack);
    }
  }

  #receiveOpen(view: PacketView): void {
    const { state } = this;
    const flags = view.tcpFlags;
    const { timestamps } = view.tcpOptions;
    const time = timestamps === 0 ? 0 : longAt(view.bytes, timestamps);
    if (state.hasTimestamps && timestamps !== 0 && (flags & rst) === 0 && distance(time, state.recentTime) < 0) {
      this.#acknowledge();
      return;
    }
    if (!this.#isInWindow(view)) {
      if ((flags & rst) === 0) this.#acknowledge();
      return;
    }
    if ((flags & (rst | syn)) !== 0) {
      if ((flags & rst) !== 0 && view.sequence === state.receiveNext) state.phase = 'reset';
      else this.#acknowledge();
      return;
    }
    if ((flags & ack) === 0) return;
    if (state.phase === 'syn-received') {
      if (view.acknowledgement !== advanced(state.iss, 1)) {
        this.#segment(view.acknowledgement, [], rst);
        return;
      }
      this.#opened(view);
    }
    if (distance(view.acknowledgement, state.sendMax) > 0) {
      this.#acknowledge();
      return;
    }
    const echoed = timestamps === 0 || !state.hasTimestamps ? 0 : longAt(view.bytes, timestamps + 4);
    if (echoed !== 0 && Math.abs(distance(echoed, (this.now + state.timeOffset) | 0)) > longestMs) {
      throw new Error('an echo of a time that never was');
    }
    if (timestamps !== 0 && distance(view.sequence, state.receiveNext) <= 0) state.recentTime = time;
    this.#takeAck(view);
    this.#takePayload(view);
  }

  #isInWindow({ sequence, payloadBytes, tcpFlags: flags }: PacketView): boolean {
    const { state } = this;
    const length = payloadBytes + ((flags & fin) !== 0 ? 1 : 0) + ((flags & syn) !== 0 ? 1 : 0);
    const window = this.#window();
    const from = distance(sequence, state.receiveNext);
    if (length === 0) return from === 0 || (from > 0 && from < window);
    const to = from + length - 1;
    return window > 0 ? from < window && to >= 0 : from === 0 && payloadBytes <= 1;
  }

  /** What the other end's SYN says. */
  #agree(view: PacketView): void {
    const { state } = this;
    const { timestamps, sackPermitted, windowScale } = view.tcpOptions;
    state.receiveNext = advanced(view.sequence, 1);
    state.hasTimestamps = this.#parts.hasTimestamps && timestamps !== 0;
    state.recentTime = timestamps === 0 ? 0 : longAt(view.bytes, timestamps);
    state.hasSack = this.#parts.hasSack && sackPermitted;
    state.sendScale = Math.max(0, windowScale);
    state.receiveScale = windowScale >= 0 ? scale : 0;
    state.sendWindow = view.window;
  }

  #opened(view: PacketView): void {
    const { state } = this;
    state.phase = 'open';
    state.sendUna = view.acknowledgement;
    state.sendNext = state.sendUna;
    state.rtoAt = Number.POSITIVE_INFINITY;
    state.rtoMs = 200;
  }

  #takeAck(view: PacketView): void {
    const { state } = this;
    const by = distance(view.acknowledgement, state.sendUna);
    const window = view.window << state.sendScale;
    if (by > 0) {
      state.unacked.splice(0, by);
      state.sendUna = view.acknowledgement;
      if (distance(state.sendNext, state.sendUna) < 0) state.sendNext = state.sendUna;
      state.sacked = state.sacked.filter(([, to]) => distance(to, state.sendUna) > 0);
      state.dupAcks = 0;
      state.rtoMs = 200;
      state.rtoAt = state.sendUna === state.sendMax ? Number.POSITIVE_INFINITY : this.now + state.rtoMs;
    } else if (by === 0 && view.payloadBytes === 0 && window === state.sendWindow && state.sendUna !== state.sendMax) {
      if (++state.dupAcks === 3) this.#resend();
    }
    if (by >= 0) state.sendWindow = window;
    this.#takeSack(view);
  }

  #takeSack(view: PacketView): void {
    const { state } = this;
    const { sack, sackBlocks } = view.tcpOptions;
    for (let block = 0; block < sackBlocks; block++) {
      const from = longAt(view.bytes, sack + block * 8);
      const to = longAt(view.bytes, sack + block * 8 + 4);
      if (distance(to, state.sendMax) > 0 || distance(to, from) <= 0) throw new Error('SACK of what was never sent');
      if (distance(from, state.sendUna) > 0) state.sacked.push([from, to]);
    }
  }

  #takePayload(view: PacketView): void {
    const { state } = this;
    const isFin = (view.tcpFlags & fin) !== 0;
    if (view.payloadBytes === 0 && !isFin) return;
    const room = this.#window();
    const skipped = Math.max(0, distance(state.receiveNext, view.sequence));
    const from = view.payload + skipped;
    const ahead = Math.max(0, distance(view.sequence, state.receiveNext));
    const taken = [...view.bytes.subarray(from, view.payload + view.payloadBytes)].slice(0, Math.max(0, room - ahead));
    const isWhole = skipped + taken.length >= view.payloadBytes;
    state.outOfOrder.push({ at: advanced(view.sequence, skipped), bytes: taken, fin: isFin && isWhole });
    state.outOfOrder.sort((a, b) => distance(a.at, b.at));
    const wasNext = ahead === 0;
    for (let piece = state.outOfOrder[0]; piece !== undefined; piece = state.outOfOrder[0]) {
      const known = distance(state.receiveNext, piece.at);
      if (known < 0) break;
      state.outOfOrder.shift();
      const fresh = piece.bytes.slice(known);
      state.inbox.push(...fresh);
      state.receiveNext = advanced(state.receiveNext, fresh.length);
      if (piece.fin && !state.hasPeerFin && known <= piece.bytes.length) {
        state.hasPeerFin = true;
        state.receiveNext = advanced(state.receiveNext, 1);
      }
    }
    if (!wasNext || this.#parts.random(3) === 0) this.#acknowledge();
    else state.ackAt = Math.min(state.ackAt, this.now + this.#parts.random(40));
  }

  #read(): void {
    const { state } = this;
    if (state.inbox.length > 0 && this.#parts.random(4) > 0) {
      const wasSmall = this.#window() < this.#parts.mss;
      state.read.push(...state.inbox.splice(0, 1 + this.#parts.random(state.inbox.length)));
      if (wasSmall && state.phase === 'open') state.ackAt = Math.min(state.ackAt, this.now + 5);
    }
    if (state.phase === 'open') this.#parts.program(this);
  }

  #sendNew(): void {
    const { state } = this;
    const { random, mss } = this.#parts;
    for (let burst = 1 + random(6); burst > 0; burst--) {
      const from = distance(state.sendNext, state.sendUna);
      const length = Math.min(state.unacked.length - from, state.sendWindow - from, 1 + random(mss));
      const isLast = from + Math.max(0, length) >= state.unacked.length;
      const sendsFin = state.isClosing && !state.hasSentFin && isLast;
      if (length <= 0 && !sendsFin) break;
      const bytes = state.unacked.slice(from, from + Math.max(0, length));
      const at = state.sendNext;
      state.sendNext = advanced(at, bytes.length + (sendsFin ? 1 : 0));
      if (sendsFin) state.hasSentFin = true;
      if (distance(state.sendNext, state.sendMax) > 0) state.sendMax = state.sendNext;
      this.#segment(at, bytes, sendsFin ? fin | ack : ack);
      if (state.rtoAt === Number.POSITIVE_INFINITY) state.rtoAt = this.now + state.rtoMs;
    }
    const isShut = state.sendWindow === 0 && state.unacked.length > 0;
    if (isShut && state.rtoAt === Number.POSITIVE_INFINITY) state.rtoAt = this.now + state.rtoMs;
  }

  #timeout(): void {
    const { state } = this;
    state.rtoMs = Math.min(2000, state.rtoMs * 2);
    state.rtoAt = this.now + state.rtoMs;
    // What was acknowledged selectively may not be there any more (RFC 2018, 8).
    state.sacked = [];
    if (state.phase === 'syn-sent') this.#sendSyn(syn);
    else if (state.phase === 'syn-received') this.#sendSyn(syn | ack);
    else if (state.phase === 'open') this.#resend();
    else state.rtoAt = Number.POSITIVE_INFINITY;
  }

  /** The first bytes that nobody acknowledged; a byte if the window is shut. */
  #resend(): void {
    const { state } = this;
    const { random, mss } = this.#parts;
    const hole = state.sacked.reduce((until, [from]) => Math.min(until, distance(from, state.sendUna)), mss);
    const most = state.sendWindow === 0 ? 1 : Math.min(hole, 1 + random(mss));
    const bytes = state.unacked.slice(0, most);
    const end = advanced(state.sendUna, bytes.length);
    if (distance(end, state.sendMax) > 0) state.sendMax = end;
    if (distance(end, state.sendNext) > 0) state.sendNext = end;
    const isFin = state.hasSentFin && bytes.length === state.unacked.length;
    this.#segment(state.sendUna, bytes, isFin ? fin | ack : ack);
  }

  #acknowledge(): void {
    this.state.ackAt = Number.POSITIVE_INFINITY;
    this.#segment(this.state.sendNext, [], ack);
  }

  #sendSyn(flags: number): void {
    const { state } = this;
    state.sendNext = advanced(state.iss, 1);
    state.sendMax = state.sendNext;
    if (state.rtoAt === Number.POSITIVE_INFINITY || this.now >= state.rtoAt) state.rtoAt = this.now + state.rtoMs;
    this.#segment(state.iss, [], flags);
  }

  #window(): number {
    return Math.max(0, this.#parts.bufferBytes - this.state.inbox.length);
  }

  #segment(sequence: number, payload: readonly number[], flags: number, acknowledgement?: number): void {
    const { state } = this;
    const isSyn = (flags & syn) !== 0;
    const window = this.#window();
    // Rounded up: a window that was offered is never taken back.
    const scaled = isSyn ? Math.min(window, 0xffff) : window >> state.receiveScale;
    this.#parts.send(
      tcpPacket({
        version: this.#parts.version,
        source: this.#parts.address,
        destination: this.#parts.other,
        sourcePort: this.#parts.port,
        destinationPort: this.#parts.otherPort,
        partialChecksum: this.#parts.partialChecksum,
        sequence,
        acknowledgement: acknowledgement ?? ((flags & ack) === 0 ? 0 : state.receiveNext),
        flags,
        window: scaled,
        options: this.#options(flags),
        payload,
      }),
    );
  }

  #options(flags: number): number[] {
    const { state } = this;
    const isSyn = (flags & syn) !== 0;
    const isOpening = isSyn && (flags & ack) === 0;
    const options: number[] = [];
    if (isSyn) options.push(2, 4, this.#parts.mss >> 8, this.#parts.mss & 0xff, 1, 3, 3, scale);
    if (isSyn && this.#parts.hasSack && (isOpening || state.hasSack)) options.push(1, 1, 4, 2);
    if ((flags & rst) === 0 && this.#parts.hasTimestamps && (isOpening || state.hasTimestamps)) {
      const echo = isOpening ? 0 : state.recentTime;
      options.push(1, 1, 8, 10, ...long((this.now + state.timeOffset) | 0), ...long(echo));
    }
    const pieces = state.hasSack && !isSyn ? state.outOfOrder.filter(({ bytes }) => bytes.length > 0).slice(0, 2) : [];
    if (pieces.length > 0) {
      const blocks = pieces.flatMap(({ at, bytes }) => [...long(at), ...long(advanced(at, bytes.length))]);
      options.push(1, 1, 5, 2 + blocks.length, ...blocks);
    }
    return options;
  }
}

/** No conversation lasts longer, ms. */
const longestMs = 120_000;
/** Windows shrink by rounding unless they are multiples; small, so that they matter little. */
const scale = 1;
