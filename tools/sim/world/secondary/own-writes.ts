import type { DiskRequest } from '../fakes/fake-guest.ts';
import type { SecondaryProcess } from './secondary-process.ts';
import type { StandbyDisk } from './standby-disk.ts';

/**
 * What S's guest writes itself, in a layer above S's disk: compared, it is thrown away with the next checkpoint; after a takeover it is
 * the machine's, and a flush waits for everything to be durable.
 */
export class OwnWrites {
  readonly #side: SecondaryProcess;
  readonly #disk: StandbyDisk;
  readonly #blocks = new Map<number, number>();
  #flushes: { readonly request: DiskRequest; readonly expected: readonly number[] }[] = [];

  constructor(side: SecondaryProcess, disk: StandbyDisk) {
    this.#side = side;
    this.#disk = disk;
  }

  at(block: number): number | undefined {
    return this.#blocks.get(block);
  }

  /** The layer is thrown away. */
  clear(): void {
    this.#blocks.clear();
  }

  /** The guest that waits for them is no more. */
  forgetFlushes(): void {
    this.#flushes = [];
  }

  /** All of it goes to the disk, not all durable, as of a machine without a standby. Which blocks. */
  merge(): number[] {
    const { history, disk } = this.#side;
    for (const [block, value] of this.#blocks) {
      history.marks.add(block);
      disk.write(block, value, () => {});
    }
    return [...this.#blocks.keys()];
  }

  /** Takes what is in the guest's queue. */
  pump(): void {
    const side = this.#side;
    if (!side.live && !side.guestRuns) return;
    const { world, guest } = side;
    for (const request of guest.queue) {
      if (request.taken) continue;
      guest.taken(request);
      this.#blocks.set(request.block, request.value);
      if (side.live && world.resyncRules.marksWrites) side.history.marks.add(request.block);
      if (request.flush && side.live) this.#flushes.push({ request, expected: [...guest.blocks] });
      else world.agenda.after(side.disk.latencyMs, () => side.process(() => this.#written(request)));
    }
    this.tryFlushes();
  }

  /** What a guest flushed that was compared rests on P's disk, until it is taken over. */
  #written(request: DiskRequest): void {
    const side = this.#side;
    if (!request.flush || !side.live) {
      side.completed(request);
      return;
    }
    if (!side.guest.queue.includes(request)) return;
    this.#flushes.push({ request, expected: [...side.guest.blocks] });
    this.tryFlushes();
  }

  /** Flushes are answered once all of the log is laid down, and the layer and the disk are durable. */
  tryFlushes(): void {
    if (this.#flushes.length === 0 || !this.#disk.mayAnswerFlush) return;
    const side = this.#side;
    const flushes = this.#flushes;
    this.#flushes = [];
    let failed: string | undefined;
    for (const [block, value] of this.#blocks) {
      side.disk.write(block, value, (error) => {
        failed ??= error;
      });
    }
    side.disk.flush((error) =>
      side.process(() => {
        failed ??= error;
        if (failed !== undefined) {
          side.diskFailed(failed);
          return;
        }
        for (const { request, expected } of flushes) {
          side.world.takeovers.checkDurable(side.disk.durable, expected, side.guest.blocks);
          side.completed(request);
        }
      }),
    );
  }
}
