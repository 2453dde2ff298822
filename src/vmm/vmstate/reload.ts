import type { ClockMode } from './clock-state.ts';
import type { MachineState } from './machine-state.ts';
import { decodeMachineState, encodeMachineState } from './state-codec.ts';

/** The part of a machine that is reloaded. */
export interface ReloadedMachine {
  pause(): void;
  resume(mode?: ClockMode): void;
  save(): MachineState;
  load(state: MachineState): void;
  /** How long its guest's clocks were stopped, last. */
  readonly heldMs: number;
}

/** What reloading a machine took. */
export interface ReloadReport {
  /** Bytes of its state, as CBOR. */
  readonly stateBytes: number;
  /** Time that passed for nobody in the guest. */
  readonly stoppedMs: number;
}

/**
 * Saves the state of a machine that runs and loads it into the same machine, by way of its encoding, as a test of both: the
 * guest must not notice.
 */
export function reload(machine: ReloadedMachine): ReloadReport {
  machine.pause();
  let encoded: Uint8Array;
  try {
    encoded = encodeMachineState(machine.save());
    machine.load(decodeMachineState(encoded));
  } finally {
    machine.resume();
  }
  return { stateBytes: encoded.length, stoppedMs: machine.heldMs };
}
