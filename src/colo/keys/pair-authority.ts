import type { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
// Before the library, which declares its parts by it.
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

/** A private key and the certificate of its public half, as PEM. */
export interface Credentials {
  readonly key: string;
  readonly certificate: string;
}

/** ECDSA on P-256: every TLS library has it, and a handshake costs less than a millisecond. */
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;
/** A clock of the other machine may be behind by this. */
const clockSlackMs = dayMs;

const organisation = 'colo-vmm pair';

/**
 * A new authority for the pair `pair`.
 *
 * @param days how long it is valid, from now on
 */
export async function makeAuthority(pair: string, days: number): Promise<Credentials> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(days),
    serialNumber: serialNumber(),
    name: distinguishedName(pair, 'authority'),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { key: await pemOf(keys.privateKey), certificate: certificate.toString('pem') };
}

/** Credentials for the machine `host` of `authority`'s pair. It is server and client, as either side may connect. */
export async function signHost(
  authority: Credentials,
  { pair, host, days }: { readonly pair: string; readonly host: string; readonly days: number },
): Promise<Credentials> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const signingKey = await crypto.subtle.importKey(
    'pkcs8',
    x509.PemConverter.decodeFirst(authority.key),
    algorithm,
    false,
    ['sign'],
  );
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(days),
    serialNumber: serialNumber(),
    subject: distinguishedName(pair, host),
    issuer: issuer.subjectName.toJSON(),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { key: await pemOf(keys.privateKey), certificate: certificate.toString('pem') };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - clockSlackMs), notAfter: new Date(now + days * dayMs) };
}

/** 127 random bits, positive (RFC 5280, 4.1.2.2). */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

function distinguishedName(pair: string, name: string): x509.JsonName {
  return [{ O: [organisation] }, { OU: [pair] }, { CN: [name] }];
}
