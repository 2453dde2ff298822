import type { PeerLink } from '../link/peer-link.ts';
import { type ListenOptions, PeerListener } from '../link/peer-listener.ts';

/** Waits for links. @throws LinkError */
export type Listen = (options: ListenOptions) => Promise<Pick<PeerListener, 'port' | 'close'>>;

/** An address that cannot be listened on is tried again after so long. */
const againMs = 1000;

export interface StandbyDoorOptions extends Omit<ListenOptions, 'role' | 'linked'> {
  /** The address cannot be listened on, for that reason; it is tried again. Told once. */
  readonly failed: (reason: string) => void;
  /** Somebody has come; {@link StandbyDoor.take} has the link until this returns, and it is closed if nobody took it. */
  readonly came: (link: PeerLink) => void;
  readonly listen?: Listen;
}

/**
 * Where a primary is found by standbys that look for it (spec B.7): one of them is taken, and the others ask again later.
 */
export class StandbyDoor {
  readonly #options: StandbyDoorOptions;
  #listener: Awaited<ReturnType<Listen>> | undefined;
  #caller: PeerLink | undefined;
  #again: NodeJS.Timeout | undefined;
  #problem: string | undefined;
  #isClosed = false;

  constructor(options: StandbyDoorOptions) {
    this.#options = options;
  }

  /** Where it listens; undefined while it does not. */
  get port(): number | undefined {
    return this.#listener?.port;
  }

  /** Resolves when it listens, or has failed to once: then it is tried again. */
  async open(): Promise<void> {
    const { listen = PeerListener.start, failed, came, ...rest } = this.#options;
    const linked = (link: PeerLink): void => {
      this.#caller = link;
      came(link);
      this.take()?.destroy();
    };
    try {
      const listener = await listen({ ...rest, role: 'primary', linked });
      if (this.#isClosed) listener.close();
      else this.#listener = listener;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#problem) failed(message);
      this.#problem = message;
      if (!this.#isClosed) this.#again = setTimeout(() => void this.open(), againMs);
    }
  }

  /** Whoever has come, once. */
  take(): PeerLink | undefined {
    const caller = this.#caller;
    this.#caller = undefined;
    return caller;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#again);
    this.#listener?.close();
  }
}
