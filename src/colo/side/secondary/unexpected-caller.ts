import type { Secondary } from '../../core/secondary/secondary.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import { refuse } from '../../link/turn-away.ts';
import { isOfThisVersion } from '../../protocol/messages.ts';
import type { Term } from '../../protocol/numbers.ts';

export interface UnexpectedCallerParts {
  readonly core: Pick<Secondary, 'term'>;
  /** How long a caller may say nothing, ms. */
  readonly patienceMs: number;
  /** A primary of that pair said hello, in that term. */
  readonly called: (pair: string, term: Term) => void;
  /** Why it is turned away all the same. */
  readonly why: () => string;
  readonly turnedAway: (link: PeerLink, reason: string) => void;
}

/**
 * Whoever is connected to a standby that has lost its primary and waits to hear who goes on: it may be the one that does. Its first
 * word is heard before it is turned away. One at a time.
 */
export class UnexpectedCaller {
  readonly #parts: UnexpectedCallerParts;
  #link: PeerLink | undefined;
  #patience: NodeJS.Timeout | undefined;

  constructor(parts: UnexpectedCallerParts) {
    this.#parts = parts;
  }

  /** Somebody is heard. */
  get isThere(): boolean {
    return this.#link !== undefined;
  }

  hear(link: PeerLink): void {
    const { patienceMs, called } = this.#parts;
    this.#link = link;
    this.#patience = setTimeout(() => this.#turnAway(link), patienceMs);
    link.listen({
      received: ({ message, term }) => {
        if (this.#link !== link) return;
        if (message.kind === 'hello' && isOfThisVersion(message)) called(message.pair, term);
        this.#turnAway(link);
      },
      drained: () => {},
      ended: () => {
        if (this.#link === link) this.#forget();
        link.destroy();
      },
    });
  }

  close(): void {
    this.#link?.destroy();
    this.#forget();
  }

  #turnAway(link: PeerLink): void {
    const { core, why, turnedAway } = this.#parts;
    // Another side of this process may have its place, and has closed it.
    if (this.#link !== link) return;
    this.#forget();
    const reason = why();
    refuse(link, 'secondary', core.term, reason);
    turnedAway(link, reason);
  }

  #forget(): void {
    clearTimeout(this.#patience);
    this.#link = undefined;
  }
}
