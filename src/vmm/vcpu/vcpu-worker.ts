import { parentPort, workerData } from 'node:worker_threads';
import { Vcpu } from '../../host/kvm/vcpu.ts';
import type { VcpuHandle } from '../../host/kvm/vm.ts';
import { threadId } from '../../host/threads/kick.ts';
import { nameThread } from '../../host/threads/thread-name.ts';
import { SharedPageCopy } from '../../memory/page-copy.ts';
import { attachDevices, type SharedPlatform } from '../platform/platform.ts';
import type { ThreadBirth } from '../thread/controlled-thread.ts';
import { phase, request } from '../thread/thread-control.ts';
import type { GuestEnd } from './guest-end.ts';
import { VcpuControl } from './vcpu-control.ts';
import { runVcpuLoop } from './vcpu-loop.ts';

/** What a vCPU thread is born with. */
export interface VcpuBirth extends ThreadBirth {
  readonly handle: VcpuHandle;
  readonly platform: SharedPlatform;
  /** Copies of pages to take part in while it is parked: SharedPageCopy. */
  readonly copy: SharedArrayBuffer;
}

/** What it tells: its guest has ended, and the vCPU is held (see ThreadControl). */
export type VcpuReport = GuestEnd;

/** Body of a vCPU thread. Comes back when the controller wants the thread to end. */
export function threadMain(): void {
  const { handle, control: storage, platform, copy } = workerData as VcpuBirth;
  nameThread(`vcpu ${handle.index}`);
  const control = new VcpuControl(storage);
  const vcpu = new Vcpu(handle);
  const pageCopy = new SharedPageCopy(copy);
  let requested: GuestEnd | undefined;
  const buses = attachDevices(platform, {
    powerOff: () => {
      requested = { kind: 'power-off' };
    },
    reset: () => {
      requested = { kind: 'reset' };
    },
    panicked: () => {
      requested = { kind: 'panic' };
    },
  });
  control.tid = threadId();
  try {
    control.park();
    if (control.request === request.end) return;
    runVcpuLoop({
      vcpu,
      control,
      ...buses,
      takeRequest: () => {
        const taken = requested;
        requested = undefined;
        return taken;
      },
      report: (end) => parentPort?.postMessage(end satisfies VcpuReport),
      serve: () => pageCopy.takeParts(),
    });
  } finally {
    control.phase = phase.ended;
  }
}
