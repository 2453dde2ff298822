/** How whoever waits hears that something may be otherwise. */
export interface WaitingPort {
  /** The peer owes this before the copy can go on, in words; undefined: nothing. */
  owes(what: string | undefined): void;
  /** Resolves when something has moved. Rejects once it is over. */
  moved(): Promise<void>;
}

/** What a copy waits for, and only the peer can bring about. */
export class Owed {
  readonly #port: WaitingPort;
  readonly #things: string[] = [];

  constructor(port: WaitingPort) {
    this.#port = port;
  }

  /** Resolves once `came`; rejects as {@link WaitingPort.moved}. */
  async until(what: string, came: () => boolean): Promise<void> {
    if (came()) return;
    this.#things.push(what);
    this.#port.owes(what);
    try {
      while (!came()) await this.#port.moved();
    } finally {
      this.#things.splice(this.#things.indexOf(what), 1);
      this.#port.owes(this.#things.at(-1));
    }
  }

  /** The peer did something, if not yet what is waited for. */
  peerMoved(): void {
    const what = this.#things.at(-1);
    if (what !== undefined) this.#port.owes(what);
  }
}
