import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { BootRegisters } from '../../firmware/boot-registers.ts';
import { threadId } from '../host/kick.ts';
import { kvmCpuidEntry2 } from '../host/kvm/abi.ts';
import type { CpuidEntry } from '../host/kvm/kvm-device.ts';
import { Vcpu } from '../host/kvm/vcpu.ts';
import type { VcpuHandle } from '../host/kvm/vm.ts';
import type { ThreadBirth } from './controlled-thread.ts';
import type { GuestEnd } from './guest-end.ts';
import { attachDevices, type SharedPlatform } from './platform.ts';
import { phase, request } from './thread-control.ts';
import { VcpuControl } from './vcpu-control.ts';
import { runVcpuLoop } from './vcpu-loop.ts';
import { setUpVcpu } from './vcpu-setup.ts';

/** What a vCPU thread is born with. */
export interface VcpuBirth extends ThreadBirth {
  readonly handle: VcpuHandle;
  readonly platform: SharedPlatform;
}

/** What it is told before its first run. The thread is parked until then. */
export interface VcpuStart {
  /** Absent if a saved state was loaded into the vCPU: nothing is to be set up. */
  readonly setUp?: {
    readonly cpuid: readonly Uint8Array[];
    /** For vCPU 0 of a machine that boots. */
    readonly boot?: BootRegisters;
  };
}

/** What it tells: its guest has ended. */
export type VcpuReport = GuestEnd;

/** Body of a vCPU thread. Comes back when the controller wants the thread to end. */
export function threadMain(): void {
  const { handle, control: storage, platform } = workerData as VcpuBirth;
  const control = new VcpuControl(storage);
  const vcpu = new Vcpu(handle);
  let requested: GuestEnd | undefined;
  const buses = attachDevices(platform, {
    powerOff: () => {
      requested = { kind: 'power-off' };
    },
    reset: () => {
      requested = { kind: 'reset' };
    },
  });
  control.tid = threadId();
  try {
    control.park();
    if (control.request === request.end) return;
    const { setUp } = takeStart();
    if (setUp !== undefined) {
      const cpuid = setUp.cpuid.map((bytes): CpuidEntry => kvmCpuidEntry2.over(bytes));
      setUpVcpu(vcpu, cpuid, setUp.boot);
    }
    runVcpuLoop({
      vcpu,
      control,
      ...buses,
      requestedEnd: () => requested,
      report: (end) => parentPort?.postMessage(end satisfies VcpuReport),
    });
  } finally {
    control.phase = phase.ended;
  }
}

function takeStart(): VcpuStart {
  const received = parentPort === null ? undefined : receiveMessageOnPort(parentPort);
  if (received === undefined) throw new Error('a vCPU thread was started without its initial state');
  return received.message as VcpuStart;
}
