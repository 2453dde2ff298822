import { bootTimeMs } from '../../host/system/clock.ts';
import { restoreCommand } from '../../vmm/command/restore-command.ts';
import type { RestoreConfig } from '../../vmm/command/restore-config.ts';
import { whyFailed } from '../disk/disk-failure.ts';
import { hookOf } from '../observe/event-hook.ts';
import { DiskAlarm } from '../side/disk-alarm.ts';
import { EventLog } from '../side/event-log.ts';

/** Body of `colo-vmm restore` with `--on-event`: nobody protects a restored machine, but its disks may fail. */
export async function toldRestoreCommand(path: string, config: RestoreConfig, program: URL): Promise<number> {
  const hook = hookOf(config['on-event'], config.name, 'primary');
  const disks = new DiskAlarm(new EventLog(bootTimeMs, (event) => hook?.happened(event, undefined)), bootTimeMs);
  try {
    return await restoreCommand(path, config, program, ({ events }) => {
      events.listen((event) => {
        if (event.kind === 'resumed') disks.resumed();
        if (event.kind === 'disk-failure') disks.failed(whyFailed(event.failure));
      });
    });
  } finally {
    await hook?.close();
  }
}
