import type { Host } from '../lab/host.ts';
import { withBenchHost } from './bench-host.ts';
import { type Contestant, contestants, firstLine, type GuestSpec } from './contestants.ts';
import { median, rounded } from './statistics.ts';

export interface MemoryResult {
  readonly bench: 'memory';
  /** Resident memory beyond guest RAM, in MiB. */
  readonly ours_mib: number;
  readonly microvm_mib: number;
  readonly pc_mib: number;
  readonly ratio_microvm: number;
  readonly ratio_pc: number;
  /** Where ours goes. */
  readonly ours_node_mib: number;
  readonly ours_libraries_mib: number;
  readonly ours_anonymous_mib: number;
  readonly rounds: number;
  readonly host: string;
}

/** Resident bytes of a VMM beyond its guest's RAM, by what lies behind them. */
export interface Footprint {
  readonly executable: number;
  readonly libraries: number;
  /** Heaps, stacks, compiled code, run areas. */
  readonly anonymous: number;
}

const bootTimeoutMs = 120_000;

/** Resident memory of each VMM beyond guest RAM, when the guest has reached its /init. */
export async function benchMemory(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<MemoryResult> {
  return withBenchHost(async (host, mode) => {
    const footprints: Record<Contestant, Footprint[]> = { ours: [], microvm: [], pc: [] };
    for (let round = 1; round <= rounds; round++) {
      for (const [name, argv] of Object.entries(contestants(guest, mode)) as [Contestant, string[]][]) {
        const footprint = parseFootprint(await smapsOfBooted(host, argv), guest.memoryMib);
        progress(`round ${round}: ${name} ${footprintMib(footprint)} MiB beyond guest RAM`);
        footprints[name].push(footprint);
      }
    }
    const of = (name: Contestant, part: (footprint: Footprint) => number = total): number =>
      mib(median(footprints[name].map(part)));
    return {
      bench: 'memory',
      ours_mib: of('ours'),
      microvm_mib: of('microvm'),
      pc_mib: of('pc'),
      ratio_microvm: rounded(of('ours') / of('microvm'), 2),
      ratio_pc: rounded(of('ours') / of('pc'), 2),
      ours_node_mib: of('ours', (footprint) => footprint.executable),
      ours_libraries_mib: of('ours', (footprint) => footprint.libraries),
      ours_anonymous_mib: of('ours', (footprint) => footprint.anonymous),
      rounds,
      host: mode,
    };
  });
}

/** Boots a guest to its first line and gives the VMM's /proc/PID/smaps at that moment. */
async function smapsOfBooted(host: Host, argv: readonly string[]): Promise<string> {
  const pidFile = '/tmp/bench.pid';
  const vmm = host.spawn(['sh', '-c', `echo $$ > ${pidFile}; exec "$@"`, 'sh', ...argv]);
  try {
    await new Promise<void>((resolve, reject) => {
      let said = '';
      const late = setTimeout(() => reject(new Error(`${argv[0]} did not boot: ${said.slice(-500)}`)), bootTimeoutMs);
      for (const stream of [vmm.stdout, vmm.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          said += text;
          if (!said.includes(firstLine)) return;
          clearTimeout(late);
          resolve();
        });
      }
    });
    const { stdout, status, stderr } = await host.run(`cat /proc/$(cat ${pidFile})/smaps`);
    if (status !== 0) throw new Error(`no smaps of ${argv[0]}: ${stderr}`);
    return stdout;
  } finally {
    vmm.kill('SIGTERM');
    await vmm.exit;
  }
}

/** Adds up what is resident, leaving out guest RAM: the mappings of just its size. */
export function parseFootprint(smaps: string, guestMemoryMib: number): Footprint {
  const footprint = { executable: 0, libraries: 0, anonymous: 0 };
  let part: keyof Footprint | undefined;
  for (const line of smaps.split('\n')) {
    const mapping = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (mapping !== null) {
      const [, start, end, inode, path = ''] = mapping;
      const isRam = Number(`0x${end}`) - Number(`0x${start}`) === guestMemoryMib * 1024 * 1024;
      if (isRam) part = undefined;
      else if (inode === '0' || path.startsWith('/memfd:') || path.startsWith('/dev/')) part = 'anonymous';
      else part = /\.so(\.|$)|\.node$/.test(path) ? 'libraries' : 'executable';
    }
    const resident = /^Rss:\s+(\d+) kB/.exec(line);
    if (resident !== null && part !== undefined) footprint[part] += Number(resident[1]) * 1024;
  }
  return footprint;
}

/** All of it, in MiB. */
export function footprintMib(footprint: Footprint): number {
  return mib(total(footprint));
}

function total(footprint: Footprint): number {
  return footprint.executable + footprint.libraries + footprint.anonymous;
}

function mib(bytes: number): number {
  return rounded(bytes / 1024 / 1024);
}
