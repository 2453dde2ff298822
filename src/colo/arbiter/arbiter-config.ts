import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../../vmm/config/config.ts';
import { isKeyOf } from '../keys/key-set.ts';
import type { EtcdArbiterOptions } from './etcd-arbiter.ts';
import type { EtcdTls } from './etcd-client.ts';

/** What `--arbiter` asks for. `manual`: an operator or a cluster manager says who runs on alone. */
export type ArbiterConfig =
  | { readonly kind: 'manual' }
  | { readonly kind: 'etcd'; readonly etcd: Omit<EtcdArbiterOptions, 'patienceMs'> }
  | { readonly kind: 'file'; readonly folder: string };

const forms =
  'give manual, file:FOLDER or etcd:URL[,URL...][,prefix=TEXT][,user=NAME,password-file=FILE][,cacert=FILE][,cert=FILE,key=FILE]';
const defaultPrefix = '/colo-vmm/';
const etcdKeys = ['prefix', 'user', 'password-file', 'cacert', 'cert', 'key'] as const;
type EtcdKey = (typeof etcdKeys)[number];

/**
 * Reads the value of `--arbiter` and the files that it names.
 *
 * @throws ConfigError
 */
export function parseArbiter(text: string): ArbiterConfig {
  if (text === 'manual') return { kind: 'manual' };
  if (text.startsWith('file:')) return { kind: 'file', folder: folder(text) };
  if (!text.startsWith('etcd:')) fail(text, forms);
  const endpoints: string[] = [];
  const keys = new Map<EtcdKey, string>();
  for (const part of text.slice('etcd:'.length).split(',')) {
    const key = etcdKeys.find((name) => part.startsWith(`${name}=`));
    if (key === undefined) endpoints.push(endpoint(text, part));
    else if (keys.has(key)) fail(text, `${key}= is there twice`);
    else keys.set(key, part.slice(key.length + 1));
  }
  if (endpoints.length === 0) fail(text, forms);
  return { kind: 'etcd', etcd: { endpoints, prefix: keys.get('prefix') ?? defaultPrefix, ...secrets(text, keys) } };
}

/** What both hosts must have been told alike. Each may reach a cluster by its own addresses, or mount a file system elsewhere. */
export function commonPart(arbiter: ArbiterConfig): string {
  return arbiter.kind === 'etcd' ? `etcd (${arbiter.etcd.prefix})` : arbiter.kind;
}

/** It is not looked at here: a file system whose server is gone would keep whoever looks. */
function folder(text: string): string {
  const path = text.slice('file:'.length);
  if (path === '') fail(text, 'give a folder on a file system that both hosts mount, such as file:/srv/arbiter');
  return resolve(path);
}

/** What stands in files: passwords and keys on a command line could be read by everybody. */
function secrets(text: string, keys: ReadonlyMap<EtcdKey, string>): Pick<EtcdArbiterOptions, 'user' | 'tls'> {
  const file = (key: EtcdKey): string | undefined => {
    const path = keys.get(key);
    if (path === undefined) return undefined;
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      return fail(text, `${key}=${path}: ${(error as Error).message}`);
    }
  };
  const [name, password] = [keys.get('user'), file('password-file')];
  if ((name === undefined) !== (password === undefined)) fail(text, 'user= and password-file= belong together');
  const [ca, cert, key] = [file('cacert'), file('cert'), file('key')];
  if ((cert === undefined) !== (key === undefined)) fail(text, 'cert= and key= belong together');
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
  checkCertificates(text, keys, tls);
  return {
    ...(name === undefined || password === undefined
      ? {}
      : { user: { name, password: password.replace(/\r?\n$/, '') } }),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
  };
}

/** Whoever dials would find these wrong in OpenSSL's words, or, of authorities, not at all. */
function checkCertificates(text: string, keys: ReadonlyMap<EtcdKey, string>, { ca, cert, key }: EtcdTls): void {
  const certificate = (name: EtcdKey, pem: string): X509Certificate => {
    try {
      return new X509Certificate(pem);
    } catch {
      return fail(text, `${name}=${keys.get(name)} is not a certificate in PEM form`);
    }
  };
  if (ca !== undefined) certificate('cacert', ca);
  if (cert === undefined || key === undefined) return;
  const own = certificate('cert', cert);
  const [certFile, keyFile] = [keys.get('cert'), keys.get('key')];
  if (new Date() > new Date(own.validTo)) fail(text, `cert=${certFile} expired on ${own.validTo}`);
  if (!isKeyOf(own, key)) {
    fail(text, `key=${keyFile} does not belong to cert=${certFile}, or is not a key in PEM form without a passphrase`);
  }
}

function endpoint(text: string, part: string): string {
  const url = URL.canParse(part) ? new URL(part) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    fail(text, `"${part}" is neither a URL such as http://c.example:2379 nor a key; known are ${etcdKeys.join(', ')}`);
  }
  if (url.username !== '' || url.password !== '')
    fail(text, 'a URL with a password in it can be read by everybody; give user= and password-file=');
  // Not by pathname and search alone: a lone ? or # leaves those empty.
  if (url.pathname !== '/' || /[?#]/.test(part))
    fail(text, `"${part}": a member's URL has no path, query or fragment; give ${url.origin}`);
  return url.origin;
}

function fail(text: string, reason: string): never {
  throw new ConfigError(`--arbiter ${text}: ${reason}`);
}
