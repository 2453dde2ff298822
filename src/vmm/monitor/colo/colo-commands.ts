import { isAbsolute } from 'node:path';
import * as v from 'valibot';
import { inTime, Patience } from '../../thread/patience.ts';
import { backupsAreAStandbys, type ColoCommand, type ColoControl, type ColoModes } from '../colo-control.ts';
import type { Monitor } from '../monitor.ts';
import { type CommandTable, command } from '../qmp-command.ts';
import { QmpError } from '../qmp-protocol.ts';
import { migrationInfo, migrationStatus } from './migration-info.ts';
import { capabilities, checkParameters } from './migration-settings.ts';

/** QEMU's word for a machine in no pair. */
const noColo = "The feature 'colo' is not enabled";

const noModes: ColoModes = { mode: 'none', lastMode: 'none', reason: 'none' };

/** Who the machine's side is; nobody, if there is none. */
function modesOf({ colo }: Monitor): ColoModes {
  return colo?.modes ?? noModes;
}

/** @throws QmpError if fault tolerance, and nobody else, has this machine run */
export function refuseIfHeld(monitor: Monitor): void {
  const holder = holderOf(monitor);
  if (holder !== undefined) throw new QmpError('GenericError', holder);
}

const holders: Readonly<Record<ColoModes['mode'], string>> = {
  secondary: 'this machine is the standby of its pair: its guest runs on the primary',
  primary: 'this machine is about to end, in order: its guest has ended, or goes on on the standby',
  none: 'this machine was fenced: its pair went on elsewhere, and this guest stays stopped',
};

/** Why the machine is not anybody's to stop and resume. */
function holderOf(monitor: Monitor): string | undefined {
  const { status } = monitor;
  if (status === 'inmigrate') return 'this standby waits for its primary: there is no guest yet';
  if (status !== 'colo') return undefined;
  return holders[modesOf(monitor).mode];
}

/** @throws QmpError with the reason why it is refused */
async function tell({ colo }: Monitor, order: ColoCommand): Promise<object> {
  const refusal = colo === undefined ? noColo : await colo.command(order);
  if (refusal !== undefined) throw new QmpError('GenericError', refusal);
  return {};
}

interface Replication {
  readonly enable: boolean;
  readonly primary: boolean;
  readonly failover?: boolean | undefined;
}

/** A pair replicates its disks from its beginning to its end: there is nothing to start, and to stop it is to end the pair. */
function setReplication(monitor: Monitor, { enable, primary, failover }: Replication): object {
  if (enable && failover !== undefined) {
    throw new QmpError('GenericError', "Parameter 'failover' is only for stopping replication");
  }
  const { mode } = modesOf(monitor);
  if (mode === 'none') return {};
  if (enable && primary !== (mode === 'primary')) {
    throw new QmpError('GenericError', `The parameter mode's value is invalid, needs ${mode}`);
  }
  if (enable) throw new QmpError('GenericError', 'Block replication is running or done');
  return tell(monitor, failover === true ? { name: 'lost-heartbeat', sure: false } : { name: 'unprotect' });
}

/** What is known of the pair, or why that cannot be said: who has a second's time wants the rest all the same. */
async function pairStatus(colo: ColoControl | undefined, withinMs?: number): Promise<object> {
  if (colo === undefined) return {};
  if (withinMs === undefined) return (await colo.status()) ?? {};
  const found = await inTime(colo.status(), new Patience(withinMs));
  if (found === undefined) return { unknown: `the colo thread gives no answer within ${withinMs} ms` };
  return found.value ?? {};
}

const capabilityList = v.array(v.strictObject({ capability: v.picklist(capabilities), state: v.boolean() }));

