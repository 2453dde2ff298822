import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import * as v from 'valibot';
import { alignDown, MiB, pageSize } from '../../memory/address.ts';
import { minimumRamBytes } from '../../memory/layout.ts';
import type { RamBacking } from '../../memory/ram.ts';
import { cpuFeatures } from './cpu-features.ts';
import { disks, nets, rng } from './device-config.ts';
import { repeatable } from './key-values.ts';

/** A flag or configuration key has a value that will not do. The message names it, what is wrong, and what would do. */
export class ConfigError extends Error {
  readonly code = 'CONFIG';

  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

/** vCPUs a machine may have; more have never been tried. */
export const maxCpus = 8;

/** Where the serial port leads. */
export type SerialTarget =
  | { readonly kind: 'stdio'; readonly eof: 'stop' | 'ignore' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** How much RAM, and what it is made of. */
export interface MemoryConfig {
  readonly sizeBytes: number;
  readonly backing: RamBacking;
}

/** What `--cmdline` is when nobody gives one. */
export const defaultCommandLine = 'console=ttyS0 panic=-1 pci=off random.trust_cpu=on';

const sizeUnits: Readonly<Record<string, number>> = { K: 1 / 1024, M: 1, G: 1024, T: 1024 * 1024 };

const path = v.pipe(v.string('give a path'), v.nonEmpty('give a path'));

const cpus = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.transform(parseCount))], 'give a number'),
  v.check(
    (count) => Number.isInteger(count) && count >= 1 && count <= maxCpus,
    `a machine has 1 to ${maxCpus} virtual CPUs`,
  ),
);

const memory = v.pipe(
  v.union([v.string(), v.number()], 'give a size such as 256M'),
  v.transform(parseMemory),
  v.custom<MemoryConfig>(
    (value) => value !== undefined,
    'give a size such as 256M or 2G (without a unit: MiB), and ,shared=on if you want that',
  ),
  v.check(({ sizeBytes }) => sizeBytes >= minimumRamBytes, `a machine needs at least ${minimumRamBytes / MiB}M`),
  v.check(({ sizeBytes }) => sizeBytes <= totalmem(), `this host has only ${Math.floor(totalmem() / MiB)}M`),
);

export const serial = v.pipe(
  v.string('give stdio, file=PATH or none'),
  v.transform(parseSerial),
  v.custom<SerialTarget>((value) => value !== undefined, 'give stdio[,eof=stop|ignore], file=PATH or none'),
);

const cpuMask = v.pipe(
  v.union(
    [
      v.pipe(
        v.string(),
        v.transform((names) => names.split(',').filter((name) => name.length > 0)),
      ),
      v.array(v.string()),
    ],
    'give names of CPU features, such as xsave,avx',
  ),
  v.array(
    v.pipe(
      v.string(),
      v.check(
        (name) => Object.hasOwn(cpuFeatures, name),
        (issue) => `no CPU feature is called ${issue.received}; known are ${Object.keys(cpuFeatures).join(' ')}`,
      ),
    ),
  ),
);

/** What a reset does: the guest begins anew in the same process, or the machine ends. */
export const reboot = v.optional(v.picklist(['reset', 'exit'], 'give reset or exit'), 'reset');

/** What is done when the guest's kernel says that it panicked: the machine ends, pauses, or runs on as the kernel wants. */
export type PanicAction = v.InferOutput<typeof onPanic>;
export const onPanic = v.picklist(['exit', 'pause', 'run'], 'give exit, pause or run');

const machineName = v.optional(
  v.pipe(v.string('give a name'), v.regex(/^[\w.-]{1,64}$/, 'give up to 64 letters, digits, dots, dashes')),
);

const milliseconds = v.optional(
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.transform(parseCount))], 'give a number of milliseconds'),
    v.check((count) => !Number.isNaN(count), 'give a number of milliseconds'),
  ),
);

/** Keys of a host of a pair. Only their types are checked here: what they mean is src/colo's, loaded where one is given. */
const pairKeys = {
  arbiter: v.optional(v.string('give manual, etcd:URL or file:FOLDER')),
  tls: v.optional(v.string('give dir=FOLDER')),
  insecure: v.optional(v.boolean('give true or false')),
  state: v.optional(path),
  detection: milliseconds,
  'checkpoint-delay': milliseconds,
  pcap: v.optional(path),
};

/** Of a page that is served. What it means is src/colo's; a file may have a port as a number. */
export const webAddress = v.optional(
  v.pipe(v.union([v.string(), v.number()], 'give PORT or HOST:PORT'), v.transform(String)),
);

/** What is run for each event of a machine. */
export const onEvent = v.optional(v.pipe(v.string('give a command'), v.regex(/^[^\0]+$/, 'give a command')));

/** Keys of whoever attends to a machine on this host, wherever it began. */
export const hostKeys = {
  serial: v.optional(serial, 'stdio'),
  disk: v.optional(disks, []),
  net: v.optional(nets, []),
  name: machineName,
  control: v.optional(path),
  metrics: webAddress,
  dashboard: webAddress,
  'on-event': onEvent,
  ...pairKeys,
};

/** Instructions that give two copies of a guest different answers (spec B.9). */
const unequalFeatures = ['rdrand', 'rdseed'];

