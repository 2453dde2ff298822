import * as v from 'valibot';

/** What a standby must match to take over (spec B.14). It travels in `hello` and `welcome` as JSON. */
export interface MachineShape {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Processor features that the guest sees (P), or could be given here (S), by their names in /proc/cpuinfo. */
  readonly cpuFeatures: readonly string[];
  /** The guest's TSC frequency (P); this host's own (S). */
  readonly tscKhz: number;
  /** The host can run guests at another TSC frequency than its own. */
  readonly tscScaling: boolean;
  readonly disks: readonly DiskShape[];
  readonly cards: readonly CardShape[];
}

export interface DiskShape {
  readonly id: string;
  /** As the operator knows it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

export interface CardShape {
  readonly tap: string;
  /** S has no address of its own: it takes P's. */
  readonly mac?: string | undefined;
}

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const name = v.pipe(v.string(), v.maxLength(4096));
const few = 256;

export const machineShapeSchema = v.strictObject({
  cpus: count,
  memoryBytes: count,
  cpuFeatures: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(1024)),
  tscKhz: count,
  tscScaling: v.boolean(),
  disks: v.pipe(
    v.array(v.strictObject({ id: name, path: name, sizeBytes: count, readOnly: v.boolean() })),
    v.maxLength(few),
  ),
  cards: v.pipe(v.array(v.strictObject({ tap: name, mac: v.optional(name) })), v.maxLength(few)),
});
