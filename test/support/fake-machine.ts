import { MachineEvents } from '../../src/vmm/machine/machine-events.ts';
import type { MachineFacts, MonitoredMachine } from '../../src/vmm/machine/monitored-machine.ts';
import type { RunState } from '../../src/vmm/machine/run-state.ts';
import type { GuestEnd } from '../../src/vmm/vcpu/guest-end.ts';
import type { ClockMode } from '../../src/vmm/vmstate/clock-state.ts';

const facts: MachineFacts = {
  memoryBytes: 256 << 20,
  cpuThreads: [101, 102],
  disks: [
    { id: 'root', path: 'root.img', sizeBytes: 1 << 20, readOnly: false, direct: false },
    { id: 'data', path: 'base.img', overlay: 'mine.img', sizeBytes: 1 << 30, readOnly: false, direct: true },
  ],
  cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01', gone: false }],
};

/** A machine without a guest, for its monitor: it notes what it is told, and tells of it as a real one does. */
export class FakeMachine implements MonitoredMachine {
  state: RunState;
  readonly facts = facts;
  readonly heldMs = 0;
  readonly clockBehindMs = 0;
  readonly events = new MachineEvents();
  readonly calls: string[] = [];
  /** How often its disks were settled, while it was paused; and what they say to that. */
  settled = 0;
  onSettle: () => void = () => {};

  constructor(state: RunState = 'running') {
    this.state = state;
  }

  pause(): void {
    this.calls.push('pause');
    this.state = 'paused';
    this.events.tell({ kind: 'paused' });
    this.settleDisks();
  }

  settleDisks(): void {
    if (this.state !== 'paused') return;
    this.settled++;
    this.onSettle();
  }

  resume(_clock?: ClockMode, last: (wake: () => void) => void = (wake) => wake()): void {
    this.calls.push('resume');
    this.state = 'running';
    this.events.tell({ kind: 'resumed' });
    last(() => this.calls.push('wake'));
  }

  save(): never {
    throw new Error('a fake has no state');
  }

  load(): never {
    throw new Error('a fake has no state');
  }

  pressPowerButton(): void {
    this.calls.push('power button');
    this.events.tell({ kind: 'power-button' });
  }

  reset(by: string): void {
    this.calls.push(`reset by ${by}`);
    this.#end({ kind: 'reset', by });
  }

  stop(by: string, exitCode: number): void {
    this.calls.push(`stop by ${by} ${exitCode}`);
    this.#end({ kind: 'stopped', by, exitCode });
  }

  /** The guest does as it was asked. */
  powerOff(): void {
    this.#end({ kind: 'power-off' });
  }

  #end(end: GuestEnd): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.events.tell({ kind: 'ended', end });
  }
}
