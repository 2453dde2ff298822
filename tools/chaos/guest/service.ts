/**
 * What the small guest and its clients say to each other, and what it writes to its disk. All numbers little-endian.
 *
 *     request, 32 bytes of UDP          answer: the same, and        record, a sector of 512 bytes
 *       0  magic, u32                     24  counter, u64             0  magic, u32
 *       4  pages to touch, u32                                         8  client, u64
 *       8  client, u64                                                16  number, u64
 *      16  number, u64                                                24  counter, u64
 *      24  room for the answer                                       504  counter, u64: a torn sector shows
 *
 * A request with a number greater than the client's last one is counted, written down, made durable, and then answered. One with
 * the client's last number is answered as it was; older ones are not answered.
 */
export const requestMagic = 0x31_6d_73_63; // "csm1"
/** As a request, but for its magic, and with an order of {@link orders} in place of pages. It is not answered. */
export const orderMagic = 0x6f_6d_73_63; // "csmo"
export const recordMagic = 0x72_6d_73_63; // "csmr"
export const requestBytes = 32;
export const sectorBytes = 512;
export const requestAt = { magic: 0, pages: 4, client: 8, number: 16, counter: 24 } as const;
export const recordAt = { magic: 0, client: 8, number: 16, counter: 24, counterAgain: 504 } as const;

/** Clients that the guest remembers: a client's id modulo this is its place. */
export const clientPlaces = 64;
/** Pages that one request can have touched at most. */
export const mostPages = 2048;

/** UDP port of the service. */
export const servicePort = 7777;

export interface Answer {
  readonly client: bigint;
  readonly number: bigint;
  readonly counter: bigint;
}

/** @param pages that the guest is to write to on the way */
export function encodeRequest(client: bigint, number: bigint, pages = 0): Buffer {
  const bytes = Buffer.alloc(requestBytes);
  bytes.writeUInt32LE(requestMagic, requestAt.magic);
  bytes.writeUInt32LE(pages, requestAt.pages);
  bytes.writeBigUInt64LE(client, requestAt.client);
  bytes.writeBigUInt64LE(number, requestAt.number);
  return bytes;
}

/** What the guest can be told to do to itself. A panic is followed by a reboot, as by `panic=-1`. */
export const orders = { keyboardReset: 1, acpiReset: 2, tripleFault: 3, panic: 4, powerOff: 5 } as const;
export type Order = keyof typeof orders;

export function encodeOrder(order: Order): Buffer {
  const bytes = encodeRequest(0n, 0n, orders[order]);
  bytes.writeUInt32LE(orderMagic, requestAt.magic);
  return bytes;
}

/** Undefined: no answer of the service. */
export function decodeAnswer(bytes: Buffer): Answer | undefined {
  if (bytes.length !== requestBytes || bytes.readUInt32LE(requestAt.magic) !== requestMagic) return undefined;
  return {
    client: bytes.readBigUInt64LE(requestAt.client),
    number: bytes.readBigUInt64LE(requestAt.number),
    counter: bytes.readBigUInt64LE(requestAt.counter),
  };
}

/** The record in a sector; undefined: there is none, or not a whole one. */
export function decodeRecord(sector: Buffer): Answer | undefined {
  if (sector.readUInt32LE(recordAt.magic) !== recordMagic) return undefined;
  const counter = sector.readBigUInt64LE(recordAt.counter);
  if (counter !== sector.readBigUInt64LE(recordAt.counterAgain)) return undefined;
  return {
    client: sector.readBigUInt64LE(recordAt.client),
    number: sector.readBigUInt64LE(recordAt.number),
    counter,
  };
}
