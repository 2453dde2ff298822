import * as v from 'valibot';
import { type Frame, head, roleCodes } from './frame.ts';
import { type MessageLayout, messageTable, type NumberField } from './message-table.ts';
import type { Message, MessageKind } from './messages.ts';
import { term } from './numbers.ts';
import { ProtocolError } from './protocol-error.ts';

/** What is known of a kind of message, once and for all. */
export interface KnownMessage {
  readonly kind: MessageKind;
  readonly layout: MessageLayout;
  readonly numbers: readonly (readonly [name: string, field: NumberField])[];
  /** Bytes of its fields of fixed size. */
  readonly fixedBytes: number;
  readonly hasEpoch: boolean;
}

const fieldBytes: Readonly<Record<NumberField, number>> = { u8: 1, u32: 4, u53: 8, f64: 8 };

/** The first code of messages that belong to an epoch. */
const firstEpochCode = 16;

const known: readonly KnownMessage[] = Object.entries(messageTable).map(([kind, layout]) => {
  const numbers = Object.entries(layout.numbers ?? {});
  return {
    kind: kind as MessageKind,
    layout,
    numbers,
    fixedBytes: numbers.reduce((sum, [, field]) => sum + fieldBytes[field], 0),
    hasEpoch: layout.code >= firstEpochCode,
  };
});
const byKind = new Map(known.map((entry) => [entry.kind, entry]));
const byCode = new Map(known.map((entry) => [entry.layout.code, entry]));

/** The message that has this code on the wire. */
export function knownMessage(code: number): KnownMessage | undefined {
  return byCode.get(code);
}

/** The frame as bytes. A message that breaks its own limits is our mistake: a RangeError. */
export function encodeFrame({ role, term, message }: Frame): Uint8Array {
  const entry = byKind.get(message.kind) as KnownMessage;
  const values = message as unknown as Readonly<Record<string, number>>;
  const rest = restOf(entry, message);
  const length = entry.fixedBytes + rest.length;
  if (length > entry.layout.limitBytes) {
    throw new RangeError(`${message.kind} has ${length} bytes, more than ${entry.layout.limitBytes}`);
  }
  const bytes = new Uint8Array(head.sizeBytes + length);
  const view = new DataView(bytes.buffer);
  view.setUint32(head.length, length, true);
  view.setUint8(head.code, entry.layout.code);
  view.setUint8(head.role, roleCodes[role]);
  writeNumber(view, head.term, 'u53', term);
  if (entry.hasEpoch) writeNumber(view, head.epoch, 'u53', values.epoch as number);
  let at = head.sizeBytes;
  for (const [name, field] of entry.numbers) {
    writeNumber(view, at, field, values[name] as number);
    at += fieldBytes[field];
  }
  bytes.set(rest, at);
  return bytes;
}

/**
 * The frame in `bytes`, which are all of it and whose head was checked (frame-reader.ts). Data is a view of them.
 *
 * @throws ProtocolError
 */
export function decodeFrame(bytes: Uint8Array, entry: KnownMessage): Frame {
  const { layout, kind } = entry;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const message: Record<string, unknown> = { kind };
  const epoch = readNumber(view, head.epoch, 'u53', kind, 'epoch');
  if (entry.hasEpoch) message.epoch = epoch;
  else if (epoch !== 0) throw invalid(kind, 'it has an epoch');
  const restAt = head.sizeBytes + entry.fixedBytes;
  if (bytes.length < restAt) throw invalid(kind, 'it is cut');
  let at: number = head.sizeBytes;
  for (const [name, field] of entry.numbers) {
    message[name] = readNumber(view, at, field, kind, name);
    at += fieldBytes[field];
  }
  if (layout.rest === 'data') message.data = bytes.subarray(at);
  else if (layout.rest !== undefined) Object.assign(message, readJson(bytes.subarray(at), layout.rest, kind));
  else if (bytes.length > at) throw invalid(kind, `${bytes.length - at} bytes are left over`);
  return {
    role: view.getUint8(head.role) === roleCodes.primary ? 'primary' : 'secondary',
    term: term(readNumber(view, head.term, 'u53', kind, 'term')),
    message: message as unknown as Message,
  };
}

const nothing = new Uint8Array(0);

function restOf({ layout }: KnownMessage, message: Message): Uint8Array {
  if (layout.rest === undefined) return nothing;
  if (layout.rest === 'data') return (message as unknown as { readonly data: Uint8Array }).data;
  const { kind: _, ...fields } = message;
  return new TextEncoder().encode(JSON.stringify(fields));
}

function readJson(bytes: Uint8Array, schema: v.GenericSchema, kind: string): object {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw invalid(kind, 'it is no JSON');
  }
  const result = v.safeParse(schema, value);
  if (!result.success) throw invalid(kind, result.issues[0].message);
  return result.output as object;
}

function readNumber(view: DataView, at: number, field: NumberField, kind: string, name: string): number {
  switch (field) {
    case 'u8':
      return view.getUint8(at);
    case 'u32':
      return view.getUint32(at, true);
    case 'f64': {
      const value = view.getFloat64(at, true);
      if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) {
        throw invalid(kind, `its ${name} is ${value}`);
      }
      return value;
    }
    case 'u53': {
      const high = view.getUint32(at + 4, true);
      if (high >= 2 ** 21) throw invalid(kind, `its ${name} is 2^53 or more`);
      return high * 2 ** 32 + view.getUint32(at, true);
    }
  }
}

function writeNumber(view: DataView, at: number, field: NumberField, value: number): void {
  switch (field) {
    case 'u8':
      view.setUint8(at, value);
      break;
    case 'u32':
      view.setUint32(at, value, true);
      break;
    case 'f64':
      view.setFloat64(at, value, true);
      break;
    case 'u53':
      if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no whole number below 2^53`);
      view.setUint32(at, value % 2 ** 32, true);
      view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
      break;
  }
}

function invalid(kind: string, why: string): ProtocolError {
  return new ProtocolError('invalid-message', `invalid message: ${kind}: ${why}`);
}
