import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadKeySet } from '../../../src/colo/keys/key-set.ts';
import { keysCommand } from '../../../src/colo/keys/keys-command.ts';
import { dial } from '../../../src/colo/link/dial.ts';
import type { PeerLink } from '../../../src/colo/link/peer-link.ts';
import type { LinkSecurity } from '../../../src/colo/link/peer-security.ts';

export type Security = LinkSecurity['kind'];
export const securities: readonly Security[] = ['tls', 'plaintext'];

/** What the process that is S is to do. */
export interface StandbyOrder {
  readonly job: 'pages' | 'packets' | 'discard';
  /** Folder of its keys; absent: plaintext. */
  readonly keys?: string;
  /** Of the guest whose pages it takes. */
  readonly ramBytes: number;
}

/** Key sets of both sides, for as long as `use` takes. */
export async function withKeys<T>(use: (folders: readonly [string, string]) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-vmm-bench-'));
  try {
    const [a, b] = await keysCommand(join(folder, 'keys'), { pair: 'bench', hosts: 'a,b', days: '1' });
    if (a === undefined || b === undefined) throw new Error('there are no keys');
    return await use([a, b]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A process that does a standby's part; where it listens. It ends when `use` does. */
export async function withStandbyProcess<T>(order: StandbyOrder, use: (port: number) => Promise<T>): Promise<T> {
  const program = new URL('./standby.ts', import.meta.url).href;
  const run = `import(${JSON.stringify(program)}).then(({ serve }) => serve(${JSON.stringify(order)}))`;
  const child = spawn(process.execPath, ['--import=tsx', '-e', run], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    return await use(await portOf(child));
  } finally {
    child.kill();
  }
}

function portOf({ stdout }: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    if (stdout === null) return reject(new Error('the standby has no output'));
    const lines = createInterface(stdout);
    lines.once('line', (line) => resolve(Number(line)));
    lines.once('close', () => reject(new Error('the standby ended')));
  });
}

/** A link of P's to such a process. */
export function withStandby<T>(
  order: Omit<StandbyOrder, 'keys'>,
  security: Security,
  [own, theirs]: readonly [string, string],
  use: (link: PeerLink) => Promise<T>,
): Promise<T> {
  return withStandbyProcess(security === 'tls' ? { ...order, keys: theirs } : order, async (port) => {
    const link = await dial({
      ...{ host: '127.0.0.1', port, role: 'primary', patienceMs: 10_000 },
      security: security === 'tls' ? { kind: 'tls', keys: loadKeySet(own) } : { kind: 'plaintext' },
    });
    try {
      return await use(link);
    } finally {
      link.destroy();
    }
  });
}
