import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where the kernel's control groups for processors are, and how a group there is given less of them. */
export interface Hierarchy {
  /** Folder of the group in which new ones are made. */
  readonly root: string;
  /** Our own group, where processes go back to. */
  readonly own: string;
  /** Files and words of a group that may run for `quotaUs` in each `periodUs`; undefined: for as long as it likes. */
  readonly limit: (
    quotaUs: number | undefined,
    periodUs: number,
  ) => readonly (readonly [file: string, words: string])[];
}

/** How little of a processor is left: it runs for that share of each period, and then stands still until the next one. */
export interface Starvation {
  /** From 0 to 1. */
  readonly share: number;
  /** At most a second: the kernel takes no longer one. */
  readonly periodMs: number;
}

/** The kernel takes no smaller quota. */
const leastQuotaUs = 1000;
/** Folder of control groups on machines as they are set up. */
const usualFolder = '/sys/fs/cgroup';

/**
 * The hierarchy of this machine: version 2, or version 1's `cpu`.
 *
 * @param folder where they are mounted
 * @param groups what `/proc/self/cgroup` says
 * @returns why there is none to be had, if it is so
 */
export function findHierarchy(
  folder = usualFolder,
  groups = readFileSync('/proc/self/cgroup', 'utf8'),
): Hierarchy | string {
  const lines = groups.split('\n').map((line) => line.split(':'));
  const unified = join(folder, 'cgroup.controllers');
  if (existsSync(unified)) {
    if (!words(unified).includes('cpu')) return `${unified} has no cpu`;
    return {
      root: folder,
      own: join(folder, lines.find(([number]) => number === '0')?.[2] ?? ''),
      limit: (quota, period) => [['cpu.max', `${quota ?? 'max'} ${period}`]],
    };
  }
  for (const name of ['cpu', 'cpu,cpuacct']) {
    const root = join(folder, name);
    if (!existsSync(join(root, 'cpu.cfs_quota_us'))) continue;
    return {
      root,
      own: join(root, lines.find(([, names]) => names?.split(',').includes('cpu'))?.[2] ?? ''),
      limit: (quota, period) => [
        ['cpu.cfs_period_us', String(period)],
        ['cpu.cfs_quota_us', String(quota ?? -1)],
      ],
    };
  }
  return `${folder} has neither cgroup.controllers nor cpu/cpu.cfs_quota_us`;
}

/** A control group for processes that are to have next to no processor. Outside it they are as all others are. */
export class ProcessorQuota {
  readonly #hierarchy: Hierarchy;
  readonly #group: string;

  private constructor(hierarchy: Hierarchy, group: string) {
    this.#hierarchy = hierarchy;
    this.#group = group;
  }

  /** @returns why there is none to be had, if it is so */
  static make(name: string, hierarchy = findHierarchy()): ProcessorQuota | string {
    if (typeof hierarchy === 'string') return hierarchy;
    const group = join(hierarchy.root, name);
    try {
      // Version 2: groups in a group have what it hands on.
      const control = join(hierarchy.root, 'cgroup.subtree_control');
      if (existsSync(control) && !words(control).includes('cpu')) writeFileSync(control, '+cpu');
      mkdirSync(group);
    } catch (error) {
      return `no control group can be made: ${(error as Error).message}`;
    }
    return new ProcessorQuota(hierarchy, group);
  }

  /** All of the process's threads have that together. */
  starve(pid: number, { share, periodMs }: Starvation): void {
    this.#limit(Math.max(leastQuotaUs, Math.round(share * periodMs * 1000)), periodMs * 1000);
    writeFileSync(join(this.#group, 'cgroup.procs'), String(pid));
  }

  /** Whoever was starved has what others have. */
  feed(): void {
    this.#limit(undefined);
    for (const pid of words(join(this.#group, 'cgroup.procs'))) {
      try {
        writeFileSync(join(this.#hierarchy.own, 'cgroup.procs'), pid);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it has ended meanwhile
      }
    }
  }

  close(): void {
    this.feed();
    rmdirSync(this.#group);
  }

  #limit(quotaUs: number | undefined, periodUs = 100_000): void {
    for (const [file, text] of this.#hierarchy.limit(quotaUs, periodUs)) writeFileSync(join(this.#group, file), text);
  }
}

/** Removes groups that somebody who was killed left, as soon as nobody is in them: those whose names begin so. */
export async function removeQuotas(beginning: string, hierarchy = findHierarchy()): Promise<void> {
  if (typeof hierarchy === 'string') return;
  for (const name of readdirSync(hierarchy.root).filter((found) => found.startsWith(beginning))) {
    for (let attempts = 0; attempts < 50; attempts++) {
      try {
        rmdirSync(join(hierarchy.root, name));
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}

function words(path: string): string[] {
  return readFileSync(path, 'utf8').split(/\s+/).filter(Boolean);
}