/** Commands about fault tolerance: QEMU 7.2's in its names and words, and ours, which begin with `x-colo` (spec A.8). */
export const coloCommands: CommandTable = {
  'query-colo-status': command({}, (monitor) => {
    const { mode, lastMode, reason } = modesOf(monitor);
    return { mode, 'last-mode': lastMode, reason };
  }),
  'x-colo-lost-heartbeat': command({}, (monitor) => {
    if (modesOf(monitor).mode === 'none') throw new QmpError('GenericError', noColo);
    return tell(monitor, { name: 'lost-heartbeat', sure: false });
  }),
  'xen-set-replication': command(
    { enable: v.boolean(), primary: v.boolean(), failover: v.optional(v.boolean()) },
    setReplication,
  ),
  'query-xen-replication-status': command({}, async ({ colo }) => {
    const status = await colo?.status();
    const error = status?.disk?.error ?? status?.failure;
    return error === undefined ? { error: false } : { error: true, desc: error };
  }),
  'xen-colo-do-checkpoint': command({}, (monitor) =>
    modesOf(monitor).mode === 'none' ? {} : tell(monitor, { name: 'checkpoint' }),
  ),

  'query-migrate': command({}, async ({ colo }) =>
    colo === undefined ? {} : migrationInfo(await colo.status(), colo.modes),
  ),
  'query-migrate-capabilities': command({}, ({ migration }) => migration.capabilities()),
  'migrate-set-capabilities': command({ capabilities: capabilityList }, async (monitor, given) => {
    // As in QEMU, a pair that is made is none.
    const status = migrationStatus(await monitor.colo?.status(), modesOf(monitor));
    if (status === 'setup' || status === 'active') {
      throw new QmpError('GenericError', "There's a migration process in progress");
    }
    monitor.migration.setCapabilities(given.capabilities);
    return {};
  }),
  'query-migrate-parameters': command({}, async ({ migration, colo }) => {
    const delayMs = (await colo?.status())?.checkpointDelayMs;
    return { ...migration.parameters(), ...(delayMs === undefined ? {} : { 'x-checkpoint-delay': delayMs }) };
  }),
  'migrate-set-parameters': async ({ colo, migration }, given) => {
    const checked = checkParameters(given);
    const { checkpointDelayMs: delayMs } = checked;
    const refusal = delayMs === undefined ? undefined : await colo?.command({ name: 'set-checkpoint-delay', delayMs });
    // A machine that was in no pair yet is protected with it.
    if (refusal !== undefined && refusal !== noColo) throw new QmpError('GenericError', refusal);
    migration.setParameters(checked);
    return {};
  },

  'x-colo-status': command({ 'within-ms': v.optional(v.number()) }, ({ colo }, { 'within-ms': withinMs }) =>
    pairStatus(colo, withinMs),
  ),
  'x-colo-events': command({ all: v.optional(v.boolean()) }, async ({ colo }, { all = false }) => [
    ...((await colo?.events(all)) ?? []),
  ]),
  'x-colo-protect': command(
    {
      standby: v.string(),
      listen: v.optional(v.string()),
      arbiter: v.string(),
      tls: v.optional(v.string()),
      insecure: v.optional(v.boolean()),
      name: v.optional(v.string()),
      state: v.optional(v.string()),
      'detection-ms': v.optional(v.number()),
      'checkpoint-delay-ms': v.optional(v.number()),
      mode: v.optional(v.string()),
      flow: v.optional(v.array(v.string())),
    },
    async (monitor, { 'detection-ms': detectionMs, 'checkpoint-delay-ms': delayMs, ...given }) => {
      const { colo, migration } = monitor;
      if (colo === undefined) throw new QmpError('GenericError', 'this machine cannot be protected');
      const options = { ...given, detectionMs, checkpointDelayMs: delayMs ?? migration.checkpointDelayMs };
      await colo.protect(withoutAbsent(options));
      return {};
    },
  ),
  'x-colo-unprotect': command({}, (monitor) => tell(monitor, { name: 'unprotect' })),
  'x-colo-switchover': command({}, (monitor) => tell(monitor, { name: 'switchover' })),
  'x-colo-backup': command({ path: v.string() }, ({ colo }, { path }) => {
    if (!isAbsolute(path)) throw new QmpError('GenericError', `${path}: give an absolute path`);
    if (colo === undefined) throw new QmpError('GenericError', backupsAreAStandbys);
    return colo.backup(path);
  }),
  'x-colo-checkpoint': command({}, (monitor) => tell(monitor, { name: 'checkpoint' })),
  'x-colo-failover': command({ sure: v.optional(v.boolean()) }, async (monitor, { sure = false }) => {
    const refusal = await monitor.colo?.command({ name: 'failover', sure });
    if (monitor.colo !== undefined && refusal === undefined) return {};
    // A person asks, who need not know QEMU's words.
    const nothing = refusal === undefined || refusal === noColo;
    throw new QmpError('GenericError', nothing ? 'nothing is protected here that could fail over' : refusal);
  }),
};

type Present<T> = { [Key in keyof T]: Exclude<T[Key], undefined> };

/** The members that have a value. */
function withoutAbsent<T extends object>(options: T): Present<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Present<T>;
}
