import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { ConfigError, type RunConfig } from '../../vmm/config/config.ts';
import type { ProtectOptions } from '../../vmm/monitor/colo-control.ts';
import { type ArbiterConfig, commonPart, parseArbiter } from '../arbiter/arbiter-config.ts';
import { parseFlowPolicy } from '../compare/flow-policy.ts';
import { defaultSettings, type Settings } from '../core/settings.ts';
import { loadKeySet } from '../keys/key-set.ts';
import type { LinkSecurity } from '../link/peer-security.ts';
import { mostPortPolicies, type PortPolicy } from '../protocol/port-policy.ts';
import type { Heritage } from '../side/heritage.ts';
import { type HostPort, parseHostPort } from './host-port.ts';

/** What a host of a pair has to know, whichever side it is. */
export interface HostConfig {
  readonly pair: string;
  readonly settings: Settings;
  readonly security: LinkSecurity;
  readonly arbiter: ArbiterConfig;
  /** Where the term is kept (spec B.6). */
  readonly stateDirectory: string;
  /** Packets are recorded there. */
  readonly pcap?: string;
}

/**
 * Where a primary has a standby from (spec B.7): it dials the one that it was told, waits for one that looks for it, or both. A survivor
 * knows none to dial.
 */
export type StandbyPlaces =
  | { readonly standby: HostPort; readonly listen?: HostPort }
  | { readonly standby?: undefined; readonly listen: HostPort };

export type PrimaryConfig = HostConfig & StandbyPlaces & PrimaryWishes;

interface PrimaryWishes {
  /** Whose output is not compared, but held or let out (spec B.8). */
  readonly flows?: readonly PortPolicy[];
  /** Tries until the guest is protected, and again whenever it is not any more. */
  readonly insists: boolean;
}

export interface SecondaryConfig extends HostConfig {
  readonly listen: HostPort;
  /** Other hosts of the pair, where the guest may run already, without a standby (spec B.7). */
  readonly peers?: readonly HostPort[];
}

/** What a host is told of its pair. Values as on the command line. */
export type PairOptions = Partial<Readonly<Record<keyof ProtectOptions | 'peer' | 'pcap', unknown>>>;

const detectionRange = 'give 40 to 60000 milliseconds';
const delayRange = 'give 10 to 86400000 milliseconds';

const tlsForm = 'write it like dir=/etc/colo-vmm/web, the folder of this host that colo-vmm keys made';

const tls = v.pipe(
  v.string(tlsForm),
  v.regex(/^dir=./s, tlsForm),
  v.transform((text) => text.slice('dir='.length)),
);

const milliseconds = (least: number, most: number, range: string) =>
  v.pipe(
    v.number(range),
    v.check((value) => Number.isInteger(value) && value >= least && value <= most, range),
  );

const name = v.pipe(
  v.string('give the name of the pair'),
  v.regex(/^[\w.-]{1,64}$/, 'give up to 64 letters, digits, dots, dashes'),
  // It is the name of a folder, too.
  v.regex(/[^.]/, 'a name of dots alone is none'),
);

const hostEntries = {
  name,
  arbiter: v.string('give manual, etcd:URL or file:FOLDER'),
  tls: v.optional(tls),
  insecure: v.optional(v.boolean('give true or false'), false),
  state: v.optional(v.pipe(v.string('give a directory'), v.nonEmpty('give a directory'))),
  detectionMs: v.optional(milliseconds(40, 60_000, detectionRange), defaultSettings.detectMs),
  checkpointDelayMs: v.optional(milliseconds(10, 86_400_000, delayRange), defaultSettings.checkpointDelayMs),
  pcap: v.optional(v.pipe(v.string('give a file'), v.nonEmpty('give a file'))),
};

const flow = v.pipe(
  v.string('give port=NUMBER,policy=compare|buffer|pass'),
  v.rawTransform<string, PortPolicy>(({ dataset, addIssue, NEVER }) => {
    try {
      return parseFlowPolicy(dataset.value);
    } catch (error) {
      addIssue({ message: (error as Error).message.replace(/^.*?: /, '') });
      return NEVER;
    }
  }),
);

const primarySchema = v.strictObject({
  ...hostEntries,
  standby: hostPort('b.example:7000'),
  listen: v.optional(hostPort('0.0.0.0:7000')),
  mode: v.optional(v.picklist(['buffered', 'comparing'], 'give buffered or comparing'), 'comparing'),
  flow: v.optional(v.array(flow), []),
});
const secondarySchema = v.strictObject({
  ...hostEntries,
  listen: hostPort('0.0.0.0:7000'),
  peer: v.optional(
    v.pipe(
      v.string('give HOST:PORT'),
      v.transform((text) => text.split(',')),
      v.array(hostPort('a.example:7000')),
    ),
  ),
});

/** What to say of a key that has to be given. */
const missing: Readonly<Record<string, string>> = {
  name: 'give the name of the pair, the same on both hosts',
  standby: 'give HOST:PORT of the standby, such as b.example:7000',
  listen: 'give ADDRESS:PORT to wait on for the primary, such as 0.0.0.0:7000',
  arbiter:
    'when the hosts lose each other, somebody has to say which one goes on, or both would. Give etcd:URL, file:FOLDER, or manual: an operator says it (colo-vmm failover)',
};

/** Flags whose keys have a unit in their names. */
const flags: Readonly<Record<string, string>> = {
  detectionMs: 'detection',
  checkpointDelayMs: 'checkpoint-delay',
};

/**
 * The primary's side of a pair. Files that are named are read.
 *
 * @throws ConfigError for the first thing that is wrong
 */
