/**
 * What the lab and the agent inside a host say to each other, over one ordered byte stream:
 *
 *     length u32 (of what follows) | type u8 | task u32 | payload
 *
 * all little-endian. A task is one command or one file transfer; its number is chosen by the lab and not used again.
 *
 *     lab                          agent
 *                                  hello            once, task 0: commands may come
 *     spawn (JSON SpawnOrder)      output, errors   any number
 *     input, inputEnd, kill        exit (JSON ExitStatus)            ends the task
 *     push (JSON PushOrder)
 *     input ..., inputEnd          exit, or failed                   ends the task
 *     pull (JSON PullOrder)        output ..., then exit, or failed  ends the task
 *     nudge                                         nothing; task 0, see {@link nudgePeriodMs}
 */
export const frameTypes = [
  'hello',
  'spawn',
  'push',
  'pull',
  'input',
  'inputEnd',
  'kill',
  'output',
  'errors',
  'exit',
  'failed',
  'nudge',
] as const;

/**
 * An emulated host gets a nudge this often. The emulator changes the word of pending interrupts from two threads, not
 * always atomically, and so now and then loses one (docs/decisions.md): a host whose timer it lost does nothing until
 * something else interrupts it.
 */
export const nudgePeriodMs = 250;

export type FrameType = (typeof frameTypes)[number];

export interface Frame {
  readonly type: FrameType;
  readonly task: number;
  readonly payload: Uint8Array;
}

export interface SpawnOrder {
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface PushOrder {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface PullOrder {
  readonly path: string;
}

/** How a command ended: exactly one of the two is not null. */
export interface ExitStatus {
  readonly status: number | null;
  readonly signal: string | null;
}

export class ProtocolError extends Error {
  readonly code = 'LAB_PROTOCOL';
  override readonly name = 'ProtocolError';
}

const headerBytes = 9;
const headerAfterLength = headerBytes - 4;
/** Longer than any sender makes them; a longer one means the stream is out of step. */
export const maximumPayloadBytes = 1024 * 1024;

/** One frame as bytes. A payload that is no bytes becomes JSON. */
export function encodeFrame(type: FrameType, task: number, payload?: Uint8Array | object): Buffer {
  const body = payload === undefined || payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload));
  const length = body?.length ?? 0;
  if (length > maximumPayloadBytes) throw new ProtocolError(`a ${type} frame of ${length} bytes is too long`);
  const frame = Buffer.allocUnsafe(headerBytes + length);
  frame.writeUInt32LE(headerAfterLength + length, 0);
  frame.writeUInt8(frameTypes.indexOf(type), 4);
  frame.writeUInt32LE(task, 5);
  if (body !== undefined) frame.set(body, headerBytes);
  return frame;
}

/** The payload of a frame that carries JSON. Both ends of this stream are ours: the shape is not checked again. */
export function jsonPayload<T>(frame: Frame): T {
  return JSON.parse(Buffer.from(frame.payload).toString('utf8')) as T;
}

/** Cuts a byte stream into frames; keeps what is not whole yet. */
export class FrameReader {
  /** What came and is no frame yet; joined only when a whole frame is there, so that long frames cost no more per byte. */
  #parts: Uint8Array[] = [];
  #length = 0;
  /** Bytes that must be there before a look is worth while. */
  #needed = headerBytes;

  /** `bytes` may be used again afterwards; payloads are the reader's own. */
  feed(bytes: Uint8Array): Frame[] {
    this.#parts.push(Buffer.from(bytes));
    this.#length += bytes.length;
    if (this.#length < this.#needed) return [];
    const all = Buffer.concat(this.#parts, this.#length);
    const frames: Frame[] = [];
    let at = 0;
    this.#needed = headerBytes;
    while (all.length - at >= headerBytes) {
      const length = all.readUInt32LE(at);
      if (length < headerAfterLength || length > headerAfterLength + maximumPayloadBytes) {
        throw new ProtocolError(`a frame of ${length} bytes cannot be: the stream is out of step`);
      }
      this.#needed = 4 + length;
      if (all.length - at < this.#needed) break;
      const type = frameTypes[all.readUInt8(at + 4)];
      if (type === undefined) throw new ProtocolError(`no frame has type ${all.readUInt8(at + 4)}`);
      const payload = all.subarray(at + headerBytes, at + this.#needed);
      frames.push({ type, task: all.readUInt32LE(at + 5), payload });
      at += this.#needed;
      this.#needed = headerBytes;
    }
    this.#parts = [all.subarray(at)];
    this.#length = all.length - at;
    return frames;
  }
}
