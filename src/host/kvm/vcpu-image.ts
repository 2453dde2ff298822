import { type IoctlRequest, ioctl } from '../libc/ioctl.ts';
import * as abi from './abi.ts';
import * as stateAbi from './state-abi.ts';
import type { VcpuHandle } from './vm.ts';

/** What the length of a vCPU's image depends on. */
export interface VcpuImageShape {
  readonly msrRows: number;
  readonly cpuidRows: number;
  readonly xsaveBytes: number;
}

/**
 * A vCPU as KVM's own structs, one behind the other, so that the kernel reads and writes them in place and nothing is made
 * of them while a guest is paused:
 *
 *     mpState  deadline  regs  sregs  debugRegs  events  xcrs  lapic  msrs  cpuid  xsave
 *
 * `deadline` is a table of MSRs with one row. `msrs` and `cpuid` are a count and as many rows as there is room for.
 */
export const vcpuParts = [
  'mpState',
  'deadline',
  'regs',
  'sregs',
  'debugRegs',
  'events',
  'xcrs',
  'lapic',
  'msrs',
  'cpuid',
  'xsave',
] as const;
export type VcpuPart = (typeof vcpuParts)[number];

/** Where each part begins, and how many bytes it has. */
export interface VcpuImageLayout {
  readonly offsets: Readonly<Record<VcpuPart, number>>;
  readonly sizes: Readonly<Record<VcpuPart, number>>;
  readonly bytes: number;
}

/** Lays an image out. Every part begins at a multiple of 8. */
export function layOutVcpu({ msrRows, cpuidRows, xsaveBytes }: VcpuImageShape): VcpuImageLayout {
  const sizes: Record<VcpuPart, number> = {
    mpState: stateAbi.kvmMpState.size,
    deadline: abi.kvmMsrs.size + abi.kvmMsrEntry.size,
    regs: abi.kvmRegs.size,
    sregs: abi.kvmSregs.size,
    debugRegs: stateAbi.kvmDebugregs.size,
    events: stateAbi.kvmVcpuEvents.size,
    xcrs: stateAbi.kvmXcrs.size,
    lapic: abi.kvmLapicState.size,
    msrs: abi.kvmMsrs.size + msrRows * abi.kvmMsrEntry.size,
    cpuid: abi.kvmCpuid2.size + cpuidRows * abi.kvmCpuidEntry2.size,
    xsave: xsaveBytes,
  };
  const offsets = {} as Record<VcpuPart, number>;
  let end = 0;
  for (const part of vcpuParts) {
    offsets[part] = end;
    end += Math.ceil(sizes[part] / 8) * 8;
  }
  return { offsets, sizes, bytes: end };
}

const getRequests: Readonly<Record<VcpuPart, IoctlRequest>> = {
  mpState: stateAbi.KVM_GET_MP_STATE,
  deadline: abi.KVM_GET_MSRS,
  regs: abi.KVM_GET_REGS,
  sregs: abi.KVM_GET_SREGS,
  debugRegs: stateAbi.KVM_GET_DEBUGREGS,
  events: stateAbi.KVM_GET_VCPU_EVENTS,
  xcrs: stateAbi.KVM_GET_XCRS,
  lapic: abi.KVM_GET_LAPIC,
  msrs: abi.KVM_GET_MSRS,
  cpuid: stateAbi.KVM_GET_CPUID2,
  xsave: stateAbi.KVM_GET_XSAVE,
};

const setRequests: Readonly<Record<VcpuPart, IoctlRequest>> = {
  mpState: stateAbi.KVM_SET_MP_STATE,
  deadline: abi.KVM_SET_MSRS,
  regs: abi.KVM_SET_REGS,
  sregs: abi.KVM_SET_SREGS,
  debugRegs: stateAbi.KVM_SET_DEBUGREGS,
  events: stateAbi.KVM_SET_VCPU_EVENTS,
  xcrs: stateAbi.KVM_SET_XCRS,
  lapic: abi.KVM_SET_LAPIC,
  msrs: abi.KVM_SET_MSRS,
  cpuid: abi.KVM_SET_CPUID2,
  xsave: stateAbi.KVM_SET_XSAVE,
};

/**
 * Reads and writes parts of a vCPU's image by their addresses in this process. For any thread, while the vCPU's own is
 * parked. Hot path: no allocation.
 */
export class VcpuIoctls {
  readonly #fd: VcpuHandle['fd'];
  readonly #subject: string;
  readonly #getXsave: IoctlRequest;

  /** @param hasXsave2 KVM_CAP_XSAVE2 says that there is more than struct kvm_xsave */
  constructor({ fd, index }: VcpuHandle, hasXsave2: boolean) {
    this.#fd = fd;
    this.#subject = `vcpu ${index}`;
    this.#getXsave = hasXsave2 ? stateAbi.KVM_GET_XSAVE2 : stateAbi.KVM_GET_XSAVE;
  }

  /** Fills a part from KVM. Of `msrs` the number of rows that KVM knows: it stops at the first one that it does not. */
  read(part: VcpuPart, address: number): number {
    return ioctl(this.#fd, part === 'xsave' ? this.#getXsave : getRequests[part], address, this.#subject);
  }

  /** Gives a part to KVM. Of `msrs` the number of rows that KVM took. @throws SystemError if it refuses */
  write(part: VcpuPart, address: number): number {
    return ioctl(this.#fd, setRequests[part], address, this.#subject);
  }
}
