import type { Role } from '../../../../src/colo/protocol/numbers.ts';
import type { Agenda } from '../fakes/agenda.ts';

/** The name of each place, made once for all runs: by role, phase and step. */
const names: Record<Role, Map<string, Map<string, string>>> = { primary: new Map(), secondary: new Map() };

function nameOf(role: Role, phase: string, step: string): string {
  const known = names[role].get(phase)?.get(step);
  if (known !== undefined) return known;
  const name = `${role} ${phase}/${step}`;
  const steps = names[role].get(phase) ?? new Map<string, string>();
  names[role].set(phase, steps.set(step, name));
  return name;
}

/** Where a side's core is, and since when: the watchdog looks at that. Time in which the side was unwell does not count. */
export class Progress {
  readonly #agenda: Agenda;
  readonly #role: Role;
  readonly #count: (place: string) => void;
  /** Role, phase and step. */
  place = '';
  /** When it came there, or what it waits for came in part. */
  placeSince = 0;
  phaseSince = 0;
  /** P's own disks are being made durable before they are copied: both sides wait as long as that takes. */
  prepares = false;
  #phase = '';
  #step = '';

  /** @param count told of each place that it comes to */
  constructor(agenda: Agenda, role: Role, count: (place: string) => void) {
    this.#agenda = agenda;
    this.#role = role;
    this.#count = count;
  }

  /** The core may have moved. */
  notice({ phase, step }: { readonly phase: string; readonly step: string }): void {
    if (phase === this.#phase && step === this.#step) return;
    const { now } = this.#agenda;
    if (phase !== this.#phase) {
      this.phaseSince = now;
      this.prepares = false;
    }
    this.#phase = phase;
    this.#step = step;
    this.place = nameOf(this.#role, phase, step);
    this.placeSince = now;
    this.#count(this.place);
  }

  /** What it waits for came, in part: its patience begins anew. */
  moved(): void {
    this.placeSince = this.#agenda.now;
  }

  /** That begins, or is over. */
  preparing(begins: boolean): void {
    this.prepares = begins;
    this.moved();
  }

  /** It is well again: all patience begins anew. */
  restart(): void {
    this.placeSince = this.#agenda.now;
    this.phaseSince = this.placeSince;
  }
}
