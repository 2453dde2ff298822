/** Sizes of blocks, each for contents up to it. */
const classBytes = [256, 2048, 16_384, 65_536] as const;
/** Blocks are cut from pieces of this size, one size of block each. */
const pieceBytes = 65_536;

/**
 * A packet that waits for its counterpart: one of P's, whose bytes stay where the caller has them, or one of S's, copied into the
 * store. Made once and used for one packet after the other.
 */
export class Waiting {
  next: Waiting | undefined;
  handle = 0;
  bytes: Uint8Array = noBytes;
  /** Where in `bytes` what is compared begins. */
  at = 0;
  length = 0;
  /** When it came, ms; 32 bits that wrap. */
  since = 0;
  /** Of a stream: place of the first byte. Of a datagram: a digest of what is compared. */
  sequence = 0;
  acknowledgement = 0;
  /** Of a stream: TCP's flags. Of a datagram: what of its headers is compared. */
  flags = 0;
  /** Of a piece of a datagram: which one it is a piece of. */
  id = 0;
  /** Which size of block its bytes lie in; -1: in none. */
  blockClass = -1;
}

const noBytes = new Uint8Array(0);

/** Packets in the order in which they came. */
export class WaitingList {
  first: Waiting | undefined;
  last: Waiting | undefined;
  length = 0;

  push(packet: Waiting): void {
    packet.next = undefined;
    if (this.last === undefined) this.first = packet;
    else this.last.next = packet;
    this.last = packet;
    this.length++;
  }

  /** @param before the one before it; undefined: it is the first */
  remove(packet: Waiting, before: Waiting | undefined): void {
    if (before === undefined) this.first = packet.next;
    else before.next = packet.next;
    if (this.last === packet) this.last = before;
    packet.next = undefined;
    this.length--;
  }
}

/**
 * Packets that wait, and room for the bytes of S's: as much as was said at the beginning. Objects are used again and again.
 */
export class PacketStore {
  readonly #room: Uint8Array;
  readonly #roomWords: Int32Array;
  /** The buffer that was copied from last, in words: it is mostly the same again. */
  #source: ArrayBufferLike = noBytes.buffer;
  #sourceWords: Int32Array = new Int32Array(0);
  /** Room that was never cut. */
  #uncut = 0;
  /** Free blocks of each size: where they begin. */
  readonly #free: readonly number[][] = classBytes.map(() => []);
  #idle: Waiting | undefined;
  #used = 0;

  constructor(bytes: number) {
    this.#room = new Uint8Array(Math.ceil(bytes / pieceBytes) * pieceBytes);
    this.#roomWords = new Int32Array(this.#room.buffer);
  }

  /** Bytes of blocks that are in use. */
  get usedBytes(): number {
    return this.#used;
  }

  /** A packet without bytes. */
  take(): Waiting {
    const packet = this.#idle;
    if (packet === undefined) return new Waiting();
    this.#idle = packet.next;
    packet.next = undefined;
    return packet;
  }

  /** Makes the packet's bytes a copy of these. False: there is no room. */
  copy(packet: Waiting, bytes: Uint8Array, at: number, length: number): boolean {
    // As it lies in words of its buffer, so that whole words can be copied.
    const shift = (bytes.byteOffset + at) & 3;
    let blockClass = 0;
    while (blockClass < classBytes.length && shift + length > (classBytes[blockClass] as number)) blockClass++;
    const block = this.#block(blockClass);
    if (block === undefined) return false;
    this.#copy(bytes, at, length, block + shift);
    packet.bytes = this.#room;
    packet.at = block + shift;
    packet.length = length;
    packet.blockClass = blockClass;
    this.#used += classBytes[blockClass] as number;
    return true;
  }

  /** The packet's bytes are not needed any more. */
  giveBytes(packet: Waiting): void {
    if (packet.blockClass >= 0) {
      this.#free[packet.blockClass]?.push(packet.at & ~3);
      this.#used -= classBytes[packet.blockClass] as number;
      packet.blockClass = -1;
      // Nothing lies anywhere: sizes can be chosen anew.
      if (this.#used === 0) this.#recut();
    }
    packet.bytes = noBytes;
  }

  /** The packet waits no more. */
  give(packet: Waiting): void {
    this.giveBytes(packet);
    packet.next = this.#idle;
    this.#idle = packet;
  }

  giveAll(list: WaitingList): void {
    for (let packet = list.first; packet !== undefined; packet = list.first) {
      list.remove(packet, undefined);
      this.give(packet);
    }
  }

  /** Without an object for the piece, which `set` would need. Both places are the same within a word. Hot path. */
  #copy(bytes: Uint8Array, at: number, length: number, to: number): void {
    const room = this.#room;
    const wordsFrom = Math.min(length, -to & 3);
    for (let index = 0; index < wordsFrom; index++) room[to + index] = bytes[at + index] as number;
    if (bytes.buffer !== this.#source) {
      this.#source = bytes.buffer;
      this.#sourceWords = new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >> 2);
    }
    const roomWords = this.#roomWords;
    const sourceWords = this.#sourceWords;
    const first = (to + wordsFrom) >> 2;
    const firstOfSource = (bytes.byteOffset + at + wordsFrom) >> 2;
    const count = (length - wordsFrom) >> 2;
    for (let word = 0; word < count; word++) roomWords[first + word] = sourceWords[firstOfSource + word] as number;
    for (let index = wordsFrom + 4 * count; index < length; index++) room[to + index] = bytes[at + index] as number;
  }

  #block(blockClass: number): number | undefined {
    const free = this.#free[blockClass];
    if (free === undefined) return undefined;
    if (free.length === 0 && this.#uncut < this.#room.length) {
      for (let at = 0; at < pieceBytes; at += classBytes[blockClass] as number) free.push(this.#uncut + at);
      this.#uncut += pieceBytes;
    }
    return free.pop();
  }

  #recut(): void {
    if (this.#uncut < this.#room.length) return;
    for (const free of this.#free) free.length = 0;
    this.#uncut = 0;
  }
}
