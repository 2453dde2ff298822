import { GuestSession } from '../guest-session.ts';
import type { Host } from '../lab/host.ts';
import type { LabMode } from '../lab/mode.ts';
import { vmmInHost } from '../vmm-files.ts';
import { patienceMs } from './bench-guest.ts';
import { prepare } from './bench-host.ts';
import { type Contestant, contestants, type GuestSpec } from './contestants.ts';
import { runInHost } from './in-host.ts';
import type { LabFigures } from './pause-report.ts';
import type { QmpFigures, QmpOrder } from './qmp-stopwatch.ts';
import { timeToLine } from './stopwatch.ts';

/**
 * What the guest has in memory besides its kernel, so that most of its 256 MiB are in use: copies of its one program, some
 * 2 MB each. Zeros would be left out by all.
 */
const fill = 'i=0; while [ $i -lt 80 ]; do cat /bin/busybox >> /tmp/filled; i=$((i+1)); done';
const folder = '/dev/shm/pause';
const snapshotOf = (name: Contestant): string => `${folder}/${name}.snap`;
const socketOf = (name: Contestant): string => `${folder}/${name}.sock`;

/** The guest computes without end, and prints so often that its first word comes at once when it goes on. */
const word = 'tick';
const busyLoop = `i=0; while :; do i=$((i+1)); case $i in *00) echo ${word};; esac; done`;

/**
 * Stopping a machine and letting it go on, saving it and restoring it: ours, QEMU microvm and QEMU pc, in the same host. A
 * machine is saved once and restored in each round, by all in turn.
 */
export async function benchBesideQemu(
  host: Host,
  mode: LabMode,
  guest: GuestSpec,
  { pauses, restores: rounds }: { pauses: number; restores: number },
  progress: (line: string) => void,
): Promise<LabFigures> {
  await prepare(host, [`mkdir -p ${folder}`]);
  const commands = contestants(guest, mode);
  const names = Object.keys(commands) as Contestant[];
  const qmp = {} as Record<Contestant, QmpFigures>;
  for (const name of names) {
    qmp[name] = await saveGuest(host, name, commands[name], pauses);
    progress(`${name}: saved in ${qmp[name].savingMs.toFixed(0)} ms`);
  }
  const restores: Record<Contestant, string[]> = {
    ours: ['node', vmmInHost, 'restore', snapshotOf('ours')],
    microvm: [...commands.microvm, '-incoming', `exec:cat ${snapshotOf('microvm')}`],
    pc: [...commands.pc, '-incoming', `exec:cat ${snapshotOf('pc')}`],
  };
  const times = await timeToLine(host, restores, { line: word, rounds, progress });
  const restoreMs = Object.fromEntries(times) as Record<Contestant, readonly number[]>;
  return { qmp, restoreMs, host: mode };
}

/** Boots a guest, gives it something to hold and to do, stops it now and then, and saves it. */
async function saveGuest(host: Host, name: Contestant, argv: readonly string[], rounds: number): Promise<QmpFigures> {
  const monitor =
    name === 'ours' ? ['--control', socketOf(name)] : ['-qmp', `unix:${socketOf(name)},server=on,wait=off`];
  const vmm = host.spawn([...argv, ...monitor]);
  try {
    const session = new GuestSession(vmm);
    await session.login(patienceMs);
    await session.run(`mount -o remount,size=80% /tmp; ${fill}`, patienceMs);
    session.type(busyLoop);
    const order: QmpOrder = {
      socket: socketOf(name),
      rounds,
      snapshot: snapshotOf(name),
      saver: name === 'ours' ? 'x-snapshot' : 'migrate',
    };
    return await runInHost<QmpFigures>(host, 'qmp-stopwatch.ts', order, () => {}, 10 * patienceMs);
  } finally {
    vmm.kill('SIGKILL');
    await vmm.exit.catch(() => undefined);
  }
}
