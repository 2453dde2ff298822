import type { Socket } from 'node:net';
import { type Frame, head } from '../protocol/frame.ts';
import { FrameReader } from '../protocol/frame-reader.ts';
import { encodeFrame } from '../protocol/message-codec.ts';
import { mostCarriedBytes, type StreamName } from '../protocol/message-table.ts';
import type { Carried } from '../protocol/messages.ts';
import type { Role } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';

/**
 * How one connection ended. `closed`: the peer's kernel closed it, as it does when the peer's process ends. `lost`: nothing is
 * known of the peer. `broken`: the peer sent what no peer sends.
 */
export type StreamEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'broken'; readonly error: Error };

export interface StreamListener {
  received(frame: Frame): void;
  /** There is room again, after {@link PeerStream.send} said that there is none. */
  drained(): void;
  /** At most once. */
  ended(end: StreamEnd): void;
}

/** A sender that was told to wait and does not is a defect of ours: this much more may lie unsent. */
const mostUnsentBytes = 256 * 1024 * 1024;
/**
 * Nobody waits with what is urgent, and a peer can have every heartbeat of its own answered: one that floods and does not read
 * would have this side keep millions of small frames.
 */
const mostUnsentControlBytes = 1024 * 1024;

/** What was carried waits for what its stream's own connection has before it: a peer that never sends that could have it grow. */
const mostEarlyBytes = 1024 * 1024;

/** Beyond so much unsent, a sender waits. */
const roomBytes = 256 * 1024;
/** What may wait for company waits no longer when there is so much of it; and so much is copied together to be one write. */
const gatheredBytes = mostCarriedBytes;
const modulo = 2 ** 16;

/**
 * One connection of a link: frames in both directions. Frames that are sent within one turn of the event loop are one write to the
 * kernel, which costs more than all that is done for a small frame, and wakes the peer; urgent ones wait for less than a turn. A
 * frame that can wait goes with the next one that cannot.
 *
 * Frames may leave this stream in a batch, to be carried by another one ({@link takeBatch}). A batch says how many frames went before it
 * on this connection, and each frame here how many batches went before it: so the peer takes all of them in their order.
 */
export class PeerStream {
  readonly name: StreamName;
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #listener: StreamListener;
  #ended = false;
  /** What was sent and is not the socket's yet. */
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #isFlushing = false;
  /** Frames that were given to this connection, and taken from it. */
  #sent = 0;
  #taken = 0;
  /** Batches that others carried. */
  #batchesSent = 0;
  #batchesTaken = 0;
  readonly #batchReader: FrameReader;
  /** Batches whose turn has not come. */
  readonly #early: { readonly after: number; readonly data: Uint8Array }[] = [];
  #earlyBytes = 0;
  #isPaused = false;
  readonly #company: () => readonly Uint8Array[];

