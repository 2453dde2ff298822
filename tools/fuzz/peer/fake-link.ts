import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { PeerLink } from '../../../src/colo/link/peer-link.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../src/colo/protocol/frame-reader.ts';
import { type StreamName, streams } from '../../../src/colo/protocol/message-table.ts';
import type { Role } from '../../../src/colo/protocol/numbers.ts';

/** Who has left so much unsent waits, and has not been flooded. */
const fullBytes = 512 * 1024;

/** A connection without a network: what is written is taken at once. */
class FakeSocket extends EventEmitter {
  destroyed = false;
  /** Writes are answered with "wait" while it is set. */
  full = false;
  /** So much lies unsent, other than while it is full. */
  unsentBytes = 0;
  /** Called when it is about to be closed. */
  closing: () => void = () => {};
  readonly #take: (bytes: Uint8Array) => void;
  #waits = false;

  constructor(take: (bytes: Uint8Array) => void) {
    super();
    this.#take = take;
  }

  get writableLength(): number {
    return this.full ? Math.max(fullBytes, this.unsentBytes) : this.unsentBytes;
  }

  setNoDelay(): void {}
  cork(): void {}
  uncork(): void {}
  pause(): void {}
  resume(): void {}

  write(bytes: Uint8Array): boolean {
    if (this.destroyed) return false;
    this.#take(bytes);
    if (this.full) this.#waits = true;
    return !this.full;
  }

  /** There is room again. */
  drain(): void {
    this.full = false;
    if (!this.#waits || this.destroyed) return;
    this.#waits = false;
    this.emit('drain');
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.closing();
    this.destroyed = true;
    queueMicrotask(() => this.emit('close'));
  }
}

/** A link whose other end a case has in hand. */
export class FakeLink {
  readonly link: PeerLink;
  readonly #sockets = new Map<StreamName, FakeSocket>();

  /**
   * @param role of the side that is attacked
   * @param said hears what that side says. It sends nothing that is no frame: that throws
   */
  constructor(role: Role, said: (frame: Frame) => void) {
    for (const name of streams) {
      const reader = new FrameReader(name, role, said);
      this.#sockets.set(name, new FakeSocket((bytes) => reader.push(Uint8Array.from(bytes))));
    }
    this.link = new PeerLink(this.#sockets as unknown as ReadonlyMap<StreamName, Socket>, {
      role,
      peer: { host: 'peer', fingerprint: 'peer' },
      secure: true,
    });
  }

  /** The attacked side has closed it. */
  get isClosed(): boolean {
    return [...this.#sockets.values()].every(({ destroyed }) => destroyed);
  }

  deliver(stream: StreamName, bytes: Uint8Array): void {
    const socket = this.#socket(stream);
    if (!socket.destroyed) socket.emit('data', bytes);
  }

  /** Is told before each connection is closed by the side that is attacked. */
  set closing(closing: () => void) {
    for (const socket of this.#sockets.values()) socket.closing = closing;
  }

  /** Nobody has read that stream for long. */
  pileUp(stream: StreamName, unsentBytes: number): void {
    this.#socket(stream).unsentBytes = unsentBytes;
  }

  fill(stream: StreamName): void {
    this.#socket(stream).full = true;
  }

  drain(): void {
    for (const socket of this.#sockets.values()) socket.drain();
  }

  /** That connection ends: as a kernel ends a dead process's, or as a network breaks. */
  cut(stream: StreamName, how: 'end' | 'reset' | 'lost'): void {
    const socket = this.#socket(stream);
    if (socket.destroyed) return;
    if (how === 'end') socket.emit('end');
    else socket.emit('error', Object.assign(new Error(how), { code: how === 'reset' ? 'ECONNRESET' : 'ETIMEDOUT' }));
  }

  #socket(stream: StreamName): FakeSocket {
    return this.#sockets.get(stream) as FakeSocket;
  }
}
