import type { SerialPortState } from '../../devices/serial-port-state.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import type { IoDeviceState } from '../io/io-device-state.ts';
import { type MachineState, machineStateVersion } from './machine-state.ts';
import { type ImageShape, StateImage } from './state-image.ts';
import { putVcpuState, vcpuStateOf } from './vcpu-state.ts';
import { putVmState, vmStateOf } from './vm-state.ts';

/** Devices that vCPU threads and the main thread serve. */
export interface OwnDevices {
  readonly serial: SerialPortState;
  /** Of the PCI host. */
  readonly pciAddress: number;
}

/** A machine's state as named fields, which keeps nothing of the image. */
export function machineStateOf(image: StateImage, own: OwnDevices, devices: readonly IoDeviceState[]): MachineState {
  return {
    version: machineStateVersion,
    memoryBytes: image.memoryBytes,
    vcpus: Array.from({ length: image.shape.cpus }, (_, vcpu) => vcpuStateOf(image, vcpu)),
    vm: vmStateOf(image),
    clock: image.clock,
    ...own,
    devices,
  };
}

/**
 * The image of a state that was checked by itself, in the shape of the machine here if it fits.
 *
 * @throws VmStateError
 */
export function imageOf(state: MachineState, here: ImageShape): StateImage {
  const { vcpus, vm, clock } = state;
  if (vcpus.length !== here.cpus || clock.tsc.length !== here.cpus) {
    throw new VmStateError('vcpus', `are ${vcpus.length}, and the machine here has ${here.cpus}`);
  }
  const xsaveBytes = vcpus[0]?.xsave.length ?? 0;
  if (vcpus.some(({ xsave }) => xsave.length !== xsaveBytes)) {
    throw new VmStateError('vcpus', 'have xsave areas of different lengths');
  }
  const image = new StateImage({
    cpus: vcpus.length,
    msrRows: Math.max(here.msrRows, ...vcpus.map(({ msrs }) => msrs.length)),
    cpuidRows: Math.max(here.cpuidRows, ...vcpus.map(({ cpuid }) => cpuid.length)),
    xsaveBytes,
  });
  image.memoryBytes = state.memoryBytes;
  image.hasXcrs = vcpus.some(({ xcrs }) => xcrs !== null);
  image.clock = clock;
  putVmState(image, vm);
  vcpus.forEach((vcpu, index) => {
    putVcpuState(image, index, vcpu);
  });
  return image;
}
