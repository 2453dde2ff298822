import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type KeySet, nameIn } from '../keys/key-set.ts';
import type { Role } from '../protocol/numbers.ts';

/** How a link is secured. `plaintext`: not at all, which an operator must ask for. */
export type LinkSecurity = { readonly kind: 'tls'; readonly keys: KeySet } | { readonly kind: 'plaintext' };

/** Who sits at the other end of a connection. */
export interface PeerIdentity {
  /** As `colo-vmm keys` was told, where TLS shows it; otherwise its address. */
  readonly host: string;
  /** The same for all connections of one machine. */
  readonly fingerprint: string;
}

/** Suites of TLS 1.3 (RFC 8446, appendix B.4), the cheapest first: with instructions for AES in the processor, and without. */
const suites = {
  aes: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384',
  noAes: 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384',
} as const;

/** The order in which a host with this /proc/cpuinfo wants to encrypt. Whoever listens decides, and takes any of them. */
export function cheapestSuites(cpuInfo: string): string {
  return /^flags\s*:.*\baes\b/m.test(cpuInfo) ? suites.aes : suites.noAes;
}

/**
 * TLS 1.3, each side shows its certificate, and only the pair's own authority is believed. No name is checked against the
 * address dialled: that the pair's authority signed it says more, and machines change their addresses.
 */
export function tlsOptions({ authority, certificate, key }: KeySet) {
  return {
    ca: authority,
    cert: certificate,
    key,
    minVersion: 'TLSv1.3' as const,
    ciphers: cheapestSuites(readFileSync('/proc/cpuinfo', 'latin1')),
    requestCert: true,
    rejectUnauthorized: true,
  };
}

/**
 * Who the peer is, once the handshake is over.
 *
 * @returns the reason, as a string, if it cannot be a peer
 */
export function identify(socket: Socket, security: LinkSecurity): PeerIdentity | string {
  if (security.kind === 'plaintext') {
    const host = socket.remoteAddress ?? 'unknown';
    return { host, fingerprint: host };
  }
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  if (certificate === undefined) return 'shows no certificate';
  const own = new X509Certificate(security.keys.certificate);
  // Whoever copies one folder to both machines would otherwise have a machine that takes itself for its peer.
  if (certificate.fingerprint256 === own.fingerprint256) {
    return `shows the certificate of this host (${security.keys.host}); copy the other folder of colo-vmm keys to it`;
  }
  return { host: nameIn(certificate, 'CN') ?? 'unnamed', fingerprint: certificate.fingerprint256 };
}

/** OpenSSL's and Node's codes for what goes wrong between two key sets, in words. */
const explanations: Readonly<Record<string, string>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: 'does not speak TLS there; was it started with --insecure, or is it another service?',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'does not speak TLS there; was it started with --insecure, or is it another service?',
  ERR_SSL_HTTP_REQUEST: 'spoke HTTP',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'speaks no TLS 1.3',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'speaks no TLS 1.3',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'shows no certificate',
  CERT_HAS_EXPIRED: 'shows a certificate that has expired; make new ones with colo-vmm keys',
  CERT_NOT_YET_VALID: "shows a certificate that is not valid yet; do both hosts' clocks agree?",
};

/** The other end closed the connection. */
export const brokenOff = 'ECONNRESET';
const alike = 'Give both sides --tls dir=FOLDER, or both --insecure';

function hasExpired(security: LinkSecurity): boolean {
  return security.kind === 'tls' && new Date(new X509Certificate(security.keys.certificate).validTo) < new Date();
}

/** A peer, or this host in the eyes of the peer, is not of the pair. */
const foreignCodes: readonly string[] = [
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_GET_ISSUER_CERT',
  'CERT_SIGNATURE_FAILURE',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR',
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
];

/** What went wrong with a connection, for a person; goes on from the peer's name. */
export function explainConnectionError(error: NodeJS.ErrnoException, security: LinkSecurity): string {
  const code = error.code ?? '';
  if (security.kind === 'tls' && foreignCodes.includes(code)) {
    const { pair, folder } = security.keys;
    return `has a certificate that is not of the pair "${pair}" in ${folder}; was the other folder of colo-vmm keys copied there?`;
  }
  const reason = explanations[code];
  if (reason !== undefined) return reason;
  return `cannot be reached: ${code === '' ? error.message : code}`;
}

/**
 * The same of whoever was dialled and closed the connection without a word.
 *
 * @param role of this side
 * @param speaksTls a handshake with it came to its end
 */
export function explainClosing(security: LinkSecurity, role: Role, speaksTls: boolean): string {
  // A Node that will not have a certificate sends no alert: whoever shows one that has expired has to look at it himself.
  if (hasExpired(security)) {
    return 'closed the connection: the certificate of this host has expired; make new ones with colo-vmm keys';
  }
  if (security.kind === 'tls') {
    if (speaksTls) return 'closed the connection';
    return `closed the connection in the TLS handshake; was it started with --insecure? ${alike}`;
  }
  const standbyToo = role === 'secondary' ? 'is it a standby as well, or ' : '';
  return `closed the connection; ${standbyToo}does it speak TLS? ${alike}`;
}

/** First bytes of a TLS record of a handshake (RFC 8446, 5.1): its type, and the major version. */
const tlsHandshake = [0x16, 0x03];

/** What is to be said of whoever connected in plaintext and began with `bytes`, which are no peer's. */
export function explainStranger(bytes: Uint8Array): string {
  if (!tlsHandshake.every((byte, at) => bytes[at] === byte)) return 'is no colo-vmm';
  return `speaks TLS, and this side was started with --insecure. ${alike}`;
}

/** The same of a handshake with whoever connected to this host. */
export function explainHandshakeError(error: NodeJS.ErrnoException, socket: TLSSocket, security: LinkSecurity): string {
  // Of a certificate that Node does not believe, `error` only says that the connection ended. What is kept beside is a code.
  const code = socket.authorizationError as unknown;
  if (typeof code === 'string') return explainConnectionError(Object.assign(new Error(code), { code }), security);
  if (error.code !== brokenOff) return explainConnectionError(error, security);
  return 'broke off the TLS handshake; does it have keys of another pair, or have these expired?';
}
