/** A JSON value as it was sent, or what was wrong with the bytes. */
export type JsonPiece = { readonly text: string } | { readonly error: string };

/** As deep as QEMU lets arrays and objects nest. */
const depthLimit = 1024;

/** Where the splitter is. */
const place = {
  /** Nothing has begun. */
  between: 0,
  /** In an array, an object, or a string that stands alone. */
  value: 1,
  /** In a number or a word that stands alone. */
  word: 2,
  /** After a byte that no JSON has: at the next line or bracket it begins anew. */
  skipping: 3,
} as const;
type Place = (typeof place)[keyof typeof place];

/** What a byte means for the piece it comes to. */
const verdict = { goesOn: 0, ends: 1, endsBefore: 2, broken: 3, brokenBefore: 4, tooDeep: 5 } as const;
type Verdict = (typeof verdict)[keyof typeof verdict];

const byteOf = (letter: string): number => letter.charCodeAt(0);
const [quote, backslash, tab] = [byteOf('"'), byteOf('\\'), byteOf('\t')];
const [openBrace, closeBrace, openBracket, closeBracket] = ['{', '}', '[', ']'].map(byteOf);
const structure = new Set([...'{}[],:'].map(byteOf));
const blanks = new Set([...' \t\r\n'].map(byteOf));
const wordBytes = new Set([...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._'].map(byteOf));
/** From here on a byte is never part of UTF-8. Clients send one to make the other side begin anew. */
const neverText = 0xfe;
const isControl = (byte: number): boolean => byte < 0x20 || byte >= neverText;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const nothing = new Uint8Array(0);

/**
 * Cuts a stream of bytes into JSON values by their brackets and quotes, wherever lines end and chunks are cut, as
 * QEMU's monitor does. Whether a piece is JSON is its reader's question: this only finds where it ends, and finds its
 * way back after garbage. It holds at most one value of the limit's size, and the chunk in hand.
 */
export class JsonSplitter {
  readonly #limitBytes: number;
  #input: Uint8Array = nothing;
  #at = 0;
  /** Bytes of the piece that has begun, from earlier chunks. */
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #place: Place = place.between;
  #inString = false;
  #escaped = false;
  // Apart from each other, as in QEMU: a bracket too many ends the piece.
  #braces = 0;
  #brackets = 0;
  #overflowed = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** A value was larger than the limit: nothing more comes of this stream. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** Bytes that are held. */
  get heldBytes(): number {
    return this.#bytes + this.#input.length - this.#at;
  }

  /** Takes bytes, which then belong to the splitter. */
  push(chunk: Uint8Array): void {
    if (this.#overflowed) return;
    this.#input = this.#at === this.#input.length ? chunk : Buffer.concat([this.#input.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** The next piece; undefined if more bytes are needed. */
  next(): JsonPiece | undefined {
    let begin = this.#at;
    for (; this.#at < this.#input.length; this.#at++) {
      const byte = this.#input[this.#at] as number;
      const result = this.#step(byte);
      switch (result) {
        case verdict.goesOn:
          if (this.#place === place.between || this.#place === place.skipping) begin = this.#at + 1;
          else if (this.#bytes + this.#at + 1 - begin > this.#limitBytes) return this.#overflow();
          break;
        case verdict.ends:
          return this.#cut(begin, ++this.#at);
        case verdict.endsBefore:
          return this.#cut(begin, this.#at);
        case verdict.broken:
          this.#at++;
          this.#begin(byte >= neverText ? place.between : place.skipping);
          return { error: 'JSON parse error, a byte that is not JSON' };
        case verdict.brokenBefore:
          this.#begin(place.skipping);
          return { error: 'JSON parse error, a string without an end' };
        case verdict.tooDeep:
          this.#at++;
          this.#begin(place.skipping);
          return { error: 'JSON nesting depth limit exceeded' };
        default:
          return result satisfies never;
      }
    }
    if (begin < this.#input.length) {
      this.#parts.push(this.#input.subarray(begin));
      this.#bytes += this.#input.length - begin;
    }
    this.#input = nothing;
    this.#at = 0;
    return undefined;
  }

  #step(byte: number): Verdict {
    switch (this.#place) {
      case place.skipping:
        if (structure.has(byte)) this.#place = place.between;
        else {
          if (isControl(byte) && byte !== tab) this.#place = place.between;
          return verdict.goesOn;
        }
        return this.#first(byte);
      case place.between:
        return this.#first(byte);
      case place.word:
        return wordBytes.has(byte) ? verdict.goesOn : verdict.endsBefore;
      case place.value:
        return this.#inString ? this.#inside(byte) : this.#nest(byte);
      default:
        return this.#place satisfies never;
    }
  }

  #first(byte: number): Verdict {
    if (blanks.has(byte)) return verdict.goesOn;
    if (wordBytes.has(byte)) {
      this.#place = place.word;
      return verdict.goesOn;
    }
    if (byte !== quote && !structure.has(byte)) return verdict.broken;
    this.#place = place.value;
    return this.#nest(byte);
  }

  #nest(byte: number): Verdict {
    if (byte === quote) {
      this.#inString = true;
      return verdict.goesOn;
    }
    if (isControl(byte) && !blanks.has(byte)) return verdict.broken;
    if (byte === openBrace) this.#braces++;
    else if (byte === closeBrace) this.#braces--;
    else if (byte === openBracket) this.#brackets++;
    else if (byte === closeBracket) this.#brackets--;
    if (this.#braces + this.#brackets > depthLimit) return verdict.tooDeep;
    return this.#isWhole ? verdict.ends : verdict.goesOn;
  }

  #inside(byte: number): Verdict {
    if (isControl(byte)) return byte >= neverText ? verdict.broken : verdict.brokenBefore;
    if (this.#escaped) this.#escaped = false;
    else if (byte === backslash) this.#escaped = true;
    else if (byte === quote) {
      this.#inString = false;
      if (this.#isWhole) return verdict.ends;
    }
    return verdict.goesOn;
  }

  get #isWhole(): boolean {
    return (this.#braces <= 0 && this.#brackets <= 0) || this.#braces < 0 || this.#brackets < 0;
  }

  #cut(begin: number, end: number): JsonPiece {
    const bytes = Buffer.concat([...this.#parts, this.#input.subarray(begin, end)]);
    this.#begin(place.between);
    try {
      return { text: decoder.decode(bytes) };
    } catch {
      return { error: 'JSON parse error, invalid UTF-8' };
    }
  }

  #overflow(): JsonPiece {
    this.#begin(place.between);
    this.#overflowed = true;
    this.#input = nothing;
    this.#at = 0;
    return { error: 'JSON message size limit exceeded' };
  }

  #begin(where: Place): void {
    this.#parts = [];
    this.#bytes = 0;
    this.#place = where;
    this.#inString = false;
    this.#escaped = false;
    this.#braces = 0;
    this.#brackets = 0;
  }
}
