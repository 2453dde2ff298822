import { type Frame, head, roleCodes } from './frame.ts';
import { decodeFrame, type KnownMessage, knownMessage } from './message-codec.ts';
import type { StreamName } from './message-table.ts';
import type { Role } from './numbers.ts';
import { ProtocolError } from './protocol-error.ts';

/** More does not come once nobody takes what comes: who is given it all the same is not asked to keep it. */
const mostHeldBytes = 4 * 1024 * 1024;

/**
 * Cuts a stream of bytes into frames, however the bytes come. What is wrong with a frame is found in its head, before room is
 * made for the rest. After an error the reader takes nothing more.
 */
export class FrameReader {
  readonly #stream: StreamName;
  readonly #peer: Role;
  readonly #take: (frame: Frame) => void;
  readonly #isNext: ((behind: number) => boolean) | undefined;
  /** What has come of a frame that is not whole. */
  #partial: Uint8Array = new Uint8Array(head.sizeBytes);
  #have = 0;
  #entry: KnownMessage | undefined;
  /** What has come and is to wait: it begins with a frame. */
  #held: Uint8Array | undefined;
  #broken = false;

  /**
   * @param peer the role of who sends on this stream
   * @param take called with each frame; its data are views of the chunk, or of a buffer made for it alone
   * @param isNext whether a frame is the stream's next, by the number in its head of what goes before it (frame.ts); while one is not,
   *   it and what comes after are held, until {@link resume}. Default: that number is always 0
   */
  constructor(stream: StreamName, peer: Role, take: (frame: Frame) => void, isNext?: (behind: number) => boolean) {
    this.#stream = stream;
    this.#peer = peer;
    this.#take = take;
    this.#isNext = isNext;
  }

  /** True between two frames: a stream that ends elsewhere was cut. */
  get atBoundary(): boolean {
    return this.#have === 0 && !this.isHolding;
  }

  /** A frame waits for what goes before it. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  /** @throws ProtocolError */
  push(chunk: Uint8Array): void {
    if (this.#broken) return;
    try {
      if (this.#held === undefined) this.#push(chunk);
      else this.#hold(this.#held, chunk);
    } catch (error) {
      this.#broken = true;
      throw error;
    }
  }

  /** @throws ProtocolError */
  #hold(first: Uint8Array, more: Uint8Array): void {
    if (first.length + more.length > mostHeldBytes) {
      throw new ProtocolError('too-large', `frames of the ${this.#stream} stream wait for others that do not come`);
    }
    this.#held = Buffer.concat([first, more]);
  }

  /** Something has come that may go before what is held. @throws ProtocolError */
  resume(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.push(held);
  }

  #push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#have === 0 && chunk.length - at >= head.sizeBytes) {
        // The common case: a head in one piece, and often all of its frame.
        const entry = this.#checkHead(chunk, at);
        const size = frameBytes(chunk, at);
        if (chunk.length - at >= size) {
          if (!this.#mayTake(chunk, at)) {
            this.#hold(chunk.subarray(at), nothing);
            return;
          }
          this.#take(decodeFrame(chunk.subarray(at, at + size), entry));
          at += size;
          continue;
        }
      }
      at += this.#gather(chunk, at);
    }
  }

  /** Takes what belongs to the frame that is not whole; the number of bytes taken. */
  #gather(chunk: Uint8Array, at: number): number {
    const wanted = this.#entry === undefined ? head.sizeBytes : this.#partial.length;
    const taken = Math.min(wanted - this.#have, chunk.length - at);
    this.#partial.set(chunk.subarray(at, at + taken), this.#have);
    this.#have += taken;
    if (this.#have < wanted) return taken;
    if (this.#entry === undefined) {
      this.#entry = this.#checkHead(this.#partial, 0);
      const whole = new Uint8Array(frameBytes(this.#partial, 0));
      whole.set(this.#partial);
      this.#partial = whole;
      if (whole.length > this.#have) return taken;
    }
    const bytes = this.#partial;
    const entry = this.#entry;
    this.#partial = new Uint8Array(head.sizeBytes);
    this.#have = 0;
    this.#entry = undefined;
    if (!this.#mayTake(bytes, 0)) {
      this.#hold(bytes, chunk.subarray(at + taken));
      return chunk.length - at;
    }
    this.#take(decodeFrame(bytes, entry));
    return taken;
  }

  #mayTake(bytes: Uint8Array, at: number): boolean {
    if (this.#isNext === undefined) return true;
    return this.#isNext(new DataView(bytes.buffer, bytes.byteOffset + at).getUint16(head.behind, true));
  }

  #checkHead(bytes: Uint8Array, at: number): KnownMessage {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, head.sizeBytes);
    const code = view.getUint8(head.code);
    const entry = knownMessage(code);
    if (entry === undefined || (this.#isNext === undefined && view.getUint16(head.behind, true) !== 0)) {
      throw new ProtocolError('invalid-message', `invalid message: code ${code} on the ${this.#stream} stream`);
    }
    const length = view.getUint32(head.length, true);
    if (length > entry.layout.limitBytes) {
      throw new ProtocolError(
        'too-large',
        `the peer announces ${length} bytes of ${entry.kind}, which has ${entry.layout.limitBytes} at most`,
      );
    }
    if (entry.layout.stream !== this.#stream) {
      throw new ProtocolError('out-of-order', `the peer sent ${entry.kind} on the ${this.#stream} stream`);
    }
    const { from } = entry.layout;
    if (view.getUint8(head.role) !== roleCodes[this.#peer] || (from !== undefined && from !== this.#peer)) {
      throw new ProtocolError('out-of-order', `${entry.kind} is nothing that a ${this.#peer} says`);
    }
    return entry;
  }
}

const nothing = new Uint8Array(0);

function frameBytes(bytes: Uint8Array, at: number): number {
  return head.sizeBytes + new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(head.length, true);
}
