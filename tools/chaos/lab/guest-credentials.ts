import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeAuthority, signHost } from '../../../src/colo/keys/pair-authority.ts';
import { cached, keyOf } from '../../packages/cache.ts';
import type { Progress } from '../../packages/progress.ts';

/** Who the guest says it is over TLS. */
export const guestName = 'guest.test';

const validDays = 3650;
const files = ['authority', 'certificate', 'key'] as const;

/** PEM: what clients believe, and what the guest shows and keeps. Made once: the guest is the same in every run. */
export async function guestCredentials(progress: Progress): Promise<Readonly<Record<(typeof files)[number], string>>> {
  const folder = await cached({
    kind: 'guest-credentials',
    key: keyOf(guestName, validDays),
    progress,
    build: async (directory) => {
      const authority = await makeAuthority('chaos', validDays);
      const host = await signHost(authority, { pair: 'chaos', host: guestName, days: validDays });
      const texts = { authority: authority.certificate, ...host };
      for (const name of files) await writeFile(join(directory, name), texts[name]);
    },
  });
  const [authority, certificate, key] = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
  return { authority, certificate, key } as Record<(typeof files)[number], string>;
}
