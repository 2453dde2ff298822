import type { kvmRegs, kvmSregs } from '../../host/kvm/abi.ts';
import * as abi from '../../host/kvm/abi.ts';
import type { Msr } from '../../host/kvm/basic-registers.ts';
import type { kvmDebugregs, kvmVcpuEvents, kvmXcrs } from '../../host/kvm/state-abi.ts';
import * as stateAbi from '../../host/kvm/state-abi.ts';
import type { VcpuPart } from '../../host/kvm/vcpu-image.ts';
import {
  type Fields,
  fromPlain,
  type Plain,
  type Struct,
  type StructView,
  toPlain,
  type ViewOf,
} from '../../host/layout.ts';
import { msr } from './msrs.ts';
import type { StateImage } from './state-image.ts';

/** One answer of the CPUID instruction. */
export type CpuidRow = Plain<ViewOf<typeof abi.kvmCpuidEntry2>>;

/** All there is of a vCPU, besides what time it is for it (ClockState). */
export interface VcpuState {
  /** KVM_MP_STATE_*: runs, waits for its start-up, is halted. */
  readonly mpState: number;
  readonly regs: Plain<ViewOf<typeof kvmRegs>>;
  readonly sregs: Plain<ViewOf<typeof kvmSregs>>;
  readonly xsave: Uint8Array;
  /** Null on a host without XSAVE. */
  readonly xcrs: Plain<ViewOf<typeof kvmXcrs>> | null;
  readonly debugRegs: Plain<ViewOf<typeof kvmDebugregs>>;
  readonly lapic: Uint8Array;
  readonly msrs: readonly Msr[];
  /** Guest TSC at which the local APIC's timer fires; 0: not armed. */
  readonly tscDeadline: bigint;
  readonly cpuid: readonly CpuidRow[];
  /** What is on its way to the guest. */
  readonly events: Plain<ViewOf<typeof kvmVcpuEvents>>;
}

/** A vCPU's part of an image, as named fields. */
export function vcpuStateOf(image: StateImage, vcpu: number): VcpuState {
  const plain = <F extends Fields>(part: VcpuPart, layout: Struct<F>): Plain<StructView<F>> =>
    toPlain(layout, layout.over(image.vcpuBytes(vcpu, part)));
  return {
    tscDeadline: image.deadline(vcpu),
    mpState: plain('mpState', stateAbi.kvmMpState).mp_state,
    regs: plain('regs', abi.kvmRegs),
    sregs: plain('sregs', abi.kvmSregs),
    xsave: copyOf(image.vcpuBytes(vcpu, 'xsave')),
    xcrs: image.hasXcrs ? plain('xcrs', stateAbi.kvmXcrs) : null,
    debugRegs: plain('debugRegs', stateAbi.kvmDebugregs),
    lapic: copyOf(image.vcpuBytes(vcpu, 'lapic')),
    msrs: Array.from({ length: image.rows(vcpu, 'msrs') }, (_, row) => ({
      index: image.msrIndex(vcpu, row),
      value: image.msrValue(vcpu, row),
    })),
    cpuid: cpuidOf(image, vcpu),
    events: plain('events', stateAbi.kvmVcpuEvents),
  };
}

/** What the CPUID instruction tells on a vCPU of an image. */
export function cpuidOf(image: StateImage, vcpu: number): CpuidRow[] {
  return Array.from({ length: image.rows(vcpu, 'cpuid') }, (_, row) =>
    toPlain(abi.kvmCpuidEntry2, abi.kvmCpuidEntry2.over(image.cpuidRow(vcpu, row))),
  );
}

/** Puts a state into an image that has room for it. */
export function putVcpuState(image: StateImage, vcpu: number, state: VcpuState): void {
  const put = (part: VcpuPart, bytes: Uint8Array): void => image.vcpuBytes(vcpu, part).set(bytes);
  image.setDeadline(vcpu, msr.tscDeadline, state.tscDeadline);
  put('mpState', fromPlain(stateAbi.kvmMpState, { mp_state: state.mpState }).$bytes);
  put('regs', fromPlain(abi.kvmRegs, state.regs).$bytes);
  put('sregs', fromPlain(abi.kvmSregs, state.sregs).$bytes);
  put('xsave', state.xsave);
  if (state.xcrs !== null) put('xcrs', fromPlain(stateAbi.kvmXcrs, state.xcrs).$bytes);
  put('debugRegs', fromPlain(stateAbi.kvmDebugregs, state.debugRegs).$bytes);
  put('lapic', state.lapic);
  image.setRows(vcpu, 'msrs', state.msrs.length);
  state.msrs.forEach(({ index, value }, row) => {
    image.setMsr(vcpu, row, index, value);
  });
  image.setRows(vcpu, 'cpuid', state.cpuid.length);
  state.cpuid.forEach((entry, row) => {
    image.cpuidRow(vcpu, row).set(fromPlain(abi.kvmCpuidEntry2, entry).$bytes);
  });
  put('events', fromPlain(stateAbi.kvmVcpuEvents, state.events).$bytes);
}

/** Not in shared memory: what is saved belongs to whoever saves it. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
