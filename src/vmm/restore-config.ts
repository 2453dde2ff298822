import * as v from 'valibot';
import { ConfigError, serial } from './config.ts';
import { type DiskConfig, disks, type NetConfig, nets } from './device-config.ts';
import { parseKeyValues } from './key-values.ts';
import type { SnapshotConfig } from './snapshot/snapshot-tail.ts';

const schema = v.strictObject({
  serial: v.optional(serial, 'stdio'),
  name: v.optional(
    v.pipe(v.string('give a name'), v.regex(/^[\w.-]{1,64}$/, 'give up to 64 letters, digits, dots, dashes')),
  ),
  control: v.optional(v.pipe(v.string('give a path'), v.nonEmpty('give a path'))),
  clock: v.optional(v.picklist(['keep', 'jump'], 'is keep or jump'), 'keep'),
  paused: v.optional(v.boolean(), false),
  disk: v.optional(v.array(v.string()), []),
  net: v.optional(v.array(v.string()), []),
});

/** How a snapshot is to be restored. */
export type RestoreConfig = v.InferOutput<typeof schema>;

/** @throws ConfigError for the first thing that is wrong */
export function parseRestoreConfig(flags: Readonly<Record<string, unknown>>): RestoreConfig {
  const result = v.safeParse(schema, flags, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const key = String(issue.path?.[0]?.key ?? '');
  throw new ConfigError(`--${key} ${String(issue.path?.[0]?.value ?? '')}: ${issue.message}`);
}

/**
 * The devices of a snapshot, with the keys that are given anew: `id=root,path=other.img` for a disk of that id, without an id
 * and for network cards in the snapshot's order.
 *
 * @throws ConfigError
 */
export function mergeDevices(
  { disk, net }: Pick<SnapshotConfig, 'disk' | 'net'>,
  given: Pick<RestoreConfig, 'disk' | 'net'>,
): { disk: DiskConfig[]; net: NetConfig[] } {
  return {
    disk: merged('disk', disk, given.disk, disks, ({ id }) => id),
    net: merged('net', net, given.net, nets, () => undefined),
  };
}

function merged<Device extends object>(
  flag: 'disk' | 'net',
  saved: readonly Device[],
  given: readonly string[],
  schema: v.GenericSchema<unknown, Device[]>,
  idOf: (device: Device) => string | undefined,
): Device[] {
  const devices: object[] = [...saved];
  for (const [position, text] of given.entries()) {
    const refuse = (reason: string): ConfigError => new ConfigError(`--${flag} ${text}: ${reason}`);
    const keys = parseKeyValues(text);
    if (typeof keys === 'string') throw refuse(`"${keys}" is not one more key=value`);
    const { id } = keys;
    const index = flag === 'disk' && id !== undefined ? saved.findIndex((device) => idOf(device) === id) : position;
    const device = saved[index];
    if (device === undefined)
      throw refuse(`the snapshot has no such ${what[flag]}; it has ${listed(flag, saved, idOf)}`);
    devices[index] = { ...device, ...keys };
    const checked = v.safeParse(schema, [devices[index]], { abortEarly: true });
    if (!checked.success) throw refuse(explain(checked.issues[0]));
  }
  const checked = v.safeParse(schema, devices, { abortEarly: true });
  if (!checked.success) throw new ConfigError(`--${flag}: ${checked.issues[0].message}`);
  return checked.output;
}

const what = { disk: 'disk', net: 'network card' } as const;

function listed<Device>(
  flag: 'disk' | 'net',
  saved: readonly Device[],
  idOf: (device: Device) => string | undefined,
): string {
  if (saved.length === 0) return 'none';
  return flag === 'disk' ? saved.map(idOf).join(', ') : `${saved.length}, in the order of the flags`;
}

function explain(issue: v.BaseIssue<unknown>): string {
  const key = String(issue.path?.[1]?.key ?? '');
  if (issue.type !== 'strict_object') return `${key} ${issue.message}`;
  return issue.expected === 'never' ? `it has no key ${key}` : `${key}= is missing`;
}
