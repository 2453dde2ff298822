interface Alarm {
  readonly ring: () => void;
  readonly everyMs: number | undefined;
  at: number;
}

/** Time that passes when a case says so. While it is installed, this thread's timers are its own. */
export class FakeTime {
  now = 1_000_000;
  readonly #real = { setTimeout, clearTimeout, setInterval, clearInterval };
  #alarms: Alarm[] = [];

  install(): void {
    const set =
      (everyMs: number | undefined) =>
      (ring: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => {
        const alarm = { ring: () => ring(...args), everyMs, at: this.now + Math.max(1, ms ?? 1) };
        this.#alarms.push(alarm);
        return Object.assign(alarm, { ref: () => alarm, unref: () => alarm, hasRef: () => true });
      };
    const clear = (alarm: unknown): void => {
      this.#alarms = this.#alarms.filter((each) => each !== alarm);
    };
    Object.assign(globalThis, {
      setTimeout: set(undefined),
      setInterval: (ring: () => void, ms: number) => set(ms)(ring, ms),
      clearTimeout: clear,
      clearInterval: clear,
    });
  }

  uninstall(): void {
    Object.assign(globalThis, this.#real);
  }

  /** Nobody waits for anything any more. */
  forget(): void {
    this.#alarms = [];
  }

  /** Lets so much time pass; whatever is due meanwhile rings, in order. */
  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      let next: Alarm | undefined;
      for (const alarm of this.#alarms) if (alarm.at <= end && (next === undefined || alarm.at < next.at)) next = alarm;
      if (next === undefined) break;
      this.now = Math.max(this.now, next.at);
      if (next.everyMs === undefined) this.#alarms.splice(this.#alarms.indexOf(next), 1);
      else next.at = this.now + Math.max(1, next.everyMs);
      next.ring();
    }
    this.now = end;
  }
}
