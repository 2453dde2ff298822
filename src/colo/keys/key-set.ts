import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../../vmm/config/config.ts';

/** Files of a key set, in the folder that `--tls dir=` names. */
export const keySetFiles = { authority: 'pair.pem', certificate: 'certificate.pem', key: 'key.pem' } as const;

/** What a machine shows its peer, and what it believes of it. */
export interface KeySet {
  readonly folder: string;
  /** Name of the pair, and of this machine, as `colo-vmm keys` was told. */
  readonly pair: string;
  readonly host: string;
  /** PEM: the pair's authority, this machine's certificate, its private key. */
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/**
 * Reads a key set and checks all that can be checked without a peer.
 *
 * @throws ConfigError that names the file and what to do
 */
export function loadKeySet(folder: string, now = new Date()): KeySet {
  const read = (name: string): string => {
    const path = join(folder, name);
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') return fail(folder, message);
      return fail(folder, `there is no ${name}; name the folder of this host that colo-vmm keys made`);
    }
  };
  const [authorityText, text, key] = [
    read(keySetFiles.authority),
    read(keySetFiles.certificate),
    read(keySetFiles.key),
  ];
  if ((statSync(join(folder, keySetFiles.key)).mode & 0o077) !== 0) {
    fail(folder, `other users can read ${keySetFiles.key}: chmod 600 ${join(folder, keySetFiles.key)}`);
  }
  const authority = parseCertificate(folder, keySetFiles.authority, authorityText);
  const certificate = parseCertificate(folder, keySetFiles.certificate, text);
  if (!authority.ca) fail(folder, `${keySetFiles.authority} is not a certificate of an authority`);
  if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey)) {
    fail(
      folder,
      `${keySetFiles.certificate} was not signed by ${keySetFiles.authority}; were files of two pairs mixed?`,
    );
  }
  for (const [name, { validFrom, validTo }] of [
    [keySetFiles.authority, authority],
    [keySetFiles.certificate, certificate],
  ] as const) {
    if (now > new Date(validTo)) fail(folder, `${name} expired on ${validTo}; make new ones with colo-vmm keys`);
    if (now < new Date(validFrom))
      fail(folder, `${name} is not valid before ${validFrom}; is this host's clock right?`);
  }
  if (!isKeyOf(certificate, key)) fail(folder, `${keySetFiles.key} does not belong to ${keySetFiles.certificate}`);
  return {
    folder,
    pair: nameIn(certificate, 'OU') ?? fail(folder, `${keySetFiles.certificate} names no pair`),
    host: nameIn(certificate, 'CN') ?? fail(folder, `${keySetFiles.certificate} names no host`),
    authority: authorityText,
    certificate: text,
    key,
  };
}

/** The value of one attribute of the subject's distinguished name. */
export function nameIn(certificate: X509Certificate, attribute: 'OU' | 'CN'): string | undefined {
  const line = certificate.subject.split('\n').find((part) => part.startsWith(`${attribute}=`));
  return line?.slice(attribute.length + 1);
}

function parseCertificate(folder: string, name: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch {
    return fail(folder, `${name} is not a certificate in PEM form`);
  }
}

/** `key`, as PEM, is the private half of what `certificate` shows. */
export function isKeyOf(certificate: X509Certificate, key: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function fail(folder: string, reason: string): never {
  throw new ConfigError(`--tls dir=${folder}: ${reason}`);
}
