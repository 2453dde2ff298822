import type { PanicAction } from '../config/config.ts';
import type { DiskFailure } from '../io/io-report.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';

/** What happens to a machine, whoever caused it. */
export type MachineEvent =
  | { readonly kind: 'paused' }
  | { readonly kind: 'resumed' }
  | { readonly kind: 'power-button' }
  /** It has begun anew: the guest's own doing, or somebody's who is named. */
  | { readonly kind: 'reset'; readonly by?: string }
  | { readonly kind: 'disk-failure'; readonly failure: DiskFailure }
  /** The guest's kernel says so; `action` is what is done about it. */
  | { readonly kind: 'panicked'; readonly action: PanicAction }
  | { readonly kind: 'ended'; readonly end: GuestEnd };

export type MachineListener = (event: MachineEvent) => void;

/** Tells those who listen, at once and on the machine's own thread. */
export class MachineEvents {
  readonly #listeners = new Set<MachineListener>();

  /** Tells `listener` of all that happens from now on. */
  listen(listener: MachineListener): void {
    this.#listeners.add(listener);
  }

  tell(event: MachineEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
