import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { PeerLink } from '../../../src/colo/link/peer-link.ts';
import type { SharedCheckpoints } from '../../../src/colo/machine/shared-checkpoints.ts';
import { GuestFirst, guestTime } from '../../../src/colo/memory/guest-first.ts';
import { PageSender } from '../../../src/colo/memory/page-sender.ts';
import { epoch, term } from '../../../src/colo/protocol/numbers.ts';
import { pageSize } from '../../../src/memory/address.ts';
import { median, rounded } from '../statistics.ts';
import { atLeast, formatRatios, type Ratio } from '../verdict.ts';
import { type Security, securities, withKeys, withStandby, withStandbyProcess } from './peers.ts';

/** MiB of pages a second, from the first one encoded until the peer has said that it has all of them. */
export interface PagesResult {
  readonly bench: 'pages-native';
  readonly ratios: readonly Ratio[];
  /** `tcp`: as many bytes by TCP alone, that nobody looks at. */
  readonly speeds: Readonly<Record<'tcp' | Security, number>>;
  readonly pages: number;
  readonly rounds: number;
}

const MiB = 2 ** 20;
const ramBytes = 64 * MiB;
const pages = ramBytes / pageSize / 2;
const sentBytes = pages * pageSize;
/** Of a socket's writes: what Node takes at once of a file. */
const chunkBytes = 256 * 1024;
/** Checkpoints before one that counts: the first goes straight into RAM, and V8 has compiled what it does by then. */
const uncounted = 4;
const counted = 5;

/** Pages that nothing can make smaller, of one checkpoint after the other. */
export async function benchPages(rounds: number, progress: (line: string) => void): Promise<PagesResult> {
  const names = ['tcp', ...securities] as const;
  const found: Record<(typeof names)[number], number[]> = { tcp: [], tls: [], plaintext: [] };
  await withKeys(async (keys) => {
    for (let round = 1; round <= rounds; round++) {
      for (const name of names) {
        const seconds =
          name === 'tcp'
            ? await withStandbyProcess({ job: 'discard', ramBytes }, byTcp)
            : await withStandby({ job: 'pages', ramBytes }, name, keys, byLink);
        found[name].push(sentBytes / MiB / seconds);
      }
      const said = names.map((name) => `${name} ${found[name].at(-1)?.toFixed(0)}`).join(', ');
      progress(`round ${round} of ${rounds}, MiB a second: ${said}`);
    }
  });
  return pagesResult(found, rounds);
}

export function pagesResult(found: Readonly<Record<'tcp' | Security, readonly number[]>>, rounds: number): PagesResult {
  const ratio = (name: Security): number =>
    median(found[name].map((speed, round) => speed / (found.tcp[round] ?? Number.NaN)));
  const middle = (name: 'tcp' | Security): number => rounded(median(found[name]), 0);
  return {
    bench: 'pages-native',
    ratios: securities.map((name) => atLeast(`pages encoded, sent and staged, ${name}, to TCP`, ratio(name), 0.5)),
    speeds: { tcp: middle('tcp'), tls: middle('tls'), plaintext: middle('plaintext') },
    pages,
    rounds,
  };
}

/** Seconds for all bytes. */
async function byTcp(port: number): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const chunk = randomFillSync(Buffer.alloc(chunkBytes));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(sentBytes));
  try {
    return await timed(async () => {
      const heard = once(socket, 'data');
      socket.write(size);
      for (let sent = 0; sent < sentBytes; sent += chunkBytes) {
        if (!socket.write(chunk)) await once(socket, 'drain');
      }
      await heard;
    });
  } finally {
    socket.destroy();
  }
}

/** The same of a checkpoint, to a standby that stages and loads it. */
async function byLink(link: PeerLink): Promise<number> {
  const shared = stagedPages();
  const state = { storage: new SharedArrayBuffer(8), sizeBytes: 0 };
  const sender = new PageSender({
    shared,
    collect: () => Promise.reject(new Error('nothing is read live')),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (message) => link.send({ role: 'primary', term: term(1), message }),
  });
  const heard = new Map<string, () => void>();
  link.listen({
    received: ({ message }) => heard.get(message.kind)?.(),
    drained: () => sender.drained(),
    ended: () => {},
  });
  const said = (kind: string): Promise<void> => new Promise((resolve) => heard.set(kind, resolve));
  const bytes = new Uint8Array(shared.staging.bytes);
  let at = 0;
  try {
    let loaded = Promise.resolve();
    return await timed(
      async () => {
        const received = said('vmstate-received');
        loaded = said('vmstate-loaded');
        await sender.transmit(epoch(at++), { pages, state });
        await received;
      },
      async () => {
        await loaded;
        // No page is like it was, or the difference would be sent.
        randomFillSync(bytes);
      },
    );
  } finally {
    sender.close();
  }
}

function stagedPages(): SharedCheckpoints {
  const numbers = new SharedArrayBuffer(pages * 4);
  new Uint32Array(numbers).forEach((_, place, all) => {
    all[place] = 2 * place;
  });
  const bytes = new SharedArrayBuffer(sentBytes);
  randomFillSync(new Uint8Array(bytes));
  return { ramBytes, live: [], regions: [], staging: { bytes, start: 0, capacity: pages, numbers } };
}

/** Seconds that `act` takes when it is quickest: others use this machine too. `between` is done after each. */
async function timed(act: () => Promise<void>, between: () => Promise<void> = async () => {}): Promise<number> {
  const seconds: number[] = [];
  for (let turn = 0; turn < uncounted + counted; turn++) {
    const begun = performance.now();
    await act();
    if (turn >= uncounted) seconds.push((performance.now() - begun) / 1000);
    await between();
  }
  return Math.min(...seconds);
}

export function formatPages({ ratios, speeds, pages, rounds }: PagesResult): string {
  const rows = Object.entries(speeds).map(([name, speed]) => `${name.padEnd(10)} ${speed} MiB a second`);
  const what = `Checkpoints of ${pages} pages that cannot be made smaller; the quickest of ${counted}, medians of ${rounds} rounds.`;
  return `${[...formatRatios(ratios), '', ...rows, '', what].join('\n')}\n`;
}
