import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { pageCount } from '../fakes/fake-guest.ts';
import type { SecondaryProcess } from './secondary-process.ts';

/** RAM and device state at S: what comes of a checkpoint is staged until it is whole, then loaded. */
export class Replica {
  readonly #side: SecondaryProcess;
  /** RAM as it would be the guest's. */
  readonly ram: number[] = new Array(pageCount).fill(0);
  /** Device state of the checkpoint that is loaded, or being loaded. */
  #state: number[] = [];
  /** Pages that the checkpoint brought, and their content, alternating. */
  #brought: readonly number[] = [];
  #stagedPages: number[] = [];
  #stagedState: number[] = [];

  constructor(side: SecondaryProcess) {
    this.#side = side;
  }

  get state(): readonly number[] {
    return this.#state;
  }

  broughtPages(): Set<number> {
    return new Set(this.#brought.filter((_, at) => at % 2 === 0));
  }

  stagePages(pages: ArrayLike<number>): void {
    append(this.#stagedPages, pages);
  }

  stageState(state: ArrayLike<number>): void {
    append(this.#stagedState, state);
  }

  forgetStaging(): void {
    this.#stagedPages = [];
    this.#stagedState = [];
  }

  /** In two halves, so that whoever looks between them sees neither checkpoint. */
  load(epoch: Epoch): void {
    const pages = this.#stagedPages;
    const state = this.#stagedState;
    this.forgetStaging();
    const half = Math.ceil(pages.length / 4) * 2;
    this.#apply(pages, 0, half);
    const side = this.#side;
    const { world, generation } = side;
    world.agenda.after(world.random.between(0.5, 5), () =>
      side.process(() => {
        if (generation !== side.generation) return;
        if (side.loadFails) {
          side.post({ kind: 'load-failed', epoch, reason: 'a device refuses its state' });
          return;
        }
        this.#apply(pages, half, pages.length);
        this.#brought = pages;
        this.#state = state;
        side.post({ kind: 'loaded', epoch });
      }),
    );
  }

  #apply(pages: readonly number[], from: number, to: number): void {
    for (let at = from; at < to; at += 2) this.ram[pages[at] as number] = pages[at + 1] as number;
  }
}

function append(to: number[], numbers: ArrayLike<number>): void {
  for (let at = 0; at < numbers.length; at++) to.push(numbers[at] as number);
}