  /**
   * @param socket connected, its preamble sent or taken; paused
   * @param peer the role of who sends on it
   * @param company asked when frames go to the kernel: frames that go with them
   */
  constructor(
    name: StreamName,
    socket: Socket,
    peer: Role,
    listener: StreamListener,
    company: () => readonly Uint8Array[] = () => [],
  ) {
    this.name = name;
    this.#socket = socket;
    this.#listener = listener;
    this.#company = company;
    const received = (frame: Frame): void => {
      if (!this.#ended) listener.received(frame);
    };
    this.#reader = new FrameReader(
      name,
      peer,
      (frame) => {
        this.#taken++;
        received(frame);
        this.#takeEarly();
      },
      (behind) => this.#isNext(behind),
    );
    this.#batchReader = new FrameReader(name, peer, received);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('drain', () => listener.drained());
    // Also within a frame: a process may die while it writes one.
    socket.on('end', () => this.#end({ kind: 'closed' }));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#end(endOf(error)));
    socket.on('close', () => this.#end({ kind: 'lost', reason: 'the connection is gone' }));
    socket.resume();
    // It may have ended before anybody listened; whoever made this is to have it first.
    if (socket.destroyed) setImmediate(() => this.#end({ kind: 'lost', reason: 'the connection is gone' }));
  }

  /** Bytes that were not handed to the kernel yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength + this.#gatheredBytes;
  }

  /**
   * Sends a frame, after all that were sent before; never blocks. Data in it may change once this returns.
   *
   * @param canWait the peer does nothing about it before it has what comes next on this stream: it goes with that, or with
   *   {@link flush}
   * @returns false if the caller should wait for {@link StreamListener.drained}
   */
  send(frame: Frame, canWait = false): boolean {
    if (this.#ended) return true;
    const most = this.name === 'control' ? mostUnsentControlBytes : mostUnsentBytes;
    if (this.#socket.writableLength > most) {
      this.#end({ kind: 'broken', error: new Error(`the peer reads nothing on the ${this.name} stream`) });
      return true;
    }
    const bytes = encodeFrame(frame);
    this.#gathered.push(bytes);
    this.#gatheredBytes += bytes.length;
    if (!this.#isFlushing && !(canWait && this.#gatheredBytes < gatheredBytes)) {
      this.#isFlushing = true;
      // What answers the peer must not wait for what this side does next.
      if (this.name === 'control') process.nextTick(this.#flushed);
      else setImmediate(this.#flushed);
    }
    return this.unsentBytes < roomBytes;
  }

  /** Hands all that was sent to the kernel. */
  flush(): void {
    const frames = this.#gathered;
    if (frames.length === 0) return;
    const bytes = this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#sent += frames.length;
    const behind = this.#batchesSent % modulo;
    if (behind > 0) for (const frame of frames) new DataView(frame.buffer).setUint16(head.behind, behind, true);
    const socket = this.#socket;
    if (socket.writableLength === 0) frames.push(...this.#company());
    if (frames.length > 1 && bytes <= gatheredBytes) {
      socket.write(Buffer.concat(frames));
      return;
    }
    socket.cork();
    for (const frame of frames) socket.write(frame);
    socket.uncork();
  }

  /**
   * The frames that were sent and that the kernel was not given yet, for another stream to carry; undefined if there are none, or too
   * many.
   */
  takeBatch(): Pick<Carried, 'after' | 'data'> | undefined {
    if (this.#gatheredBytes === 0 || this.#gatheredBytes > mostCarriedBytes) return undefined;
    const data = Buffer.concat(this.#gathered, this.#gatheredBytes);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#batchesSent++;
    return { after: this.#sent, data };
  }

  /** Another stream has carried a batch here. @throws ProtocolError */
  carried({ after, data }: Pick<Carried, 'after' | 'data'>): void {
    if (this.#ended) return;
    if (this.#early.length === 0 && after === this.#taken) {
      this.#takeBatch(data);
      return;
    }
    this.#earlyBytes += data.length;
    const latest = this.#early.at(-1)?.after ?? this.#taken;
    if (after < latest || this.#earlyBytes > mostEarlyBytes) {
      const why = `frames of the ${this.name} stream that go behind ${after}: ${this.#taken} came`;
      throw new ProtocolError('out-of-order', `the peer sent ${why}`);
    }
    this.#early.push({ after, data: data.slice() });
  }

  readonly #flushed = (): void => {
    this.#isFlushing = false;
    this.flush();
  };

  /** Takes nothing more from the peer until {@link resume}: it then waits, by TCP's flow control. */
  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (!this.#reader.isHolding) this.#socket.resume();
  }

  /** Nothing more is received, and nothing more is said of the connection. */
  silence(): void {
    this.#ended = true;
    // It may be closed at once: what was sent is the kernel's to bring to the peer.
    this.flush();
  }

  /** Closes the connection without a word; nothing more is received. */
  destroy(): void {
    this.silence();
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    try {
      this.#reader.push(chunk);
      if (this.#reader.isHolding) this.#socket.pause();
    } catch (error) {
      this.#end({ kind: 'broken', error: error as Error });
    }
  }

  /** @throws ProtocolError if it never can be, for what it goes behind was less than what has come */
  #isNext(behind: number): boolean {
    const missing = (behind - this.#batchesTaken) & (modulo - 1);
    if (missing < modulo / 2) return missing === 0;
    throw new ProtocolError(
      'out-of-order',
      `the peer sent a frame of the ${this.name} stream behind ${behind} batches: ${this.#batchesTaken} came`,
    );
  }

  #takeBatch(data: Uint8Array): void {
    this.#batchReader.push(data);
    if (!this.#batchReader.atBoundary) {
      throw new ProtocolError('invalid-message', `invalid message: carried: a frame of the ${this.name} stream is cut`);
    }
    this.#batchesTaken++;
    this.#reader.resume();
    if (!this.#reader.isHolding && !this.#isPaused) this.#socket.resume();
  }

  /** Batches that go behind the frame that came last. */
  #takeEarly(): void {
    for (let next = this.#early[0]; next !== undefined && next.after === this.#taken; next = this.#early[0]) {
      this.#early.shift();
      this.#earlyBytes -= next.data.length;
      this.#takeBatch(next.data);
    }
  }

  #end(end: StreamEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#listener.ended(end);
  }
}

/** What the peer's kernel says when the process that had the connection is gone. */
const closedCodes: readonly string[] = ['ECONNRESET', 'EPIPE'];

function endOf(error: NodeJS.ErrnoException): StreamEnd {
  if (closedCodes.includes(error.code ?? '')) return { kind: 'closed' };
  return { kind: 'lost', reason: error.code ?? error.message };
}
