import { setImmediate as nextTurn } from 'node:timers/promises';
import { type HostPort, showHostPort } from '../../command/host-port.ts';
import { type Company, SearchPace } from '../../core/secondary/search-pace.ts';
import type { dial } from '../../link/dial.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import type { LinkSecurity } from '../../link/peer-security.ts';

export interface SurvivorSearchOptions {
  /** Where the guest may run. They are asked in turn. */
  readonly places: readonly HostPort[];
  readonly security: LinkSecurity;
  /** How long one attempt may take, ms. */
  readonly patienceMs: number;
  readonly dial: typeof dial;
  readonly company: () => Company;
  /** A survivor answers. What it says next is this side's to hear; it may be that it wants no standby. */
  readonly found: (link: PeerLink) => void;
  /** Nobody could be asked there, for that reason; it is tried again. Told once. */
  readonly failed: (reason: string) => void;
}

/**
 * A standby's search for a machine that runs the pair's guest alone (spec B.7), for as long as there is nobody to protect: the
 * other hosts are asked again and again, when core/secondary/search-pace.ts says. Its answer is a link like any other, on which the
 * survivor is the primary.
 */
export class SurvivorSearch {
  readonly #options: SurvivorSearchOptions;
  readonly #end = new AbortController();
  readonly #pace = new SearchPace();
  #timer: NodeJS.Timeout | undefined;
  #asked = 0;

  constructor(options: SurvivorSearchOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#options.places.length > 0) void this.#attempt();
  }

  close(): void {
    this.#end.abort();
    clearTimeout(this.#timer);
  }

  async #attempt(): Promise<void> {
    const { places, security, patienceMs, dial: open, company, found, failed } = this.#options;
    const { signal } = this.#end;
    if (this.#pace.asks(company() === 'nobody')) {
      const at = places[this.#asked++ % places.length] as HostPort;
      const place = showHostPort(at);
      try {
        const link = await open({ ...at, security, role: 'secondary', patienceMs, signal });
        // What the one who has connected meanwhile may have said is read first.
        await nextTurn();
        if (!signal.aborted && this.#pace.answered(place, company())) found(link);
        else link.destroy();
      } catch (error) {
        const { message } = error as Error;
        if (this.#pace.failed(place, message) && !signal.aborted) failed(message);
      }
    }
    if (!signal.aborted) this.#timer = setTimeout(() => void this.#attempt(), this.#pace.waitMs);
  }
}
