import * as v from 'valibot';
import type { Monitor } from './monitor.ts';
import { type Json, monitorName, QmpError, version } from './qmp-protocol.ts';
import { queryBlock, queryCpusFast, queryMachine, queryName, queryStatus } from './qmp-queries.ts';

/** What a command gives back: at once, or later. Nothing else of the same client runs meanwhile. */
export type Result = object | Promise<object>;

/** Takes what a command does once its answer has been sent. */
export type Afterwards = (effect: () => void) => void;

/** A command that checks its arguments and runs. @throws QmpError for wrong arguments */
export type Command = (monitor: Monitor, given: Json, afterwards: Afterwards) => Result;

export type CommandTable = Readonly<Record<string, Command>>;

/** A command with arguments as the schema's entries say. */
export function command<const Entries extends v.ObjectEntries>(
  entries: Entries,
  run: (monitor: Monitor, given: v.InferOutput<v.StrictObjectSchema<Entries, undefined>>) => Result,
): Command {
  const schema = v.strictObject(entries);
  return (monitor, given) => {
    const checked = v.safeParse(schema, given, { abortEarly: true });
    if (!checked.success) throw new QmpError('GenericError', complaint(checked.issues[0]));
    return run(monitor, checked.output);
  };
}

/** QEMU's words for an argument that will not do. */
function complaint(issue: v.BaseIssue<unknown>): string {
  const name = (issue.path ?? [])
    .map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
  if (issue.type === 'strict_object')
    return `Parameter '${name}' is ${issue.expected === 'never' ? 'unexpected' : 'missing'}`;
  if (issue.type === 'picklist' && typeof issue.input !== 'string') {
    return `Invalid parameter type for '${name}', expected: string`;
  }
  if (issue.type === 'picklist') return `Parameter '${name}' does not accept value '${issue.input}'`;
  return `Invalid parameter type for '${name}', expected: ${issue.expected?.toLowerCase()}`;
}

const query = (run: (monitor: Monitor) => object): Command => command({}, run);

/** An order gives nothing back. Its events come before its answer. */
const order = (run: (monitor: Monitor) => void): Command =>
  command({}, (monitor) => {
    run(monitor);
    return {};
  });

/** An order that is answered before it is carried out, and so before its events, as QEMU does with what ends a machine. */
const orderAfterwards =
  (run: (monitor: Monitor) => void): Command =>
  (monitor, given, afterwards) => {
    const answer = order(() => {})(monitor, given, afterwards);
    afterwards(() => run(monitor));
    return answer;
  };

/** A test of saving and loading: the guest must not notice. */
async function reloadMachine({ machine }: Monitor): Promise<object> {
  if (machine.state !== 'running') throw new QmpError('GenericError', 'the machine does not run');
  const { reload } = await import('../vmstate/reload.ts');
  const { stateBytes, stoppedMs } = reload(machine);
  return { 'state-bytes': stateBytes, 'stopped-ms': stoppedMs };
}

async function takeSnapshot(
  { snapshots }: Monitor,
  {
    path,
    incremental = false,
    stop = false,
  }: { path: string; incremental?: boolean | undefined; stop?: boolean | undefined },
): Promise<object> {
  if (snapshots === undefined) throw new QmpError('GenericError', 'this machine takes no snapshots');
  const report = await snapshots.take(path, { incremental, stop });
  return { path: report.path, base: report.base, 'ram-bytes': report.ramBytes, 'pause-ms': report.pauseMs };
}

/** All that a client can ask once it has negotiated. */
export const commands: CommandTable = {
  'query-status': query(queryStatus),
  'query-version': query(() => version),
  'query-commands': query(() => ['qmp_capabilities', ...Object.keys(commands)].map((name) => ({ name }))),
  'query-name': query(queryName),
  'query-cpus-fast': query(queryCpusFast),
  'query-block': query(queryBlock),
  'x-query-machine': query(queryMachine),
  // As in QEMU, stopping what stands and continuing what runs are no errors.
  stop: order(({ machine }) => {
    try {
      if (machine.state === 'running') machine.pause();
      else machine.settleDisks();
    } catch (error) {
      if (machine.state !== 'paused') throw error;
      throw new QmpError('GenericError', `the machine is paused, but ${(error as Error).message}`);
    }
  }),
  // `x-clock` is ours: what becomes of the time that the machine was paused.
  cont: command({ 'x-clock': v.optional(v.picklist(['keep', 'jump'])) }, ({ machine }, { 'x-clock': clock }) => {
    if (machine.state === 'paused') machine.resume(clock);
    return {};
  }),
  'x-reload': command({}, reloadMachine),
  'x-snapshot': command(
    { path: v.string(), incremental: v.optional(v.boolean()), stop: v.optional(v.boolean()) },
    takeSnapshot,
  ),
  system_powerdown: orderAfterwards(({ machine }) => machine.pressPowerButton()),
  system_reset: orderAfterwards(({ machine }) => machine.reset(monitorName)),
  quit: orderAfterwards(({ machine }) => machine.stop(monitorName, 0)),
};
