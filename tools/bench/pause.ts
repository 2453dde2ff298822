import { pathToFileURL } from 'node:url';
import { MiB } from '../../src/memory/address.ts';
import { GuestSession } from '../guest-session.ts';
import type { Host } from '../lab/host.ts';
import type { LabMode } from '../lab/mode.ts';
import { vmmBundle, vmmInHost } from '../vmm-files.ts';
import { patienceMs } from './bench-guest.ts';
import { prepare, withBenchHost } from './bench-host.ts';
import { type Contestant, contestants, type GuestSpec } from './contestants.ts';
import { runInHost } from './in-host.ts';
import type { PausesOrder } from './pause-in-host.ts';
import { type LabFigures, type PauseResult, type PauseRow, pauseResult } from './pause-report.ts';
import { benchPauses } from './pauses.ts';
import type { QmpFigures, QmpOrder } from './qmp-stopwatch.ts';
import { timeToLine } from './stopwatch.ts';

/** Room for two guests, what they write, and three snapshots. */
const hostMemoryMib = 3072;
/** What the guest has in memory besides its kernel: not zeros, which QEMU would leave out. */
const filledMib = 96;
/** Pauses are short, so that many can be measured where a restore is. */
const pausesARound = 6;
const folder = '/dev/shm/pause';
const snapshotOf = (name: Contestant): string => `${folder}/${name}.snap`;
const socketOf = (name: Contestant): string => `${folder}/${name}.sock`;

/** The guest computes without end, and prints so often that its first word comes at once when it goes on. */
const word = 'tick';
const busyLoop = `i=0; while :; do i=$((i+1)); case $i in *00) echo ${word};; esac; done`;

/**
 * How long a guest stands still for a checkpoint, natively and in the lab; and beside QEMU, in the lab, what stopping,
 * saving and restoring a machine takes.
 */
export async function benchPause(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<PauseResult> {
  const native = await benchPauses('native', pathToFileURL(vmmBundle), rounds * pausesARound, progress);
  const { rows, figures } = await withBenchHost(
    async (host, mode) => {
      await prepare(host, [`mkdir -p ${folder}`]);
      const order: PausesOrder = { program: vmmInHost, rounds: rounds * pausesARound };
      return {
        rows: await runInHost<PauseRow[]>(host, 'pause-in-host.ts', order, progress, 10 * patienceMs),
        figures: await besideQemu(host, mode, guest, rounds, progress),
      };
    },
    { memoryMib: hostMemoryMib },
  );
  return pauseResult([...native, ...rows], figures);
}

async function besideQemu(
  host: Host,
  mode: LabMode,
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<LabFigures> {
  const commands = contestants(guest, mode);
  const names = Object.keys(commands) as Contestant[];
  const qmp = {} as Record<Contestant, QmpFigures>;
  for (const name of names) {
    qmp[name] = await saveGuest(host, name, commands[name], rounds * pausesARound);
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
    await session.run(
      `mount -o remount,size=80% /tmp; yes colo | head -c ${filledMib * MiB} > /tmp/filled`,
      patienceMs,
    );
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
