import { type MachineParts, Snapshots } from '../../vmm/command/run-machine.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import { noDevices } from '../../vmm/machine/machine-devices.ts';
import { MachineEvents } from '../../vmm/machine/machine-events.ts';
import type { MachineFacts, MonitoredMachine } from '../../vmm/machine/monitored-machine.ts';
import { type RunState, RunStateError } from '../../vmm/machine/run-state.ts';
import type { SnapshotTaker } from '../../vmm/monitor/monitor.ts';
import type { SnapshotOptions, SnapshotReport } from '../../vmm/snapshot/snapshotter.ts';
import type { ClockMode } from '../../vmm/vmstate/clock-state.ts';
import type { MachineState } from '../../vmm/vmstate/machine-state.ts';
import type { StandbyDevices } from '../machine/machine-shapes.ts';

const nothing: MachineFacts = { memoryBytes: 0, cpuThreads: [], disks: [], cards: [] };

/**
 * A standby as its monitor sees it. Before a takeover there is no machine to pause, resume or reset, and what `quit` ends is the
 * standby; afterwards it is the machine.
 */
export class StandbyFace implements MonitoredMachine, SnapshotTaker {
  readonly events = new MachineEvents();
  readonly #devices: StandbyDevices;
  readonly #quit: (exitCode: number) => void;
  #machine: Machine | undefined;
  #snapshots: Snapshots | undefined;

  constructor(devices: StandbyDevices, quit: (exitCode: number) => void) {
    this.#devices = devices;
    this.#quit = quit;
  }

  /** It is this machine from now on, which runs. */
  adopt(machine: Machine): void {
    this.#machine = machine;
    machine.events.listen((event) => this.events.tell(event));
    this.events.tell({ kind: 'resumed' });
  }

  /** Takes the snapshots of the machine that was adopted. */
  snapshotsOf(machine: Machine): Snapshots {
    this.#snapshots ??= new Snapshots(machine, partsOf(machine, this.#devices));
    return this.#snapshots;
  }

  async take(path: string, options?: SnapshotOptions): Promise<SnapshotReport> {
    return this.snapshotsOf(this.#live('paused')).take(path, options);
  }

  get state(): RunState {
    return this.#machine?.state ?? 'created';
  }

  get facts(): MachineFacts {
    return this.#machine?.facts ?? nothing;
  }

  get heldMs(): number {
    return this.#machine?.heldMs ?? 0;
  }

  get clockBehindMs(): number {
    return this.#machine?.clockBehindMs ?? 0;
  }

  pause(): void {
    this.#live('paused').pause();
  }

  settleDisks(): void {
    this.#machine?.settleDisks();
  }

  resume(clock?: ClockMode): void {
    this.#live('running').resume(clock);
  }

  save(): MachineState {
    return this.#live('paused').save();
  }

  load(state: MachineState): void {
    this.#live('paused').load(state);
  }

  pressPowerButton(): void {
    this.#machine?.pressPowerButton();
  }

  reset(by: string): void {
    this.#machine?.reset(by);
  }

  stop(by: string, exitCode: number): void {
    if (this.#machine !== undefined) {
      this.#machine.stop(by, exitCode);
      return;
    }
    this.events.tell({ kind: 'ended', end: { kind: 'stopped', by, exitCode } });
    this.#quit(exitCode);
  }

  #live(wanted: RunState): Machine {
    if (this.#machine === undefined) throw new RunStateError('created', wanted);
    return this.#machine;
  }
}

/** What a machine that has taken over is made of: all but this host's devices was its primary's. */
export function partsOf({ shape }: Pick<Machine, 'shape'>, { disk, net }: StandbyDevices): MachineParts {
  return { disk, net, rng: (shape.devices ?? noDevices).rng };
}
