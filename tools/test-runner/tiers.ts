import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

/** One kind of test (test/README.md tells what belongs where). */
export interface Tier {
  readonly name: string;
  /** Files that may run at the same time. Where time, processes or /dev/kvm are watched, one. */
  readonly parallel: number;
  /** Files, without folder and ending, that run one by one, after those that share the machine. */
  readonly alone?: readonly string[];
  /** Likewise, those that take longest: they begin before the others, or one of them would be waited for at the end. */
  readonly first?: readonly string[];
  /** A file that takes longer is broken. Generous: a loaded machine is no failure. */
  readonly fileTimeoutMs: number;
  /** Cases are told one by one, and what the file prints on stderr is shown as it comes. */
  readonly slow: boolean;
  /** It takes longer than anybody waits for all of them: it runs when it is named. */
  readonly onlyByName?: boolean;
}

const minute = 60_000;

/** In the order in which they run: what is quick to fail comes first. */
export const tiers: readonly Tier[] = [
  { name: 'unit', parallel: 2, fileTimeoutMs: 3 * minute, slow: false },
  { name: 'kvm', parallel: 1, fileTimeoutMs: 5 * minute, slow: false },
  { name: 'sim', parallel: 2, fileTimeoutMs: 25 * minute, slow: false },
  { name: 'fuzz', parallel: 2, fileTimeoutMs: 10 * minute, slow: false },
  {
    ...{ name: 'lab', parallel: 2, fileTimeoutMs: 90 * minute, slow: true },
    // Those that measure, and those that have two emulated hosts themselves: each host is busy with a processor of ours.
    alone: ['bench', 'chaos', 'commands', 'failover'],
    first: ['boot', 'torture', 'debian', 'console', 'soak'],
  },
  { name: 'long', parallel: 1, fileTimeoutMs: 90 * minute, slow: true, onlyByName: true },
];

/** The test files of a tier, from the repository's root. */
export function filesOf(tier: Tier, root: string): string[] {
  const folder = join('test', tier.name);
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => join(folder, file))
    .sort();
}

/** Those of `files` that may share the machine, and those that may not, in the order in which they run. */
export function byRoom(
  { alone = [], first = [] }: Tier,
  files: readonly string[],
): { shared: string[]; alone: string[] } {
  const name = (file: string): string => basename(file, '.test.ts');
  const isAlone = (file: string): boolean => alone.includes(name(file));
  const rank = (file: string): number => (first.includes(name(file)) ? first.indexOf(name(file)) : first.length);
  const shared = files.filter((file) => !isAlone(file)).sort((one, other) => rank(one) - rank(other));
  return { shared, alone: files.filter(isAlone) };
}
