import type { Socket } from 'node:net';
import type { Frame } from '../protocol/frame.ts';
import { isOfCheckpoint, type StreamName, streamOf, streams } from '../protocol/message-table.ts';
import { peerOf, type Role } from '../protocol/numbers.ts';
import type { PeerIdentity } from './peer-security.ts';
import { PeerStream, type StreamEnd } from './peer-stream.ts';

/**
 * How a link ended. `closed`: the peer's kernel closed all of its connections, which proves that the peer's process is gone, or
 * has given up all that it had by this link. `failed`: nothing is proven; the reason is for a person.
 */
export type LinkEnd = { readonly kind: 'closed' } | { readonly kind: 'failed'; readonly reason: string };

export interface LinkListener {
  /** Frames of one stream come in their order; of two streams in any. Data in them is valid until this returns. */
  received(frame: Frame): void;
  /** A stream has room again. */
  drained(stream: StreamName): void;
  /**
   * Once, unless {@link PeerLink.destroy} came first; nothing is received afterwards. Whoever hears it destroys the link: its
   * connections that are open stay so until then, for a primary gives up every consent first (spec B.6).
   */
  ended(end: LinkEnd): void;
}

/** When a process ends, the kernel closes its connections one after the other: as long may it take. */
const closingMs = 100;

/** A peer that does not read the last words has so long for them. */
const lastWordsMs = 500;

/** All connections to the peer, as one. */
export class PeerLink {
  readonly peer: PeerIdentity;
  /** False on a link in plaintext, which `status` shows. */
  readonly secure: boolean;
  readonly #role: Role;
  readonly #sockets: ReadonlyMap<StreamName, Socket>;
  readonly #streams = new Map<StreamName, PeerStream>();
  readonly #closed = new Set<StreamName>();
  #listener: LinkListener | undefined;
  #closing: NodeJS.Timeout | undefined;
  #ended = false;

  /**
   * @param role of this side
   * @param sockets one for each stream, authenticated, paused
   */
  constructor(
    sockets: ReadonlyMap<StreamName, Socket>,
    { role, peer, secure }: { readonly role: Role; readonly peer: PeerIdentity; readonly secure: boolean },
  ) {
    this.peer = peer;
    this.secure = secure;
    this.#role = role;
    this.#sockets = sockets;
  }

  /** Has `listener` told of all that comes from now on. Once, before anything is sent. */
  listen(listener: LinkListener): void {
    this.#listener = listener;
    for (const [name, socket] of this.#sockets) {
      const stream = new PeerStream(name, socket, peerOf(this.#role), {
        received: (frame) => listener.received(frame),
        drained: () => listener.drained(name),
        ended: (end) => this.#streamEnded(name, end),
      });
      this.#streams.set(name, stream);
    }
  }

  /**
   * Sends a frame on the stream that its message travels on; never blocks. Data in it may change once this returns.
   *
   * @param canWait see {@link PeerStream.send}: no longer than until the next message that is none of a checkpoint, and heartbeats are
   *   such
   * @returns false if the caller should wait until that stream has drained
   */
  send(frame: Frame, canWait = false): boolean {
    const { kind } = frame.message;
    const name = streamOf(kind);
    const hasRoom = this.#stream(name).send(frame, canWait);
    if (name === 'control' && !isOfCheckpoint(kind)) for (const stream of this.#streams.values()) stream.flush();
    return hasRoom;
  }

  /** Hands all that was sent on a stream to the kernel. */
  flush(stream: StreamName): void {
    this.#stream(stream).flush();
  }

  /** Bytes of a stream that were not handed to the kernel yet. */
  unsentBytes(stream: StreamName): number {
    return this.#stream(stream).unsentBytes;
  }

  /** Takes nothing more of one stream until {@link resume}. */
  pause(stream: StreamName): void {
    this.#stream(stream).pause();
  }

  resume(stream: StreamName): void {
    this.#stream(stream).resume();
  }

  /**
   * Closes all connections, the one for control once what was sent on it is with the kernel: an answer and a refusal are for the
   * peer to read. Nothing more is received. A primary gives up every consent before it does this (spec B.6).
   */
  close(): void {
    this.#ended = true;
    clearTimeout(this.#closing);
    for (const stream of this.#streams.values()) stream.silence();
    for (const [name, socket] of this.#sockets) {
      if (name !== 'control') {
        socket.destroy();
        continue;
      }
      const patience = setTimeout(() => socket.destroy(), lastWordsMs);
      socket.once('close', () => clearTimeout(patience));
      // The peer's end comes when it has read all of it.
      socket.once('end', () => socket.destroy());
      socket.resume();
      socket.end();
    }
  }

  /** Closes all connections at once, whatever was sent. A primary gives up every consent before it does this (spec B.6). */
  destroy(): void {
    this.#ended = true;
    clearTimeout(this.#closing);
    for (const stream of this.#streams.values()) stream.destroy();
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  #stream(name: StreamName): PeerStream {
    const stream = this.#streams.get(name);
    if (stream === undefined) throw new Error('nobody listens to this link yet');
    return stream;
  }

  #streamEnded(name: StreamName, end: StreamEnd): void {
    if (end.kind === 'lost') {
      this.#end({ kind: 'failed', reason: `the ${name} stream: ${end.reason}` });
      return;
    }
    if (end.kind === 'broken') {
      this.#end({ kind: 'failed', reason: end.error.message });
      return;
    }
    this.#closed.add(name);
    if (this.#closed.size === streams.length) {
      this.#end({ kind: 'closed' });
      return;
    }
    // One alone may have been reset by something in between. After a turn that took long, what came meanwhile is read first.
    this.#closing ??= setTimeout(() => setImmediate(() => this.#closedInPart(name)), closingMs);
  }

  #closedInPart(name: StreamName): void {
    const open = streams.filter((stream) => !this.#closed.has(stream));
    this.#end({ kind: 'failed', reason: `the ${name} stream was closed, but not ${open.join(', ')}` });
  }

  #end(end: LinkEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#closing);
    for (const stream of this.#streams.values()) stream.silence();
    this.#listener?.ended(end);
  }
}
