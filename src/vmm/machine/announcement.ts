/** When the network is told, in ms after the machine begins to speak: as often as QEMU does after a migration. */
const timesMs: readonly number[] = [0, 50, 200, 450, 800];

/** Tells the network where a machine is now, several times: what was sent may be lost, and links may still be coming up. */
export class Announcement {
  readonly #send: () => void;
  #timers: NodeJS.Timeout[] = [];

  /** @param send tells it once */
  constructor(send: () => void) {
    this.#send = send;
  }

  /** Begins, or begins anew. */
  start(): void {
    this.stop();
    for (const ms of timesMs) {
      if (ms === 0) this.#send();
      else this.#timers.push(setTimeout(this.#send, ms).unref());
    }
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }
}
