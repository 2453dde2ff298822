import type { MessagePort } from 'node:worker_threads';
import { sendNumbered, takeNumbered } from '../thread/questions.ts';
import type { IoDeviceState } from './io-device-state.ts';

/** What the io thread needs to tell its devices' states without being asked while it is parked. */
export interface SharedIoStates {
  /** Two cells: the number of the stop before which states are wanted, and that for which they were told. */
  readonly cells: SharedArrayBuffer;
  readonly port: MessagePort;
}

const wantedCell = 0;
const toldCell = 1;
/** Bytes of the cells. */
export const stateCellBytes = 8;

/**
 * The controller's end. Asking a parked thread takes a wake-up and an answer; this one is told before it parks, so that its
 * states lie ready when it has, and are taken when the guest runs again.
 */
export class WantedStates {
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #port: MessagePort;
  #number = 0;

  constructor({ cells, port }: SharedIoStates) {
    this.#cells = new Int32Array(cells);
    this.#port = port;
  }

  /** The thread, which runs, is to save its devices when it parks next. */
  want(): void {
    this.#number = (this.#number + 1) | 0;
    Atomics.store(this.#cells, wantedCell, this.#number);
  }

  /**
   * They lie ready. False of a thread that is parked: it had not even begun to run since it was parked before, and is to be
   * asked.
   */
  get areTold(): boolean {
    return Atomics.load(this.#cells, toldCell) === this.#number;
  }

  /** What it saved when it parked, which is {@link areTold}. States of a stop that failed, which nobody took, are passed over. */
  take(): readonly IoDeviceState[] {
    const told = takeNumbered(this.#port, this.#number);
    if (told === undefined) throw new Error('the io thread parked and did not tell what its devices are in');
    return told.body as readonly IoDeviceState[];
  }
}

/** The io thread's end: a function to be called right before it parks. */
export function tellWantedStates(
  { cells: storage, port }: SharedIoStates,
  devices: { save(): readonly IoDeviceState[] },
): () => void {
  const cells = new Int32Array(storage);
  return () => {
    const number = Atomics.load(cells, wantedCell);
    if (number === Atomics.load(cells, toldCell)) return;
    sendNumbered(port, number, devices.save());
    Atomics.store(cells, toldCell, number);
  };
}
