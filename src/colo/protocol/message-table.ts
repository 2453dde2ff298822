import * as v from 'valibot';
import { machineShapeSchema } from './machine-shape.ts';
import {
  comparedBlockBytes,
  hashBytes,
  type MessageKind,
  mostBootBytes,
  mostComparedBytes,
  mostReasonLength,
  protocolVersion,
} from './messages.ts';
import type { Role } from './numbers.ts';
import { portPoliciesSchema } from './port-policy.ts';

/** One TLS connection each: what is urgent never waits behind bulk (spec B.5). */
export const streams = ['control', 'pages', 'disk', 'packets'] as const;
export type StreamName = (typeof streams)[number];

/** A number's place in a message's bytes. `u53` takes 8 bytes and must be below 2^53; `f64` may be NaN. */
export type NumberField = 'u8' | 'u32' | 'u53' | 'f64';

export interface MessageLayout {
  /** On the wire. Never given to another message. */
  readonly code: number;
  readonly stream: StreamName;
  /** Who may send it; both, if none is named. */
  readonly from?: Role;
  /** See {@link canWait}. */
  readonly canWait?: true;
  /** Fields of fixed size, in this order. `epoch` is in the frame's head. */
  readonly numbers?: Readonly<Record<string, NumberField>>;
  /** What follows them: bytes (`data`), or JSON that this schema knows. */
  readonly rest?: 'data' | v.GenericSchema;
  /** Most bytes of all of it. A peer that announces more is refused before a byte of it is taken. */
  readonly limitBytes: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;
/** An offloaded packet of 64 KiB with its virtio header and some link-layer heads. */
export const packetBytes = 66 * KiB;
const text = v.pipe(v.string(), v.maxLength(4096));
/** One of nothing but what JSON escapes has room in 2 KiB. */
const reason = v.pipe(v.string(), v.maxLength(mostReasonLength));
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** The version is read first: of another one only that is known (messages.ts), and a peer that has it is told so. */
const hello = v.lazy((said) => (speaksThisVersion(said) ? helloOfThisVersion : v.object({ version: count })));
const helloOfThisVersion = v.strictObject({
  version: count,
  pair: text,
  shape: machineShapeSchema,
  detectMs: count,
  arbiter: text,
  comparing: v.picklist([0, 1]),
  flows: v.optional(portPoliciesSchema),
});

function speaksThisVersion(said: unknown): boolean {
  return typeof said === 'object' && said !== null && 'version' in said && said.version === protocolVersion;
}

const bootFile = v.strictObject({ name: text, sizeBytes: count });

/** How every message looks as bytes, which stream it takes and who may send it. */
export const messageTable: Readonly<Record<MessageKind, MessageLayout>> = {
  hello: {
    code: 1,
    stream: 'control',
    from: 'primary',
    rest: hello,
    limitBytes: 64 * KiB,
  },
  welcome: {
    code: 2,
    stream: 'control',
    from: 'secondary',
    rest: v.strictObject({ shape: machineShapeSchema }),
    limitBytes: 64 * KiB,
  },
  // A peer of another version may have more to say.
  refusal: { code: 3, stream: 'control', rest: v.object({ reason: text }), limitBytes: 8 * KiB },
  protected: { code: 4, stream: 'control', from: 'primary', limitBytes: 0 },
  end: {
    code: 5,
    stream: 'control',
    rest: v.strictObject({
      reason: v.picklist(['unprotect', 'power-off', 'stopped', 'error']),
      exitCode: count,
      why: v.exactOptional(reason),
    }),
    limitBytes: 2 * KiB,
  },
  ended: { code: 6, stream: 'control', limitBytes: 0 },
  heartbeat: { code: 7, stream: 'control', numbers: { clock: 'f64', echo: 'f64', laidBytes: 'u53' }, limitBytes: 24 },
  'checkpoint-wanted': { code: 8, stream: 'control', from: 'secondary', numbers: { why: 'u8' }, limitBytes: 1 },

  'boot-begin': {
    code: 9,
    stream: 'pages',
    from: 'primary',
    rest: v.pipe(
      v.strictObject({ kernel: bootFile, initrd: v.optional(bootFile), commandLine: text, kaslr: v.boolean() }),
      v.check(
        ({ kernel, initrd }) => kernel.sizeBytes + (initrd?.sizeBytes ?? 0) <= mostBootBytes,
        `kernel and initrd have more than ${mostBootBytes} bytes`,
      ),
    ),
    limitBytes: 16 * KiB,
  },
  'boot-bytes': { code: 10, stream: 'pages', from: 'primary', rest: 'data', limitBytes: MiB },
  'take-over': {
    code: 11,
    stream: 'control',
    from: 'primary',
    rest: v.strictObject({ why: reason }),
    limitBytes: 2 * KiB,
  },

  'checkpoint-ready': { code: 16, stream: 'control', from: 'secondary', limitBytes: 0 },
  'checkpoint-request': { code: 17, stream: 'control', from: 'primary', limitBytes: 0 },
  'checkpoint-reply': { code: 18, stream: 'control', from: 'secondary', limitBytes: 0 },
  'vmstate-send': { code: 19, stream: 'control', from: 'primary', numbers: { comparing: 'u8' }, limitBytes: 1 },
  'vmstate-size': { code: 20, stream: 'control', from: 'primary', numbers: { value: 'u53' }, limitBytes: 8 },
  'vmstate-received': { code: 21, stream: 'control', from: 'secondary', limitBytes: 0 },
  'vmstate-loaded': { code: 22, stream: 'control', from: 'secondary', limitBytes: 0 },
  handover: { code: 23, stream: 'control', from: 'primary', limitBytes: 0 },
  'handover-ready': { code: 24, stream: 'control', from: 'secondary', limitBytes: 0 },
  // The last of what P's guest got is before it.
  'handover-done': { code: 25, stream: 'packets', from: 'primary', limitBytes: 0 },

  pages: { code: 32, stream: 'pages', from: 'primary', rest: 'data', limitBytes: MiB + 4 * KiB },
  'pages-end': { code: 33, stream: 'pages', from: 'primary', numbers: { items: 'u53' }, limitBytes: 8 },
  vmstate: { code: 34, stream: 'pages', from: 'primary', rest: 'data', limitBytes: MiB },

  'disk-write': {
    code: 48,
    stream: 'disk',
    canWait: true,
    from: 'primary',
    numbers: { disk: 'u8', offset: 'u53' },
    rest: 'data',
    limitBytes: MiB + 4 * KiB,
  },
  'disk-discard': {
    code: 49,
    stream: 'disk',
    canWait: true,
    from: 'primary',
    numbers: { disk: 'u8', offset: 'u53', lengthBytes: 'u53' },
    limitBytes: 17,
  },
  'disk-zeroes': {
    code: 50,
    stream: 'disk',
    canWait: true,
    from: 'primary',
    numbers: { disk: 'u8', offset: 'u53', lengthBytes: 'u53' },
    limitBytes: 17,
  },
  'disk-end': { code: 51, stream: 'disk', from: 'primary', numbers: { items: 'u53' }, limitBytes: 8 },
  'disk-compare': {
    code: 52,
    stream: 'disk',
    from: 'primary',
    numbers: { disk: 'u8', offset: 'u53', lengthBytes: 'u53' },
    limitBytes: 17,
  },
  'disk-hashes': {
    code: 53,
    stream: 'disk',
    from: 'secondary',
    numbers: { disk: 'u8', offset: 'u53' },
    rest: 'data',
    limitBytes: 9 + (mostComparedBytes / comparedBlockBytes) * hashBytes,
  },
  'disk-origin': { code: 54, stream: 'disk', from: 'primary', limitBytes: 0 },
  'disk-history': { code: 55, stream: 'disk', from: 'secondary', rest: 'data', limitBytes: MiB },
  'disk-generation': { code: 56, stream: 'disk', rest: 'data', limitBytes: 64 },
  'disk-sync': { code: 57, stream: 'disk', from: 'primary', limitBytes: 0 },
  'disk-durable': { code: 58, stream: 'disk', from: 'secondary', limitBytes: 0 },

  output: {
    code: 64,
    stream: 'packets',
    canWait: true,
    from: 'primary',
    numbers: { card: 'u8' },
    rest: 'data',
    limitBytes: packetBytes,
  },
  input: {
    code: 65,
    stream: 'packets',
    from: 'primary',
    numbers: { card: 'u8' },
    rest: 'data',
    limitBytes: packetBytes,
  },
  'packets-end': { code: 66, stream: 'packets', from: 'primary', numbers: { items: 'u53' }, limitBytes: 8 },
  'output-left': { code: 67, stream: 'packets', canWait: true, from: 'primary', limitBytes: 0 },
  'secondary-output': {
    code: 68,
    stream: 'packets',
    from: 'secondary',
    numbers: { card: 'u8' },
    rest: 'data',
    limitBytes: packetBytes,
  },
  'output-confirmed': { code: 69, stream: 'packets', from: 'primary', numbers: { items: 'u53' }, limitBytes: 8 },
};

/** The stream that a message of this kind travels on. */
export function streamOf(kind: MessageKind): StreamName {
  return messageTable[kind].stream;
}

/** One of the messages of a checkpoint (spec A.2), which come many times a second. */
export function isOfCheckpoint(kind: MessageKind): boolean {
  const { code } = messageTable[kind];
  return code >= messageTable['checkpoint-ready'].code && code <= messageTable['vmstate-loaded'].code;
}

/** The peer does nothing about a message of this kind before the end of its epoch comes on the same stream, or more of its kind. */
export function canWait(kind: MessageKind): boolean {
  return messageTable[kind].canWait === true;
}