const schema = v.strictObject({
  kernel: path,
  initrd: v.optional(path),
  cmdline: v.optional(v.string('give a string'), defaultCommandLine),
  cpus: v.optional(cpus, 1),
  memory: v.optional(memory, '256M'),
  rng: v.optional(rng, 'none'),
  kaslr: v.optional(v.picklist(['on', 'off'], 'is on or off'), 'off'),
  'cpu-mask': v.optional(cpuMask, ''),
  reboot,
  'on-panic': v.optional(onPanic),
  ...hostKeys,
  standby: v.optional(v.string('give HOST:PORT')),
  listen: v.optional(v.string('give ADDRESS:PORT')),
  mode: v.optional(v.string('give buffered or comparing')),
  flow: v.optional(v.pipe(repeatable, v.array(v.string('give port=NUMBER,policy=compare|buffer|pass')))),
});

/** A machine's configuration, checked. */
export type RunConfig = v.InferOutput<typeof schema> & { readonly 'on-panic': PanicAction };

/** Keys of the configuration: the names of the flags, and of the entries of a configuration file. */
export type ConfigKey = keyof typeof schema.entries;

/**
 * Checks the configuration of `run`. `flags` win over the file.
 *
 * @throws ConfigError for the first thing that is wrong
 */
export function parseConfig(flags: Readonly<Record<string, unknown>>, file?: string): RunConfig {
  const config = checkConfig(schema, flags, file, { kernel: 'give a bzImage or an ELF vmlinux' });
  if (config.standby !== undefined) {
    const mask = [...new Set([...config['cpu-mask'], ...unequalFeatures])];
    // A service that is worth a second host is to be there again after a panic, not to end on both (spec B.13).
    return { ...config, 'cpu-mask': mask, 'on-panic': config['on-panic'] ?? 'run' };
  }
  const keys = [...Object.keys(pairKeys), 'listen', 'mode', 'flow'] as const;
  const alone = keys.find((key) => config[key as keyof RunConfig] !== undefined);
  if (alone !== undefined) throw new ConfigError(`--${alone}: it needs --standby HOST:PORT, the host to protect it`);
  return { ...config, 'on-panic': config['on-panic'] ?? 'exit' };
}

/**
 * Checks a configuration against `schema`. `flags` win over the file.
 *
 * @param missing what to say of keys that have to be there
 * @throws ConfigError for the first thing that is wrong
 */
export function checkConfig<Entries extends v.ObjectEntries>(
  schema: v.StrictObjectSchema<Entries, undefined>,
  flags: Readonly<Record<string, unknown>>,
  file: string | undefined,
  missing: Readonly<Record<string, string>>,
): v.InferOutput<v.StrictObjectSchema<Entries, undefined>> {
  const fromFile = file === undefined ? {} : readConfigFile(file);
  const result = v.safeParse(schema, { ...fromFile, ...flags }, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues as [v.BaseIssue<unknown>];
  const key = String(issue.path?.[0]?.key ?? '');
  const where = key in flags ? `--${key}` : file === undefined ? `--${key}` : `${file}: "${key}"`;
  const inDevice = issue.path?.[2]?.key;
  if (inDevice !== undefined) {
    const given = [issue.path?.[0]?.value].flat()[Number(issue.path?.[1]?.key)];
    throw new ConfigError(`${where} ${shownDevice(given)}: ${explainDeviceKey(String(inDevice), issue)}`);
  }
  if (issue.type === 'strict_object') {
    const known = Object.keys(schema.entries);
    if (!known.includes(key)) throw new ConfigError(`${where}: no such key; known are ${known.join(', ')}`);
    throw new ConfigError(`--${key} is missing: ${missing[key] ?? 'give a value'}`);
  }
  const value = issue.path?.[0]?.value;
  const shown = typeof value === 'string' || typeof value === 'number' ? ` ${value}` : '';
  throw new ConfigError(`${where}${shown}: ${issue.message}`);
}

/** What is wrong with key `key` of a device. */
function explainDeviceKey(key: string, issue: v.BaseIssue<unknown>): string {
  if (issue.type !== 'strict_object') return `${key} ${issue.message}`;
  return issue.expected === 'never' ? `it has no key ${key}` : `${key}= is missing`;
}

function shownDevice(given: unknown): string {
  return typeof given === 'string' ? given : JSON.stringify(given);
}

function readConfigFile(file: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`--config ${file}: ${reason}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(`--config ${file}: holds no JSON object; give {"kernel": "...", ...}`);
  }
  return parsed as Record<string, unknown>;
}

/** SIZE[,shared=on|off], in whole pages; undefined if `text` is not that. */
function parseMemory(text: string | number): MemoryConfig | undefined {
  const match = /^(\d+)([KMGT]?)(,shared=(on|off))?$/i.exec(String(text));
  if (match === null) return undefined;
  const unit = sizeUnits[(match[2] || 'M').toUpperCase()] ?? 1;
  return {
    sizeBytes: alignDown(Math.floor(Number(match[1]) * unit * MiB), pageSize),
    backing: match[4] === 'on' ? 'shared' : 'private',
  };
}

/** Digits alone: JavaScript would also take 0x2, 2e0 and blanks for numbers. */
function parseCount(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

function parseSerial(text: string): SerialTarget | undefined {
  if (text === 'none') return { kind: 'none' };
  if (text === 'stdio' || text === 'stdio,eof=stop') return { kind: 'stdio', eof: 'stop' };
  if (text === 'stdio,eof=ignore') return { kind: 'stdio', eof: 'ignore' };
  if (text.startsWith('file=') && text.length > 5) return { kind: 'file', path: text.slice(5) };
  return undefined;
}