export function parsePrimary(options: PairOptions, insists: boolean): PrimaryConfig {
  const { standby, listen, mode, flow: flows, ...given } = checked(primarySchema, options);
  if (flows.length > 0 && mode !== 'comparing') {
    throw new ConfigError('--flow: with --mode buffered all output waits for checkpoints; leave one of the two out');
  }
  if (flows.length > mostPortPolicies) throw new ConfigError(`--flow: give it ${mostPortPolicies} times at most`);
  const host = hostConfig(given);
  return {
    ...host,
    settings: { ...host.settings, compares: mode === 'comparing' },
    standby,
    ...(listen === undefined ? {} : { listen }),
    flows,
    insists,
  };
}

/** As {@link parsePrimary}, of the other side. @throws ConfigError */
export function parseSecondary(options: PairOptions): SecondaryConfig {
  const { listen, peer: peers = [], ...given } = checked(secondarySchema, options);
  const host = hostConfig(given);
  // Whether its guest runs beside P's is P's to say.
  return { ...host, settings: { ...host.settings, compares: true }, listen, peers };
}

/** What a standby that has taken over is told as a primary: it waits where it waited before, and compares what its primary did. */
export function survivorConfig(
  { peers: _, ...host }: SecondaryConfig,
  { compares, flows = [] }: Pick<Heritage, 'compares' | 'flows'>,
): PrimaryConfig {
  return {
    ...host,
    settings: { ...host.settings, compares: compares === true },
    flows,
    insists: true,
  };
}

/** What `run` and `standby` were told of their pair. */
export function pairOptions(
  config: Pick<
    RunConfig,
    'name' | 'arbiter' | 'tls' | 'insecure' | 'state' | 'detection' | 'checkpoint-delay' | 'pcap'
  >,
): PairOptions {
  const { name: pair, arbiter, tls: keys, insecure, state, detection, 'checkpoint-delay': delay, pcap } = config;
  return { name: pair, arbiter, tls: keys, insecure, state, detectionMs: detection, checkpointDelayMs: delay, pcap };
}

/** What `run` alone was told of its pair. */
export function primaryOptions({
  standby,
  listen,
  mode,
  flow: flows,
}: Pick<RunConfig, 'standby' | 'listen' | 'mode' | 'flow'>): PairOptions {
  return { standby, listen, mode, flow: flows };
}

function hostConfig(
  given: Omit<v.InferOutput<typeof primarySchema>, 'standby' | 'listen' | 'mode' | 'flow'>,
): HostConfig {
  const { name: pair, detectionMs, checkpointDelayMs, state, pcap } = given;
  const arbiter = parseArbiter(given.arbiter);
  return {
    pair,
    settings: {
      ...defaultSettings,
      heartbeatMs: detectionMs / 4,
      detectMs: detectionMs,
      leaseMs: (detectionMs * 3) / 4,
      // Where a host may be silent for seconds without being lost, handshakes and checkpoints take longer than anywhere else.
      stepMs: Math.max(defaultSettings.stepMs, 5 * detectionMs),
      checkpointDelayMs,
      arbiter: commonPart(arbiter),
    },
    security: security(given),
    arbiter,
    stateDirectory: resolve(state ?? defaultStateDirectory(pair)),
    ...(pcap === undefined ? {} : { pcap: resolve(pcap) }),
  };
}

function security({
  name: pair,
  tls: folder,
  insecure,
}: {
  readonly name: string;
  readonly tls?: string | undefined;
  readonly insecure: boolean;
}): LinkSecurity {
  if (insecure) {
    if (folder !== undefined) throw new ConfigError('--insecure: --tls is given too; give one of them');
    return { kind: 'plaintext' };
  }
  if (folder === undefined) {
    throw new ConfigError(
      "--tls is missing: give dir=FOLDER with this host's keys, which colo-vmm keys makes; or --insecure: then nothing is encrypted, and whoever reaches the port is believed",
    );
  }
  const keys = loadKeySet(folder);
  if (keys.pair !== pair) {
    throw new ConfigError(
      `--name ${pair}: the keys in ${folder} are of the pair "${keys.pair}"; give --name ${keys.pair}, or another --tls dir=`,
    );
  }
  return { kind: 'tls', keys };
}

/** Where what must outlive the process is kept, for whoever runs it. */
export function defaultStateDirectory(pair: string): string {
  if (process.geteuid?.() === 0) return join('/var/lib/colo-vmm', pair);
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'colo-vmm', pair);
}

function hostPort(example: string) {
  return v.pipe(
    v.string(`give HOST:PORT, such as ${example}`),
    v.rawTransform<string, HostPort>(({ dataset, addIssue, NEVER }) => {
      const found = parseHostPort(dataset.value, example);
      if (typeof found !== 'string') return found;
      addIssue({ message: found });
      return NEVER;
    }),
  );
}

/** @throws ConfigError for the first thing that is wrong */
function checked<Schema extends v.GenericSchema>(schema: Schema, options: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, options, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const item = issue.path?.[0];
  const key = String(item?.key ?? '');
  const flag = `--${flags[key] ?? key}`;
  if (issue.type === 'strict_object' && issue.expected === 'never') throw new ConfigError(`${flag}: no such key`);
  if (item?.value === undefined) throw new ConfigError(`${flag} is missing: ${missing[key] ?? issue.message}`);
  // Of a flag that was given several times, the one that is wrong.
  const given = Array.isArray(item.value) ? (issue.path?.[1]?.value ?? item.value) : item.value;
  throw new ConfigError(`${flag} ${shown(given)}: ${issue.message}`);
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
