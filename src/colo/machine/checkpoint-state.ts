import { Decoder, Encoder } from 'cbor-x';
import * as v from 'valibot';
import { seedBytes } from '../../devices/rng/random-source.ts';
import { checkSerialPortState } from '../../devices/serial-port-state-schema.ts';
import { bytes as bytesOf, checkState, record, u8, u32 } from '../../devices/state-schema.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import type { CheckpointState } from '../../vmm/checkpoint/checkpoint.ts';
import { checkIoDeviceStates } from '../../vmm/io/io-device-state-schema.ts';
import { StateImage } from '../../vmm/vmstate/state-image.ts';
import { defaultTranslateSettings } from '../translate/settings.ts';
import { checkedTranslatorState, type TranslatorState } from '../translate/translator-state.ts';

/**
 * A machine's state as it travels, which is what `vmstate-size` counts:
 *
 *     0        u32   bytes of the image, little-endian
 *     4        the image: what KVM keeps (state-image.ts)
 *     4 + n    CBOR: { serial, pciAddress, devices } as in snapshots, { seed } of the guest's entropy from here on, { exitCode } of one
 *              that has ended, { translation } of one whose packets are translated (../translate)
 */
const headBytes = 4;

const options = { useRecords: false, mapsAsObjects: true, tagUint8Array: false } as const;
const encoder = new Encoder(options);
const decoder = new Decoder(options);

const version = 4;
const seed = v.pipe(
  bytesOf(seedBytes),
  v.length(seedBytes, `are not ${seedBytes} bytes`),
  v.check((bytes) => bytes.some((byte) => byte !== 0), 'are all zero'),
);

const devices = record({
  version: v.literal(version, 'is of another colo-vmm: run the same one on both hosts'),
  serial: v.unknown(),
  pciAddress: u32,
  devices: v.unknown(),
  seed,
  exitCode: v.nullable(u8),
  translation: v.unknown(),
});

/** A state, and how its guest has ended, if it has: whoever takes it over has nothing to run (spec B.13). */
export interface GuestState extends CheckpointState {
  /** What the guest's entropy comes from here on, on both sides. */
  readonly seed: Uint8Array;
  readonly exitCode?: number;
  /** Of a survivor of a pair that was compared: its connections that go on with the numbers of the primary before it. */
  readonly translation?: TranslatorState;
}

/** A state's bytes, in memory that threads share. */
export interface EncodedState {
  readonly storage: SharedArrayBuffer;
  /** They are the first so many. */
  readonly sizeBytes: number;
}

/** Encodes states, each over the one before. */
export class StateEncoder {
  #storage = new SharedArrayBuffer(0);

  encode({ image, own, devices: states, seed, exitCode, translation }: GuestState): EncodedState {
    const rest = encoder.encode({
      version,
      ...own,
      devices: states,
      seed,
      exitCode: exitCode ?? null,
      translation: translation ?? null,
    });
    const sizeBytes = headBytes + image.bytes.length + rest.length;
    if (this.#storage.byteLength < sizeBytes) this.#storage = new SharedArrayBuffer(2 * sizeBytes);
    const bytes = new Uint8Array(this.#storage);
    new DataView(this.#storage).setUint32(0, image.bytes.length, true);
    bytes.set(image.bytes, headBytes);
    bytes.set(rest, headBytes + image.bytes.length);
    return { storage: this.#storage, sizeBytes };
  }
}

/**
 * The state in bytes that came from outside. What only the machine it is loaded into can tell is checked there.
 *
 * @throws VmStateError that names the part and what is wrong with it
 */
export function decodeState(bytes: Uint8Array): GuestState {
  if (bytes.length < headBytes) throw new VmStateError('checkpoint', `has ${bytes.length} bytes`);
  const imageBytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(0, true);
  if (bytes.length - headBytes < imageBytes) {
    throw new VmStateError('checkpoint', `has ${bytes.length} bytes, and its image alone ${imageBytes}`);
  }
  const image = StateImage.from(bytes.subarray(headBytes, headBytes + imageBytes));
  let rest: unknown;
  try {
    rest = decoder.decode(Buffer.from(bytes.subarray(headBytes + imageBytes)));
  } catch (error) {
    throw new VmStateError('checkpoint', `is no CBOR: ${error instanceof Error ? error.message : error}`);
  }
  const {
    serial,
    pciAddress,
    devices: states,
    seed,
    exitCode,
    translation,
  } = checkState('checkpoint', version, devices, rest);
  return {
    image,
    own: { serial: checkSerialPortState(serial), pciAddress },
    devices: checkIoDeviceStates(states),
    seed,
    ...(exitCode === null ? {} : { exitCode }),
    ...(translation === null ? {} : { translation: translationOf(translation) }),
  };
}

/** @throws VmStateError */
function translationOf(state: unknown): TranslatorState {
  try {
    return checkedTranslatorState(state, defaultTranslateSettings.flows);
  } catch (error) {
    throw new VmStateError('checkpoint', (error as Error).message);
  }
}
