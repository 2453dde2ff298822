import { byteAt, wordAt } from './wire.ts';

/** Kinds of TCP options that are understood (RFC 9293, 7323, 2018). */
const option = { end: 0, nop: 1, mss: 2, windowScale: 3, sackPermitted: 4, sack: 5, timestamps: 8 } as const;
const mssBytes = 4;
const windowScaleBytes = 3;
const sackPermittedBytes = 2;
const timestampsBytes = 10;
/** Kind and length, in front of SACK's blocks. */
const sackHeadBytes = 2;
/** Left and right edge. */
export const sackBlockBytes = 8;

/**
 * TCP's options, in place. One that is cut off, or has an impossible length, ends them, and what came before it counts: that is
 * how receivers read them.
 */
export class TcpOptions {
  /** Maximum segment size; 0: not given. */
  mss = 0;
  /** Shift of the window; -1: not given. */
  windowScale = -1;
  sackPermitted = false;
  /** Where TSval is, and TSecr 4 bytes behind it, of the buffer; 0: no timestamps. */
  timestamps = 0;
  /** Where the first SACK block is, of the buffer; 0: none. Blocks have {@link sackBlockBytes} and lie side by side. */
  sack = 0;
  sackBlocks = 0;

  clear(): void {
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    this.timestamps = 0;
    this.sack = 0;
    this.sackBlocks = 0;
  }

  /** Reads the options from `from` to before `to`. Hot path. */
  read(bytes: Uint8Array, from: number, to: number): void {
    this.clear();
    for (let at = from; at < to; ) {
      const kind = byteAt(bytes, at);
      if (kind === option.end) return;
      if (kind === option.nop) {
        at++;
        continue;
      }
      if (at + 1 >= to) return;
      const length = byteAt(bytes, at + 1);
      if (length < 2 || at + length > to) return;
      this.#take(bytes, kind, at, length);
      at += length;
    }
  }

  #take(bytes: Uint8Array, kind: number, at: number, length: number): void {
    switch (kind) {
      case option.mss:
        if (length === mssBytes) this.mss = wordAt(bytes, at + 2);
        break;
      case option.windowScale:
        if (length === windowScaleBytes) this.windowScale = byteAt(bytes, at + 2);
        break;
      case option.sackPermitted:
        if (length === sackPermittedBytes) this.sackPermitted = true;
        break;
      case option.timestamps:
        if (length === timestampsBytes) this.timestamps = at + 2;
        break;
      case option.sack:
        if (length > sackHeadBytes && (length - sackHeadBytes) % sackBlockBytes === 0) {
          this.sack = at + sackHeadBytes;
          this.sackBlocks = (length - sackHeadBytes) / sackBlockBytes;
        }
        break;
    }
  }
}
