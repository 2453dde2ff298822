import { EAGAIN, EINTR } from '../errno.ts';
import type { Fields, Struct, StructView, ViewOf } from '../layout.ts';
import { type IoctlRequest, ioctl, ioctlNumber, lastErrno, viewMemory } from '../libc.ts';
import { SystemError } from '../system-error.ts';
import {
  KVM_GET_LAPIC,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_RUN,
  KVM_SET_CPUID2,
  KVM_SET_FPU,
  KVM_SET_LAPIC,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  kvmCpuid2,
  kvmCpuidEntry2,
  type kvmFpu,
  kvmLapicState,
  kvmMsrEntry,
  kvmMsrs,
  kvmRegs,
  kvmRun,
  kvmSregs,
} from './abi.ts';
import type { CpuidEntry } from './kvm-device.ts';
import type { VcpuHandle } from './vm.ts';

/** A model-specific register and its value. */
export interface Msr {
  readonly index: number;
  readonly value: bigint;
}

/** Why KVM_RUN came back. */
export type RunResult = 'exit' | 'interrupted';

/** A vCPU on the thread that runs it. Its ioctls belong to that thread once it runs; {@link requestExit} to any other. */
export class Vcpu {
  readonly index: number;
  /** The run area: kvm_run, and behind it the data of port I/O. */
  readonly run: DataView;
  readonly #fd: VcpuHandle['fd'];
  readonly #runBytes: Uint8Array;

  constructor(handle: VcpuHandle) {
    this.index = handle.index;
    this.#fd = handle.fd;
    const area = viewMemory(handle.runAddress, handle.runBytes);
    this.run = new DataView(area);
    this.#runBytes = new Uint8Array(area);
  }

  /** Runs guest code until it needs us or a kick arrives. Hot path. */
  enter(): RunResult {
    if (ioctlNumber(this.#fd, KVM_RUN.number, 0) === 0) return 'exit';
    const errno = lastErrno();
    // EAGAIN: an application processor that was woken for nothing before its start-up IPI.
    if (errno === EINTR || errno === EAGAIN) return 'interrupted';
    throw new SystemError('KVM_RUN', errno, this.#subject);
  }

  /** Makes the next, or with a kick the running, {@link enter} return `interrupted`. From any thread. */
  requestExit(): void {
    Atomics.store(this.#runBytes, kvmRun.offsets.immediate_exit, 1);
  }

  /** Takes the request back. Look for the reason only after this, or one that arrives meanwhile is lost. */
  clearExitRequest(): void {
    Atomics.store(this.#runBytes, kvmRun.offsets.immediate_exit, 0);
  }

  getRegs(): ViewOf<typeof kvmRegs> {
    return this.#get(KVM_GET_REGS, kvmRegs);
  }

  setRegs(regs: ViewOf<typeof kvmRegs>): void {
    this.#set(KVM_SET_REGS, regs.$bytes);
  }

  getSregs(): ViewOf<typeof kvmSregs> {
    return this.#get(KVM_GET_SREGS, kvmSregs);
  }

  setSregs(sregs: ViewOf<typeof kvmSregs>): void {
    this.#set(KVM_SET_SREGS, sregs.$bytes);
  }

  setFpu(fpu: ViewOf<typeof kvmFpu>): void {
    this.#set(KVM_SET_FPU, fpu.$bytes);
  }

  getLapic(): ViewOf<typeof kvmLapicState> {
    return this.#get(KVM_GET_LAPIC, kvmLapicState);
  }

  setLapic(lapic: ViewOf<typeof kvmLapicState>): void {
    this.#set(KVM_SET_LAPIC, lapic.$bytes);
  }

  /** What the CPUID instruction tells the guest. Before the first {@link enter}. */
  setCpuid(entries: readonly CpuidEntry[]): void {
    const table = kvmCpuid2.allocate(entries.length * kvmCpuidEntry2.size);
    table.nent = entries.length;
    entries.forEach((entry, index) => {
      table.$bytes.set(entry.$bytes.subarray(0, kvmCpuidEntry2.size), kvmCpuid2.size + index * kvmCpuidEntry2.size);
    });
    this.#set(KVM_SET_CPUID2, table.$bytes);
  }

  /** Writes MSRs in order; an MSR that KVM refuses is an error that names it. */
  setMsrs(msrs: readonly Msr[]): void {
    const table = msrTable(msrs.map((msr) => msr.index));
    msrs.forEach((msr, position) => {
      msrEntry(table.$bytes, position).data = msr.value;
    });
    const done = ioctl(this.#fd, KVM_SET_MSRS, table.$bytes, this.#subject);
    const refused = msrs[done];
    if (refused !== undefined) throw new Error(`${this.#subject} refuses MSR 0x${refused.index.toString(16)}`);
  }

  #get<F extends Fields>(request: IoctlRequest, layout: Struct<F>): StructView<F> {
    const view = layout.allocate();
    ioctl(this.#fd, request, view.$bytes, this.#subject);
    return view;
  }

  #set(request: IoctlRequest, bytes: Uint8Array): void {
    ioctl(this.#fd, request, bytes, this.#subject);
  }

  get #subject(): string {
    return `vcpu ${this.index}`;
  }
}

function msrTable(indices: readonly number[]): ViewOf<typeof kvmMsrs> {
  const table = kvmMsrs.allocate(indices.length * kvmMsrEntry.size);
  table.nmsrs = indices.length;
  indices.forEach((index, position) => {
    msrEntry(table.$bytes, position).index = index;
  });
  return table;
}

function msrEntry(table: Uint8Array, position: number): ViewOf<typeof kvmMsrEntry> {
  return kvmMsrEntry.over(table, kvmMsrs.size + position * kvmMsrEntry.size);
}
