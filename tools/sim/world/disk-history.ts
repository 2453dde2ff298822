import { type Generation, type History, type Suspicion, suspicionOf } from '../../../src/colo/disk/history/history.ts';
import { blockCount } from './fake-guest.ts';

/** When a machine may forget where its disk differs from the other one's: as src/colo/disk/history has it, or broken by a mutant. */
export interface ResyncRules {
  /** A write is marked before it is made. */
  readonly marksWrites: boolean;
  /** Marks go once what was written is durable on both sides. */
  readonly mayForget: (durableHere: boolean, durableThere: boolean) => boolean;
  /** What the other machine marked is compared as well. */
  readonly heedsTheirs: boolean;
}

export const resyncRules: ResyncRules = {
  marksWrites: true,
  mayForget: (here, there) => here && there,
  heedsTheirs: true,
};

/**
 * What a machine keeps beside its disk, durable at once: since when it is counted, and which blocks may have been written since. A
 * block here is what a region is there.
 */
export class DiskHistory {
  /** All of them moments from which {@link marks} count; the last one is its own when it comes back as a standby. */
  generations: Generation[] = [];
  readonly marks = new Set<number>();

  /** Of a machine that comes back. */
  get asStandby(): History | undefined {
    const generation = this.generations.at(-1);
    if (generation === undefined) return undefined;
    const regions = new Uint8Array(Math.ceil(blockCount / 8));
    for (const block of this.marks) regions[block >> 3] = (regions[block >> 3] as number) | (1 << (block & 7));
    return { generation, regions };
  }

  /** Blocks that are to be copied to a standby that says this of its disk. */
  differences(
    theirs: History | undefined,
    rules: ResyncRules,
  ): { readonly blocks: number[]; readonly kind: Suspicion['kind'] } {
    const all = Array.from({ length: blockCount }, (_, block) => block);
    const suspicion = suspicionOf(this.generations, theirs, Math.ceil(blockCount / 8));
    if (suspicion.kind === 'all') return { blocks: all, kind: 'all' };
    const isTheirs = (block: number): boolean => ((suspicion.regions[block >> 3] as number) & (1 << (block & 7))) !== 0;
    const blocks = all.filter((block) => this.marks.has(block) || (rules.heedsTheirs && isTheirs(block)));
    return { blocks, kind: 'known' };
  }
}
