import type { Effect } from '../../../../src/colo/core/events.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { toBytes } from '../fakes/numbers-as-bytes.ts';
import type { PrimaryProcess } from './primary-process.ts';

/** RAM and device state of a checkpoint: live passes over dirty pages, what is captured at the stop, and the way of both to S. */
export class CheckpointSource {
  readonly #side: PrimaryProcess;
  /** Frames of pages in this epoch. */
  #items = 0;
  #captured: { readonly pages: number[]; readonly state: number[] } = { pages: [], state: [] };

  constructor(side: PrimaryProcess) {
    this.#side = side;
  }

  /** A standby that has nothing. */
  beginPairing(): void {
    this.#items = 0;
    const { guest } = this.#side;
    for (let page = 0; page < guest.pages.length; page++) guest.dirty.add(page);
  }

  /** Dirty pages are sent while the guest runs. */
  livePass(epoch: Epoch): void {
    const { world, guest } = this.#side;
    this.#items++;
    this.#side.send({ kind: 'pages', epoch, data: toBytes(this.#takeDirtyPages()) });
    if (!world.network.reads('secondary')) {
      this.#side.post({ kind: 'copy-waits', owed: 'room on the pages stream' });
      return;
    }
    world.agenda.after(world.random.between(0.5, 4), () =>
      this.#side.post({ kind: 'passed', epoch, worthAnother: guest.dirty.size > 1 }),
    );
  }

  /** The guest is stopped. How much device state it has. */
  capture(epoch: Epoch): number {
    const { world, guest, disk, translation, now, guestClockOffset } = this.#side;
    const state = [...translation.save(), ...guest.save(now + guestClockOffset)];
    this.#captured = { pages: this.#takeDirtyPages(), state };
    world.truths.captured(epoch, guest, state, disk.cached);
    return state.length * 8;
  }

  /** What was captured, in the order in which it is sent. */
  transmission(epoch: Epoch): Effect[] {
    const { pages, state } = this.#captured;
    const half = Math.ceil(state.length / 2);
    const items = this.#items + 1;
    this.#items = 0;
    const { term } = this.#side.primary;
    const messages: Message[] = [
      { kind: 'pages', epoch, data: toBytes(pages) },
      { kind: 'pages-end', epoch, items },
      { kind: 'vmstate', epoch, data: toBytes(state.slice(0, half)) },
      { kind: 'vmstate', epoch, data: toBytes(state.slice(half)) },
    ];
    return messages.map((message) => ({ kind: 'send', message, term }));
  }

  /** Pages and their content, alternating. */
  #takeDirtyPages(): number[] {
    const { guest } = this.#side;
    const pages: number[] = [];
    for (const page of guest.dirty) pages.push(page, guest.pages[page] as number);
    guest.dirty.clear();
    return pages;
  }
}
