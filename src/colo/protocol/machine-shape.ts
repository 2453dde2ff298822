import * as v from 'valibot';

/** What a standby must match to take over (spec B.14). It travels in `hello` and `welcome` as JSON. */
export interface MachineShape {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Who made the processor, as CPUID says: other makers' have other registers. */
  readonly cpuVendor: string;
  /** Bytes that the state of floating-point and vector registers takes. */
  readonly xsaveBytes: number;
  /** Processor features that the guest sees (P), or could be given here (S), by their names in /proc/cpuinfo. */
  readonly cpuFeatures: readonly string[];
  /** The guest's TSC frequency (P); this host's own (S). */
  readonly tscKhz: number;
  /** S's host can run guests at another TSC frequency than its own. */
  readonly tscScaling: boolean;
  readonly disks: readonly DiskShape[];
  readonly cards: readonly CardShape[];
  /** P's source of entropy; S takes the same. */
  readonly rng: 'none' | 'host' | 'seed';
  /** What is done when P's guest says that it panicked; S does the same. Of S absent: it takes P's. */
  readonly onPanic?: 'exit' | 'pause' | 'run' | undefined;
}

export interface DiskShape {
  readonly id: string;
  /** As the operator knows it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** S: it is a block device, whose size nobody changes as a file's. Absent: a file, or nobody knows. */
  readonly isDevice?: boolean | undefined;
  /** Bytes of a sector as the guest sees them. S has none of its own: it takes P's. */
  readonly sectorBytes?: number | undefined;
}

export interface CardShape {
  readonly tap: string;
  /** S has no address of its own: it takes P's. */
  readonly mac?: string | undefined;
  /** So are these: what the guest was told that packets may be. Absent: it was told no MTU. */
  readonly mtu?: number | undefined;
  readonly offload?: boolean | undefined;
}

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const name = v.pipe(v.string(), v.maxLength(4096));
const few = 256;

export const machineShapeSchema = v.strictObject({
  cpus: count,
  memoryBytes: count,
  cpuVendor: v.pipe(v.string(), v.maxLength(12)),
  xsaveBytes: count,
  cpuFeatures: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(1024)),
  tscKhz: count,
  tscScaling: v.boolean(),
  disks: v.pipe(
    v.array(
      v.strictObject({
        id: name,
        path: name,
        sizeBytes: count,
        readOnly: v.boolean(),
        isDevice: v.optional(v.boolean()),
        sectorBytes: v.optional(count),
      }),
    ),
    v.maxLength(few),
  ),
  cards: v.pipe(
    v.array(
      v.strictObject({ tap: name, mac: v.optional(name), mtu: v.optional(count), offload: v.optional(v.boolean()) }),
    ),
    v.maxLength(few),
  ),
  rng: v.picklist(['none', 'host', 'seed']),
  onPanic: v.optional(v.picklist(['exit', 'pause', 'run'])),
});
