import { type Frame, head, roleCodes } from './frame.ts';
import { decodeFrame, type KnownMessage, knownMessage } from './message-codec.ts';
import type { StreamName } from './message-table.ts';
import type { Role } from './numbers.ts';
import { ProtocolError } from './protocol-error.ts';

/**
 * Cuts a stream of bytes into frames, however the bytes come. What is wrong with a frame is found in its head, before room is
 * made for the rest. After an error the reader takes nothing more.
 */
export class FrameReader {
  readonly #stream: StreamName;
  readonly #peer: Role;
  readonly #take: (frame: Frame) => void;
  /** What has come of a frame that is not whole. */
  #partial: Uint8Array = new Uint8Array(head.sizeBytes);
  #have = 0;
  #entry: KnownMessage | undefined;
  #broken = false;

  /**
   * @param peer the role of who sends on this stream
   * @param take called with each frame; its data are views of the chunk, or of a buffer made for it alone
   */
  constructor(stream: StreamName, peer: Role, take: (frame: Frame) => void) {
    this.#stream = stream;
    this.#peer = peer;
    this.#take = take;
  }

  /** True between two frames: a stream that ends elsewhere was cut. */
  get atBoundary(): boolean {
    return this.#have === 0;
  }

  /** @throws ProtocolError */
  push(chunk: Uint8Array): void {
    if (this.#broken) return;
    try {
      this.#push(chunk);
    } catch (error) {
      this.#broken = true;
      throw error;
    }
  }

  #push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#have === 0 && chunk.length - at >= head.sizeBytes) {
        // The common case: a head in one piece, and often all of its frame.
        const entry = this.#checkHead(chunk, at);
        const size = frameBytes(chunk, at);
        if (chunk.length - at >= size) {
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
    const frame = decodeFrame(this.#partial, this.#entry);
    this.#partial = new Uint8Array(head.sizeBytes);
    this.#have = 0;
    this.#entry = undefined;
    this.#take(frame);
    return taken;
  }

  #checkHead(bytes: Uint8Array, at: number): KnownMessage {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, head.sizeBytes);
    const code = view.getUint8(head.code);
    const entry = knownMessage(code);
    if (entry === undefined || view.getUint16(head.reserved, true) !== 0) {
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

function frameBytes(bytes: Uint8Array, at: number): number {
  return head.sizeBytes + new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(head.length, true);
}
