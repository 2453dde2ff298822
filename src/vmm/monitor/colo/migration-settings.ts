import { QmpError } from '../qmp-protocol.ts';

/** QEMU 7.2's MigrationCapability, in its order. */
export const capabilities = [
  'xbzrle',
  'rdma-pin-all',
  'auto-converge',
  'zero-blocks',
  'compress',
  'events',
  'postcopy-ram',
  'x-colo',
  'release-ram',
  'block',
  'return-path',
  'pause-before-switchover',
  'multifd',
  'dirty-bitmaps',
  'postcopy-blocktime',
  'late-block-activate',
  'x-ignore-shared',
  'validate-uuid',
  'background-snapshot',
  'zero-copy-send',
  'postcopy-preempt',
] as const;

export type Capability = (typeof capabilities)[number];

/** Those that can be true here. The others are about migrations that we do not make. */
const offered: readonly Capability[] = ['events', 'x-colo'];

/** QEMU 7.2's MigrateSetParameters with their defaults. `x-checkpoint-delay` alone does something here; the others are kept for who asks. */
const defaults: Readonly<Record<string, number | boolean | string>> = {
  'announce-initial': 50,
  'announce-max': 550,
  'announce-rounds': 5,
  'announce-step': 100,
  'compress-level': 1,
  'compress-threads': 8,
  'compress-wait-thread': true,
  'decompress-threads': 2,
  'throttle-trigger-threshold': 50,
  'cpu-throttle-initial': 20,
  'cpu-throttle-increment': 10,
  'cpu-throttle-tailslow': false,
  'tls-creds': '',
  'tls-hostname': '',
  'tls-authz': '',
  'max-bandwidth': 134_217_728,
  'downtime-limit': 300,
  'x-checkpoint-delay': 20_000,
  'block-incremental': false,
  'multifd-channels': 2,
  'xbzrle-cache-size': 67_108_864,
  'max-postcopy-bandwidth': 0,
  'max-cpu-throttle': 99,
  'multifd-compression': 'none',
  'multifd-zlib-level': 1,
  'multifd-zstd-level': 1,
};

const longestDowntimeMs = 2_000_000;

/** A delay is taken to lie between these: QEMU takes any, but none at all would leave the guest no time. */
const checkpointDelay = { leastMs: 10, mostMs: 86_400_000 };

/** Parameters that may be set. */
export interface CheckedParameters {
  readonly parameters: Readonly<Record<string, number | boolean | string>>;
  /** What a pair makes of `x-checkpoint-delay`; absent: it is none of them. */
  readonly checkpointDelayMs?: number;
}

/** What QEMU's clients set before they migrate, in QEMU's names and words. */
export class MigrationSettings {
  readonly #capabilities = new Set<Capability>();
  readonly #parameters: Record<string, number | boolean | string> = { ...defaults };
  #checkpointDelayMs: number | undefined;

  /** Clients hear of MIGRATION. */
  get events(): boolean {
    return this.#capabilities.has('events');
  }

  /** What a client set it to; undefined if none did. */
  get checkpointDelayMs(): number | undefined {
    return this.#checkpointDelayMs;
  }

  capabilities(): { capability: Capability; state: boolean }[] {
    return capabilities.map((capability) => ({ capability, state: this.#capabilities.has(capability) }));
  }

  /** All of them, or none. @throws QmpError */
  setCapabilities(wanted: readonly { readonly capability: Capability; readonly state: boolean }[]): void {
    const refused = wanted.find(({ capability, state }) => state && !offered.includes(capability));
    if (refused !== undefined) {
      throw new QmpError('GenericError', `Capability '${refused.capability}' is not supported`);
    }
    for (const { capability, state } of wanted) {
      if (state) this.#capabilities.add(capability);
      else this.#capabilities.delete(capability);
    }
  }

  parameters(): Readonly<Record<string, number | boolean | string>> {
    return { ...this.#parameters };
  }

  setParameters({ parameters, checkpointDelayMs }: CheckedParameters): void {
    Object.assign(this.#parameters, parameters);
    this.#checkpointDelayMs = checkpointDelayMs ?? this.#checkpointDelayMs;
  }
}

/** All of them, or none. @throws QmpError */
export function checkParameters(wanted: Readonly<Record<string, unknown>>): CheckedParameters {
  const parameters = Object.fromEntries(
    Object.entries(wanted).map(([name, value]) => [name, checkParameter(name, value)] as const),
  );
  const delay = parameters['x-checkpoint-delay'];
  if (typeof delay !== 'number') return { parameters };
  const { leastMs, mostMs } = checkpointDelay;
  return { parameters, checkpointDelayMs: Math.min(Math.max(delay, leastMs), mostMs) };
}

/** @throws QmpError */
function checkParameter(name: string, value: unknown): number | boolean | string {
  const initially = Object.hasOwn(defaults, name) ? defaults[name] : undefined;
  switch (typeof initially) {
    case 'undefined':
      throw new QmpError('GenericError', `Parameter '${name}' is unexpected`);
    case 'number':
      return checkCount(name, value);
    case 'boolean':
      if (typeof value === 'boolean') return value;
      break;
    default:
      // QEMU's StrOrNull: nothing is the empty string.
      if (value === null && name.startsWith('tls-')) return '';
      if (typeof value === 'string') return value;
  }
  throw new QmpError('GenericError', `Invalid parameter type for '${name}', expected: ${typeof initially}`);
}

/** @throws QmpError */
function checkCount(name: string, value: unknown): number {
  const expects = (what: string): QmpError => new QmpError('GenericError', `Parameter '${name}' expects ${what}`);
  if (typeof value !== 'number' || !Number.isInteger(value)) throw expects('uint64');
  if (name === 'x-checkpoint-delay' && (value < 0 || value >= 2 ** 32)) throw expects('uint32_t');
  if (name === 'downtime-limit' && (value < 0 || value > longestDowntimeMs)) {
    throw expects('an integer in the range of 0 to (2000 * 1000) ms');
  }
  if (value < 0 || value >= 2 ** 64) throw expects('uint64');
  return value;
}
