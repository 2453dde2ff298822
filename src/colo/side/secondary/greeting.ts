import type { PeerLink } from '../../link/peer-link.ts';

/** How long whoever is connected may say nothing, and whose hello is being dealt with. */
export class Greeting {
  readonly #patienceMs: number;
  readonly #overdue: (link: PeerLink) => void;
  /** Of whoever said hello and has no answer yet: its machine is being made. */
  #greeter: PeerLink | undefined;
  #patience: NodeJS.Timeout | undefined;

  /** @param overdue it has said nothing for so long */
  constructor(patienceMs: number, overdue: (link: PeerLink) => void) {
    this.#patienceMs = patienceMs;
    this.#overdue = overdue;
  }

  /** Whoever is connected and says nothing keeps others out: not for long. Undefined: nobody is. */
  expect(link: PeerLink | undefined): void {
    clearTimeout(this.#patience);
    if (link === undefined) return;
    this.#patience = setTimeout(() => {
      if (!this.hasBegun(link)) this.#overdue(link);
    }, this.#patienceMs);
  }

  /** It said hello; false: it had already, and has no answer yet. */
  began(link: PeerLink): boolean {
    if (this.hasBegun(link)) return false;
    this.#greeter = link;
    return true;
  }

  /** It said hello, and has no answer yet. */
  hasBegun(link: PeerLink): boolean {
    return this.#greeter === link;
  }

  /** Its hello has an answer. */
  answered(link: PeerLink): void {
    if (this.#greeter === link) this.#greeter = undefined;
  }

  close(): void {
    clearTimeout(this.#patience);
  }
}
