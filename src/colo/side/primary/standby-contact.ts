import type { HostPort } from '../../command/host-port.ts';
import type { PrimaryConfig, StandbyPlaces } from '../../command/pair-config.ts';
import type { dial } from '../../link/dial.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import { type Listen, StandbyDoor } from '../standby-door.ts';

/** It is tried again after so long, ms: at first soon, then less often. */
const firstRetryMs = 1000;
const longestRetryMs = 10_000;

export interface StandbyContactParts {
  readonly config: StandbyPlaces & Pick<PrimaryConfig, 'security' | 'settings'>;
  readonly dial: typeof dial;
  readonly listen?: Listen;
  /** A standby came to the door, and asks whether it is wanted; whoever wants it {@link StandbyContact.connect}s. */
  readonly came: (link: PeerLink) => void;
  readonly connected: (link: PeerLink) => void;
  readonly failed: (reason: string) => void;
  /** Whether it is still waited for. */
  readonly isAwaited: () => boolean;
  /** It is time to try again. */
  readonly again: () => void;
  readonly log: (topic: 'peer' | 'protection', text: string) => void;
}

/**
 * How a primary comes to a standby (spec B.7): it dials the one that it was told, again and again, has its door open to any that
 * looks for it, or both: whoever is there first is taken.
 */
export class StandbyContact {
  readonly #parts: StandbyContactParts;
  readonly #door: StandbyDoor | undefined;
  #dialling: AbortController | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;

  constructor(parts: StandbyContactParts) {
    this.#parts = parts;
    const { listen } = parts.config;
    if (listen !== undefined) this.#door = this.#newDoor(listen);
  }

  /** It looks for a standby by itself; otherwise it waits for whoever comes. */
  get dials(): boolean {
    return this.#parts.config.standby !== undefined;
  }

  open(): void {
    void this.#door?.open();
  }

  /** Whoever came, if somebody has, who is not waited for any more. */
  take(): PeerLink | undefined {
    return this.#door?.take();
  }

  /** To whoever came, and then nobody else is dialled any more; if nobody has, to the one that is dialled. */
  connect(): void {
    const { connected, failed, config } = this.#parts;
    const { standby } = config;
    const caller = this.#door?.take();
    if (caller !== undefined) {
      this.#giveUpDialling();
      connected(caller);
    } else if (standby !== undefined) {
      this.#dial(standby);
    } else {
      failed('no standby has come yet');
    }
  }

  /** Not to the one that comes by itself. */
  tryAgain(): void {
    this.stopTrying();
    if (!this.dials) return;
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
    this.#giveUpDialling();
  }

  #dial(standby: HostPort): void {
    const { connected, failed, isAwaited, config, dial } = this.#parts;
    const { security, settings } = config;
    this.#giveUpDialling();
    const dialling = new AbortController();
    this.#dialling = dialling;
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

  #giveUpDialling(): void {
    this.#dialling?.abort();
    this.#dialling = undefined;
  }

  #newDoor(at: HostPort): StandbyDoor {
    const { config, came, log, listen } = this.#parts;
    const { security, settings } = config;
    return new StandbyDoor({
      ...at,
      security,
      patienceMs: settings.stepMs,
      refused: (reason) => log('peer', reason),
      failed: (reason) => log('protection', `no standby can come: ${reason}`),
      came,
      ...(listen === undefined ? {} : { listen }),
    });
  }
}
