import type { Socket } from 'node:net';
import type { Frame } from '../protocol/frame.ts';
import { FrameReader } from '../protocol/frame-reader.ts';
import { encodeFrame } from '../protocol/message-codec.ts';
import type { StreamName } from '../protocol/message-table.ts';
import type { Role } from '../protocol/numbers.ts';

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

/** Beyond so much unsent, a sender waits. */
const roomBytes = 256 * 1024;
/** What may wait for company waits no longer when there is so much of it; and so much is copied together to be one write. */
const gatheredBytes = 64 * 1024;

/**
 * One connection of a link: frames in both directions. Frames that are sent within one turn of the event loop are one write to the
 * kernel, which costs more than all that is done for a small frame, and wakes the peer; urgent ones wait for less than a turn. A
 * frame that can wait goes with the next one that cannot.
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
  /** Of streams other than control: a flush before it makes it needless. */
  #flushing: NodeJS.Immediate | undefined;

  /**
   * @param socket connected, its preamble sent or taken; paused
   * @param peer the role of who sends on it
   */
  constructor(name: StreamName, socket: Socket, peer: Role, listener: StreamListener) {
    this.name = name;
    this.#socket = socket;
    this.#listener = listener;
    this.#reader = new FrameReader(name, peer, (frame) => {
      if (!this.#ended) listener.received(frame);
    });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('drain', () => listener.drained());
    // Also within a frame: a process may die while it writes one.
    socket.on('end', () => this.#end({ kind: 'closed' }));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#end(endOf(error)));
    socket.on('close', () => this.#end(endOfClosed(socket)));
    socket.resume();
    // It may have ended before anybody listened; whoever made this is to have it first.
    if (socket.destroyed) setImmediate(() => this.#end(endOfClosed(socket)));
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
      else this.#flushing = setImmediate(this.#flushed);
    }
    return this.unsentBytes < roomBytes;
  }

  /** Hands all that was sent to the kernel. */
  flush(): void {
    const frames = this.#gathered;
    if (frames.length === 0) return;
    if (this.#flushing !== undefined) {
      clearImmediate(this.#flushing);
      this.#flushing = undefined;
      this.#isFlushing = false;
    }
    const bytes = this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    const socket = this.#socket;
    if (frames.length > 1 && bytes <= gatheredBytes) {
      socket.write(Buffer.concat(frames, bytes));
      return;
    }
    socket.cork();
    for (const frame of frames) socket.write(frame);
    socket.uncork();
  }

  readonly #flushed = (): void => {
    this.#isFlushing = false;
    this.#flushing = undefined;
    this.flush();
  };

  /** Takes nothing more from the peer until {@link resume}: it then waits, by TCP's flow control. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
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
    } catch (error) {
      this.#end({ kind: 'broken', error: error as Error });
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

/** How a connection ended that ended while nobody listened. */
function endOfClosed(socket: Socket): StreamEnd {
  if (socket.readableEnded) return { kind: 'closed' };
  if (socket.errored) return endOf(socket.errored);
  return { kind: 'lost', reason: 'the connection is gone' };
}

function endOf(error: NodeJS.ErrnoException): StreamEnd {
  if (closedCodes.includes(error.code ?? '')) return { kind: 'closed' };
  return { kind: 'lost', reason: error.code ?? error.message };
}
