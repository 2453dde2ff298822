import { head } from '../../../src/colo/protocol/frame.ts';
import { encodeFrame, knownMessage } from '../../../src/colo/protocol/message-codec.ts';
import { type StreamName, streamOf, streams } from '../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { type Role, term as termOf } from '../../../src/colo/protocol/numbers.ts';
import type { Random } from '../fuzz-target.ts';

/** Bytes on their way. */
export interface Piece {
  readonly stream: StreamName;
  readonly bytes: Uint8Array;
}

export function piece(role: Role, term: number, message: Message): Piece {
  return { stream: streamOf(message.kind), bytes: encodeFrame({ role, term: termOf(term), message }) };
}

/** How a peer goes wrong with what it is about to say. */
export const ways = [
  ...['truncated', 'repeated', 'dropped', 'swapped', 'epoch', 'term', 'length', 'code', 'role', 'reserved'],
  ...['number', 'data', 'noise', 'garbage', 'another stream', 'a foreign message', 'flood', 'in pieces'],
] as const;
export type Way = (typeof ways)[number];

const far: readonly bigint[] = [
  ...[0n, 1n, 2n, 511n, 512n, 4096n, 65_536n, 1n << 20n, (1n << 32n) - 1n, 1n << 32n],
  ...[(1n << 53n) - 1n, 1n << 53n, 1n << 60n, (1n << 64n) - 1n],
];

/**
 * What comes in place of an honest piece.
 *
 * @param next the honest piece after it, which comes as well
 * @param foreign messages that a peer of any kind might say
 */
export function spoilt(
  way: Way,
  honest: Piece,
  next: Piece | undefined,
  foreign: () => Piece,
  random: Random,
): readonly Piece[] {
  const { stream } = honest;
  const bytes = Uint8Array.from(honest.bytes);
  const view = new DataView(bytes.buffer);
  const one = (): readonly Piece[] => [{ stream, bytes }];
  switch (way) {
    case 'truncated':
      return [{ stream, bytes: bytes.subarray(0, random(bytes.length)) }];
    case 'repeated':
      return [honest, honest];
    case 'dropped':
      return [];
    case 'swapped':
      return next === undefined ? [honest] : [next, honest];
    case 'epoch':
    case 'term': {
      const at = way === 'epoch' ? head.epoch : head.term;
      const before = view.getBigUint64(at, true);
      const near = random(2) === 0 ? before + 1n + BigInt(random(2)) : before - 1n;
      view.setBigUint64(at, BigInt.asUintN(64, random(2) === 0 ? near : pick(far, random)), true);
      return one();
    }
    case 'length':
      view.setUint32(
        head.length,
        random(2) === 0 ? bytes.length - 24 + random(9) - 4 : Number(pick(far, random) & 0xffff_ffffn),
        true,
      );
      return one();
    case 'code':
      bytes[head.code] = random(72);
      return one();
    case 'role':
      bytes[head.role] = random(4);
      return one();
    case 'reserved':
      bytes[head.reserved + random(2)] = 1 + random(255);
      return one();
    case 'number':
      spoilNumber(bytes, view, random);
      return one();
    case 'data': {
      const start = head.sizeBytes + (knownMessage(bytes[head.code] as number)?.fixedBytes ?? 0);
      const length = pick([0, 1, 9, 10, 512, 4096, 66 * 1024 - 1, 66 * 1024, (1 << 20) + 4000], random);
      const longer = new Uint8Array(start + length);
      longer.set(bytes.subarray(0, Math.min(bytes.length, longer.length)));
      if (random(2) === 0) longer.fill(random(256), start);
      new DataView(longer.buffer).setUint32(head.length, longer.length - head.sizeBytes, true);
      return [{ stream, bytes: longer }];
    }
    case 'noise':
      for (let count = 1 + random(4); count > 0; count--) bytes[random(bytes.length)] = random(256);
      return one();
    case 'garbage':
      return [
        { stream: pick(streams, random), bytes: Uint8Array.from({ length: 1 + random(200) }, () => random(256)) },
      ];
    case 'another stream':
      return [{ stream: pick(streams, random), bytes }];
    case 'a foreign message':
      return random(2) === 0 ? [foreign(), honest] : [honest, foreign()];
    case 'flood': {
      const thing = random(2) === 0 ? honest : foreign();
      return Array.from({ length: 20 + random(300) }, () => thing);
    }
    case 'in pieces': {
      const pieces: Piece[] = [];
      for (let at = 0, size = 0; at < bytes.length; at += size) {
        size = 1 + random(64);
        pieces.push({ stream, bytes: bytes.subarray(at, at + size) });
      }
      return pieces;
    }
    default:
      return way satisfies never;
  }
}

/** One of the numbers after the head becomes another one. */
function spoilNumber(bytes: Uint8Array, view: DataView, random: Random): void {
  const numbers = knownMessage(bytes[head.code] as number)?.numbers ?? [];
  if (numbers.length === 0) return;
  const chosen = random(numbers.length);
  let at: number = head.sizeBytes;
  for (const [index, [, field]] of numbers.entries()) {
    const size = { u8: 1, u32: 4, u53: 8, f64: 8 }[field];
    if (index === chosen) {
      if (size === 1) bytes[at] = pick([0, 1, 2, 3, 200, 255], random);
      else if (field === 'f64')
        view.setFloat64(at, pick([0, -1, 1e15, Number.NaN, Number.POSITIVE_INFINITY, 1e-300], random), true);
      else if (size === 4) view.setUint32(at, Number(pick(far, random) & 0xffff_ffffn), true);
      else
        view.setBigUint64(
          at,
          BigInt.asUintN(64, random(3) === 0 ? view.getBigUint64(at, true) + 512n : pick(far, random)),
          true,
        );
    }
    at += size;
  }
}

export function pick<T>(list: readonly T[], random: Random): T {
  return list[random(list.length)] as T;
}
