import { withBenchHost } from './bench-host.ts';
import { type Contestant, contestants, firstLine, type GuestSpec } from './contestants.ts';
import { median, rounded } from './statistics.ts';
import { timeToLine } from './stopwatch.ts';

export interface BootResult {
  readonly bench: 'boot';
  readonly ours_ms: number;
  readonly microvm_ms: number;
  readonly pc_ms: number;
  readonly ratio_microvm: number;
  readonly ratio_pc: number;
  /** Of ours: what `node -e 0` takes in the same host, before a line of this program runs. */
  readonly node_start_ms: number;
  /** The ratios with that taken off ours: emulated hosts inflate it more than anything else. */
  readonly ratio_microvm_beyond_node: number;
  readonly ratio_pc_beyond_node: number;
  readonly rounds: number;
  readonly host: string;
}

/** From process start to the first line of /init: ours, QEMU microvm and QEMU pc, in turn, in the same host. */
export async function benchBoot(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<BootResult> {
  return withBenchHost(async (host, mode) => {
    const node = await timeToLine(host, { 'node -e 0': ['node', '-e', '0'] }, { line: '', rounds, progress });
    const boots = await timeToLine(host, contestants(guest, mode), { line: firstLine, rounds, progress });
    const of = (name: Contestant): readonly number[] => boots.get(name) ?? [];
    const nodeStart = median(node.get('node -e 0') ?? []);
    const ratioTo = (other: Contestant, without = 0): number =>
      rounded(median(of('ours').map((ms, round) => (ms - without) / (of(other)[round] ?? Number.NaN))), 3);
    return {
      bench: 'boot',
      ours_ms: rounded(median(of('ours')), 0),
      microvm_ms: rounded(median(of('microvm')), 0),
      pc_ms: rounded(median(of('pc')), 0),
      ratio_microvm: ratioTo('microvm'),
      ratio_pc: ratioTo('pc'),
      node_start_ms: rounded(nodeStart, 0),
      ratio_microvm_beyond_node: ratioTo('microvm', nodeStart),
      ratio_pc_beyond_node: ratioTo('pc', nodeStart),
      rounds,
      host: mode,
    };
  });
}
