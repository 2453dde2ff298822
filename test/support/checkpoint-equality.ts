import { createHash } from 'node:crypto';
import { decodeState } from '../../src/colo/machine/checkpoint-state.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import type { Machine } from '../../src/vmm/machine/machine.ts';
import { OpenEpoch } from '../../src/vmm/platform/shared-protection.ts';
import { machineStateOf } from '../../src/vmm/vmstate/image-state.ts';
import { encodeMachineState } from '../../src/vmm/vmstate/state-codec.ts';
import { withoutExceptions } from './vmstate.ts';

/** RAM, as a hash. */
export function ramHash(memory: GuestMemory): string {
  const hash = createHash('sha256');
  for (const { start, sizeBytes } of memory.regions) hash.update(memory.slice(start, sizeBytes));
  return hash.digest('hex');
}

/** The epoch of P's guest, which looks at RAM inside each stop: what S must have when it stands there (spec C.4). */
export class WatchedEpoch extends OpenEpoch {
  /** RAM at the stop that closed an epoch, by the epoch. */
  readonly ramAtStop = new Map<number, string>();
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    super();
    this.#memory = memory;
  }

  override get number(): number {
    return super.number;
  }

  override set number(value: number) {
    this.ramAtStop.set(value - 1, ramHash(this.#memory));
    super.number = value;
  }
}

/** Device state in P's bytes, as a hash; the time in it is what S makes of it. */
export function stateHash(bytes: Uint8Array): string {
  const { image, own, devices } = decodeState(bytes);
  return hashOf(machineStateOf(image, own, devices));
}

/** The same of a machine that these bytes were loaded into. */
export function loadedStateHash(machine: Machine, loaded: Uint8Array): string {
  return hashOf({ ...machine.save(), clock: decodeState(loaded).image.clock });
}

function hashOf(state: ReturnType<typeof machineStateOf>): string {
  return createHash('sha256')
    .update(encodeMachineState(withoutExceptions(state)))
    .digest('hex');
}
