/** What the time of a pause goes into, besides what its caller does meanwhile. */
export const pauseParts = [
  /** Until all vCPUs are parked. */
  'vcpus',
  /** Until the io thread is. */
  'io',
  /** Reading registers of vCPUs. */
  'registers',
  /** Reading what interrupts change: APICs, events, interrupt controllers. */
  'interrupts',
  /** Having the devices say what they are in. */
  'devices',
  /** Looking what time it is for the guest. */
  'clocks',
  /** Finding the pages that changed. */
  'collect',
  /** Copying them aside. */
  'copy',
  /** Setting the clocks, until the threads are let go. */
  'resume',
] as const;
export type PausePart = (typeof pauseParts)[number];

/** A stopwatch for the parts of one pause. A part that comes several times is added up. */
export class PauseTimes {
  readonly #now: () => number;
  readonly #ms = new Float64Array(pauseParts.length);
  #since = 0;

  /** @param now a clock, in milliseconds */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** A pause begins. */
  restart(): void {
    this.#ms.fill(0);
    this.begin();
  }

  /** What follows belongs to the next part that is {@link done}. */
  begin(): void {
    this.#since = this.#now();
  }

  /** A part is over, and the next one begins. */
  done(part: PausePart): void {
    const now = this.#now();
    const index = pauseParts.indexOf(part);
    this.#ms[index] = (this.#ms[index] ?? 0) + now - this.#since;
    this.#since = now;
  }

  /** How long a part of the last pause took. */
  ms(part: PausePart): number {
    return this.#ms[pauseParts.indexOf(part)] ?? 0;
  }
}
