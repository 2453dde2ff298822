import type { SerialPortState } from '../../devices/serial-port-state.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import type { ClockState } from './clock-state.ts';
import type { VcpuState } from './vcpu-state.ts';
import type { VmState } from './vm-state.ts';

/**
 * A whole machine that is paused, but for its RAM, which travels beside it, and what its disks hold. Plain data, to be
 * written as CBOR.
 */
export interface MachineState {
  readonly version: 1;
  readonly memoryBytes: number;
  readonly vcpus: readonly VcpuState[];
  readonly vm: VmState;
  readonly clock: ClockState;
  readonly serial: SerialPortState;
  /** Of the PCI host; absent in states of machines that had none. */
  readonly pciAddress?: number | undefined;
  readonly devices: readonly IoDeviceState[];
}

/** Newest version of {@link MachineState} that this program knows, and the one that it writes. */
export const machineStateVersion = 1;
