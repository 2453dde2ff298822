import { SystemError } from '../../host/system-error.ts';
import type { SettlingRam } from '../../memory/settling-ram.ts';

/** The machine as its settling needs it: src/vmm/machine/machine.ts. */
export interface SettlingMachine {
  readonly state: string;
  whilePaused<T>(body: () => T): T;
}

/** A guest that has just been taken over has its clients to answer first, ms. */
const calmMs = 1000;
/** Of the time at most one part in so many goes to it, the guest's pause being a part of that. */
const parts = 4;

/**
 * Has the RAM of a survivor become as that of any other machine while its guest runs: in turns on the thread that owns the machine,
 * with a pause of the guest for each huge page, and time for everything else between them.
 */
export class Settling {
  readonly #machine: SettlingMachine;
  readonly #begin: () => SettlingRam;
  readonly #failed: (text: string) => void;
  #ram: SettlingRam | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param begin the RAM, when it is time
   * @param failed told why, if it stays as far as it is
   */
  constructor(machine: SettlingMachine, begin: () => SettlingRam, failed: (text: string) => void) {
    this.#machine = machine;
    this.#begin = begin;
    this.#failed = failed;
    this.#after(calmMs);
  }

  /** Before the machine is closed. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#ram?.close();
  }

  #after(ms: number): void {
    this.#timer = setTimeout(() => this.#turn(), ms).unref();
  }

  #turn(): void {
    const { state } = this.#machine;
    if (state === 'ended') {
      this.close();
      return;
    }
    const began = performance.now();
    try {
      // Whoever holds it lets it go soon.
      if (state === 'running' || state === 'paused') this.#move();
    } catch (error) {
      if (error instanceof SystemError) {
        this.#failed(`RAM stays in small pages, and more of it: ${error.message}`);
        this.close();
        return;
      }
      // It could not be paused now.
      this.#after(calmMs);
      return;
    }
    if (this.#ram?.leftBytes === 0) this.close();
    else this.#after(Math.max(1, (parts - 1) * (performance.now() - began)));
  }

  #move(): void {
    this.#ram ??= this.#begin();
    const ram = this.#ram;
    // Its guest has begun anew meanwhile, in RAM as any other.
    if (ram.leftBytes === 0) return;
    ram.prepare();
    this.#machine.whilePaused(() => ram.move());
    ram.release();
  }
}
