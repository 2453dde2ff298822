import { Decoder, Encoder } from 'cbor-x';
import * as v from 'valibot';
import { bytes, checkState, list, record } from '../../devices/state-schema.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { type BootPaths, bootPaths } from '../config/boot-paths.ts';
import { maxCpus } from '../config/config.ts';
import { disks, nets, rng } from '../config/device-config.ts';
import { mostVirtioDevices } from '../platform/virtio-slots.ts';
import type { MachineState } from '../vmstate/machine-state.ts';
import { checkMachineState } from '../vmstate/machine-state-schema.ts';

/** What a machine is made of, in the words of its configuration. */
export interface SnapshotConfig {
  readonly cpus: number;
  readonly disk: v.InferOutput<typeof disks>;
  readonly net: v.InferOutput<typeof nets>;
  readonly rng: v.InferOutput<typeof rng>;
  /** What it boots when it is reset; paths begin at the root. Snapshots of earlier versions do not say. */
  readonly boot?: BootPaths | undefined;
}

/** The snapshot that another one holds the changes since. */
export interface SnapshotBase {
  readonly id: string;
  /** Relative to the folder of the snapshot that names it. */
  readonly path: string;
}

/** All of a snapshot but its RAM. */
export interface SnapshotTail {
  readonly version: 1;
  /** Unlike that of any other snapshot. */
  readonly id: string;
  readonly base: SnapshotBase | null;
  /** When it was taken: milliseconds since 1970. */
  readonly takenAt: number;
  readonly config: SnapshotConfig;
  /** When the file of each disk was last written: milliseconds since 1970. */
  readonly diskTimes: readonly number[];
  readonly state: MachineState;
  /** CRC-32 of each chunk, little-endian. */
  readonly checksums: Uint8Array;
  /** One bit a page that it holds, where it has a base; the lowest bit of a byte first. */
  readonly pages: Uint8Array | null;
}

const tailVersion = 1;
/** Enough for a terabyte of RAM. */
const mostBytes = 64 * 1024 * 1024;

const text = v.pipe(v.string('is no text'), v.minLength(1, 'is empty'), v.maxLength(4096, 'is too long'));

const time = v.pipe(v.number('is no time'), v.finite('is no time'), v.minValue(0, 'is no time'));

const tail = record({
  version: v.literal(tailVersion, 'is no version'),
  id: text,
  base: v.nullable(record({ id: text, path: text })),
  takenAt: time,
  config: record({
    cpus: v.pipe(v.number('is no number'), v.integer(), v.minValue(1), v.maxValue(maxCpus)),
    disk: disks,
    net: nets,
    rng,
    boot: v.optional(record(bootPaths)),
  }),
  diskTimes: list(time, mostVirtioDevices),
  state: v.unknown(),
  checksums: bytes(mostBytes),
  pages: v.nullable(bytes(mostBytes)),
});

const options = { useRecords: false, mapsAsObjects: true, tagUint8Array: false } as const;
const encoder = new Encoder(options);
const decoder = new Decoder(options);

export function encodeTail(value: SnapshotTail): Uint8Array {
  const { rng: source } = value.config;
  const config = { ...value.config, rng: source.kind === 'seed' ? `seed=${source.seed}` : source.kind };
  return encoder.encode({ ...value, config });
}

/** @throws VmStateError that names what is wrong */
export function decodeTail(encoded: Uint8Array): SnapshotTail {
  let value: unknown;
  try {
    value = decoder.decode(Buffer.from(encoded));
  } catch (error) {
    throw new VmStateError('snapshot', `is no CBOR: ${error instanceof Error ? error.message : error}`);
  }
  const checked = checkState('snapshot', tailVersion, tail, value);
  return { ...checked, state: checkMachineState(checked.state) };
}
