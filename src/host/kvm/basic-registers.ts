import type { Fields, Struct, StructView, ViewOf } from '../layout.ts';
import type { Fd } from '../libc/descriptors.ts';
import { type IoctlRequest, ioctl } from '../libc/ioctl.ts';
import {
  KVM_GET_LAPIC,
  KVM_GET_REGS,
  KVM_GET_SREGS,
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
  kvmSregs,
} from './abi.ts';
import type { VcpuHandle } from './vm.ts';

/** A model-specific register and its value. */
export interface Msr {
  readonly index: number;
  readonly value: bigint;
}

/**
 * The registers of a vCPU that a boot sets and a crash shows; all others are in VcpuRegisters, which takes longer to load.
 * For the thread that runs the vCPU, or for any other while that one is parked or has not begun.
 */
export class BasicRegisters {
  readonly index: number;
  protected readonly fd: Fd;

  constructor(handle: VcpuHandle) {
    this.index = handle.index;
    this.fd = handle.fd;
  }

  get regs(): ViewOf<typeof kvmRegs> {
    return this.read(KVM_GET_REGS, kvmRegs);
  }

  set regs(value: ViewOf<typeof kvmRegs>) {
    this.write(KVM_SET_REGS, value.$bytes);
  }

  get sregs(): ViewOf<typeof kvmSregs> {
    return this.read(KVM_GET_SREGS, kvmSregs);
  }

  set sregs(value: ViewOf<typeof kvmSregs>) {
    this.write(KVM_SET_SREGS, value.$bytes);
  }

  get lapic(): ViewOf<typeof kvmLapicState> {
    return this.read(KVM_GET_LAPIC, kvmLapicState);
  }

  set lapic(value: ViewOf<typeof kvmLapicState>) {
    this.write(KVM_SET_LAPIC, value.$bytes);
  }

  set fpu(value: ViewOf<typeof kvmFpu>) {
    this.write(KVM_SET_FPU, value.$bytes);
  }

  /** What the CPUID instruction tells the guest, as rows of struct kvm_cpuid_entry2. Before it first runs. */
  writeCpuid(rows: readonly Uint8Array[]): void {
    const table = kvmCpuid2.allocate(rows.length * kvmCpuidEntry2.size);
    table.nent = rows.length;
    rows.forEach((row, index) => {
      table.$bytes.set(row.subarray(0, kvmCpuidEntry2.size), kvmCpuid2.size + index * kvmCpuidEntry2.size);
    });
    this.write(KVM_SET_CPUID2, table.$bytes);
  }

  /** Writes MSRs in order; those that KVM refuses. */
  writeMsrs(msrs: readonly Msr[]): Msr[] {
    const refused: Msr[] = [];
    for (let first = 0; first < msrs.length; ) {
      const table = new MsrTable(msrs.length - first);
      for (let row = 0; row < table.rows; row++) {
        const { index, value } = msrs[first + row] as Msr;
        table.setIndex(row, index);
        table.setValue(row, value);
      }
      const done = ioctl(this.fd, KVM_SET_MSRS, table.bytes, this.subject);
      const next = msrs[first + done];
      if (next !== undefined) refused.push(next);
      first += done + 1;
    }
    return refused;
  }

  /** How errors name this vCPU. */
  protected get subject(): string {
    return `vcpu ${this.index}`;
  }

  protected read<F extends Fields>(request: IoctlRequest, layout: Struct<F>): StructView<F> {
    const view = layout.allocate();
    ioctl(this.fd, request, view.$bytes, this.subject);
    return view;
  }

  protected write(request: IoctlRequest, bytes: Uint8Array): void {
    ioctl(this.fd, request, bytes, this.subject);
  }
}

/** struct kvm_msrs with its rows, which are too many for a view each. */
export class MsrTable {
  readonly rows: number;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(rows: number) {
    this.rows = rows;
    this.bytes = new Uint8Array(kvmMsrs.size + rows * kvmMsrEntry.size);
    this.#view = new DataView(this.bytes.buffer);
    this.#view.setUint32(kvmMsrs.offsets.nmsrs, rows, true);
  }

  setIndex(row: number, index: number): void {
    this.#view.setUint32(rowOffset(row) + kvmMsrEntry.offsets.index, index, true);
  }

  setValue(row: number, value: bigint): void {
    this.#view.setBigUint64(rowOffset(row) + kvmMsrEntry.offsets.data, value, true);
  }

  value(row: number): bigint {
    return this.#view.getBigUint64(rowOffset(row) + kvmMsrEntry.offsets.data, true);
  }
}

function rowOffset(row: number): number {
  return kvmMsrs.size + row * kvmMsrEntry.size;
}
