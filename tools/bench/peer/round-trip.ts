import { policyOfPorts } from '../../../src/colo/compare/flow-policy.ts';
import { specification } from '../../../src/colo/core/rules.ts';
import { PrimaryPackets } from '../../../src/colo/gate/primary-packets.ts';
import type { PeerLink } from '../../../src/colo/link/peer-link.ts';
import { canWait } from '../../../src/colo/protocol/message-table.ts';
import { epoch, term } from '../../../src/colo/protocol/numbers.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { close, createPipe, type Fd } from '../../../src/host/libc/descriptors.ts';
import { Doorbell } from '../../../src/host/threads/doorbell.ts';
import { newSharedPackets } from '../../../src/vmm/platform/packet-rings.ts';
import { udpPacket } from '../../../test/support/packets.ts';
import { inThread } from '../../../test/support/thread.ts';
import { median, quantile, rounded } from '../statistics.ts';
import { atMost, formatRatios, type Ratio } from '../verdict.ts';
import { type Security, securities, withKeys, withStandby } from './peers.ts';

/** Of round trips, in microseconds. */
export interface TripRow {
  readonly median: number;
  readonly p99: number;
}

export interface RoundTripResult {
  readonly bench: 'round-trip-native';
  /** In µs, not ratios: what protection adds at the median, each round's to its own without. */
  readonly added: readonly Ratio[];
  /** `alone`: the guest answers, and nothing is protected. */
  readonly trips: Readonly<Record<'alone' | Security, TripRow>>;
  readonly rounds: number;
}

const count = 3000;
const uncounted = 2000;
const payloadBytes = 100;
const wantedUs = 150;

/** A client asks a guest that answers at once; alone, and beside another one that says the same, in turn. */
export async function benchRoundTrip(rounds: number, progress: (line: string) => void): Promise<RoundTripResult> {
  const names = ['alone', ...securities] as const;
  const found: Record<(typeof names)[number], TripRow[]> = { alone: [], tls: [], plaintext: [] };
  await withKeys(async (keys) => {
    for (let round = 1; round <= rounds; round++) {
      for (const name of names) {
        const took = name === 'alone' ? await trips() : await compared(name, keys);
        found[name].push({ median: rounded(median(took)), p99: rounded(quantile(took, 0.99)) });
      }
      const said = names.map((name) => `${name} ${found[name].at(-1)?.median}`).join(', ');
      progress(`round ${round} of ${rounds}, µs at the median: ${said}`);
    }
  });
  return roundTripResult(found, rounds);
}

export function roundTripResult(
  found: Readonly<Record<'alone' | Security, readonly TripRow[]>>,
  rounds: number,
): RoundTripResult {
  const middle = (rows: readonly TripRow[]): TripRow => ({
    median: rounded(median(rows.map((row) => row.median))),
    p99: rounded(median(rows.map(({ p99 }) => p99))),
  });
  const adds = (name: Security): number =>
    median(found[name].map((row, round) => row.median - (found.alone[round]?.median ?? Number.NaN)));
  return {
    bench: 'round-trip-native',
    added: securities.map((name) => atMost(`µs that mirror, compare and release add, ${name}`, adds(name), wantedUs)),
    trips: { alone: middle(found.alone), tls: middle(found.tls), plaintext: middle(found.plaintext) },
    rounds,
  };
}

async function compared(security: Security, keys: readonly [string, string]): Promise<readonly number[]> {
  return withStandby({ job: 'packets', ramBytes: 0 }, security, keys, (link) => trips(link));
}

/** @param link to S; absent: nothing is protected */
async function trips(link?: PeerLink): Promise<readonly number[]> {
  const [requests, asks] = createPipe();
  const [answers, tap] = createPipe();
  const bell = new Doorbell();
  const shared = link === undefined ? undefined : newSharedPackets();
  const packets = link === undefined || shared === undefined ? undefined : primaryPackets(link, shared, tap, bell);
  try {
    const request = udpPacket({ payload: new Uint8Array(payloadBytes) });
    const threads = new URL('./threads.ts', import.meta.url);
    const io = inThread(threads, 'answerRequests', requests, tap, bell.button, request.length, shared);
    const took = await inThread(threads, 'askAndWait', asks, answers, request, count, uncounted);
    await io;
    if (packets !== undefined && packets.comparison?.released !== count + uncounted)
      throw new Error(`${packets.comparison?.released} of ${count + uncounted} answers were released by comparison`);
    return took as readonly number[];
  } finally {
    packets?.close();
    bell.close();
    for (const fd of [requests, asks, answers, tap]) close(fd);
  }
}

/** P's packets in epoch 1, which is compared. */
function primaryPackets(
  link: PeerLink,
  shared: ReturnType<typeof newSharedPackets>,
  tap: Fd,
  bell: Doorbell,
): PrimaryPackets {
  const wake = new EventFd();
  const packets = new PrimaryPackets({
    ...{ shared, taps: [tap], rules: specification },
    send: (message) => link.send({ role: 'primary', term: term(1), message }, canWait(message.kind)),
    flush: () => link.flush('packets'),
    post: () => {},
    now: () => performance.now(),
    wakeIo: () => wake.signal(),
    comparing: {
      policyOf: policyOfPorts([]),
      seed: 1,
      diverged: ({ reason }) => {
        throw new Error(`equal answers did not compare equal: ${reason}`);
      },
    },
  });
  link.listen({
    received: ({ message }) => {
      if (message.kind === 'secondary-output') packets.secondary(message);
    },
    drained: () => packets.drained(),
    ended: (end) => {
      throw new Error(`the standby is gone: ${JSON.stringify(end)}`);
    },
  });
  packets.hold();
  packets.epochCaptured(epoch(0), 'comparing');
  packets.permit(epoch(0), Number.POSITIVE_INFINITY);
  void worked(bell, () => packets.work());
  return packets;
}

/** Has `work` done each time the doorbell rings, as the colo thread does. */
export async function worked(bell: Doorbell, work: () => void): Promise<void> {
  while (await bell.next()) work();
}

export function formatRoundTrip({ added, trips, rounds }: RoundTripResult): string {
  const rows = Object.entries(trips).map(
    ([name, row]) => `${name.padEnd(10)} ${row.median} µs at the median, p99 ${row.p99}`,
  );
  return `${[...formatRatios(added), '', ...rows, '', `Medians of ${rounds} rounds.`].join('\n')}\n`;
}
