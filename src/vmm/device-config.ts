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

const identifier = v.pipe(v.string(), v.regex(/^[\w.-]{1,20}$/, 'is up to 20 letters, digits, dots, dashes'));
const path = v.pipe(v.string('is a path'), v.nonEmpty('is a path'));
/** IFNAMSIZ less its NUL; a slash or blank never is in a name. */
const interfaceName = v.pipe(
  v.string(),
  v.regex(/^[^\s/]{1,15}$/, 'is the name of a network interface: up to 15 characters'),
);

/** What to do when a write fails: tell the guest, stop the machine, or stop it only when the host's disk is full. */
export const writeErrorPolicies = ['enospc', 'report', 'stop'] as const;

const disk = v.strictObject({
  path,
  /** Serial number that the guest sees, and name in messages. */
  id: v.optional(identifier),
  readonly: onOff(false),
  direct: onOff(false),
  /** File for what the guest writes; `path` then is never written. */
  overlay: v.optional(path),
  werror: v.optional(v.picklist(writeErrorPolicies, `is ${writeErrorPolicies.join(', ')}`), 'enospc'),
});

const net = v.strictObject({
  tap: interfaceName,
  mac: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'is six pairs of hexadecimal digits, such as 02:00:00:00:00:01'),
      v.check((text) => (Number.parseInt(text, 16) & 1) === 0, 'is a multicast address; its first byte must be even'),
    ),
  ),
  mtu: v.optional(
    v.pipe(
      v.union([v.number(), v.pipe(v.string(), v.transform(Number))]),
      v.check((mtu) => Number.isInteger(mtu) && mtu >= 68 && mtu <= 65521, 'is 68 to 65521 bytes'),
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
    (list) => new Set(list.map(({ id }, index) => id ?? `disk${index}`)).size === list.length,
    'two disks have the same id',
  ),
);
export const nets = v.pipe(
  repeatable,
  v.array(v.pipe(keyValues('tap=tap0,mac=02:00:00:00:00:01'), net)),
  v.check((list) => new Set(list.map(({ tap }) => tap)).size === list.length, 'two network cards have the same tap'),
);

/** Where the entropy device's bytes come from. */
export type RngConfig = { readonly kind: 'none' } | { readonly kind: 'host' } | { readonly kind: 'seed'; seed: number };

export const rng = v.pipe(
  v.string('is host, seed=NUMBER or none'),
  v.transform((text): RngConfig | undefined => {
    if (text === 'none' || text === 'host') return { kind: text };
    const match = /^seed=(\d{1,10})$/.exec(text);
    const seed = Number(match?.[1]);
    return match !== null && seed <= 0xffff_ffff ? { kind: 'seed', seed } : undefined;
  }),
  v.custom<RngConfig>((value) => value !== undefined, 'give host, seed=NUMBER (below 2^32) or none'),
);
