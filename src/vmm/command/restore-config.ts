import * as v from 'valibot';
import { ConfigError, onEvent, onPanic, reboot, serial, webAddress } from '../config/config.ts';
import { type DiskConfig, disks, type NetConfig, nets } from '../config/device-config.ts';
import { parseKeyValues } from '../config/key-values.ts';
import type { SnapshotConfig } from '../snapshot/snapshot-tail.ts';

const schema = v.strictObject({
  serial: v.optional(serial, 'stdio'),
  name: v.optional(
    v.pipe(v.string('give a name'), v.regex(/^[\w.-]{1,64}$/, 'give up to 64 letters, digits, dots, dashes')),
  ),
  control: v.optional(v.pipe(v.string('give a path'), v.nonEmpty('give a path'))),
  metrics: webAddress,
  dashboard: webAddress,
  'on-event': onEvent,
  'on-panic': v.optional(onPanic, 'exit'),
  reboot,
  clock: v.optional(v.picklist(['keep', 'jump'], 'give keep or jump')),
  paused: v.optional(v.boolean(), false),
  disk: v.optional(v.array(v.string()), []),
  net: v.optional(v.array(v.string()), []),
});

/** How a snapshot is to be restored. */
export type RestoreConfig = v.InferOutput<typeof schema>;

/** @throws ConfigError for the first thing that is wrong */
export function parseRestoreConfig(flags: Readonly<Record<string, unknown>>): RestoreConfig {
  const result = v.safeParse(schema, flags, { abortEarly: true });
  if (result.success) {
    const { clock, paused } = result.output;
    if (!paused || clock === undefined) return result.output;
    throw new ConfigError(
      `--clock ${clock}: a machine restored with --paused has its clocks set when it goes on; give it to colo-vmm resume`,
    );
  }
  const [issue] = result.issues;
  const key = String(issue.path?.[0]?.key ?? '');
  throw new ConfigError(`--${key} ${String(issue.path?.[0]?.value ?? '')}: ${issue.message}`);
}

/**
 * The devices of a snapshot, with the keys that are given anew: `id=root,path=other.img` for the disk of that id. What names
 * no id is for the first disk, or network card, that nothing was given for yet.
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
  const changed = new Set<number>();
  for (const text of given) {
    const refuse = (reason: string): ConfigError => new ConfigError(`--${flag} ${text}: ${reason}`);
    const keys = parseKeyValues(text);
    if (typeof keys === 'string') throw refuse(`"${keys}" is not one more key=value`);
    const { id } = keys;
    const index =
      flag === 'disk' && id !== undefined
        ? saved.findIndex((device) => idOf(device) === id)
        : saved.findIndex((_, position) => !changed.has(position));
    const device = saved[index];
    if (device === undefined) {
      const missing = id === undefined ? `has no more ${plural[flag]}` : `has no ${flag} ${id}`;
      throw refuse(`the snapshot ${missing}; it has ${listed(flag, saved, idOf)}`);
    }
    if (changed.has(index)) throw refuse(`there is another --${flag} for ${id}; give all its keys in one`);
    changed.add(index);
    devices[index] = { ...device, ...keys };
    const checked = v.safeParse(schema, [devices[index]], { abortEarly: true });
    if (!checked.success) throw refuse(explain(checked.issues[0]));
    if (keys.mac !== undefined && keys.mac.toLowerCase() !== macOf(device)) {
      throw refuse(
        'mac cannot be changed: the guest keeps the address that it has; leave mac out, or start the guest anew',
      );
    }
  }
  const checked = v.safeParse(schema, devices, { abortEarly: true });
  if (!checked.success) throw new ConfigError(`--${flag}: ${checked.issues[0].message}`);
  return checked.output;
}

/** The address that a card was given; a random one is in nobody's configuration. */
function macOf(device: object): string | undefined {
  return 'mac' in device && typeof device.mac === 'string' ? device.mac.toLowerCase() : undefined;
}

const plural = { disk: 'disks', net: 'network cards' } as const;

function listed<Device>(
  flag: 'disk' | 'net',
  saved: readonly Device[],
  idOf: (device: Device) => string | undefined,
): string {
  if (saved.length === 0) return 'none';
  return flag === 'disk' ? saved.map(idOf).join(', ') : `${saved.length}`;
}

function explain(issue: v.BaseIssue<unknown>): string {
  const key = String(issue.path?.[1]?.key ?? '');
  if (issue.type !== 'strict_object') return `${key} ${issue.message}`;
  return issue.expected === 'never' ? `it has no key ${key}` : `${key}= is missing`;
}
