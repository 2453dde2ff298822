import { VmStateError } from '../../devices/vm-state-error.ts';
import type { kvmRegs, kvmSregs } from '../../host/kvm/abi.ts';
import * as abi from '../../host/kvm/abi.ts';
import type { Msr } from '../../host/kvm/basic-registers.ts';
import type { kvmDebugregs, kvmVcpuEvents, kvmXcrs } from '../../host/kvm/state-abi.ts';
import * as stateAbi from '../../host/kvm/state-abi.ts';
import type { CpuidRow, VcpuRegisters } from '../../host/kvm/vcpu-registers.ts';
import { fromPlain, type Plain, toPlain, type ViewOf } from '../../host/layout.ts';
import { msr } from './msrs.ts';

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

/** How vCPUs are saved on this host. */
export interface VcpuStateSupport {
  readonly msrs: readonly number[];
  readonly xcrs: boolean;
}

/**
 * Reads a vCPU's state. It must be parked, for then no access is half done.
 *
 * The order matters:
 * - The deadline first. A timer that fires while the rest is read is then saved as armed, and fires once too often; read
 *   last, it would be saved as fired with an APIC that does not know of it, and be lost.
 * - MP_STATE before all other registers: reading it may let pending APIC events happen.
 * - The events last, for what was read before can still raise one.
 */
export function saveVcpu(vcpu: VcpuRegisters, support: VcpuStateSupport): VcpuState {
  const tscDeadline = vcpu.readMsrs([msr.tscDeadline])[0]?.value ?? 0n;
  return {
    tscDeadline,
    mpState: vcpu.mpState,
    regs: toPlain(abi.kvmRegs, vcpu.regs),
    sregs: toPlain(abi.kvmSregs, vcpu.sregs),
    xsave: vcpu.xsave,
    xcrs: support.xcrs ? toPlain(stateAbi.kvmXcrs, vcpu.xcrs) : null,
    debugRegs: toPlain(stateAbi.kvmDebugregs, vcpu.debugRegs),
    lapic: vcpu.lapic.$bytes.slice(),
    msrs: vcpu.readMsrs(support.msrs),
    cpuid: vcpu.cpuid,
    events: toPlain(stateAbi.kvmVcpuEvents, vcpu.events),
  };
}

/**
 * Writes a vCPU's state, but for the TSC and the deadline, which depends on it: see MachineClocks.
 *
 * The order matters:
 * - CPUID before all else: it says which registers there are. It can be set only before a vCPU first runs (section 4.20).
 * - SREGS before LAPIC, for it holds the APIC's address and mode; LAPIC before the MSRs.
 * - XCRS before XSAVE, for it says which parts of it are in use.
 * - REGS before the events: setting it drops a pending exception.
 *
 * @param isNew the vCPU has never run
 * @throws VmStateError that names what this host refuses
 */
export function loadVcpu(vcpu: VcpuRegisters, state: VcpuState, isNew: boolean): void {
  const step = (part: string, body: () => void): void => {
    try {
      body();
    } catch (error) {
      throw new VmStateError(part, `is refused by this host's KVM: ${error instanceof Error ? error.message : error}`);
    }
  };
  if (isNew) {
    step('cpuid', () => {
      vcpu.cpuid = state.cpuid;
    });
  } else if (!isSameProcessor(vcpu.cpuid, state.cpuid)) {
    throw new VmStateError('cpuid', 'is that of a processor with other features than the one here');
  }
  step('mpState', () => {
    vcpu.mpState = state.mpState;
  });
  step('regs', () => {
    vcpu.regs = fromPlain(abi.kvmRegs, state.regs);
  });
  step('sregs', () => {
    vcpu.sregs = fromPlain(abi.kvmSregs, state.sregs);
  });
  const { xcrs } = state;
  if (xcrs !== null) {
    step('xcrs', () => {
      vcpu.xcrs = fromPlain(stateAbi.kvmXcrs, xcrs);
    });
  }
  step('xsave', () => {
    if (state.xsave.length !== vcpu.xsaveBytes) {
      throw new Error(`it has ${state.xsave.length} bytes, and here it takes ${vcpu.xsaveBytes}`);
    }
    vcpu.xsave = state.xsave;
  });
  step('debugRegs', () => {
    vcpu.debugRegs = fromPlain(stateAbi.kvmDebugregs, state.debugRegs);
  });
  step('lapic', () => {
    vcpu.lapic = abi.kvmLapicState.over(state.lapic.slice());
  });
  const refused = vcpu.writeMsrs(state.msrs).filter(({ value }) => value !== 0n);
  if (refused.length > 0) {
    const names = refused.map(({ index, value }) => `0x${index.toString(16)} = 0x${value.toString(16)}`);
    throw new VmStateError('msrs', `are refused by this host's KVM: ${names.join(', ')}`);
  }
  step('events', () => {
    vcpu.events = fromPlain(stateAbi.kvmVcpuEvents, state.events);
  });
}

/** Bits that follow other registers, by leaf: whether the APIC is on, OSXSAVE, MWAIT, OSPKE; the size of what XSAVE stores. */
const followingBits: Readonly<Record<number, Partial<Record<'ebx' | 'ecx' | 'edx', number>>>> = {
  1: { ecx: (1 << 27) | (1 << 3), edx: 1 << 9 },
  7: { ecx: 1 << 4 },
  13: { ebx: -1 },
};

function isSameProcessor(here: readonly CpuidRow[], there: readonly CpuidRow[]): boolean {
  return here.length === there.length && here.every((row, index) => isSameRow(row, there[index] as CpuidRow));
}

function isSameRow(here: CpuidRow, there: CpuidRow): boolean {
  const following = followingBits[here.function] ?? {};
  const differs = (register: 'ebx' | 'ecx' | 'edx'): boolean =>
    ((here[register] ^ there[register]) & ~(following[register] ?? 0)) !== 0;
  if (here.function !== there.function || here.index !== there.index || here.eax !== there.eax) return false;
  return !differs('ebx') && !differs('ecx') && !differs('edx');
}
