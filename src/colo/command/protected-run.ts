import { randomUUID } from 'node:crypto';
import type { Protector } from '../../vmm/command/protection.ts';
import { runCommand } from '../../vmm/command/run-command.ts';
import type { RunConfig } from '../../vmm/config/config.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import type { InheritedChanges } from '../disk/history/primary-changes.ts';
import { continueHistory } from '../disk/history/run-history.ts';
import { hookOf } from '../observe/event-hook.ts';
import { beginRecordingFile } from '../record/recording-file.ts';
import { beginTerm } from '../thread/begin-term.ts';
import { PrimaryControl } from '../thread/primary-control.ts';
import type { PrimaryConfig } from './pair-config.ts';

/**
 * Body of `colo-vmm run` with `--standby` or `--on-event`: the guest runs, and is protected as soon as its standby is there.
 *
 * @param pair absent: it is protected when somebody asks for it
 */
export async function protectedRunCommand(
  config: RunConfig,
  pair: PrimaryConfig | undefined,
  program: URL,
): Promise<number> {
  const holder = randomUUID();
  const hook = hookOf(config['on-event'], pair?.pair ?? config.name, 'primary');
  try {
    let changes: InheritedChanges | undefined;
    const prepare = async ({ replication }: Machine, stopping: AbortSignal): Promise<void> => {
      if (pair === undefined) return;
      // Not before this process has the pair's name and its disks: a term, or a recording, that a second start by mistake took from the
      // one that runs would be missed at the next loss.
      if (pair.pcap !== undefined) beginRecordingFile(pair.pcap);
      await beginTerm(pair, holder, { stopping });
      changes = continueHistory(pair, replication.deviceOrders, (shared) => replication.keepChanges(shared));
    };
    return await runCommand(config, program, {
      atOnce: true,
      ...(pair === undefined ? {} : { prepare }),
      make: async (machine, notice) => {
        const control = new PrimaryControl(machine, program, { name: config.name, holder }, notice);
        if (hook !== undefined) control.listen(hook);
        if (pair !== undefined) control.start(pair, { changes });
        return control;
      },
    });
  } finally {
    await hook?.close();
  }
}

/** Makes what protects a machine when somebody asks for that. */
export function protector(name: string | undefined, program: URL): Protector {
  return { atOnce: false, make: async (machine, notice) => new PrimaryControl(machine, program, { name }, notice) };
}
