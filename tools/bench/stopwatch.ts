import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';

const timeoutMs = 120_000;

/**
 * Starts commands in turn inside `host`, and ends each when it has printed `line`; milliseconds up to that, by command.
 * Without a line, up to its own end. One round more than counted: the first finds cold caches.
 */
export async function timeToLine<C extends string>(
  host: Host,
  commands: Readonly<Record<C, readonly string[]>>,
  { line, rounds, progress }: { line: string; rounds: number; progress: (line: string) => void },
): Promise<ReadonlyMap<C, readonly number[]>> {
  await host.push(fileURLToPath(new URL('stopwatch.mjs', import.meta.url)), '/opt/bench/stopwatch.mjs');
  const names = Object.keys(commands) as C[];
  const times = new Map<C, number[]>(names.map((name) => [name, []]));
  const order = JSON.stringify({ commands, rounds: rounds + 1, line, timeoutMs });
  let rest = '';
  const result = await host.run(['node', '/opt/bench/stopwatch.mjs', order], {
    timeoutMs: (rounds + 1) * names.length * timeoutMs,
    onOutput: (text, from) => {
      if (from === 'stderr') return;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const each of lines) {
        const { name, round, ms, error } = JSON.parse(each) as {
          name: C;
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
}
