import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { makeFolders } from '../../host/files/make-folders.ts';
import { ConfigError } from '../../vmm/config/config.ts';
import { isKeyOf, keySetFiles, nameIn } from './key-set.ts';
import { type Credentials, makeAuthority, signHost } from './pair-authority.ts';

export interface KeysOptions {
  readonly pair: string;
  /** Names or addresses, separated by commas. */
  readonly hosts: string;
  /** How long the keys are valid. */
  readonly days: string;
}

/** Where the authority's own files are: needed again only for the key set of one more machine. */
const authorityFolder = 'authority';
/** A certificate that outlives its machine is no use; one that expires unnoticed ends protection. */
const mostDays = 36_500;

/**
 * Body of `colo-vmm keys`: makes the pair's authority in `folder`, unless it is there, and a key set for each host.
 *
 * @returns the folders that were made, one for each host
 * @throws ConfigError, and nothing is left that was not there
 */
export async function keysCommand(folder: string, options: KeysOptions): Promise<string[]> {
  const { pair, hosts, days } = checked(options);
  const made: string[] = [];
  const makeFolder = (path: string): void => {
    mkdirSync(path, { mode: 0o700 });
    made.push(path);
  };
  try {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === false) {
      throw new ConfigError(`${folder} is not a folder; give one, which is made if it does not exist`);
    }
    makeFolders(folder);
    const authority = readAuthority(folder, pair) ?? (await newAuthority(folder, pair, days, makeFolder));
    for (const host of hosts) {
      const path = join(folder, host);
      if (existsSync(path)) throw new ConfigError(`${path} exists; remove it first if ${host} is to have new keys`);
      const { key, certificate } = await signHost(authority, { pair, host, days });
      makeFolder(path);
      write(join(path, keySetFiles.authority), authority.certificate, 0o644);
      write(join(path, keySetFiles.certificate), certificate, 0o644);
      write(join(path, keySetFiles.key), key, 0o600);
    }
  } catch (error) {
    for (const path of made) rmSync(path, { recursive: true, force: true });
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${folder}: ${(error as Error).message}`);
  }
  return hosts.map((host) => join(folder, host));
}

function checked({ pair, hosts, days }: KeysOptions): { pair: string; hosts: string[]; days: number } {
  if (!/^[\w.-]{1,64}$/.test(pair))
    throw new ConfigError(`--pair ${pair}: give up to 64 letters, digits, dots, dashes`);
  // No host takes it: it is the name of a folder, too.
  if (!/[^.]/.test(pair)) throw new ConfigError(`--pair ${pair}: a name of dots alone is none`);
  const names = hosts.split(',');
  for (const name of names) {
    if (!isHost(name)) throw new ConfigError(`--hosts ${hosts}: "${name}" is neither a host's name nor an address`);
    if (name === authorityFolder) throw new ConfigError(`--hosts ${hosts}: ${name} is where the authority's files are`);
  }
  if (new Set(names).size < names.length) throw new ConfigError(`--hosts ${hosts}: one is there twice`);
  if (!/^\d{1,5}$/.test(days) || Number(days) < 1 || Number(days) > mostDays) {
    throw new ConfigError(`--days ${days}: give 1 to ${mostDays}`);
  }
  return { pair, hosts: names, days: Number(days) };
}

function isHost(name: string): boolean {
  return (
    isIP(name) !== 0 || (name.length <= 64 && /^[a-z\d]([a-z\d-]*[a-z\d])?(\.[a-z\d]([a-z\d-]*[a-z\d])?)*$/i.test(name))
  );
}

/**
 * The authority in `folder`; undefined if there is none.
 *
 * @throws ConfigError if what it signs would be worth nothing
 */
function readAuthority(folder: string, pair: string): Credentials | undefined {
  const path = join(folder, authorityFolder);
  if (!existsSync(path)) return undefined;
  const useless = (why: string): ConfigError =>
    new ConfigError(`${path}: ${why}; restore it, or make new keys for all hosts in another folder`);
  const read = (name: string): string => {
    try {
      return readFileSync(join(path, name), 'utf8');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw useless(code === 'ENOENT' ? `there is no ${name}` : message);
    }
  };
  const text = read(keySetFiles.certificate);
  const certificate = parsed(text);
  if (certificate === undefined) throw useless(`${keySetFiles.certificate} is not a certificate in PEM form`);
  const found = nameIn(certificate, 'OU');
  if (found !== pair) {
    throw new ConfigError(`${path} is the authority of the pair "${found}", not of "${pair}"; give another folder`);
  }
  const { validTo } = certificate;
  if (new Date() > new Date(validTo)) throw useless(`${keySetFiles.certificate} expired on ${validTo}`);
  const key = read(keySetFiles.key);
  if (!isKeyOf(certificate, key)) throw useless(`${keySetFiles.key} does not belong to ${keySetFiles.certificate}`);
  return { key, certificate: text };
}

function parsed(certificate: string): X509Certificate | undefined {
  try {
    return new X509Certificate(certificate);
  } catch {
    return undefined;
  }
}

async function newAuthority(
  folder: string,
  pair: string,
  days: number,
  makeFolder: (path: string) => void,
): Promise<Credentials> {
  const authority = await makeAuthority(pair, days);
  const path = join(folder, authorityFolder);
  makeFolder(path);
  write(join(path, keySetFiles.certificate), authority.certificate, 0o644);
  write(join(path, keySetFiles.key), authority.key, 0o600);
  return authority;
}

/** Never over a file that is there. */
function write(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { mode, flag: 'wx' });
}
