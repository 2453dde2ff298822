import { regionBitmapBytes, regionPlaces } from '../../../block/replicated/region-file.ts';
import { Difference } from './difference.ts';
import { type Generation, type History, type Suspicion, suspicionOf, unitedRegions } from './history.ts';

/**
 * What P knows of where a standby's disks may differ from its own, from one pairing to the next: the blocks, from which generations that
 * counts, and where a standby was suspect because of what it did itself. A copy that is cut off goes on where it was when the same
 * standby comes back to the same process: what it had made durable is no difference any more (spec B.7).
 *
 * Without I/O: whoever writes the generation down, and tells S, says so.
 */
export class ResyncState {
  readonly difference: Difference;
  /** Those from which all that differs is known; the newest first. */
  #generations: readonly Generation[];
  #suspect: Uint8Array;

  /** @param sizes of the disks, in bytes */
  constructor(sizes: readonly number[], generations: readonly Generation[]) {
    this.difference = new Difference(sizes);
    this.#generations = generations;
    this.#suspect = new Uint8Array(regionBitmapBytes(regionPlaces(sizes).count));
  }

  /** Regions in which a standby may differ because of what it did itself: marked in no log of this side. */
  get suspect(): Uint8Array {
    return this.#suspect;
  }

  /** What another one can go on with: the newest generation, and where disks may differ from those of it; undefined: there is none. */
  get known(): History | undefined {
    const [generation] = this.#generations;
    if (generation === undefined) return undefined;
    return { generation, regions: unitedRegions(this.#suspect, this.difference.regions) };
  }

  /** Of an earlier process, or an earlier side of this one: where the disks may differ from those of its generation already. */
  goOn(regions: Uint8Array): void {
    this.difference.addRegions(regions);
    this.#suspect = regions;
  }

  /** S knows this of its disks. */
  meet(theirs: History | undefined): Suspicion {
    const suspicion = suspicionOf(this.#generations, theirs, this.#suspect.length);
    if (suspicion.kind === 'all') this.difference.addAll();
    else this.difference.addRegions(suspicion.regions);
    const suspect = suspicion.kind === 'all' ? this.#suspect.map(() => 0xff) : suspicion.regions;
    this.#suspect = unitedRegions(this.#suspect, suspect);
    return suspicion;
  }

  /** The new generation is on P's disk, with {@link suspect}: S may hear of it, and has it or not. */
  renew(generation: Generation): void {
    this.#generations = [generation, ...this.#generations.slice(0, 1)];
  }

  /** S has it on its disk: what is settled from now on is so for that generation alone. */
  renewed(): void {
    this.#generations = this.#generations.slice(0, 1);
  }

  /**
   * S has made durable all that it was sent once its disks were equal: it is suspect no more. The generation with which that is to be
   * written down; undefined: there is nothing to write.
   */
  settled(): Generation | undefined {
    const [generation] = this.#generations;
    if (generation === undefined || this.#suspect.every((byte) => byte === 0)) return undefined;
    this.#suspect = this.#suspect.map(() => 0);
    return generation;
  }
}
