import { decode, encode } from 'cbor-x';
import type { Random } from './fuzz-target.ts';

type Key = string | number;

const numbers: readonly number[] = [
  0,
  1,
  2,
  7,
  15,
  16,
  255,
  256,
  0x7fff,
  0x8000,
  0xffff,
  0x1_0000,
  0xffff_ffff,
  2 ** 32,
  2 ** 53,
];

/** A saved state as it comes back from a bad disk or a bad peer; undefined if not even its bytes can be read. */
export function spoilt(state: unknown, other: unknown, random: Random): unknown {
  if (random(3) === 0) return spoiltBytes(encode(state), random);
  const value = decode(encode(state));
  for (let count = 1 + random(3); count > 0; count--) spoilField(value, other, random);
  return value;
}

function spoiltBytes(encoded: Uint8Array, random: Random): unknown {
  const bytes = Uint8Array.from(encoded);
  for (let count = 1 + random(3); count > 0; count--) {
    const at = random(bytes.length);
    bytes[at] = random(2) === 0 ? (bytes[at] as number) ^ (1 << random(8)) : random(256);
  }
  try {
    return decode(random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
  } catch {
    return undefined;
  }
}

/** Changes a field somewhere; at times to what it is in another state. */
function spoilField(value: unknown, other: unknown, random: Random): void {
  let parent = value as Record<Key, unknown>;
  let like = other as Record<Key, unknown> | undefined;
  for (;;) {
    const keys = Object.keys(parent);
    if (keys.length === 0) return;
    const key = keys[random(keys.length)] as Key;
    const inner = parent[key];
    const likeInner = like?.[key];
    if (typeof inner !== 'object' || inner === null || inner instanceof Uint8Array || random(12) === 0) {
      spoilOne(parent, key, likeInner, random);
      return;
    }
    parent = inner as Record<Key, unknown>;
    like = likeInner as Record<Key, unknown> | undefined;
  }
}

function spoilOne(parent: Record<Key, unknown>, key: Key, like: unknown, random: Random): void {
  const before = parent[key];
  switch (random(6)) {
    case 0:
      delete parent[key];
      return;
    case 1:
      parent[key] = [undefined, null, 'text', -1, 0.5, [], {}, 1n << 70n][random(8)];
      return;
    case 2:
      if (like !== undefined) parent[key] = like;
      return;
    default:
      parent[key] = another(before, random);
  }
}

/** Something of the same type. */
function another(before: unknown, random: Random): unknown {
  switch (typeof before) {
    case 'number':
      return random(2) === 0 ? numbers[random(numbers.length)] : before + random(5) - 2;
    case 'bigint':
      return random(2) === 0 ? before ^ (1n << BigInt(random(64))) : BigInt(random(0x1_0000_0000));
    case 'boolean':
      return !before;
    case 'string':
      return ['active', 'inactive', 'failed', 'refused', 'block', 'net', 'rng', 'echo'][random(8)];
    default:
      break;
  }
  if (before instanceof Uint8Array) {
    const bytes = Uint8Array.from(random(3) === 0 ? [...before, random(256)] : before);
    if (bytes.length > 0) bytes[random(bytes.length)] = random(256);
    return random(4) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
  }
  if (Array.isArray(before)) return random(2) === 0 ? before.slice(1) : [...before, before[0] ?? random(256)];
  return {};
}
