import type { ColoModes, ColoStatus } from '../colo-control.ts';

/** QEMU's MigrationStatus, as far as a pair has them. */
export type MigrationStatus = 'none' | 'setup' | 'active' | 'colo' | 'completed' | 'failed';

/** Phases of both sides (src/colo/core) in QEMU's words. What is not here is over. */
const ofPhases: Readonly<Record<string, MigrationStatus>> = {
  listening: 'none',
  connecting: 'setup',
  greeting: 'setup',
  synchronising: 'active',
  seeding: 'active',
  ready: 'active',
  protected: 'colo',
  protecting: 'colo',
  ending: 'colo',
  leaving: 'colo',
  waiting: 'colo',
  claiming: 'colo',
  'going-live': 'colo',
  failed: 'failed',
  refused: 'failed',
};

/**
 * Where a pair is, as a client that migrates sees it.
 *
 * @param status absent: the machine was never in a pair, or its side is just becoming another one, as after a takeover
 */
export function migrationStatus(status: ColoStatus | undefined, { mode, lastMode }: ColoModes): MigrationStatus {
  if (status === undefined) return mode === 'none' && lastMode !== 'none' ? 'completed' : 'none';
  // It was never protected, although somebody wants that.
  if (status.phase === 'unprotected' && lastMode === 'none') return 'failed';
  return ofPhases[status.phase] ?? 'completed';
}

/** QEMU's MigrationInfo. A side that waits for a primary, or has one, says where. */
export function migrationInfo(status: ColoStatus | undefined, modes: ColoModes): object {
  const found = migrationStatus(status, modes);
  return {
    ...(status?.role === 'secondary' ? { 'socket-address': [socketAddress(status.address)] } : {}),
    ...(found === 'none' ? {} : { status: found }),
    ...(found === 'failed' ? { 'error-desc': status?.why } : {}),
  };
}

/** HOST:PORT or [HOST]:PORT as QEMU's SocketAddress. */
function socketAddress(address: string): object {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const family = host.includes(':') ? { ipv6: true } : { ipv4: true };
  return { type: 'inet', host, port: address.slice(colon + 1), ...family };
}
