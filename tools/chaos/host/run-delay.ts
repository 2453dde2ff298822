import { readdirSync, readFileSync } from 'node:fs';

/** How long each thread of a process has waited for a processor until now, in ms; nothing of a process that is gone. */
export function runDelays(pid: number): ReadonlyMap<string, number> {
  const delays = new Map<string, number>();
  for (const thread of existing(() => readdirSync(`/proc/${pid}/task`)) ?? []) {
    // Nanoseconds on a processor, nanoseconds that it waited for one, and how often.
    const line = existing(() => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1'));
    if (line !== undefined) delays.set(thread, Number(line.split(' ')[1]) / 1e6);
  }
  return delays;
}

/** How long the thread that waited longest has waited from then to then, in ms. */
export function longestRunDelay(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return Math.max(0, ...[...after].map(([thread, ms]) => ms - (before.get(thread) ?? 0)));
}

function existing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // The process, or one of its threads, is gone.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
