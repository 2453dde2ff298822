/** Exit codes for the signals that end a machine, as a shell reports them. */
const codes = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGUSR2: 140, SIGTERM: 143 } as const;

/** What a signal asks for. */
export type StopHandler = (signal: string, exitCode: number) => void;

/**
 * Takes SIGHUP, SIGINT, SIGQUIT, SIGUSR2 and SIGTERM, each of which ends a process, from its making to {@link close}. A signal that comes before there is a machine to
 * stop is kept for it.
 */
export class StopSignals {
  #handler: StopHandler | undefined;
  #first: Parameters<StopHandler> | undefined;
  readonly #listeners = Object.entries(codes).map(([signal, code]) => {
    const listener = (): void => {
      this.#first ??= [signal, code];
      this.#handler?.(signal, code);
    };
    process.on(signal, listener);
    return { signal, listener };
  });

  /** Hands the signals to `handler` from now on, first of all one that has come already, whoever else was told of it. */
  handleWith(handler: StopHandler): void {
    this.#handler = handler;
    if (this.#first !== undefined) handler(...this.#first);
  }

  /** From here on the signals do again what they do by default. */
  close(): void {
    for (const { signal, listener } of this.#listeners) process.off(signal, listener);
  }
}
