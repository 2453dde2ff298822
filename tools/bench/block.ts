import { programFiles } from '../images/program-files.ts';
import { type BenchGuest, patienceMs } from './bench-guest.ts';
import { prepare, withBenchHost } from './bench-host.ts';
import { type BlockContestant, blockContestants, type GuestSpec } from './contestants.ts';
import { type FioJob, fioCommand, fioOnceCommand, fioProgram, fioResultCommand, parseFio } from './fio.ts';
import { type RowsResult, rowsResult } from './row-report.ts';
import { type Row, runRows } from './rows.ts';
import { mountDebugfs } from './usage.ts';

const mib = 1024 * 1024;
const diskMib = 128;
/** Room for all guests at once and their disks in the page cache. */
const hostMemoryMib = 2048;
/** Where the disks' files lie in the host: on ext4, on a disk of the host. */
const folder = '/mnt/bench';
const disks: Readonly<Record<BlockContestant, string>> = {
  ours: `${folder}/ours.img`,
  qemu_threads: `${folder}/qemu-threads.img`,
  qemu_io_uring: `${folder}/qemu-io-uring.img`,
};
const deviceInGuest = '/dev/vda';

export interface BlockJob extends FioJob {
  /** Requests that CPU times are given for. */
  readonly nominal: number;
}

const blockJobs: readonly BlockJob[] = [
  { name: 'randread-qd1', pattern: 'randread', blockKib: 4, depth: 1, nominal: 1000 },
  { name: 'randwrite-qd1', pattern: 'randwrite', blockKib: 4, depth: 1, nominal: 1000 },
  { name: 'randread-qd32', pattern: 'randread', blockKib: 4, depth: 32, nominal: 1000 },
  { name: 'randwrite-qd32', pattern: 'randwrite', blockKib: 4, depth: 32, nominal: 1000 },
  { name: 'read-1m', pattern: 'read', blockKib: 1024, depth: 4, nominal: 256 },
  { name: 'write-1m', pattern: 'write', blockKib: 1024, depth: 4, nominal: 256 },
  { name: 'fsync-per-write', pattern: 'randwrite', blockKib: 4, depth: 1, nominal: 1000, isSynced: true },
];

const once: FioJob = { name: 'once', pattern: 'randread', blockKib: 4, depth: 1 };

/** Disk requests a second: ours and QEMU microvm with each of its ways to read and write files. */
export async function benchBlock(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
  { jobs = blockJobs, seconds = 2, warmUp = true, contestants: contestantsOf = blockContestants } = {},
): Promise<RowsResult> {
  const rows = jobs.map((job) => fioRow(job, seconds));
  const initramfs = { modules: ['virtio_mmio', 'virtio_blk'], files: await programFiles(fioProgram) };
  return withBenchHost(
    async (host, mode) => {
      await prepare(host, [
        `mkfs.ext4 -q ${host.disks[0]}`,
        `mkdir -p ${folder} && mount ${host.disks[0]} ${folder}`,
        // Written once, so that no row pays for a block's first use or for reading it from the host's disk.
        ...Object.values(disks).map((disk) => `dd if=/dev/zero of=${disk} bs=1M count=${diskMib} conv=fsync`),
        mountDebugfs,
      ]);
      const contestants = contestantsOf(guest, mode, disks);
      const startFio = async ({ session }: BenchGuest) => {
        await session.run(fioOnceCommand(once, deviceInGuest), patienceMs);
      };
      const measurements = await runRows({
        host,
        contestants,
        rows,
        rounds,
        warmUp,
        setUp: startFio,
        besides: startFio,
        progress,
      });
      return rowsResult('block', rows, measurements, rounds, mode);
    },
    { initramfs, disks: [{ sizeBytes: 2048 * mib }], memoryMib: hostMemoryMib },
  );
}

function fioRow(job: BlockJob, seconds: number): Row {
  return {
    name: job.name,
    request: job.blockKib === 1024 ? 'MiB' : 'requests',
    nominal: job.nominal,
    run: async ({ session }) => {
      await session.run(fioCommand(job, deviceInGuest, seconds), patienceMs);
    },
    result: async ({ session }) => parseFio(await session.run(fioResultCommand, patienceMs), job),
  };
}
