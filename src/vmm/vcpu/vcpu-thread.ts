import type { BootRegisters } from '../../../firmware/boot-registers.ts';
import type { CpuidEntry } from '../../host/kvm/kvm-device.ts';
import { Vcpu } from '../../host/kvm/vcpu.ts';
import type { VcpuHandle } from '../../host/kvm/vm.ts';
import { kick } from '../../host/threads/kick.ts';
import type { SharedPageCopy } from '../../memory/page-copy.ts';
import { ioPatienceMs } from '../platform/io-control.ts';
import type { SharedPlatform } from '../platform/platform.ts';
import { ControlledThread } from '../thread/controlled-thread.ts';
import { type ExitCounts, type SharedVcpu, VcpuControl } from './vcpu-control.ts';
import { setUpVcpu } from './vcpu-setup.ts';
import type { VcpuBirth, VcpuReport } from './vcpu-worker.ts';

/** What the controller hears of a vCPU thread. */
export interface VcpuListener {
  /** The guest ended, or says something; `vcpu` is held until it is released. */
  ended(report: VcpuReport, vcpu: VcpuThread): void;
  failed(index: number, error: Error): void;
}

/** A vCPU thread seen from the thread that controls it. */
export class VcpuThread extends ControlledThread<VcpuReport> {
  readonly index: number;
  readonly #vcpu: Vcpu;
  readonly #vcpuControl: VcpuControl;
  /** How other threads reach it. */
  readonly reach: SharedVcpu;

  /** Starts the thread, parked. @param copy of pages, to take part in while it is parked, when it is to serve */
  constructor(
    program: URL,
    handle: VcpuHandle,
    platform: SharedPlatform,
    copy: SharedPageCopy,
    listener: VcpuListener,
  ) {
    const control = new VcpuControl();
    const vcpu = new Vcpu(handle);
    const birth: VcpuBirth = { thread: 'vcpu', handle, control: control.storage, platform, copy: copy.storage };
    super({
      program,
      name: `vcpu-${handle.index}`,
      birth,
      control,
      callOut: () => {
        vcpu.requestExit();
        if (control.tid !== 0) kick(control.tid);
      },
      reported: (report) => listener.ended(report, this),
      failed: (error) => listener.failed(handle.index, error),
      ...(platform.virtio.length > 0 ? { parkPatienceMs: ioPatienceMs } : {}),
    });
    this.index = handle.index;
    this.#vcpu = vcpu;
    this.#vcpuControl = control;
    this.reach = { handle, control: control.storage };
  }

  /**
   * Sets the vCPU up, whose thread has not run it yet. Not by that thread: a machine that is stopped before all its threads
   * have begun is saved as it will begin.
   */
  prepare(cpuid: readonly CpuidEntry[], boot: BootRegisters | undefined): void {
    setUpVcpu(this.#vcpu.registers, cpuid, boot);
  }

  get exits(): ExitCounts {
    return this.#vcpuControl.exits;
  }
}
