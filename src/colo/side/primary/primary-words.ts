import type { ColoHeadline } from '../../../vmm/monitor/colo-control.ts';
import { showHostPort } from '../../command/host-port.ts';
import type { PrimaryConfig, StandbyPlaces } from '../../command/pair-config.ts';
import type { PortPolicy } from '../../compare/flow-policy.ts';
import type { Primary } from '../../core/primary/primary.ts';
import type { PrimaryChanges } from '../../disk/history/primary-changes.ts';
import type { OwnStatus } from '../host.ts';
import type { ProtectedGuest } from './protected-guest.ts';

/** What `status` and `events` say of a primary. */

export const headlines: Readonly<Record<Primary['phase'], ColoHeadline>> = {
  unprotected: 'UNPROTECTED',
  connecting: 'UNPROTECTED',
  greeting: 'UNPROTECTED',
  synchronising: 'PAIRING',
  seeding: 'PAIRING',
  protected: 'PROTECTED',
  ending: 'PROTECTED',
  'handing-over': 'PROTECTED',
  'handed-over': 'FENCED',
  'giving-up': 'FENCED',
  waiting: 'WAITING',
  fenced: 'FENCED',
  ended: 'ENDED',
};

/** How a guest that nobody protects is to have a standby. */
export function howToProtect({ pair, standby, listen }: StandbyPlaces & Pick<PrimaryConfig, 'pair'>): string {
  const command = `colo-vmm standby --name ${pair} --listen ...`;
  if (listen === undefined) return `it is tried again; start the standby there: ${command}`;
  const finding = `${command} --peer THIS-HOST:${listen.port}`;
  return standby === undefined
    ? `start a standby on the other host: ${finding}`
    : `it is tried again; start the standby there, or on any host of the pair: ${finding}`;
}

/** Where it is, and how its output leaves. */
export function placeAndMode(
  config: StandbyPlaces & Pick<PrimaryConfig, 'flows'>,
  { mode, openEpoch }: Primary,
): Pick<OwnStatus, 'mode' | 'flows' | 'address' | 'epoch'> {
  const { flows = [] } = config;
  return {
    mode: mode.mode,
    ...(flows.length === 0
      ? {}
      : { flows: flows.map((flow) => ({ ...flow, ...(flow.policy === 'pass' ? { unsafe: true as const } : {}) })) }),
    address: showHostPort(config.standby === undefined ? config.listen : config.standby),
    epoch: openEpoch,
  };
}

/** What is held of it, its disks, and its RAM while that is first copied. */
export function guestStatus(
  { packets, disks, pages }: ProtectedGuest,
  changes: PrimaryChanges | undefined,
): Pick<OwnStatus, 'held' | 'disk' | 'memory'> {
  const {
    progress: synchronising,
    outcome: synchronised,
    outstandingBytes: logBytes,
    guestWaits,
    slowStandby,
    error,
  } = disks;
  const { firstCopy: memory } = pages;
  return {
    held: packets.facts,
    ...(memory === undefined ? {} : { memory }),
    disk: {
      logBytes,
      ...(guestWaits ? { guestWaits: true } : {}),
      ...(slowStandby === undefined ? {} : { slowStandby }),
      ...(error === undefined ? {} : { error }),
      ...(synchronising === undefined ? {} : { synchronising }),
      ...(synchronised === undefined ? {} : { synchronised }),
      ...(changes === undefined ? {} : { markedBytes: changes.markedBytes }),
    },
  };
}

/** Whose clients may be told what nobody knows of after a failover. */
export function unsafeFlows({ flows = [] }: Pick<PrimaryConfig, 'flows'>): readonly PortPolicy[] {
  return flows.filter(({ policy }) => policy === 'pass');
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
