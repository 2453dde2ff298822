import * as v from 'valibot';
import { coloCommands, refuseIfHeld } from './colo/colo-commands.ts';
import type { Monitor } from './monitor.ts';
import { type Command, type CommandTable, command } from './qmp-command.ts';
import { monitorName, QmpError, version } from './qmp-protocol.ts';
import { queryBlock, queryCpusFast, queryMachine, queryName, queryStatus } from './qmp-queries.ts';

const query = (run: (monitor: Monitor) => object): Command => command({}, run);

/** An order gives nothing back. Its events come before its answer. */
const order = (run: (monitor: Monitor) => void): Command =>
  command({}, (monitor) => {
    run(monitor);
    return {};
  });

/** An order that is answered before it is carried out, and so before its events, as QEMU does with what ends a machine. */
const orderAfterwards =
  (run: (monitor: Monitor) => void, refuse: (monitor: Monitor) => void = () => {}): Command =>
  (monitor, given, afterwards) => {
    const answer = order(refuse)(monitor, given, afterwards);
    afterwards(() => run(monitor));
    return answer;
  };

/** A test of saving and loading: the guest must not notice. */
async function reloadMachine({ machine, colo }: Monitor): Promise<object> {
  if (colo !== undefined && colo.modes.mode !== 'none') throw new QmpError('GenericError', 'the machine is in a pair');
  if (machine.state !== 'running') throw new QmpError('GenericError', 'the machine does not run');
  const { reload } = await import('../vmstate/reload.ts');
  const { stateBytes, stoppedMs } = reload(machine);
  return { 'state-bytes': stateBytes, 'stopped-ms': stoppedMs };
}

async function takeSnapshot(
  monitor: Monitor,
  {
    path,
    incremental = false,
    stop = false,
  }: { path: string; incremental?: boolean | undefined; stop?: boolean | undefined },
): Promise<object> {
  refuseIfHeld(monitor);
  const { snapshots } = monitor;
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
  stop: order((monitor) => {
    refuseIfHeld(monitor);
    const { machine } = monitor;
    try {
      if (machine.state === 'running') machine.pause();
      else machine.settleDisks();
    } catch (error) {
      if (machine.state !== 'paused') throw error;
      throw new QmpError('GenericError', `the machine is paused, but ${(error as Error).message}`);
    }
  }),
  // `x-clock` is ours: what becomes of the time that the machine was paused.
  // The guest is woken once the answer is on its way, which would else wait for as long as a vCPU takes this processor.
  cont: command(
    { 'x-clock': v.optional(v.picklist(['keep', 'jump'])) },
    (monitor, { 'x-clock': clock }, afterwards) => {
      refuseIfHeld(monitor);
      const { machine } = monitor;
      if (machine.state === 'paused') machine.resume(clock, afterwards);
      return {};
    },
  ),
  'x-reload': command({}, reloadMachine),
  'x-snapshot': command(
    { path: v.string(), incremental: v.optional(v.boolean()), stop: v.optional(v.boolean()) },
    takeSnapshot,
  ),
  system_powerdown: orderAfterwards(({ machine }) => machine.pressPowerButton(), refuseIfHeld),
  system_reset: orderAfterwards(({ machine }) => machine.reset(monitorName), refuseIfHeld),
  quit: orderAfterwards(({ machine }) => machine.stop(monitorName, 0)),
  ...coloCommands,
};
