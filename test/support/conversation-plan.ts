import type { Comparator } from '../../src/colo/compare/comparator.ts';
import type { Translator } from '../../src/colo/translate/translator.ts';

/** What is to happen in conversations besides talking. None of it does, if its step is beyond the end. */
export interface Plan {
  readonly seed: number;
  /** The step before which P's guest becomes S's. */
  readonly checkpointAt?: number;
  /** The step before which nobody compares for a while: P's output waits for checkpoints, and S's guest stands still. */
  readonly bufferedAt?: number;
  /** The step before which S takes over. */
  readonly takeoverAt?: number;
  /** So many steps after a takeover the survivor gets a standby, and so many later that one takes over. */
  readonly pairedAfter?: number;
  readonly secondTakeoverAfter?: number;
  /** Somebody sends data in the client's name, with forged acknowledgements, once the guest has acknowledged some of the client's. */
  readonly isDisturbed?: boolean;
  /** Connections, one after the other, with the same ports; 1 if not given. Of each but the last an end may break it off. */
  readonly connections?: number;
  /** Who takes part instead of the real ones. */
  readonly makeComparator?: (...parts: ConstructorParameters<typeof Comparator>) => Comparator;
  readonly makeTranslator?: (...parts: ConstructorParameters<typeof Translator>) => Translator;
}

/** Everything that the ends of one connection read, and what they had to. */
export interface EndedConnection {
  readonly clientRead: readonly number[];
  readonly clientShould: readonly number[];
  /** Undefined: the guest knows of no such connection. */
  readonly guestRead: readonly number[] | undefined;
  readonly guestShould: readonly number[];
  /** One end was to break it off. */
  readonly isAborted: boolean;
  readonly wasReset: boolean;
}

export interface Ending {
  readonly steps: number;
  readonly connections: readonly EndedConnection[];
  readonly isDone: boolean;
  /** Segments of a survivor with a timestamp below one that was sent before. */
  readonly fallenTimes: number;
  readonly checkpoints: number;
  /** Packets of which a part left first. */
  readonly parts: number;
  readonly reasons: readonly string[];
  readonly isTranslated: boolean;
  /** Connections that are still translated, long after the end. */
  readonly translatedAfter: number;
}
