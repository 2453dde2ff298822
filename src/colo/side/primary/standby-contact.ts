import type { PrimaryConfig } from '../../command/pair-config.ts';
import type { dial } from '../../link/dial.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import { StandbyDoor } from '../standby-door.ts';

/** It is tried again after so long, ms: at first soon, then less often. */
const firstRetryMs = 1000;
const longestRetryMs = 10_000;

export interface StandbyContactParts {
  readonly config: Pick<PrimaryConfig, 'standby' | 'security' | 'settings' | 'awaits'>;
  readonly dial: typeof dial;
  /** A standby came to a survivor's door, and asks whether it is wanted; whoever wants it {@link StandbyContact.connect}s. */
  readonly came: (link: PeerLink) => void;
  readonly connected: (link: PeerLink) => void;
  readonly failed: (reason: string) => void;
  /** Whether it is still waited for. */
  readonly isAwaited: () => boolean;
  /** It is time to try again. */
  readonly again: () => void;
  readonly log: (topic: 'peer' | 'protection', text: string) => void;
}

/** How a primary comes to a standby: it dials the one that it was told, again and again, or has its door open to any (spec B.7). */
export class StandbyContact {
  readonly #parts: StandbyContactParts;
  /** Of a survivor: whoever comes there is to be its standby. */
  readonly #door: StandbyDoor | undefined;
  #dialling: AbortController | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;

  constructor(parts: StandbyContactParts) {
    this.#parts = parts;
    if (parts.config.awaits === true) this.#door = this.#newDoor();
  }

  /** It waits for whoever comes, and calls nobody. */
  get waits(): boolean {
    return this.#door !== undefined;
  }

  open(): void {
    void this.#door?.open();
  }

  /** Whoever came, if somebody has, who is not waited for any more. */
  take(): PeerLink | undefined {
    return this.#door?.take();
  }

  connect(): void {
    const { connected, failed, isAwaited, config, dial } = this.#parts;
    if (this.#door !== undefined) {
      const caller = this.#door.take();
      if (caller === undefined) failed('no standby has come yet');
      else connected(caller);
      return;
    }
    const dialling = new AbortController();
    this.#dialling?.abort();
    this.#dialling = dialling;
    const { standby, security, settings } = config;
    dial({ ...standby, security, role: 'primary', patienceMs: settings.stepMs, signal: dialling.signal }).then(
      (link) => {
        if (this.#dialling === dialling && isAwaited()) connected(link);
        else link.destroy();
      },
      (error: Error) => {
        if (this.#dialling === dialling) failed(error.message);
      },
    );
  }

  /** Not to the one that comes by itself. */
  tryAgain(): void {
    this.stopTrying();
    if (this.#door !== undefined) return;
    this.#retry = setTimeout(() => this.#parts.again(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs);
  }

  stopTrying(): void {
    clearTimeout(this.#retry);
  }

  /** It came to something: the next loss is a new one. */
  succeeded(): void {
    this.#retryMs = firstRetryMs;
  }

  close(): void {
    this.stopTrying();
    this.#door?.close();
    this.#dialling?.abort();
  }

  #newDoor(): StandbyDoor {
    const { config, came, log } = this.#parts;
    const { standby, security, settings } = config;
    return new StandbyDoor({
      ...standby,
      security,
      patienceMs: settings.stepMs,
      refused: (reason) => log('peer', reason),
      failed: (reason) => log('protection', `no standby can come: ${reason}`),
      came,
    });
  }
}
