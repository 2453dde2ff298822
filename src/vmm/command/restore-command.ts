import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { VmStateError } from '../../devices/vm-state-error.ts';
import { tell } from '../../host/console/tell.ts';
import { ConfigError } from '../config/config.ts';
import { nameOfDisk } from '../config/device-config.ts';
import { Machine } from '../machine/machine.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { Snapshot } from '../snapshot/snapshot-file.ts';
import { BootFiles } from './boot-files.ts';
import { mergeDevices, type RestoreConfig } from './restore-config.ts';
import { type MachineParts, runMachine } from './run-machine.ts';

/**
 * Body of `colo-vmm restore`: a machine from its snapshot to its end. The process's exit code.
 *
 * @param made is given the machine before its guest runs
 */
export async function restoreCommand(
  path: string,
  config: RestoreConfig,
  program: URL,
  made?: (machine: Machine) => void,
): Promise<number> {
  const snapshot = new Snapshot(path);
  try {
    const { config: saved } = snapshot.tail;
    const parts: MachineParts = { ...mergeDevices(saved, config), rng: saved.rng, boot: saved.boot };
    requireOverlays(snapshot, parts);
    warnOfChangedDisks(snapshot, parts);
    return await runMachine(config, parts, () => restore(snapshot, parts, config, program, made));
  } finally {
    snapshot.close();
  }
}

async function restore(
  snapshot: Snapshot,
  { disk, net, rng }: MachineParts,
  config: RestoreConfig,
  program: URL,
  made?: (machine: Machine) => void,
): Promise<Machine> {
  const { config: saved, state } = snapshot.tail;
  const machine = new Machine(
    {
      cpus: saved.cpus,
      memoryBytes: state.memoryBytes,
      ram: snapshot.mapRam(),
      cpuMask: [],
      devices: { disks: disk, nets: net, rng },
      onPanic: config['on-panic'],
    },
    program,
    (text) => tell(`colo-vmm: ${text}\n`),
  );
  try {
    made?.(machine);
    // Opened only when it is needed: a host that has them not can run the machine all the same.
    if (config.reboot === 'reset' && saved.boot !== undefined) machine.rebootsFrom(new BootFiles(saved.boot));
    machine.load(state);
    machine.becomeNewCopy();
    if (!config.paused) machine.resume(config.clock);
    return machine;
  } catch (error) {
    // A process that exits while a thread still loads its program is aborted by the library that it loads.
    await machine.close();
    if (!(error instanceof VmStateError)) throw error;
    throw new SnapshotError(`${snapshot.path}: the machine cannot be restored here: ${error.message}`, {
      cause: error,
    });
  }
}

/**
 * One that is missing would be made, with nothing in it of what the guest wrote. That is right only over a disk that had none:
 * so the guest goes on, as often as one likes, and leaves its disk as it was.
 */
function requireOverlays({ tail }: Snapshot, { disk }: MachineParts): void {
  for (const [index, config] of disk.entries()) {
    const { overlay } = config;
    if (overlay === undefined || tail.config.disk[index]?.overlay === undefined || existsSync(overlay)) continue;
    throw new ConfigError(
      `disk ${nameOfDisk(config, index)}: its overlay ${overlay} is gone, and what the guest wrote with it; give a copy ` +
        `by --disk id=${nameOfDisk(config, index)},overlay=FILE`,
    );
  }
}

/**
 * A guest has parts of its file systems in memory: a disk that was written meanwhile does not go with it. Of a file that is
 * given anew nobody knows when it should have been written.
 */
function warnOfChangedDisks({ tail }: Snapshot, { disk }: MachineParts): void {
  for (const [index, config] of disk.entries()) {
    const saved = tail.config.disk[index];
    if (saved === undefined) continue;
    // Where an overlay is given to a disk that had none, what the guest wrote is in the disk.
    const file = resolve(saved.overlay === undefined ? config.path : (config.overlay ?? config.path));
    if (file !== (saved.overlay ?? saved.path)) continue;
    const then = tail.diskTimes[index];
    const now = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    if (config.readonly || then === undefined || now === undefined || Math.abs(now - then) < 1) continue;
    tell(
      `colo-vmm: warning: disk ${nameOfDisk(config, index)}: ${file} has been written since the snapshot was taken. If it ` +
        'is not as it was then, the guest will destroy its file system: give a copy from that time by --disk\n',
    );
  }
}
