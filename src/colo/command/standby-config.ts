import * as v from 'valibot';
import { checkConfig, hostKeys, serial } from '../../vmm/config/config.ts';
import { pairOptions, parseSecondary, type SecondaryConfig } from './pair-config.ts';

const schema = v.strictObject({
  ...hostKeys,
  // Nobody reads it before the takeover: a pipe that closed long ago must not end the guest then.
  serial: v.optional(serial, 'stdio,eof=ignore'),
  listen: v.optional(v.string('give ADDRESS:PORT')),
  peer: v.optional(v.string('give HOST:PORT[,HOST:PORT...]')),
});

/**
 * A standby: what the machine's owner decides on this host, and its side of the pair. CPUs, memory and what was booted are the
 * primary's.
 */
export type StandbyConfig = v.InferOutput<typeof schema> & {
  /** Of the machine and of the pair. */
  readonly name: string;
  readonly pair: SecondaryConfig;
};

/** Keys of `standby`: the names of its flags, and of the entries of a configuration file. */
export type StandbyKey = keyof typeof schema.entries;

/**
 * Checks the configuration of `standby`, and reads the files that it names. `flags` win over the file.
 *
 * @throws ConfigError for the first thing that is wrong
 */
export function parseStandbyConfig(flags: Readonly<Record<string, unknown>>, file?: string): StandbyConfig {
  const config = checkConfig(schema, flags, file, {});
  const { listen, peer } = config;
  const pair = parseSecondary({ ...pairOptions(config), listen, ...(peer === undefined ? {} : { peer }) });
  return { ...config, name: pair.pair, pair };
}
