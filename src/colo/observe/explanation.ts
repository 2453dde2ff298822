import { bytesText, type Divergence, meaning, plain } from '../compare/divergence.ts';

/** A divergence in words for an operator. */
export interface Explanation {
  /** Which connection, where in it, which bytes. */
  readonly what: string;
  /** What usually makes two guests differ so. */
  readonly cause: string;
  /** What can be done, if there is something. */
  readonly remedy?: string;
}

/**
 * Says what an operator makes of a divergence. The cause is a guess, from the reason, the bytes and what stands before them; guests
 * are programs of others.
 */
export function explained(divergence: Divergence): Explanation {
  const { reason, flow, position, primary, secondary } = divergence;
  const hasBytes = primary.length + secondary.length > 0;
  const place = position === undefined ? '' : `, byte ${position} of what the guest said`;
  const what = `${flow}${place}${hasBytes ? `: ${bytesText(divergence)}` : ''}`;
  if (reason !== 'payload') return { what, ...byReason(divergence) };
  const likely = likelyCauses.find(({ fits }) => fits(textOf(divergence), divergence)) ?? unknownCause;
  const port = guestPort(flow);
  const often = port === undefined ? undefined : `If it is often: --flow port=${port},policy=buffer`;
  const remedy = [often, likely.remedy].filter((part) => part !== undefined).join(', or ');
  return { what, cause: `${likely.cause}. It costs one checkpoint each time.`, ...(remedy ? { remedy } : {}) };
}

const evenHosts = 'If it is often, look whether the two hosts are equally fast and equally busy';

interface Text {
  /** What stands before the difference, of the same line. */
  readonly line: string;
  readonly primary: string;
  readonly secondary: string;
}

function textOf({ before = noBytes, primary, secondary }: Divergence): Text {
  const line = before.subarray(before.lastIndexOf(newline) + 1);
  return { line: plain(line), primary: plain(primary), secondary: plain(secondary) };
}

interface LikelyCause {
  readonly fits: (text: Text, divergence: Divergence) => boolean;
  readonly cause: string;
  /** Beside a policy for the port. */
  readonly remedy?: string;
}

/** The first that fits counts. */
const likelyCauses: readonly LikelyCause[] = [
  {
    fits: ({ line }) => /^date: /i.test(line),
    cause: 'The two guests looked at the clock in different seconds; usual for HTTP servers that send Date',
    remedy: 'switch that header off (nginx: more_clear_headers Date)',
  },
  {
    fits: ({ line }) =>
      /\d{1,2}(:\d{0,2}){1,2}(\.\d*)?$|\d{4}-\d\d-\d\d[T ]?[\d:.]*$|\b1[6-9]\d{2,9}[.\d]*$/.test(line),
    cause: 'The two guests looked at the clock at different moments: this looks like a time or a date',
  },
  {
    fits: (_, { before = noBytes, primary }) => isTls(before) || isTls(primary),
    cause:
      'The connection is encrypted (TLS), and the two guests drew different random numbers, so that nothing of it will ever agree',
    remedy: 'have a proxy before the guest do the TLS',
  },
  {
    fits: ({ line }, { flow }) => /^SSH-/.test(line) || guestPort(flow) === 22,
    cause:
      'The connection is encrypted (SSH), and the two guests drew different random numbers, so that nothing of it will ever agree',
  },
  {
    fits: ({ line, primary, secondary }) =>
      /(id|uuid|token|nonce|cookie|session|etag|boundary|key)["']?\s*[=:]\s*["']?[\w-]*$/i.test(line) ||
      (isDrawn(primary) && isDrawn(secondary)),
    cause: 'The two guests drew different random numbers: this looks like an id, a token or a cookie',
  },
  {
    fits: ({ line }) => /\bpid\b["']?\s*[=:]?\s*\d*$/i.test(line),
    cause: 'The two guests gave a process different numbers',
  },
  {
    fits: ({ line }) => /(time|took|elapsed|duration|uptime|latency|ms|sec)\w*["']?\s*[=:]?\s*[\d.]*$/i.test(line),
    cause: 'The two guests were not equally fast: this looks like a time that was measured',
  },
  {
    fits: ({ primary, secondary }) => /^\d/.test(primary) && /^\d/.test(secondary),
    cause:
      'The two guests counted differently: requests that came at the same time were served in another order, or a time was measured',
  },
];

const unknownCause: LikelyCause = {
  fits: () => true,
  cause:
    'The two guests did the same work in another order (threads, several processors, connections at the same time), or looked at a clock or at random numbers',
};

/** Record headers of TLS: what kind it is, and version 3.1 to 3.4 (RFC 8446, section 5.1). */
function isTls(bytes: Uint8Array): boolean {
  for (let at = 0; at + 2 < bytes.length; at++) {
    const [kind = 0, major, minor = 0] = bytes.subarray(at, at + 3);
    if (kind >= 20 && kind <= 23 && major === 3 && minor >= 1 && minor <= 4) return true;
  }
  return false;
}

/** Letters and digits without a space, both kinds among them: nobody's word. */
function isDrawn(text: string): boolean {
  return /^[\w+/-]{12,}/.test(text) && /\d/.test(text) && /[a-z]/i.test(text);
}

function byReason({ reason, waits }: Divergence): Omit<Explanation, 'what'> {
  const cause = `${meaning[reason].charAt(0).toUpperCase()}${meaning[reason].slice(1)}`;
  switch (reason) {
    case 'timeout':
      return waits === 'secondary'
        ? {
            cause: `${cause}: the primary's guest waits for something that the secondary's did not wait for, or is slower.`,
            remedy: evenHosts,
          }
        : {
            cause: `${cause}: the secondary's guest is slower, or waits for something.`,
            remedy: evenHosts,
          };
    case 'end':
    case 'reset':
      return { cause: `${cause}; usual where a timeout of the guest's own ends connections.` };
    case 'options':
      return { cause: `${cause}; usual while one guest is short of memory or has SYN cookies in use.` };
    case 'overflow':
      return {
        cause: `${cause}: one guest is far ahead of the other.`,
        remedy: evenHosts,
      };
    default:
      return { cause: `${cause}.` };
  }
}

/** The port of the guest's end in a flow's text; it stands first. */
function guestPort(flow: string): number | undefined {
  const port = /^(?:tcp|udp) (?:\[[^\]]*\]|[^\s:]+):(\d+) - /.exec(flow)?.[1];
  return port === undefined ? undefined : Number(port);
}

const noBytes = new Uint8Array(0);
const newline = 0x0a;
