import { MachineEvents } from './machine-events.ts';
import type { MachineFacts, MonitoredMachine } from './monitored-machine.ts';
import type { RunState } from './run-state.ts';

/** Stands for a standby's machine in its monitor until there is one: it has the host's devices, and no guest. */
export class AwaitedMachine implements MonitoredMachine {
  readonly facts: MachineFacts;
  readonly events = new MachineEvents();
  readonly heldMs = 0;
  readonly clockBehindMs = 0;
  readonly #end: (by: string, exitCode: number) => void;
  #state: RunState = 'created';

  /** @param end is called when somebody ends it */
  constructor(facts: Pick<MachineFacts, 'disks' | 'cards'>, end: (by: string, exitCode: number) => void) {
    this.facts = { memoryBytes: 0, cpuThreads: [], ...facts };
    this.#end = end;
  }

  get state(): RunState {
    return this.#state;
  }

  stop(by: string, exitCode: number): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.events.tell({ kind: 'ended', end: { kind: 'stopped', by, exitCode } });
    this.#end(by, exitCode);
  }

  // Nobody asks a machine that does not run for any of these.

  pause(): void {
    throw nobodyThere();
  }

  settleDisks(): void {}

  resume(): void {
    throw nobodyThere();
  }

  save(): never {
    throw nobodyThere();
  }

  load(): never {
    throw nobodyThere();
  }

  pressPowerButton(): void {
    throw nobodyThere();
  }

  reset(): void {
    throw nobodyThere();
  }
}

function nobodyThere(): Error {
  return new Error('this standby has no guest yet');
}
