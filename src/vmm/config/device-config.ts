import * as v from 'valibot';
import { keyValues, repeatable } from './key-values.ts';

/** `on` or `off`, as a boolean. */
const onOff = (initially: boolean) =>
  v.optional(
    v.pipe(
      v.union([v.boolean(), v.picklist(['on', 'off'])], 'is on or off'),
      v.transform((value) => value === true || value === 'on'),
    ),
    initially,
  );

/** A string of a certain form. */
const text = (form: RegExp, message: string) => v.pipe(v.string(message), v.regex(form, message));

const identifier = text(/^[\w.-]{1,20}$/, 'is up to 20 letters, digits, dots, dashes');
const path = text(/./s, 'names a file');
/** IFNAMSIZ less its NUL; a slash or blank never is in a name. */
const interfaceName = text(/^[^\s/]{1,15}$/, 'is the name of a network interface: up to 15 characters');

/** What to do when a write fails: tell the guest, stop the machine, or stop it only when the host's disk is full. */
export const writeErrorPolicies = ['enospc', 'report', 'stop'] as const;

const disk = v.strictObject({
  path,
  /** Serial number that the guest sees, and name in messages. */
  id: v.optional(identifier),
  readonly: onOff(false),
  direct: onOff(false),
  /** What `path` holds: nothing but the disk's bytes. Given, it may look like something else. */
  format: v.optional(
    v.literal('raw', 'is raw: qemu-img convert -O raw OLD NEW makes that of an image of another format'),
  ),
  /** Bytes of a sector as the guest sees them; default 512. */
  sector: v.optional(
    v.pipe(
      v.union([v.literal(512), v.literal(4096), v.literal('512'), v.literal('4096')], 'is 512 or 4096'),
      v.transform(Number),
    ),
  ),
  /** File for what the guest writes; `path` then is never written. */
  overlay: v.optional(path),
  werror: v.optional(v.picklist(writeErrorPolicies, `is ${writeErrorPolicies.join(', ')}`), 'enospc'),
});

const mtuRange = 'is 68 to 65521 bytes';

const net = v.strictObject({
  tap: interfaceName,
  mac: v.optional(
    v.pipe(
      text(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'is six pairs of hexadecimal digits, such as 02:00:00:00:00:01'),
      v.check((mac) => (Number.parseInt(mac, 16) & 1) === 0, 'is a multicast address; its first byte must be even'),
    ),
  ),
  mtu: v.optional(
    v.pipe(
      v.union([v.number(), v.pipe(v.string(), v.digits(), v.transform(Number))], mtuRange),
      v.check((mtu) => Number.isInteger(mtu) && mtu >= 68 && mtu <= 65521, mtuRange),
    ),
  ),
  offload: onOff(true),
  bridge: v.optional(interfaceName),
});

/** A disk, as configured. */
export type DiskConfig = v.InferOutput<typeof disk>;
/** A network card, as configured. */
export type NetConfig = v.InferOutput<typeof net>;

export const disks = v.pipe(
  repeatable,
  v.array(v.pipe(keyValues('path=disk.img,id=root'), disk)),
  v.check(
    (list) => repeated(list.map(nameOfDisk)) === undefined,
    ({ input }) => `two disks have the id ${repeated(input.map(nameOfDisk))}; give each one of its own`,
  ),
);
export const nets = v.pipe(
  repeatable,
  v.array(v.pipe(keyValues('tap=tap0,mac=02:00:00:00:00:01'), net)),
  v.check(
    (list) => repeated(list.map(({ tap }) => tap)) === undefined,
    ({ input }) => `two network cards have the tap ${repeated(input.map(({ tap }) => tap))}; give each one of its own`,
  ),
);

/** What disk `index` of the machine is called. */
export function nameOfDisk({ id }: DiskConfig, index: number): string {
  return id ?? `disk${index}`;
}

/** The first name that was there before. */
function repeated(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) < index);
}

/** Where the entropy device's bytes come from. */
export type RngConfig = { readonly kind: 'none' } | { readonly kind: 'host' } | { readonly kind: 'seed'; seed: number };

const rngForms = 'give host, seed=NUMBER (below 2^32) or none';

export const rng = v.pipe(
  v.string(rngForms),
  v.transform((text): RngConfig | undefined => {
    if (text === 'none' || text === 'host') return { kind: text };
    const match = /^seed=(\d{1,10})$/.exec(text);
    const seed = Number(match?.[1]);
    return match !== null && seed <= 0xffff_ffff ? { kind: 'seed', seed } : undefined;
  }),
  v.custom<RngConfig>((value) => value !== undefined, rngForms),
);
