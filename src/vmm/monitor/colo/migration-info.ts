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
  failed: 'failed',
  refused: 'failed',
};

/** Where a pair is, as a client that migrates sees it. @param status absent: the machine was never in a pair */
export function migrationStatus(status: ColoStatus | undefined, { lastMode }: ColoModes): MigrationStatus {
  if (status === undefined) return 'none';
  // It was never protected, although somebody wants that.
  if (status.phase === 'unprotected' && lastMode === 'none') return 'failed';
  return ofPhases[status.phase] ?? 'completed';
}

/** QEMU's MigrationInfo. */
export function migrationInfo(status: ColoStatus | undefined, modes: ColoModes): object {
  const found = migrationStatus(status, modes);
  if (found === 'none') return {};
  return { status: found, ...(found === 'failed' ? { 'error-desc': status?.why } : {}) };
}
