/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian. Each begins with its type and its length, and ends with its
 * length again; so does every one that is written here, or nothing of it is.
 *
 *     u32 type   u32 bytes   body, options   u32 bytes
 *
 * An option is u16 code, u16 bytes, value, up to a multiple of 4; code 0 ends them.
 */

const blockType = { section: 0x0a0d0d0a, interface: 1, statistics: 5, packet: 6 } as const;
const option = {
  end: 0,
  comment: 1,
  userApplication: 4,
  interfaceName: 2,
  timeResolution: 9,
  packetFlags: 2,
  received: 4,
  dropped: 5,
} as const;

/** What a section begins with, as bytes of a file. */
export const sectionMagic = Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a);

const byteOrderMagic = 0x1a2b3c4d;
const linkEthernet = 1;
/** Timestamps count microseconds: 10 to the power of minus this. */
const microseconds = 6;

const headBytes = 8;
const tailBytes = 4;
const encoder = new TextEncoder();

/** Directions of a packet's flags. */
export const packetDirection = { in: 1, out: 2 } as const;

/** Blocks, one after the other, in a piece of memory. A method that finds no room writes nothing, and says false. */
export class PcapngBlocks {
  /** Bytes of whole blocks. */
  length = 0;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;
  #overflows = false;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  clear(): void {
    this.length = 0;
  }

  /** Begins a section, in which interfaces are numbered from 0 on. */
  section(application: string): boolean {
    this.#begin(blockType.section);
    this.#u32(byteOrderMagic);
    this.#u16(1);
    this.#u16(0);
    // The section's length is not known before its end.
    this.#u32(0xffffffff);
    this.#u32(0xffffffff);
    this.#text(option.userApplication, application);
    this.#u32(option.end);
    return this.#end();
  }

  interface(name: string): boolean {
    this.#begin(blockType.interface);
    this.#u16(linkEthernet);
    this.#u16(0);
    this.#u32(0); // whole packets
    this.#text(option.interfaceName, name);
    this.#u16(option.timeResolution);
    this.#u16(1);
    this.#u32(microseconds);
    this.#u32(option.end);
    return this.#end();
  }

  /** @param atUs microseconds since 1970 */
  packet(
    interfaceNumber: number,
    atUs: number,
    direction: keyof typeof packetDirection,
    comment: string,
    frame: Uint8Array,
  ): boolean {
    this.#begin(blockType.packet);
    this.#u32(interfaceNumber);
    this.#time(atUs);
    this.#u32(frame.length);
    this.#u32(frame.length);
    this.#data(frame);
    this.#text(option.comment, comment);
    this.#u16(option.packetFlags);
    this.#u16(4);
    this.#u32(packetDirection[direction]);
    this.#u32(option.end);
    return this.#end();
  }

  /** Of an interface, so far: packets that are in the file, and that are missing in it. */
  statistics(interfaceNumber: number, atUs: number, received: number, dropped: number, comment: string): boolean {
    this.#begin(blockType.statistics);
    this.#u32(interfaceNumber);
    this.#time(atUs);
    this.#text(option.comment, comment);
    this.#count(option.received, received + dropped);
    this.#count(option.dropped, dropped);
    this.#u32(option.end);
    return this.#end();
  }

  #begin(type: number): void {
    this.#at = this.length;
    this.#overflows = false;
    this.#u32(type);
    this.#u32(0);
  }

  #end(): boolean {
    const start = this.length;
    this.#u32(this.#at + tailBytes - start);
    if (this.#overflows) return false;
    this.#view.setUint32(start + headBytes - 4, this.#at - start, true);
    this.length = this.#at;
    return true;
  }

  /** Its upper half first. */
  #time(us: number): void {
    this.#u32(Math.floor(us / 2 ** 32));
    this.#u32(us % 2 ** 32);
  }

  #count(code: number, value: number): void {
    this.#u16(code);
    this.#u16(8);
    this.#u32(value % 2 ** 32);
    this.#u32(Math.floor(value / 2 ** 32));
  }

  #text(code: number, text: string): void {
    const bytes = encoder.encode(text);
    this.#u16(code);
    this.#u16(bytes.length);
    this.#data(bytes);
  }

  #data(data: Uint8Array): void {
    const padded = (data.length + 3) & ~3;
    if (!this.#fits(padded)) return;
    this.bytes.set(data, this.#at);
    this.bytes.fill(0, this.#at + data.length, this.#at + padded);
    this.#at += padded;
  }

  #u16(value: number): void {
    if (!this.#fits(2)) return;
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  #u32(value: number): void {
    if (!this.#fits(4)) return;
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  #fits(count: number): boolean {
    if (this.#at + count > this.bytes.length) this.#overflows = true;
    return !this.#overflows;
  }
}
