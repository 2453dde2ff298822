import { Decoder, Encoder } from 'cbor-x';
import { VmStateError } from '../../devices/vm-state-error.ts';
import type { MachineState } from './machine-state.ts';
import { checkMachineState } from './machine-state-schema.ts';

// Plain maps: a reader in another language needs no extension of CBOR (RFC 8949).
const options = { useRecords: false, mapsAsObjects: true, tagUint8Array: false } as const;
const encoder = new Encoder(options);
const decoder = new Decoder(options);

/** A machine's state as CBOR. */
export function encodeMachineState(state: MachineState): Uint8Array {
  return encoder.encode(state);
}

/** @throws VmStateError if the bytes are no machine's state */
export function decodeMachineState(bytes: Uint8Array): MachineState {
  let value: unknown;
  try {
    value = decoder.decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch (error) {
    throw new VmStateError('machine', `is no CBOR: ${error instanceof Error ? error.message : error}`);
  }
  return checkMachineState(value);
}
