/** What a member of etcd's needs that cannot be reached, in words. */
export interface Remedy {
  readonly remedy: string;
  /** It is this side that needs it, and asking again does not help. */
  readonly isMisconfigured: boolean;
}

/** By the error's code, the first that fits. */
const remedies: readonly (Remedy & { readonly code: RegExp; readonly protocol?: 'http:' | 'https:' })[] = [
  {
    code: /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|DEPTH_ZERO_SELF_SIGNED_CERT)$/,
    remedy: 'cacert= has to be the authority that signed its certificate',
    isMisconfigured: true,
  },
  {
    code: /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    remedy: 'its certificate is not for the name in this URL',
    isMisconfigured: true,
  },
  // Mended on etcd's side, or by the right time of day here.
  {
    code: /^CERT_HAS_EXPIRED$/,
    remedy: "its certificate has expired, or this host's clock is wrong",
    isMisconfigured: false,
  },
  {
    code: /^ERR_SSL_.*ALERT_CERTIFICATE_EXPIRED$/,
    remedy: "it takes this side's certificate for expired: cert=, or its clock, is wrong",
    isMisconfigured: false,
  },
  {
    code: /^ERR_SSL_.*ALERT_.*(CERTIFICATE|UNKNOWN_CA)/,
    remedy:
      "it does not accept this side's certificate: cert= and key= have to be signed by an authority that it trusts",
    isMisconfigured: true,
  },
  {
    code: /^(EPROTO|ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG))$/,
    protocol: 'https:',
    remedy: 'does it speak http rather than https?',
    isMisconfigured: false,
  },
  // A proxy or a member that is just ending does so too.
  {
    code: /^ECONNRESET$/,
    protocol: 'http:',
    remedy: 'does it speak https rather than http?',
    isMisconfigured: false,
  },
];

/** What would help; undefined: nobody knows. @param code of Node's error @param protocol of the member's URL */
export function remedyFor(code: string | undefined, protocol: string): Remedy | undefined {
  return remedies.find(
    (entry) => entry.code.test(code ?? '') && (entry.protocol === undefined || entry.protocol === protocol),
  );
}
