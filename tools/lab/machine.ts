import type { Duplex } from 'node:stream';

/**
 * What a host runs on: an emulator or a set of namespaces. It knows how to be switched off and stopped; all that is
 * said goes over `channel`, to the agent inside.
 */
export interface Machine {
  readonly channel: Duplex;
  /** It loses interrupts now and then, and is to be nudged, see `nudgePeriodMs`. */
  readonly losesInterrupts: boolean;
  /** Resolves when it is no more, with how it ended. */
  readonly ended: Promise<string>;
  /** What its kernel said last. */
  consoleTail(): string;
  /** Stops it dead, as a hung machine: nothing runs, no link goes down. */
  hang(): Promise<void>;
  unhang(): Promise<void>;
  /** Takes the power away; resolves when nothing of it is left. */
  kill(): Promise<void>;
}

/** Keeps the end of a text that only grows. */
export class Tail {
  #text = '';
  readonly #keep: number;

  constructor(keepCharacters: number) {
    this.#keep = keepCharacters;
  }

  add(text: string): void {
    this.#text = (this.#text + text).slice(-this.#keep);
  }

  get text(): string {
    return this.#text;
  }
}
