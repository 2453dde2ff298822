import { fileURLToPath } from 'node:url';
import { withBenchHost } from './bench-host.ts';
import { type Contestant, contestants, firstLine, type GuestSpec } from './contestants.ts';
import { median, rounded } from './statistics.ts';

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

const timeoutMs = 120_000;

/** From process start to the first line of /init: ours, QEMU microvm and QEMU pc, in turn, in the same host. */
export async function benchBoot(
  guest: GuestSpec,
  rounds: number,
  progress: (line: string) => void,
): Promise<BootResult> {
  return withBenchHost(async (host, mode) => {
    await host.push(fileURLToPath(new URL('stopwatch.mjs', import.meta.url)), '/opt/bench/stopwatch.mjs');
    const measure = async (commands: Record<string, string[]>, line: string): Promise<Map<string, number[]>> => {
      const times = new Map<string, number[]>(Object.keys(commands).map((name) => [name, []]));
      // One round more than counted: the first finds cold caches, ours as well as QEMU's.
      const order = JSON.stringify({ commands, rounds: rounds + 1, line, timeoutMs });
      let rest = '';
      const result = await host.run(['node', '/opt/bench/stopwatch.mjs', order], {
        timeoutMs: (rounds + 1) * Object.keys(commands).length * timeoutMs,
        onOutput: (text, from) => {
          if (from === 'stderr') return;
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          for (const each of lines) {
            const { name, round, ms, error } = JSON.parse(each) as {
              name: string;
              round: number;
              ms?: number;
              error?: string;
            };
            if (ms === undefined) throw new Error(`${name} did not print "${line}"; it said last: ${error}`);
            progress(`${round === 1 ? 'warm-up' : `round ${round - 1}`}: ${name} ${ms.toFixed(0)} ms`);
            if (round > 1) times.get(name)?.push(ms);
          }
        },
      });
      if (result.status !== 0) throw new Error(`the stopwatch failed: ${result.stderr}`);
      return times;
    };
    const node = await measure({ 'node -e 0': ['node', '-e', '0'] }, '');
    const boots = await measure(contestants(guest, mode), firstLine);
    const of = (name: Contestant): number[] => boots.get(name) ?? [];
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
