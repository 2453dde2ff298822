import type { SideView } from '../side-view.ts';
import type { Surroundings } from '../surroundings.ts';

/** When the network is told once more, in ms after the first time: as src/vmm/machine/announcement.ts does. */
const againMs: readonly number[] = [50, 200, 450, 800];

/** The process's role, as it is now. */
interface Announcer extends SideView {
  readonly world: Pick<Surroundings, 'agenda' | 'speakers'>;
  process(run: () => void): void;
}

/** A process tells the network that its guest is there, several times, whatever role it has by then. A frozen one does when it thaws. */
export class FakeAnnouncement {
  #side: Announcer;
  #begun = 0;

  constructor(side: Announcer) {
    this.#side = side;
  }

  /** The process has that role from now on. */
  goOnAs(side: Announcer): void {
    this.#side = side;
  }

  start(): void {
    const begun = ++this.#begun;
    const tell = (): void => {
      const side = this.#side;
      side.process(() => {
        if (begun === this.#begun) side.world.speakers.speaks(side);
      });
    };
    this.#side.world.speakers.speaks(this.#side);
    for (const ms of againMs) this.#side.world.agenda.after(ms, tell);
  }

  stop(): void {
    this.#begun++;
  }
}
